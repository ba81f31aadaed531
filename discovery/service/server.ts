/** Discovery as a running server: HTTP, STUN, store and timers. @module */
import {
  type Cidr,
  formatSocketAddress,
  messageOf,
  MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import { type MetricsServer, serveMetrics } from "../../io/metrics.ts";
import { limitSegments } from "../../io/segments.ts";
import { isPublicAddress } from "../../traversal/mod.ts";
import type { Log } from "../log.ts";
import { openStore } from "../store/open_store.ts";
import type { Store } from "../store/store.ts";
import { HttpHandler, type HttpHandlerOptions, type TurnHandler } from "./http.ts";
import { isToken, TOKEN_FAULT } from "../status/sign_in.ts";
import { StatusSite } from "../status/site.ts";
import { listenError } from "./listen_error.ts";
import type { RequestLimits } from "./request_limits.ts";
import type { RelayOptions } from "./relay_service.ts";
import { ProofChecker } from "./proof_checker.ts";
import { Service } from "./service.ts";
import { StunCredentialIssuer } from "./stun_credentials.ts";
import { StunReceipts } from "./stun_receipts.ts";
import { StunService } from "./stun_service.ts";
import { checkVolunteer } from "./volunteer_check.ts";

/** Life of a registration. */
export const TTL_MS = 300_000;
/** Longest silence on a Watch stream. */
export const HEARTBEAT_MS = 15_000;
/** Counters that go up and down. */
const GAUGES: ReadonlySet<string> = new Set([
  "watches",
  "requestsOpen",
  "paths",
  "punchAttemptsReported",
  "punchSuccessesReported",
  "statusStreams",
]);
/**
 * Longest TCP segment. What a node registers fills a usual one, and between it and Discovery a link may carry less and say nothing:
 * 1,124 bytes of IPv4, or the 1,280 of IPv6, are the least that nodes are held to.
 */
const SEGMENT_BYTES = 1060;
/** How long open requests may take once the server stops. */
const STOP_MS = 1500;

/** Options of {@linkcode startDiscovery}. */
export interface DiscoveryOptions {
  /** HTTP listener: ConnectRPC, `/health`, `/ready`. Port 0 lets the system choose. */
  readonly listen: SocketAddress;
  /** Certificate chain and private key, PEM texts: the listener speaks TLS, with HTTP/2 and HTTP/1.1. Absent: neither TLS nor HTTP/2. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Serves counters for Prometheus here, at `/metrics`. Port 0 lets the system choose. Absent: nowhere. */
  readonly metrics?: SocketAddress;
  /** STUN listeners. Empty: none. `::` serves both families; `0.0.0.0` beside it with the same port is the same one. */
  readonly stunListen: readonly SocketAddress[];
  /**
   * Second addresses of STUN listeners, which let nodes find out how their NAT maps and filters (RFC 5780): one per family, with another
   * port, for the first listener of the family that has an address of its own. @default none
   */
  readonly stunAlternates?: readonly SocketAddress[];
  /**
   * `:memory:`, the path of a SQLite file, created if it does not exist, or `postgres://USER:PASSWORD@HOST/DATABASE`, which several
   * servers may share: then each tells its Watch streams of what happens at the others.
   */
  readonly store: string;
  /** Life of a registration in milliseconds, a whole number of seconds. @default 300000 */
  readonly ttlMs?: number;
  /** Longest silence on a Watch stream in milliseconds, at most 15000, which clients count on. @default 15000 */
  readonly heartbeatMs?: number;
  /** What the server calls its version. @default "unknown" */
  readonly version?: string;
  /** Largest size of a SQLite store in bytes. @default no limit but the disk's */
  readonly storeBytesMax?: number;
  /** How much may be asked. @default REQUEST_LIMITS of request_limits.ts */
  readonly limits?: Partial<RequestLimits>;
  /** Where proxies stand whose word on a client's address is believed, for limits and logs; never for endpoints. @default none */
  readonly trustedProxies?: readonly Cidr[];
  /** How long a request's body may take to arrive, in milliseconds. @default 10000 */
  readonly bodyMsMax?: number;
  /** Where the log goes. */
  readonly log: Log;
  /** Now, unix milliseconds. @default Date.now, or the clock of the database that replicas share */
  readonly now?: () => number;
  /**
   * Whether to take registrations that prove no key, as those of plain Coral clients; said in the log and in `/health`. @default
   * false
   */
  readonly allowUnproven?: boolean;
  /** Relays for the nodes. Absent: none, and none may report itself. */
  readonly relays?: Omit<RelayOptions, "volunteers">;
  /** Takes relays that nodes run for their own mesh, once they are found to be reachable from here. @default false */
  readonly volunteers?: boolean;
  /** Takes WebSockets at `GET /turn`: the relay in this process. Absent: nobody does. */
  readonly turn?: TurnHandler;
  /** The token of the status page at `/`: 16 to 256 printable ASCII characters without spaces. Absent: there is no page. */
  readonly statusToken?: string;
}

/** A started server. */
export interface RunningDiscovery extends AsyncDisposable {
  /** `http://` or `https://` URL of the HTTP listener, without a path. Where it listens on every address: on loopback. */
  readonly url: string;
  /** Every listening address as `key=value`: `http=127.0.0.1:8080`, `stun=0.0.0.0:3478`. */
  readonly listening: readonly string[];
  /** Resolves when the server has stopped by {@linkcode RunningDiscovery.stop}; rejects if a listener died. */
  readonly finished: Promise<void>;
  /** Counters by name; only what is not zero. */
  counters(): Record<string, number>;
  /** Ends every stream and listener and closes the store. Takes at most 2 s. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts Discovery. Rejects with `MorayError`: `portInUse`, `permission`, `usage` (an address that this machine does
 * not have), or what opening the store says: `corrupt`, `diskFull`, `refused`, `unreachable`, `unsupported`.
 */
export async function startDiscovery(options: DiscoveryOptions): Promise<RunningDiscovery> {
  const { allowUnproven = false, statusToken } = options;
  if (statusToken !== undefined && !isToken(statusToken)) {
    throw new MorayError("usage", TOKEN_FAULT);
  }
  const { listen, stunListen, log, ttlMs = TTL_MS, heartbeatMs = HEARTBEAT_MS } = options;
  if (!(heartbeatMs > 0 && heartbeatMs <= HEARTBEAT_MS)) {
    throw new RangeError(`Heartbeat of ${heartbeatMs} ms is not within ${HEARTBEAT_MS} ms`);
  }
  const { storeBytesMax: bytesMax } = options;
  const store = await openStore(options.store, {
    log,
    ...(bytesMax !== undefined && { bytesMax }),
  });
  // Replicas go by one clock, or one that is wrong would end what others keep alive.
  const now = options.now ?? (() => Date.now() + store.clockAheadMs);
  let stun: StunService | undefined;
  try {
    const secret = await store.secret("stun", crypto.getRandomValues(new Uint8Array(32)));
    const [issuer, receipts] = [new StunCredentialIssuer(secret), new StunReceipts(secret)];
    secret.fill(0);
    const alternates = options.stunAlternates ?? [];
    const relays = relayOptions(options);
    stun = await StunService.open({ listen: stunListen, alternates, issuer, receipts, now, log });
    const service = new Service({
      store,
      ttlMs,
      heartbeatMs,
      stun: stun.advertised.map(stunService),
      stunCredentials: (node) =>
        issuer.issue(now(), crypto.getRandomValues(new Uint8Array(16)), node),
      ...(stun.addresses.length > 0 && { stunReceipts: receipts }),
      version: options.version ?? "unknown",
      now,
      randomId: () => crypto.randomUUID(),
      log,
      ...(relays && { relays }),
      allowUnproven,
    });
    const freshKey = crypto.getRandomValues(new Uint8Array(32));
    const proofs = await ProofChecker.open({ store, now, freshKey });
    if (allowUnproven) {
      log(
        "warn",
        "unproven registrations are taken: anyone may claim a mesh that has proven no key",
      );
    }
    const { turn, tls, metrics, limits, trustedProxies, bodyMsMax } = options;
    const edge = {
      ...(limits && { limits }),
      ...(trustedProxies && { trustedProxies }),
      ...(bodyMsMax !== undefined && { bodyMsMax }),
    };
    const parts = { listen, store, proofs, stun, service, heartbeatMs, ttlMs, now, log, edge };
    return new DiscoveryServer({
      ...parts,
      ...(turn && { turn }),
      ...(tls && { tls }),
      ...(metrics && { metrics }),
      ...(statusToken !== undefined && { statusToken }),
    });
  } catch (error) {
    await stun?.close();
    await store.close();
    throw error;
  }
}

/** The parts of a server. */
interface Parts {
  readonly listen: SocketAddress;
  readonly store: Store;
  readonly stun: StunService;
  readonly service: Service;
  readonly proofs: ProofChecker;
  readonly heartbeatMs: number;
  readonly ttlMs: number;
  readonly now: () => number;
  readonly log: Log;
  /** What the HTTP side lets in. */
  readonly edge: Pick<HttpHandlerOptions, "limits" | "trustedProxies" | "bodyMsMax">;
  readonly turn?: TurnHandler;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly metrics?: SocketAddress;
  readonly statusToken?: string;
}

class DiscoveryServer implements RunningDiscovery {
  readonly url: string;
  readonly listening: readonly string[];
  readonly finished: Promise<void>;
  readonly #parts: Parts;
  readonly #http: HttpHandler;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #metrics: MetricsServer | undefined;
  readonly #status: StatusSite | undefined;
  readonly #cutOff = new AbortController();
  readonly #timers: readonly ReturnType<typeof setInterval>[];
  #stopping: Promise<void> | undefined;

  constructor(parts: Parts) {
    const { listen, service, proofs, stun, heartbeatMs, ttlMs, now, log, turn, tls } = parts;
    this.#parts = parts;
    this.#status = this.#statusSite();
    const status = this.#status && this.#status.handle.bind(this.#status);
    this.#http = new HttpHandler({
      ...parts.edge,
      service,
      proofs,
      now,
      log,
      ...(turn && { turn }),
      ...(status && { status }),
    });
    this.#metrics = parts.metrics && serveMetrics(parts.metrics, {
      prefix: "moray_discovery",
      gauges: GAUGES,
      counters: () => this.counters(),
    });
    try {
      this.#server = listenHttp(listen, this.#http, { signal: this.#cutOff.signal, log, tls });
    } catch (error) {
      void this.#metrics?.close();
      throw error;
    }
    const bound = { hostname: listen.hostname, port: this.#server.addr.port };
    if (!limitSegments(bound, SEGMENT_BYTES)) {
      log("debug", "segments are as long as the system makes them: no FFI");
    }
    const scheme = tls === undefined ? "http" : "https";
    this.url = `${scheme}://${formatSocketAddress(reachable(bound))}`;
    this.listening = [
      `${scheme}=${formatSocketAddress(bound)}`,
      ...this.#metrics === undefined
        ? []
        : [`metrics=${formatSocketAddress(this.#metrics.address)}`],
      ...stun.addresses.map((address) => `stun=${formatSocketAddress(address)}`),
    ];
    this.#timers = [
      setInterval(() => service.heartbeat(), heartbeatMs),
      // The service has logged what went wrong; the next sweep tries again.
      setInterval(() => void service.sweep().catch(() => {}), sweepMs(ttlMs)),
    ];
    this.finished = this.#watchOver();
    // Whoever does not ask must not be ended by the answer.
    this.finished.catch(() => {});
  }

  counters(): Record<string, number> {
    const { service, stun } = this.#parts;
    const page = Object.entries(this.#status?.counters() ?? {}).filter(([, value]) => value > 0);
    return {
      ...service.counters(),
      ...this.#http.counters(),
      ...stun.counters(),
      ...Object.fromEntries(page),
    };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** The status page, if there is a token for it. */
  #statusSite(): StatusSite | undefined {
    const { statusToken: token, store, service, tls, ttlMs, now, log } = this.#parts;
    if (token === undefined) return undefined;
    return new StatusSite({
      token,
      store,
      book: service.paths.book,
      now,
      ttlMs,
      secure: tls !== undefined,
      health: async () => {
        const { version, status, uptimeSeconds, allowUnproven } = await service.health();
        return { version, status, uptimeSeconds: Number(uptimeSeconds), allowUnproven };
      },
      relays: () => service.relayStandings(),
      counters: () => this.counters(),
      log,
    });
  }

  async #watchOver(): Promise<void> {
    const { stun, log } = this.#parts;
    const ended = [this.#server.finished, ...stun.addresses.length > 0 ? [stun.ended] : []];
    try {
      // A listener that ends by itself has died, whether it says why or not.
      await Promise.race(ended);
    } catch (error) {
      log("error", `A listener died: ${messageOf(error)}`);
      throw new MorayError("closed", `A listener died: ${messageOf(error)}`, error);
    }
    if (this.#stopping === undefined) throw new MorayError("closed", "A listener has closed");
    await this.#stopping;
  }

  async #stop(): Promise<void> {
    const { service, stun, store, log } = this.#parts;
    for (const timer of this.#timers) clearInterval(timer);
    service.close();
    this.#status?.close();
    const timer = setTimeout(() => {
      log("debug", "requests were cut off at the stop");
      this.#cutOff.abort();
    }, STOP_MS);
    await Promise.allSettled([this.#server.shutdown(), this.#metrics?.close(), stun.close()]);
    clearTimeout(timer);
    await store.close();
  }
}

/** Relays of nodes are looked at from here. A Discovery at a private address serves private networks. */
function relayOptions(
  { relays, volunteers = false, listen: { hostname } }: DiscoveryOptions,
): RelayOptions | undefined {
  if (!volunteers) return relays;
  const allowPrivate = !isWildcard(hostname) && !isPublicAddress(hostname);
  return { ...relays, volunteers: { check: (one) => checkVolunteer(one, { allowPrivate }) } };
}

function listenHttp(
  listen: SocketAddress,
  http: HttpHandler,
  { signal, log, tls }: {
    readonly signal: AbortSignal;
    readonly log: Log;
    readonly tls: DiscoveryOptions["tls"];
  },
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({
      ...listen,
      ...tls,
      signal,
      onListen: () => {},
      onError: (error) => {
        log("error", `A request failed: ${messageOf(error)}`);
        return new Response("Internal error\n", { status: 500 });
      },
    }, (request, { remoteAddr }) => http.handle(request, remoteAddr));
  } catch (error) {
    throw listenError(error, `Cannot listen on ${formatSocketAddress(listen)}`);
  }
}

/** How a STUN listener is told to clients: by its address if it has one of its own. */
function stunService({ hostname, port }: SocketAddress): { host?: string; port: number } {
  if (isWildcard(hostname)) return { port };
  return { host: hostname.includes(":") ? `[${hostname}]` : hostname, port };
}

/** An address of this machine at which a listener can be reached from here. */
function reachable({ hostname, port }: SocketAddress): SocketAddress {
  if (!isWildcard(hostname)) return { hostname, port };
  return { hostname: hostname === "::" ? "::1" : "127.0.0.1", port };
}

function isWildcard(hostname: string): boolean {
  return hostname === "0.0.0.0" || hostname === "::";
}

/** Often enough that watchers hear of an expiry within a twentieth of the TTL. */
function sweepMs(ttlMs: number): number {
  return Math.min(5000, Math.max(250, ttlMs / 20));
}
