/**
 * The client of Discovery: ours, and plain Coral ones.
 *
 * It speaks JSON, tries its URLs in order, the next one soon after one that is silent, and stays with the one that answers. Where a server lacks punches or Watch
 * streams, {@linkcode DiscoveryClient.features} says so, and the caller polls with lookups.
 *
 * @module
 */
import { type CallOptions, type Client, Code } from "@connectrpc/connect";
import { assert, formatBase64, messageOf, MorayError } from "../core/mod.ts";
import type { DiscoveryService, SignedStatement } from "../proto/mod.ts";
import type { StunCredentials } from "../traversal/mod.ts";
import { Connections } from "./client/connections.ts";
import { OwnStatements, type SequenceStore } from "./client/own_statement.ts";
import { type DiscoveredPeer, parseAgent, parseColony, parsePeer } from "./client/peer.ts";
import { type PathsReport, pathsRequest } from "./client/paths.ts";
import { type Identity, Prover } from "./client/prover.ts";
import { Patience } from "./client/patience.ts";
import { RecordBook, type RememberedRecords } from "./client/record_book.ts";
import {
  isPort,
  parseRegistered,
  recordOf,
  type Registered,
  type Registration,
  registrationRequest,
  stunAddresses,
} from "./client/registration.ts";
import { parseGrant, type RelayGrant, type RelayQuery, relayRequest } from "./client/relay.ts";
import { type RotationAnswer, rotationAnswer } from "./client/rotation.ts";
import { staggered } from "./client/staggered.ts";
import { callError, createDiscoveryClient, type Fetch, hasCode } from "./client/transport.ts";
import { type WatchEnd, Watcher, type WatchOptions } from "./client/watch.ts";
import { BACKOFF_MIN_MS, SILENCE_MAX_MS } from "./client/watch_record.ts";
import { type DiscoveryFeatures, featuresOf } from "./client/features.ts";
import {
  type MembershipList,
  membershipRequest,
  type NewsQuery,
  readNews,
} from "./client/membership.ts";
import type { Membership } from "./membership/statement.ts";
import type { BootstrapToken, TokenQuery } from "./client/token.ts";
import type { Log } from "./log.ts";
import { openRecord } from "./signature/record.ts";
import type { Signed } from "./signature/statement.ts";
import type { NodeKey, Role } from "./store/store.ts";

/** Time that a call may take on one URL. */
export const CALL_TIMEOUT_MS = 5000;
/**
 * Time after which the next URL is asked too; RFC 8305 section 8 has at most two seconds for connections. Between the
 * addresses of one name `fetch` chooses by itself (docs/decisions/0015-nodes-without-discovery.md).
 */
export const STAGGER_MS = 500;
/** Options of {@linkcode DiscoveryClient}. */
export interface DiscoveryClientOptions {
  /** Base URLs, `http://` or `https://`, tried in order; at least one. */
  readonly urls: readonly string[];
  /** Where the log goes. */
  readonly log: Log;
  /**
   * Whose key is proved to a Discovery that asks for it, and signs what is registered.
   * @default nobody's: such a one refuses all but health and server info
   */
  readonly identity?: Identity;
  /** Where the sequences of signed records are kept. @default in memory */
  readonly sequences?: SequenceStore;
  /** What an earlier run believed of a mesh: nothing older is believed in this one. @default nothing */
  readonly remembered?: RememberedRecords;
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

const NO_FEATURES = featuresOf([]);

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
  readonly #records: RecordBook;
  readonly #own: OwnStatements | undefined;

  /** Creates a client. Throws `MorayError` `usage` for a URL that is none. */
  constructor(options: DiscoveryClientOptions) {
    if (options.urls.length === 0) throw new MorayError("usage", "No Discovery URL given");
    const fetch = options.fetch ?? this.#connections.fetch;
    this.#servers = options.urls.map((text) => {
      const url = parseUrl(text);
      const { identity, now = Date.now, random = Math.random } = options;
      const prover = identity && new Prover({ baseUrl: url, identity, fetch, now });
      // Outside of the proofs: what is asked once more needs another one.
      const patience = new Patience({ fetch: prover?.fetch ?? fetch, now, random });
      return { url, client: createDiscoveryClient(url, patience.fetch) };
    });
    this.#log = options.log;
    this.#now = options.now ?? Date.now;
    this.#options = options;
    const { identity, sequences, remembered } = options;
    this.#own = identity && new OwnStatements({
      signer: identity.signer,
      now: this.#now,
      ...(sequences && { sequences }),
    });
    this.#records = new RecordBook({
      now: this.#now,
      log: options.log,
      mayBeUnsigned: () => this.#features.statements !== true,
      ...(remembered && { remembered }),
    });
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

  /** What was wrong with the records that Discovery handed out, by name; only what is not zero. */
  counters(): Record<string, number> {
    return this.#records.counters();
  }

  /** What is worth remembering of a mesh for the next run, which knows `peers`. */
  remembered(meshId: string, peers: readonly DiscoveredPeer[]): RememberedRecords {
    return this.#records.remembered(meshId, peers);
  }

  /** From now on the colony of a mesh is the one with this key, base64, and records of no other are believed. */
  pinColony(meshId: string, publicKey: string): void {
    this.#records.pinColony(meshId, publicKey);
  }

  /**
   * Registers a node or refreshes its registration, with the record that it signs. `refused` while another key holds the mesh,
   * and where Discovery has a later record of the same key that this node has not signed.
   */
  async register(registration: Registration, settings: CallSettings = {}): Promise<Registered> {
    try {
      return await this.#register(registration, settings);
    } catch (error) {
      if (!hasCode(error, Code.FailedPrecondition)) throw error;
      const later = await this.#followOwn(registration, settings).catch(() => false);
      if (!later) throw error;
      return await this.#register(registration, settings);
    }
  }

  async #register(registration: Registration, settings: CallSettings): Promise<Registered> {
    const record = recordOf(registration);
    const { open, admission, observations } = registration;
    const request = registrationRequest(record, await this.#own?.of(record), observations);
    return await this.#call(settings, async ({ client, url }, options) => {
      const answer = registration.role === "colony"
        ? await client.registerColony({ ...request, ...(open !== undefined && { open }) }, options)
        : await client.registerAgent({ ...request, ...(admission && { admission }) }, options);
      return parseRegistered(answer, url);
    });
  }

  /**
   * Takes note of a later record of this node's own key that Discovery has, as after the loss of the state directory's memory beside
   * a clock that was wrong. Only one that the key has signed counts. Returns whether there is one.
   */
  async #followOwn(
    { meshId, role, publicKey: pubkey }: Registration,
    settings: CallSettings,
  ): Promise<boolean> {
    const own = this.#own;
    if (own === undefined) return false;
    const { statement } = await this.#call(
      settings,
      ({ client }, options): Promise<{ readonly statement?: SignedStatement | undefined }> =>
        role === "colony"
          ? client.lookupColony({ meshId }, options)
          : client.lookupAgent({ meshId, pubkey }, options),
    );
    const opened = statement && await openRecord(statement);
    if (opened?.record.pubkey !== pubkey || opened.sequence < own.sequence) return false;
    own.follow(opened.sequence);
    return true;
  }

  /** The colony of a mesh; `undefined` if none is registered. */
  lookupColony(meshId: string, settings: CallSettings = {}): Promise<DiscoveredPeer | undefined> {
    return this.#call(settings, async ({ client }, options) => {
      const response = await client.lookupColony({ meshId }, options).catch(ignoreNotFound);
      if (response === undefined) return undefined;
      const told = parseColony({ ...response, meshId }, this.#now());
      return await this.#records.open(told, response.statement);
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
      if (response === undefined) return undefined;
      const told = parseAgent({ ...response, meshId }, this.#now());
      const other = told !== undefined &&
        (agentId !== "" && told.agentId !== agentId ||
          publicKey !== "" && told.publicKey !== publicKey);
      return other ? undefined : await this.#records.open(told, response.statement);
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
      const told = peer && parsePeer(peer, this.#now());
      const parsed = await this.#records.open(told, peer?.statement);
      if (parsed?.publicKey !== to || parsed.meshId !== meshId) {
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

  /**
   * Asks for a bootstrap token, bound to the key of this client's identity. `refused` for who is no node of the mesh, or asks for
   * another agent; `limit` for who asks too often.
   */
  bootstrapToken(query: TokenQuery, settings: CallSettings = {}): Promise<BootstrapToken> {
    const { meshId: colonyId, agentId, intent = "register", reefId = "" } = query;
    const request = { colonyId, agentId, intent, reefId };
    return this.#call(settings, async ({ client }, options) => {
      const { jwt, expiresAt } = await client.createBootstrapToken(request, options);
      return { jwt, expiresAt: 1000 * Number(expiresAt) };
    });
  }

  /** Gives up a key for this client's, as `signRotation` made it. */
  rotateKey(rotation: Signed, settings: CallSettings = {}): Promise<RotationAnswer> {
    return rotationAnswer(
      this.#call(settings, ({ client }, options) => client.rotateKey({ rotation }, options)),
    );
  }

  /** Says who belongs to the mesh of this client's colony. `refused` for who is not its colony. */
  async publishMembership(news: MembershipList, settings: CallSettings = {}): Promise<void> {
    const request = membershipRequest(news);
    await this.#call(settings, ({ client }, options) => client.publishMembership(request, options));
  }

  /**
   * Whom the colony of a mesh has thrown out by a later word than `since`, and what it says of this client's own node: what it has
   * signed, and nothing else. `refused` for who is no node of the mesh.
   */
  membershipNews(query: NewsQuery, settings: CallSettings = {}): Promise<readonly Membership[]> {
    const records = this.#records;
    return readNews(query, {
      list: (request) =>
        this.#call(settings, ({ client }, options) => client.listMembers(request, options)),
      open: (signed) => records.openMembership(query.meshId, signed),
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

  /** Says what a node knows of its paths, for the operator. Returns how many were taken. `unsupported` where nobody wants to know. */
  async reportPaths(report: PathsReport, settings: CallSettings = {}): Promise<number> {
    const request = pathsRequest(report);
    const { taken } = await this.#call(
      settings,
      ({ client }, options) => client.reportPath(request, options),
    );
    return taken;
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

  /**
   * What the server can do. A plain Coral Discovery answers with no feature and no STUN server. What its STUN servers vouch for is for
   * this client's node in mesh `meshId`; without, they vouch for nothing.
   */
  async serverInfo(
    settings: CallSettings & { readonly meshId?: string } = {},
  ): Promise<ServerInfo> {
    const { meshId } = settings;
    const { identity } = this.#options;
    const request = meshId === undefined || identity === undefined
      ? {}
      : { meshId, pubkey: formatBase64(identity.publicKey) };
    const info = await this.#call(
      settings,
      async ({ client, url }, options): Promise<ServerInfo> => {
        try {
          const info = await client.getServerInfo(request, options);
          const { version, features, stunServers, stunPorts } = info;
          const host = new URL(url).hostname;
          const combined = stunPorts.filter(isPort).map((port) => `${host}:${port}`);
          return {
            version,
            features: featuresOf(features),
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
      records: this.#records,
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
