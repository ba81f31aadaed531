/** What every kind of node has: a datapath, a network, proxies and an orderly end. @module */
import { formatSocketAddress, messageOf, MorayError, type SocketAddress } from "../core/mod.ts";
import type { LoadingDatapath } from "./datapath/loading.ts";
import { type RunningDatapath, startDatapath } from "./datapath/start.ts";
import { startExpose } from "./expose.ts";
import { startForward } from "./forward.ts";
import { startHttpProxy } from "./http_proxy.ts";
import type { NameTable } from "./names.ts";
import type { CommonOptions } from "./options.ts";
import type { DatapathClient, NodeEvent } from "./shared/mod.ts";
import { RelayStreams } from "./relay_streams.ts";
import { startSocks5 } from "./socks5_server.ts";
import { TunnelNetwork } from "./tunnel_network.ts";

/** How long the Worker may take to end. */
const DATAPATH_GRACE_MS = 400;

/** Something that runs until stopped. */
export interface Stoppable {
  /** Ends it in order. Safe to call twice. */
  stop(): Promise<void>;
}

/** What {@linkcode NodeCore.start} needs besides the options. */
export interface NodeCoreParts {
  /** Our static private key. */
  readonly privateKey: Uint8Array;
  /** Largest inner packet in bytes. */
  readonly mtu: number;
  /** Names inside the mesh. */
  readonly names: NameTable;
  /** A fixed public endpoint. */
  readonly publicEndpoint?: SocketAddress;
  /** Guess no ports. @default false */
  readonly noGuess?: boolean;
  /** Reach peers through relays only. @default false */
  readonly noDirect?: boolean;
  /** A datapath that loads already. Absent: one is loaded. */
  readonly loading?: LoadingDatapath;
  /** Takes what the datapath tells of peers and candidates. */
  readonly onEvent: (event: NodeEvent) => void;
}

/** The parts that colony, agent and plain peer share. */
export class NodeCore {
  /** The sockets and the engine. */
  readonly datapath: RunningDatapath;
  /** Streams inside the mesh. */
  readonly network: TunnelNetwork;
  readonly #options: CommonOptions;
  readonly #relayStreams: RelayStreams;
  readonly #services: Stoppable[] = [];
  readonly #listening: string[];
  readonly #finished = Promise.withResolvers<void>();
  #stopping: Promise<void> | undefined;

  private constructor(
    { datapath, options, names }: {
      datapath: RunningDatapath;
      options: CommonOptions;
      names: NameTable;
    },
  ) {
    this.datapath = datapath;
    this.#options = options;
    this.network = new TunnelNetwork({
      client: datapath.client,
      resolve: (name) => names.resolve(name),
    });
    this.#relayStreams = new RelayStreams({
      client: datapath.client,
      adopt: (slot) => this.network.adopt(slot),
      log: options.log,
    });
    const { tun } = options;
    this.#listening = [`wg=${datapath.local}`, ...(tun === undefined ? [] : [`tun=${tun}`])];
    // A node that died is reported by whoever awaits this; nobody has to.
    this.#finished.promise.catch(() => {});
  }

  /** Starts the datapath. Rejects with `portInUse`, `permission`, `unsupported` or `internal`. */
  static async start(options: CommonOptions, parts: NodeCoreParts): Promise<NodeCore> {
    const { privateKey, mtu, publicEndpoint, noGuess, noDirect, loading } = parts;
    const early: NodeEvent[] = [];
    let handle = (event: NodeEvent): void => void early.push(event);
    const datapath = await startDatapath({
      privateKey,
      mtu,
      port: options.wgPort ?? 0,
      driver: options.datapath ?? "auto",
      ...(publicEndpoint && { publicEndpoint }),
      ...(noGuess === true && { noGuess }),
      ...(noDirect === true && { noDirect }),
      ...(options.tun !== undefined && { tun: options.tun }),
      onEvent: (event) => handle(event),
    }, loading);
    const core = new NodeCore({ datapath, options, names: parts.names });
    handle = (event) => core.#handle(event, parts.onEvent);
    early.forEach(handle);
    return core;
  }

  /** Commands to the datapath. */
  get client(): DatapathClient {
    return this.datapath.client;
  }

  /** Every listening address as `key=value`. */
  get listening(): readonly string[] {
    return this.#listening;
  }

  /** Resolves when the node has stopped; rejects if it died. */
  get finished(): Promise<void> {
    return this.#finished.promise;
  }

  /** Starts proxies, forwards and exposes. Throws `portInUse`, `permission` or `limit`. */
  startServices(): void {
    const { socks5, httpProxy, forwards = [], exposes = [], log } = this.#options;
    const { network } = this;
    if (socks5 !== undefined) {
      const proxy = startSocks5({ listen: socks5, network, log });
      this.own(proxy, `socks5=${formatSocketAddress(proxy.address)}`);
    }
    if (httpProxy !== undefined) {
      const proxy = startHttpProxy({ listen: httpProxy, network, log });
      this.own(proxy, `http-proxy=${formatSocketAddress(proxy.address)}`);
    }
    for (const rule of forwards) {
      const forward = startForward(rule, { network, log });
      this.own(forward, `forward=${formatSocketAddress(forward.address)}`);
    }
    for (const rule of exposes) {
      this.own(startExpose(rule, { network, log }), `expose=${rule.meshPort}`);
    }
  }

  /** Stops `service` with the node, and names where it listens. */
  own(service: Stoppable, listening?: string): void {
    this.#services.push(service);
    if (listening !== undefined) this.#listening.push(listening);
  }

  /** Stops every service, then the datapath. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const ends = await Promise.allSettled(this.#services.map((service) => service.stop()));
    for (const end of ends) {
      if (end.status === "rejected") this.#options.log("warn", `stop: ${messageOf(end.reason)}`);
    }
    await this.datapath.stop(DATAPATH_GRACE_MS);
    await this.#relayStreams.stop();
    this.#finished.resolve();
  }

  #handle(event: NodeEvent, onEvent: (event: NodeEvent) => void): void {
    if (event.kind === "log") return this.#options.log(event.level, event.message, event.fields);
    if (event.kind === "relayConnect") return this.#relayStreams.connect(event);
    if (event.kind === "fatal") {
      this.#finished.reject(new MorayError("internal", `The datapath has died: ${event.message}`));
      return;
    }
    onEvent(event);
  }
}
