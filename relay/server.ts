/** The relay as a running server: listeners, core and timers. @module */
import {
  type Family,
  familyOf,
  formatSocketAddress,
  type Instant,
  messageOf,
  MorayError,
  type SocketAddress,
} from "../core/mod.ts";
import {
  ConnectionEnder,
  listInterfaces,
  type MetricsServer,
  serveMetrics,
  systemClock,
  systemRng,
  wallClock,
} from "../io/mod.ts";
import type { SessionUsage } from "./core/allocation_table.ts";
import { Counters } from "./core/counters.ts";
import type { Flow, RelayProtocol, RelaySink, Train } from "./core/flow.ts";
import { RELAY_LIMITS, type RelayLimits } from "./core/limits.ts";
import type { PortRange } from "./core/relayed_ports.ts";
import { RelayServer } from "./core/relay_server.ts";
import { TURN_PATH } from "./core/upgrade_request.ts";
import { FastUdp } from "./listeners/fast_udp.ts";
import { PortableUdp } from "./listeners/portable_udp.ts";
import { StreamClient, StreamDesk } from "./listeners/stream_desk.ts";
import {
  type StreamKind,
  StreamListener,
  type StreamListenerOptions,
} from "./listeners/stream_listener.ts";
import type { UdpFlow, UdpSockets, UdpSocketsOptions, UdpTaker } from "./listeners/udp_flow.ts";
import { serveUpgrade } from "./listeners/web_socket_carrier.ts";
import type { Log } from "./log.ts";
import { METRIC_HELP } from "./metric_help.ts";
import type { TlsPem } from "./tls_files.ts";

/** Dynamic ports (RFC 6335), as RFC 8656 section 7.2 suggests. */
const PORT_RANGE: PortRange = { first: 49_152, last: 65_535 };
const SWEEP_MS = 1000;
/** Counters that go up and down. */
const GAUGES: ReadonlySet<string> = new Set(["allocations", "streams", "streamsHalfOpen"]);
/** Sessions in one report. */
const REPORT_MAX = 4096;
/** How long a drained relay goes on, where nobody says. */
const DRAIN_MS = 1500;
/** How long streams may take to end: where they cannot be shut down, their clients have to. */
const STREAMS_END_MS = 500;
/** How often a drain looks whether anybody is left. */
const DRAIN_CHECK_MS = 50;

/** Options of {@linkcode startRelay}. At least one listener is needed. */
export interface RelayOptions {
  /** UDP listeners. @default none */
  readonly listenUdp?: readonly SocketAddress[];
  /** TCP listeners. @default none */
  readonly listenTcp?: readonly SocketAddress[];
  /** TLS listeners, which carry WebSockets too (`wss://H:P/turn`). Need {@linkcode RelayOptions.tls}. @default none */
  readonly listenTls?: readonly SocketAddress[];
  /** HTTP listeners for WebSockets, `GET /turn`. @default none */
  readonly listenWebsocket?: readonly SocketAddress[];
  /** Certificate chain and private key, PEM. */
  readonly tls?: TlsPem;
  /** The relay's addresses for peers, one of each family that is relayed. */
  readonly externalIps: readonly string[];
  /** The secret that the passwords of the REST scheme are made of. */
  readonly secret: string;
  /** What REALM says. @default "moray" */
  readonly realm?: string;
  /** Lets private, loopback and link-local peers through. @default false */
  readonly allowPrivatePeers?: boolean;
  /** Takes sessions of one mesh only, by the tag that begins their ids. @default any session */
  readonly onlyMesh?: string;
  /** UDP ports of this host that are for peers: clients may send to them at the relay's own addresses. @default none */
  readonly ownPorts?: readonly number[];
  /** How much for whom. @default RELAY_LIMITS */
  readonly limits?: RelayLimits;
  /** Serves {@linkcode RunningRelay.counters} for Prometheus here. @default nowhere */
  readonly metrics?: SocketAddress;
  /** Where relayed ports are. @default 49152 to 65535 */
  readonly portRange?: PortRange;
  /** Which UDP sockets. @default "auto" */
  readonly driver?: "auto" | "fast" | "portable";
  /** What the relay calls its version. @default "unknown" */
  readonly version?: string;
  /** Where the log goes. */
  readonly log: Log;
  /** Stops the relay. Absent: only {@linkcode RunningRelay.stop} does. */
  readonly signal?: AbortSignal;
}

/** One way to a relay, as clients are told. */
export interface RelayTransport {
  /** How. */
  readonly kind: RelayProtocol;
  /** `host:port`; for `websocket` a URL. */
  readonly endpoint: string;
}

/** What a relay says of itself from time to time. */
export interface RelayReport {
  /** How full it is, 0 to 100. */
  readonly load: number;
  /** Whether it takes nobody new. */
  readonly draining: boolean;
  /** Allocations. */
  readonly sessions: number;
  /** What sessions have relayed since the last report, 4096 at most; the rest comes with the next. */
  readonly usage: readonly SessionUsage[];
}

/** A started relay. */
export interface RunningRelay extends AsyncDisposable {
  /** Every listening address as `key=value`: `udp=0.0.0.0:3478`, `tls=[::]:443`. */
  readonly listening: readonly string[];
  /** Ways to it by its external address. */
  readonly transports: readonly RelayTransport[];
  /** Which UDP sockets it has: `fast`, or `portable` with the reason. */
  readonly driver: string;
  /** Resolves when it has stopped by {@linkcode RunningRelay.stop}; rejects if a listener died. */
  readonly finished: Promise<void>;
  /** Allocations now. */
  readonly allocations: number;
  /** What it has done and what it holds, by name. */
  counters(): Record<string, number>;
  /** What there is to report; each byte is reported once. */
  report(): RelayReport;
  /** Ends sessions, by the ids in their user names, and takes their credentials no more. */
  revoke(sessions: readonly string[]): void;
  /** A WebSocket carried by somebody else's HTTP listener. Answers 426 to any other request. */
  handleUpgrade(request: Request, remote: SocketAddress): Response;
  /** Takes nobody new, tells clients, and resolves when all have gone or after `ms`. Safe to call twice. @default 1500 */
  drain(options?: { readonly ms?: number; readonly alternate?: SocketAddress }): Promise<void>;
  /** Ends all allocations and closes the listeners. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts a relay. Rejects with `MorayError`: `portInUse`, `permission`, `usage` (options that make no sense, an address that this
 * machine does not have, a certificate that is none), `unsupported` (the fast driver was asked for and is not to be had).
 */
export function startRelay(options: RelayOptions): Promise<RunningRelay> {
  return Promise.try(() => new Relay(options));
}

class Relay implements RunningRelay {
  readonly finished: Promise<void>;
  readonly #options: RelayOptions;
  readonly #counters = new Counters();
  readonly #core: RelayServer;
  readonly #udp: UdpSockets;
  readonly #desk: StreamDesk;
  readonly #streams: readonly StreamListener[];
  readonly #ender: ConnectionEnder | undefined;
  readonly #metrics: MetricsServer | undefined;
  readonly #timer: ReturnType<typeof setInterval>;
  #draining: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: RelayOptions) {
    checkOptions(options);
    using opened = new DisposableStack();
    this.#options = options;
    this.#ender = opened.use(ConnectionEnder.open());
    const { externalIps, limits = RELAY_LIMITS, portRange = PORT_RANGE } = options;
    const ownAddresses = ownAddressesOf(options);
    const now = (): Instant => systemClock.now();
    const taker: UdpTaker = {
      onClient: (flow, bytes, segment) => this.#core.handleClient(now(), flow, bytes, segment),
      onPeer: (relayed, source, bytes, segment) =>
        this.#core.handlePeer(now(), relayed, source, { bytes, segment }),
    };
    this.#udp = openUdp(options, {
      listen: options.listenUdp ?? [],
      relayedIps: {
        4: relayedIp(4, externalIps, ownAddresses),
        6: relayedIp(6, externalIps, ownAddresses),
      },
      taker,
    }, this.#counters);
    opened.defer(() => void this.#udp.close());
    this.#core = new RelayServer(now(), {
      sink: this.#sink(),
      rng: systemRng,
      unixMs: () => wallClock.unixMs(),
      secret: options.secret,
      realm: options.realm ?? "moray",
      externalIps,
      ownAddresses,
      allowPrivatePeers: options.allowPrivatePeers ?? false,
      ownPorts: options.ownPorts ?? [],
      ...(options.onlyMesh !== undefined && { onlyMesh: options.onlyMesh }),
      limits,
      portRange,
      software: `moray ${options.version ?? "unknown"}`,
      canForbidSplitting: this.#udp.canForbidSplitting,
    });
    this.#desk = new StreamDesk({ core: this.#core, counters: this.#counters, now });
    this.#streams = openStreams(options, { desk: this.#desk, ender: this.#ender });
    opened.defer(() => this.#streams.forEach((listener) => listener.close()));
    this.#metrics = options.metrics &&
      serveMetrics(options.metrics, {
        prefix: "moray_relay",
        gauges: GAUGES,
        help: METRIC_HELP,
        counters: () => this.counters(),
      });
    opened.move();
    this.#timer = setInterval(() => {
      this.#core.handleTimeout(now());
      this.#desk.sweep(now());
    }, SWEEP_MS);
    this.finished = this.#watchOver();
    // Whoever does not ask must not be ended by the answer.
    this.finished.catch(() => {});
    options.signal?.addEventListener("abort", () => void this.stop(), { once: true });
    if (options.signal?.aborted === true) void this.stop();
  }

  get listening(): readonly string[] {
    return [
      ...this.#udp.listening.map((address) => `udp=${formatSocketAddress(address)}`),
      ...this.#streams.map(({ kind, address }) => `${kind}=${formatSocketAddress(address)}`),
      ...this.#metrics === undefined
        ? []
        : [`metrics=${formatSocketAddress(this.#metrics.address)}`],
    ];
  }

  get transports(): readonly RelayTransport[] {
    const { externalIps } = this.#options;
    const listeners = [
      ...this.#udp.listening.map((address) => ({ kind: "udp" as const, address })),
      ...this.#streams,
    ];
    return listeners.flatMap(({ kind, address }) =>
      externalIps.filter((ip) => listensFor(address.hostname, ip)).map((hostname) => {
        const endpoint = formatSocketAddress({ hostname, port: address.port });
        return { kind, endpoint: kind === "websocket" ? `ws://${endpoint}${TURN_PATH}` : endpoint };
      })
    );
  }

  get driver(): string {
    return this.#udp.name;
  }

  get allocations(): number {
    return this.#core.allocations;
  }

  counters(): Record<string, number> {
    return {
      ...this.#core.counters(),
      ...this.#counters.all(),
      allocations: this.#core.allocations,
      streams: this.#desk.size,
      streamsHalfOpen: this.#desk.halfOpen,
    };
  }

  report(): RelayReport {
    const { limits = RELAY_LIMITS } = this.#options;
    const sessions = this.#core.allocations;
    return {
      load: Math.min(100, Math.round(sessions / limits.scopes.total.allocationsMax * 100)),
      draining: this.#draining !== undefined,
      sessions,
      usage: this.#core.takeUsage(REPORT_MAX),
    };
  }

  revoke(sessions: readonly string[]): void {
    const now = systemClock.now();
    for (const session of sessions) this.#core.revoke(now, session);
  }

  handleUpgrade(request: Request, remote: SocketAddress): Response {
    if (this.#stopping !== undefined) return new Response("stopping\n", { status: 503 });
    return serveUpgrade(this.#desk, request, remote);
  }

  drain(
    { ms = DRAIN_MS, alternate }: { readonly ms?: number; readonly alternate?: SocketAddress } = {},
  ): Promise<void> {
    this.#draining ??= this.#drain(ms, alternate);
    return this.#draining;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #drain(ms: number, alternate: SocketAddress | undefined): Promise<void> {
    const now = systemClock.now();
    this.#core.drain(now, ms, alternate);
    this.#options.log("info", "draining", { allocations: this.#core.allocations, ms });
    while (this.#core.allocations > 0 && systemClock.now() < now + ms) {
      await new Promise((wake) => setTimeout(wake, DRAIN_CHECK_MS));
      this.#core.handleTimeout(systemClock.now());
    }
  }

  async #stop(): Promise<void> {
    clearInterval(this.#timer);
    for (const listener of this.#streams) listener.close();
    this.#core.close();
    this.#desk.close();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, STREAMS_END_MS);
    await Promise.race([Promise.all(this.#streams.map((listener) => listener.ended())), late]);
    clearTimeout(timer);
    await Promise.all([this.#udp.close(), this.#metrics?.close()]);
    this.#ender?.[Symbol.dispose]();
  }

  async #watchOver(): Promise<void> {
    const { log } = this.#options;
    try {
      await Promise.all([this.#udp, ...this.#streams].map(({ finished }) => finished));
    } catch (error) {
      log("error", `A listener died: ${messageOf(error)}`);
      void this.stop();
      throw new MorayError("closed", `A listener died: ${messageOf(error)}`, error);
    }
    await this.#stopping;
  }

  /** Sends by UDP or by the stream, whatever a flow is. */
  #sink(): RelaySink {
    const udp = this.#udp;
    return {
      sendMessage: (flow: Flow, message: Uint8Array) => {
        if (flow instanceof StreamClient) flow.sendMessage(message);
        else udp.sendMessage(flow as UdpFlow, message);
      },
      sendChannelData: (flow: Flow, channel: number, train: Train) => {
        if (flow instanceof StreamClient) flow.sendChannelData(channel, train);
        else udp.sendChannelData(flow as UdpFlow, channel, train);
      },
      sendToPeer: (relayed, peer, train, whole) => udp.sendToPeer(relayed, peer, train, whole),
      openRelayed: (family, port) => udp.openRelayed(family, port),
      closeRelayed: (relayed) => udp.closeRelayed(relayed),
      endFlow: (flow: Flow) => {
        if (flow instanceof StreamClient) flow.close();
      },
    };
  }
}

function checkOptions(options: RelayOptions): void {
  const { externalIps, secret, listenTls = [], tls, portRange = PORT_RANGE } = options;
  const fail = (message: string): never => {
    throw new MorayError("usage", message);
  };
  if (secret === "") fail("The relay needs a secret");
  if (externalIps.length === 0) fail("The relay needs an external address");
  if (new Set(externalIps.map(familyOf)).size !== externalIps.length) {
    fail("The relay takes one external address of each family");
  }
  if (listenTls.length > 0 && tls === undefined) fail("TLS needs a certificate and its key");
  if (!(portRange.first >= 1 && portRange.first <= portRange.last && portRange.last <= 65_535)) {
    fail(`No range of ports: ${portRange.first} to ${portRange.last}`);
  }
}

function openUdp(
  { driver = "auto", log }: RelayOptions,
  options: UdpSocketsOptions,
  counters: Counters,
): UdpSockets {
  if (driver === "portable") return PortableUdp.open(options, counters);
  try {
    return FastUdp.open(options, counters);
  } catch (error) {
    const isMissing = error instanceof MorayError && error.code === "unsupported";
    if (!isMissing || driver === "fast") throw error;
    log("debug", "the fast driver is not to be had", { reason: messageOf(error) });
    return PortableUdp.open(options, counters, messageOf(error));
  }
}

function openStreams(
  options: RelayOptions,
  shared: Pick<StreamListenerOptions, "desk" | "ender">,
): readonly StreamListener[] {
  const { listenTcp = [], listenTls = [], listenWebsocket = [], tls } = options;
  const wanted: readonly [StreamKind, readonly SocketAddress[]][] = [
    ["tcp", listenTcp],
    ["tls", listenTls],
    ["websocket", listenWebsocket],
  ];
  const opened: StreamListener[] = [];
  try {
    for (const [kind, addresses] of wanted) {
      for (const listen of addresses) {
        const secured = kind === "tls" && tls !== undefined ? { tls } : {};
        opened.push(new StreamListener({ listen, kind, ...shared, ...secured }));
      }
    }
    return opened;
  } catch (error) {
    for (const listener of opened) listener.close();
    throw error;
  }
}

/** This host's addresses, where only relayed ports are for clients of the relay. */
function ownAddressesOf(
  { listenUdp = [], listenTcp = [], listenTls = [] }: RelayOptions,
): string[] {
  const bound = [...listenUdp, ...listenTcp, ...listenTls].map(({ hostname }) => hostname);
  return [...new Set([...listInterfaces().map(({ address }) => address), ...bound])];
}

/** What relayed sockets are bound to: the external address where it is this host's, else any. */
function relayedIp(
  family: Family,
  externalIps: readonly string[],
  own: readonly string[],
): string {
  const external = externalIps.find((ip) => familyOf(ip) === family);
  if (external !== undefined && own.includes(external)) return external;
  return family === 4 ? "0.0.0.0" : "::";
}

/** Whether clients that send to `ip` reach a listener. */
function listensFor(listening: string, ip: string): boolean {
  if (listening === "::") return true;
  return familyOf(listening) === familyOf(ip);
}
