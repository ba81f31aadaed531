/**
 * The client of Discovery: ours, and plain Coral ones.
 *
 * It speaks JSON, tries its URLs in order, the next one soon after one that is silent, and stays with the one that answers. Where a server lacks punches or Watch
 * streams, {@linkcode DiscoveryClient.features} says so, and the caller polls with lookups.
 *
 * @module
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type CallOptions, type Client, Code } from "@connectrpc/connect";
import {
  assert,
  formatSocketAddress,
  messageOf,
  MorayError,
  type SocketAddress,
} from "../core/mod.ts";
import {
  type DiscoveryService,
  EndpointSchema,
  type RegisterAgentRequestSchema,
  type RegisterAgentResponse,
  type RegisterColonyResponse,
} from "../proto/mod.ts";
import type { NatHint, StunCredentials } from "../traversal/mod.ts";
import { Connections } from "./client/connections.ts";
import {
  type DiscoveredPeer,
  NAT_NUMBER,
  parseAgent,
  parseColony,
  parsePeer,
} from "./client/peer.ts";
import { type Identity, Prover } from "./client/prover.ts";
import { parseGrant, type RelayGrant, type RelayQuery, relayRequest } from "./client/relay.ts";
import { staggered } from "./client/staggered.ts";
import { callError, createDiscoveryClient, type Fetch, hasCode } from "./client/transport.ts";
import { type WatchEnd, Watcher, type WatchOptions } from "./client/watch.ts";
import { BACKOFF_MIN_MS, SILENCE_MAX_MS } from "./client/watch_record.ts";
import type { Log } from "./log.ts";
import type { NodeKey, Role } from "./store/store.ts";

/** Time that a call may take on one URL. */
export const CALL_TIMEOUT_MS = 5000;
/**
 * Time after which the next URL is asked too; RFC 8305 section 8 has at most two seconds for connections. Between the
 * addresses of one name `fetch` chooses by itself (docs/decisions/0015-nodes-without-discovery.md).
 */
export const STAGGER_MS = 500;
/** Life of a registration where the server says nothing sensible. */
const TTL_DEFAULT_MS = 300_000;
/** Bounds of a TTL that is believed. */
const TTL_MIN_MS = 1000;
const TTL_MAX_MS = 86_400_000;
/** STUN servers of one answer that are used. */
const STUN_SERVERS_MAX = 8;

/** Options of {@linkcode DiscoveryClient}. */
export interface DiscoveryClientOptions {
  /** Base URLs, `http://` or `https://`, tried in order; at least one. */
  readonly urls: readonly string[];
  /** Where the log goes. */
  readonly log: Log;
  /** Whose key is proved to a Discovery that asks for it. @default nobody's: such a one refuses all but health and server info */
  readonly identity?: Identity;
  /** Makes the requests. @default the global `fetch` */
  readonly fetch?: Fetch;
  /** Now, unix milliseconds. @default Date.now */
  readonly now?: () => number;
  /** A number of [0, 1) for jitter. @default Math.random */
  readonly random?: () => number;
  /** Time that a call may take on one URL, in milliseconds. @default 5000 */
  readonly timeoutMs?: number;
  /** Silence after which a Watch stream counts as dead, in milliseconds. @default 40000 */
  readonly silenceMaxMs?: number;
  /** First wait before a Watch stream is opened again, in milliseconds. @default 250 */
  readonly backoffMinMs?: number;
}

/** What every call takes. */
export interface CallSettings {
  /** Gives up when aborted; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What a node registers. */
export interface Registration extends NodeKey {
  /** Colony or agent. */
  readonly role: Role;
  /** The agent's id. @default the public key for an agent; a colony has none */
  readonly agentId?: string;
  /** The node's name, a DNS label. @default none */
  readonly name?: string;
  /** Candidates. Together with the observed endpoints at least one, or the server refuses. */
  readonly endpoints: readonly SocketAddress[];
  /** Where STUN saw the node's sockets, best first. @default [] */
  readonly observedEndpoints?: readonly SocketAddress[];
  /** Where relays listen for the node. @default [] */
  readonly relayedEndpoints?: readonly SocketAddress[];
  /** Whether the node wants no relay between itself and others. @default false */
  readonly noRelay?: boolean;
  /** What the node found out about its NAT. @default NAT_UNKNOWN */
  readonly nat?: NatHint;
  /** Address inside the mesh. @default none */
  readonly meshIpv4?: string;
  /** Address inside the mesh. @default none */
  readonly meshIpv6?: string;
  /** Port of a colony's control service. @default none */
  readonly connectPort?: number;
  /** Free text. @default {} */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The answer to a registration. */
export interface Registered {
  /** Life of the registration; refresh at a third of it. */
  readonly ttlMs: number;
  /** STUN servers as `host:port`, names allowed. Empty where the server has none. */
  readonly stunServers: readonly string[];
  /** The URL that took the registration. */
  readonly url: string;
}

/** What a server can do. */
export interface ServerInfo {
  /** Its version; empty where it does not say. */
  readonly version: string;
  /** What it can do beyond Coral's methods. */
  readonly features: DiscoveryFeatures;
  /** STUN servers as `host:port`, the host being the URL's. */
  readonly stunServers: readonly string[];
  /** Credentials for its STUN servers, by which they help to examine a NAT; `undefined` where it gives none. */
  readonly stunCredentials: StunCredentials | undefined;
  /** The URL that answered. */
  readonly url: string;
}

/** What a server can do beyond Coral's methods. */
export interface DiscoveryFeatures {
  /** Coordinated punches. */
  readonly punch: boolean;
  /** Watch streams. Without them: poll with lookups. */
  readonly watch: boolean;
  /** Removal at once. Without it: registrations expire. */
  readonly deregister: boolean;
  /** Relays. Without them: peers are reached directly or not at all. */
  readonly relay: boolean;
  /** Relays that nodes run for their own mesh, which are given to registered nodes only. @default false */
  readonly volunteers?: boolean;
}

/** What became of a punch. */
export interface Punched {
  /** Id of the punch, the same as in both nodes' events. */
  readonly punchId: string;
  /** Whether the other node was told. */
  readonly delivered: boolean;
  /** How long both sides send. */
  readonly windowMs: number;
  /** The other node. */
  readonly peer: DiscoveredPeer;
}

/** The state of a server. */
export interface Health {
  /** `ok`, or another word. */
  readonly status: string;
  /** Version of the server. */
  readonly version: string;
  /** Seconds since its start. */
  readonly uptimeSeconds: number;
  /** Colonies with a live registration. */
  readonly registeredColonies: number;
  /** The URL that answered. */
  readonly url: string;
}

/** One URL and its client. */
interface Server {
  readonly url: string;
  readonly client: Client<typeof DiscoveryService>;
}

const NO_FEATURES: DiscoveryFeatures = {
  punch: false,
  watch: false,
  deregister: false,
  relay: false,
};

/**
 * Talks to Discovery. Every call rejects with `MorayError`: `unreachable`, `timedOut`, `refused` (with the server's
 * words, such as another key's hold on the mesh), `limit` or `unsupported`; or with the signal's reason.
 */
export class DiscoveryClient {
  readonly #servers: readonly Server[];
  readonly #log: Log;
  readonly #now: () => number;
  readonly #options: DiscoveryClientOptions;
  readonly #connections = new Connections();
  /** Watches that run: as many as the owner begins. */
  readonly #watchers = new Set<Watcher>();
  /** Index of the server that answered last. */
  #current = 0;
  #features = NO_FEATURES;

  /** Creates a client. Throws `MorayError` `usage` for a URL that is none. */
  constructor(options: DiscoveryClientOptions) {
    if (options.urls.length === 0) throw new MorayError("usage", "No Discovery URL given");
    const fetch = options.fetch ?? this.#connections.fetch;
    this.#servers = options.urls.map((text) => {
      const url = parseUrl(text);
      if (options.identity === undefined) return { url, client: createDiscoveryClient(url, fetch) };
      const { identity, now = Date.now } = options;
      const prover = new Prover({ baseUrl: url, identity, fetch, now });
      return { url, client: createDiscoveryClient(url, prover.fetch) };
    });
    this.#log = options.log;
    this.#now = options.now ?? Date.now;
    this.#options = options;
  }

  /**
   * Gives up every open connection, because the network has changed: calls open new ones, and Watch streams are opened again
   * at once, without a change of their state. Afterwards {@linkcode DiscoveryClient.close} must be called in the end.
   */
  reconnect(): void {
    this.#connections.renew();
  }

  /** Has Watch streams that are broken opened again now, not when their turn comes. What is under way goes on. */
  hurry(): void {
    for (const watcher of this.#watchers) watcher.hurry();
  }

  /** Lets go of what {@linkcode DiscoveryClient.reconnect} opened. */
  close(): void {
    this.#connections.close();
  }

  /** The URL in use: the one that answered last, or the first. */
  get url(): string {
    return this.#servers[this.#current]?.url ?? "";
  }

  /** What the server can do, as {@linkcode DiscoveryClient.serverInfo} last found out; nothing before it was called. */
  get features(): DiscoveryFeatures {
    return this.#features;
  }

  /** Registers a node or refreshes its registration. `refused` while another key holds the mesh. */
  register(registration: Registration, settings: CallSettings = {}): Promise<Registered> {
    return registration.role === "colony"
      ? this.registerColony(registration, settings)
      : this.registerAgent(registration, settings);
  }

  /** Registers a colony or refreshes its registration. `refused` while another key holds the mesh. */
  registerColony(registration: Registration, settings: CallSettings = {}): Promise<Registered> {
    const { connectPort = 0 } = registration;
    const request = { ...commonRequest(registration), connectPort };
    return this.#call(
      settings,
      async ({ client, url }, options) =>
        parseRegistered(await client.registerColony(request, options), url),
    );
  }

  /** Registers an agent or refreshes its registration. */
  registerAgent(registration: Registration, settings: CallSettings = {}): Promise<Registered> {
    const { agentId = registration.publicKey } = registration;
    const request = { ...commonRequest(registration), agentId };
    return this.#call(
      settings,
      async ({ client, url }, options) =>
        parseRegistered(await client.registerAgent(request, options), url),
    );
  }

  /** The colony of a mesh; `undefined` if none is registered. */
  lookupColony(meshId: string, settings: CallSettings = {}): Promise<DiscoveredPeer | undefined> {
    return this.#call(settings, async ({ client }, options) => {
      const response = await client.lookupColony({ meshId }, options).catch(ignoreNotFound);
      return response && parseColony({ ...response, meshId }, this.#now());
    });
  }

  /** An agent by id, or (not on a plain Coral Discovery) by public key; `undefined` if it is not registered. */
  lookupAgent(
    { meshId, agentId = "", publicKey = "" }: {
      /** Mesh id. */
      readonly meshId: string;
      /** The agent's id. */
      readonly agentId?: string;
      /** WireGuard public key, base64. */
      readonly publicKey?: string;
    },
    settings: CallSettings = {},
  ): Promise<DiscoveredPeer | undefined> {
    const request = { meshId, agentId, pubkey: publicKey };
    return this.#call(settings, async ({ client }, options) => {
      const response = await client.lookupAgent(request, options).catch(ignoreNotFound);
      return response && parseAgent({ ...response, meshId }, this.#now());
    });
  }

  /** Has both nodes told to send handshakes to each other now. `unsupported` on a plain Coral Discovery. */
  initiatePunch(
    { meshId, from, to }: {
      /** Mesh id. */
      readonly meshId: string;
      /** This node's key. */
      readonly from: string;
      /** The other node's key. */
      readonly to: string;
    },
    settings: CallSettings = {},
  ): Promise<Punched> {
    const request = { meshId, fromPubkey: from, toPubkey: to };
    return this.#call(settings, async ({ client, url }, options) => {
      const { punchId, delivered, windowMs, peer } = await client.initiatePunch(request, options);
      const parsed = peer && parsePeer(peer, this.#now());
      if (parsed === undefined) {
        throw new MorayError("unreachable", `Discovery at ${url} answered without a record`);
      }
      return { punchId, delivered, windowMs, peer: parsed };
    });
  }

  /**
   * Asks for a relay, or renews the session of one. `unsupported` where Discovery has none, `limit` where it gives no more,
   * `refused` where the node or its peer wants none, or the wanted one is not offered.
   */
  requestRelay(query: RelayQuery, settings: CallSettings = {}): Promise<RelayGrant> {
    const request = relayRequest(query);
    return this.#call(settings, async ({ client, url }, options) => {
      const grant = parseGrant(await client.requestRelay(request, options), {
        url,
        now: this.#now(),
      });
      if (grant !== undefined) return grant;
      throw new MorayError("unsupported", `The relay of Discovery at ${url} cannot be used`);
    });
  }

  /** Gives a relay session back. Returns whether there was one. */
  async releaseRelay(
    { meshId, sessionId }: {
      /** Mesh id. */
      readonly meshId: string;
      /** The session's id. */
      readonly sessionId: string;
    },
    settings: CallSettings = {},
  ): Promise<boolean> {
    const { success } = await this.#call(
      settings,
      ({ client }, options) => client.releaseRelay({ meshId, sessionId }, options),
    );
    return success;
  }

  /** Removes a registration. Returns whether there was one; false on a plain Coral Discovery, where it expires. */
  deregister(
    { meshId, publicKey, role }: NodeKey & { readonly role: Role },
    settings: CallSettings = {},
  ): Promise<boolean> {
    const request = { meshId, pubkey: publicKey };
    return this.#call(settings, async ({ client }, options) => {
      try {
        const { success } = role === "colony"
          ? await client.deregisterColony(request, options)
          : await client.deregisterAgent(request, options);
        return success;
      } catch (error) {
        if (hasCode(error, Code.Unimplemented)) return false;
        throw error;
      }
    });
  }

  /** What the server can do. A plain Coral Discovery answers with no feature and no STUN server. */
  async serverInfo(settings: CallSettings = {}): Promise<ServerInfo> {
    const info = await this.#call(
      settings,
      async ({ client, url }, options): Promise<ServerInfo> => {
        try {
          const info = await client.getServerInfo({}, options);
          const { version, features, stunServers, stunPorts } = info;
          const host = new URL(url).hostname;
          const combined = stunPorts.filter(isPort).map((port) => `${host}:${port}`);
          return {
            version,
            features: {
              punch: features.includes("punch"),
              watch: features.includes("watch"),
              deregister: features.includes("deregister"),
              relay: features.includes("relay"),
              ...(features.includes("volunteer") && { volunteers: true }),
            },
            stunServers: stunAddresses([...stunServers, ...combined]),
            stunCredentials: parseCredentials(info.stunUsername, info.stunPassword),
            url,
          };
        } catch (error) {
          if (!hasCode(error, Code.Unimplemented)) throw error;
          const [features, stunCredentials] = [NO_FEATURES, undefined];
          return { version: "", features, stunServers: [], stunCredentials, url };
        }
      },
    );
    this.#features = info.features;
    return info;
  }

  /** The state of the server. */
  health(settings: CallSettings = {}): Promise<Health> {
    return this.#call(settings, async ({ client, url }, options) => {
      const { status, version, uptimeSeconds, registeredColonies } = await client.health(
        {},
        options,
      );
      return { status, version, uptimeSeconds: Number(uptimeSeconds), registeredColonies, url };
    });
  }

  /**
   * Watches a registered node's peers until the signal is aborted. The stream is opened again, with back-off, as often
   * as it breaks; the state says meanwhile why. Resolves with `unsupported` at once if no server has Watch streams.
   * Rejects only with what `onEvent` or `onState` throws.
   */
  watch(options: WatchOptions): Promise<WatchEnd> {
    const { random = Math.random, silenceMaxMs, backoffMinMs, timeoutMs } = this.#options;
    const watcher = new Watcher({
      servers: this.#servers,
      first: this.#current,
      onServer: (index) => this.#current = index,
      epoch: () => this.#connections.epoch,
      now: this.#now,
      random,
      silenceMaxMs: silenceMaxMs ?? SILENCE_MAX_MS,
      timeoutMs: timeoutMs ?? CALL_TIMEOUT_MS,
      backoffMinMs: backoffMinMs ?? BACKOFF_MIN_MS,
      log: this.#log,
    }, options);
    this.#watchers.add(watcher);
    return watcher.run().finally(() => this.#watchers.delete(watcher));
  }

  /** Runs a call, and runs it again over new connections if the present ones are given up meanwhile. */
  async #call<T>(
    { signal }: CallSettings,
    body: (server: Server, options: CallOptions) => Promise<T>,
  ): Promise<T> {
    for (;;) {
      const { epoch } = this.#connections;
      const ended = signal === undefined ? epoch : AbortSignal.any([signal, epoch]);
      try {
        return await this.#callOnce(ended, body);
      } catch (error) {
        signal?.throwIfAborted();
        if (!epoch.aborted) throw error;
      }
    }
  }

  /** Runs a call on the current server, and on the others if that cannot be reached or takes its time. */
  async #callOnce<T>(
    signal: AbortSignal,
    body: (server: Server, options: CallOptions) => Promise<T>,
  ): Promise<T> {
    const timeoutMs = this.#options.timeoutMs ?? CALL_TIMEOUT_MS;
    const first = this.#current;
    const count = this.#servers.length;
    const outcome = await staggered({
      count,
      staggerMs: STAGGER_MS,
      signal,
      isFinal: (error) =>
        !(error instanceof MorayError) ||
        (error.code !== "unreachable" && error.code !== "timedOut"),
      attempt: async (i, ended) => {
        const server = this.#servers[(first + i) % count];
        assert(server !== undefined, "an index of the list");
        try {
          return await body(server, { timeoutMs, signal: ended });
        } catch (error) {
          const named = error instanceof MorayError
            ? error
            : callError(error, { url: server.url, signal: ended });
          if (!ended.aborted) this.#log("debug", messageOf(named));
          throw named;
        }
      },
    });
    if (outcome.ok) {
      this.#current = (first + outcome.index) % count;
      return outcome.value;
    }
    const [only, ...others] = outcome.errors;
    if (others.length === 0) throw only;
    throw new MorayError("unreachable", outcome.errors.map(messageOf).join("; "), only);
  }
}

/** The fields that both registrations have. */
function commonRequest(
  registration: Registration,
): Omit<MessageInitShape<typeof RegisterAgentRequestSchema>, "$typeName" | "agentId"> {
  const { observedEndpoints: direct = [], relayedEndpoints: relayed = [] } = registration;
  const all = [
    ...direct.map((address) => ({ ...address, viaRelay: false })),
    ...relayed.map((address) => ({ ...address, viaRelay: true })),
  ];
  const observedEndpoints = all.map(({ hostname, port, viaRelay }) =>
    create(EndpointSchema, { ip: hostname, port, protocol: "udp", viaRelay })
  );
  const observedEndpoint = direct.length === 0 ? undefined : observedEndpoints[0];
  return {
    meshId: registration.meshId,
    pubkey: registration.publicKey,
    name: registration.name ?? "",
    endpoints: registration.endpoints.map(formatSocketAddress),
    // The single one is all that a plain Coral Discovery knows.
    ...observedEndpoint === undefined ? {} : { observedEndpoint },
    observedEndpoints,
    nat: NAT_NUMBER[registration.nat ?? "NAT_UNKNOWN"],
    meshIpv4: registration.meshIpv4 ?? "",
    meshIpv6: registration.meshIpv6 ?? "",
    metadata: { ...registration.metadata },
    noRelay: registration.noRelay ?? false,
  };
}

function parseRegistered(
  { ttl, stunServers }: RegisterColonyResponse | RegisterAgentResponse,
  url: string,
): Registered {
  const ttlMs = ttl * 1000;
  return {
    ttlMs: ttlMs >= TTL_MIN_MS && ttlMs <= TTL_MAX_MS ? ttlMs : TTL_DEFAULT_MS,
    stunServers: stunAddresses(stunServers),
    url,
  };
}

/** Those texts that are a host and a port, without repetition. */
function stunAddresses(texts: readonly string[]): string[] {
  const valid = texts.filter((text) => {
    const port = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253}):(\d{1,5})$/.exec(text)?.[1];
    return port !== undefined && isPort(Number(port));
  });
  return [...new Set(valid)].slice(0, STUN_SERVERS_MAX);
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}

function parseUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new MorayError("usage", `Not a Discovery URL: ${text}`);
  }
  return url.href.replace(/\/+$/, "");
}

/** Lets "not found" be the answer `undefined`. */
function ignoreNotFound(error: unknown): undefined {
  if (!hasCode(error, Code.NotFound)) throw error;
}

/** Credentials that fit a STUN message; `undefined` for anything else. */
function parseCredentials(username: string, password: string): StunCredentials | undefined {
  const printable = /^[\x21-\x7e]{1,128}$/;
  return printable.test(username) && printable.test(password) ? { username, password } : undefined;
}
