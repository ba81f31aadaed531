/** What every kind of node has: a datapath, a network, proxies and an orderly end. @module */
import { formatSocketAddress, messageOf, MorayError, type SocketAddress } from "../core/mod.ts";
import type { DatagramCounters } from "./datagram_server.ts";
import type { LoadingDatapath } from "./datapath/loading.ts";
import { type RunningDatapath, startDatapath } from "./datapath/start.ts";
import { startExpose } from "./expose.ts";
import { startForward, startUnixForward } from "./forward.ts";
import { startHttpProxy } from "./http_proxy.ts";
import type { NameTable } from "./names.ts";
import type { CommonOptions, ForwardRule } from "./options.ts";
import type { DatapathClient, NodeEvent } from "./shared/mod.ts";
import { RelayStreams } from "./relay_streams.ts";
import { startSocks5 } from "./socks5_server.ts";
import type { PathChange } from "./status.ts";
import { TunnelNetwork } from "./tunnel_network.ts";
import { startUdpExpose } from "./udp_expose.ts";
import { startUdpForward } from "./udp_forward.ts";

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
  /** A DNS server for the names of a mesh. Absent: none. */
  readonly dns?: { readonly listen: SocketAddress; readonly mesh: string };
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
  readonly #parts: NodeCoreParts;
  readonly #relayStreams: RelayStreams;
  readonly #services: Stoppable[] = [];
  readonly #counted: (() => Readonly<Record<string, number>>)[] = [];
  readonly #listening: string[];
  readonly #finished = Promise.withResolvers<void>();
  readonly #listeners: ((change: Omit<PathChange, "name">) => void)[] = [];
  readonly #watchers = new Set<() => void>();
  #stopping: Promise<void> | undefined;

  private constructor(
    { datapath, options, parts }: {
      datapath: RunningDatapath;
      options: CommonOptions;
      parts: NodeCoreParts;
    },
  ) {
    this.datapath = datapath;
    this.#options = options;
    this.#parts = parts;
    this.network = new TunnelNetwork({
      client: datapath.client,
      resolve: (name) => parts.names.resolve(name),
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
    const core = new NodeCore({ datapath, options, parts });
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

  /** Starts proxies, forwards and exposes. Rejects with `portInUse`, `permission`, `usage` or `limit`. */
  async startServices(): Promise<void> {
    const { socks5, socks5Credentials, httpProxy, log } = this.#options;
    const { forwards = [], exposes = [] } = this.#options;
    const { network } = this;
    if (socks5 !== undefined) {
      const credentials = socks5Credentials && { credentials: socks5Credentials };
      const proxy = startSocks5({ listen: socks5, network, log, ...credentials });
      this.#counted.push(() => {
        const { associations: _, datagramsOut: _out, datagramsIn: _in, ...losses } =
          proxy.associations;
        return named("socks5Datagrams", losses);
      });
      this.own(proxy, `socks5=${formatSocketAddress(proxy.address)}`);
    }
    if (httpProxy !== undefined) {
      const proxy = startHttpProxy({ listen: httpProxy, network, log });
      this.own(proxy, `http-proxy=${formatSocketAddress(proxy.address)}`);
    }
    const { dns, names } = this.#parts;
    if (dns !== undefined) {
      // Few want one, and its library takes time to load.
      const { startDns } = await import(
        "./dns/server.ts" as string
      ) as typeof import("./dns/server.ts");
      const server = await startDns({ ...dns, names, log });
      this.#counted.push(() => {
        const { answered: _, noName: _none, ...losses } = server.counters;
        return named("dns", losses);
      });
      this.own(server, `dns=${formatSocketAddress(server.address)}`);
    }
    for (const rule of forwards) await this.#startForward(rule);
    for (const rule of exposes) {
      if ("path" in rule || rule.protocol !== "udp") {
        this.own(startExpose(rule, { network, log }), `expose=${rule.meshPort}`);
      } else {
        const expose = startUdpExpose(rule, { network, log });
        this.#counted.push(() => lossesOf(expose.counters));
        this.own(expose, `expose=${rule.meshPort}/udp`);
      }
    }
  }

  async #startForward({ listen, protocol, ...target }: ForwardRule): Promise<void> {
    const { network } = this;
    const { log } = this.#options;
    if ("path" in listen) {
      if (protocol === "udp") throw new MorayError("usage", "A unix socket carries no datagrams");
      const forward = await startUnixForward({ listen, ...target }, { network, log });
      this.own(forward, `forward=unix:${listen.path}`);
    } else if (protocol === "udp") {
      const random = Math.random;
      const forward = startUdpForward({ listen, ...target }, { network, log, random });
      this.#counted.push(() => lossesOf(forward.counters));
      this.own(forward, `forward=${formatSocketAddress(forward.address)}/udp`);
    } else {
      const forward = startForward({ listen, ...target }, { network, log });
      this.own(forward, `forward=${formatSocketAddress(forward.address)}`);
    }
  }

  /** What was dropped and refused on this thread, by name; only what is not zero. */
  counters(): Readonly<Record<string, number>> {
    const all = [this.network.counters, ...this.#counted.map((counters) => counters())];
    const sums: Record<string, number> = {};
    for (const [name, value] of all.flatMap((counters) => Object.entries(counters))) {
      if (value > 0) sums[name] = (sums[name] ?? 0) + value;
    }
    return sums;
  }

  /** Has `listener` called with every change of the path to a peer. */
  subscribe(listener: (change: Omit<PathChange, "name">) => void): void {
    this.#listeners.push(listener);
  }

  /** Resolves when the path to a peer changes, or after `ms` milliseconds, or with the node's end. */
  async changeWithin(ms: number): Promise<void> {
    if (this.#stopping !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#watchers.add(resolve);
    await promise;
    this.#watchers.delete(resolve);
    clearTimeout(timer);
  }

  /** Stops `service` with the node, and names where it listens. */
  own(service: Stoppable, listening?: string): void {
    this.#services.push(service);
    if (listening !== undefined) this.#listening.push(listening);
  }

  /** Stops every service, then the datapath. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    for (const wake of this.#watchers) wake();
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
    const change = pathChangeOf(event);
    if (change === undefined) return;
    for (const listener of this.#listeners) listener(change);
    for (const wake of this.#watchers) wake();
  }
}

/** What an event says of the path to a peer; `undefined` for nothing. */
function pathChangeOf(event: NodeEvent): Omit<PathChange, "name"> | undefined {
  switch (event.kind) {
    case "peerConnected":
    case "peerMoved": {
      const { publicKey, remote, relayed = false } = event;
      return { publicKey, kind: relayed ? "relayed" : "direct", remote };
    }
    case "peerLost":
      return { publicKey: event.publicKey, kind: "none", remote: null };
    default:
      return undefined;
  }
}

/** What of a forward's datagrams was lost, for `status`. */
function lossesOf(
  { evicted, failed, dropped, tooLong, strangers, refused }: DatagramCounters,
): Readonly<Record<string, number>> {
  return named("datagrams", { evicted, failed, dropped, tooLong, strangers, refused });
}

/** The same counters with a word in front of their names. */
function named(
  word: string,
  counters: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(counters).map((
      [name, value],
    ) => [`${word}${name.charAt(0).toUpperCase()}${name.slice(1)}`, value]),
  );
}
