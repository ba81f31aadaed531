/**
 * The methods of `coral.discovery.v1.DiscoveryService` over a store and a hub. Time is an argument of the options; no
 * socket, no timer: the server calls {@linkcode Service.sweep} and {@linkcode Service.heartbeat}.
 *
 * @module
 */
import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import {
  Code,
  ConnectError,
  createContextKey,
  type HandlerContext,
  type ServiceImpl,
} from "@connectrpc/connect";
import { messageOf, MorayError } from "../../core/mod.ts";
import {
  DeregisterAgentResponseSchema,
  DeregisterColonyResponseSchema,
  type DiscoveryService,
  type Endpoint,
  GetServerInfoResponseSchema,
  type HealthResponse,
  HealthResponseSchema,
  type InitiatePunchRequest,
  type InitiatePunchResponse,
  InitiatePunchResponseSchema,
  type LookupAgentRequest,
  type LookupAgentResponse,
  type LookupColonyResponse,
  RegisterAgentResponseSchema,
  RegisterColonyResponseSchema,
  SnapshotCompleteSchema,
  type WatchEvent,
  WatchEventSchema,
  type WatchRequest,
} from "../../proto/mod.ts";
import type { StunCredentials } from "../../traversal/mod.ts";
import { delay } from "../delay.ts";
import type { Log } from "../log.ts";
import type { NodeContent, NodeKey, NodeRecord, Role, Store } from "../store/store.ts";
import { Gate } from "./proven.ts";
import { PunchDesk } from "./punch_desk.ts";
import { PunchLimiter } from "./punch_limiter.ts";
import { type RelayOptions, RelayService } from "./relay_service.ts";
import { agentResponse, colonyResponse, endpoint, peerRecord, timestamp } from "./records.ts";
import {
  agentContent,
  checkAgentId,
  checkKey,
  checkMeshId,
  colonyContent,
  invalid,
} from "./validate.ts";
import { StoreFeed } from "./store_feed.ts";
import { WatchHub, type WatchHubLimits } from "./watch_hub.ts";

/** How long both sides of a punch send. */
export const PUNCH_WINDOW_MS = 3000;
/** Expired registrations removed in one step, so that a sweep never holds up requests for long. */
const SWEEP_MAX = 500;
/** Time without a fault of the store after which it counts as sound again. */
const RECOVERY_MS = 30_000;

/** The host of the request's URL as the client wrote it, without port; IPv6 in brackets. */
export const requestHost = createContextKey<string>("", { description: "host of the request" });
/** The client's address as the socket saw it. For limits only: it says nothing about the node's WireGuard socket. */
export const remoteAddress = createContextKey<string>("", { description: "address of the client" });

/** Options of {@linkcode Service}. */
export interface ServiceOptions {
  /** Where registrations are kept. The service does not close it. */
  readonly store: Store;
  /** Life of a registration in milliseconds, a whole number of seconds. */
  readonly ttlMs: number;
  /** Longest silence on a Watch stream, in milliseconds: how often the server calls {@linkcode Service.heartbeat}. */
  readonly heartbeatMs: number;
  /** STUN listeners. `host` is absent where one listens on every address of the machine. */
  readonly stun: readonly { readonly host?: string; readonly port: number }[];
  /** Makes credentials for the STUN listeners. Absent: none are given. */
  readonly stunCredentials?: () => StunCredentials;
  /** Version of the program. */
  readonly version: string;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** A fresh unguessable id. */
  readonly randomId: () => string;
  /** Where the log goes. */
  readonly log: Log;
  /**
   * Whether those who prove no key may register, look up and deregister, as plain Coral clients do; never in the place of a node
   * that proved its own. @default false
   */
  readonly allowUnproven?: boolean;
  /** Relays. Absent: there are none, and none may report itself. */
  readonly relays?: RelayOptions;
  /** Resolves after so many milliseconds, or when a signal is aborted. @default with the system's timers */
  readonly wait?: (ms: number, signals: readonly AbortSignal[]) => Promise<void>;
  /** Limits of the Watch streams, for tests. */
  readonly watchLimits?: WatchHubLimits;
}

/** The fields of both registration responses. */
interface RegisteredFields {
  success: boolean;
  ttl: number;
  expiresAt: Timestamp;
  stunServers: string[];
  observedEndpoint?: Endpoint;
}

/** Discovery without its sockets. */
export class Service {
  /** The methods, for a Connect router. */
  readonly methods: ServiceImpl<typeof DiscoveryService>;
  readonly #options: ServiceOptions;
  readonly #hub: WatchHub;
  readonly #feed: StoreFeed;
  readonly #desk: PunchDesk;
  readonly #punches = new PunchLimiter();
  readonly #gate: Gate;
  readonly #relays: RelayService | undefined;
  readonly #startedAt: number;
  /** What is wrong with the store, said once in the log, and when it last was; `undefined` while nothing is. */
  #fault: { readonly message: string; readonly at: number } | undefined;
  #punchesSent = 0;

  /** Creates a service. Throws `RangeError` unless the TTL is whole seconds, at least one, and for two relays with one id. */
  constructor(options: ServiceOptions) {
    if (!(options.ttlMs >= 1000) || options.ttlMs % 1000 !== 0) {
      throw new RangeError(`TTL of ${options.ttlMs} ms is not a whole number of seconds`);
    }
    this.#options = options;
    this.#gate = new Gate(options.allowUnproven ?? false);
    this.#hub = new WatchHub(options.randomId(), options.watchLimits);
    this.#startedAt = options.now();
    const { relays, store, now, randomId, log } = options;
    const { wait = delay } = options;
    this.#desk = new PunchDesk({ store, hub: this.#hub, now, wait });
    const onSaid = (text: string): void =>
      void this.#desk.heard(text).catch((error) => log("debug", messageOf(error)));
    this.#feed = new StoreFeed({ store, hub: this.#hub, onSaid, now, log });
    const guarded = <T>(body: () => Promise<T>): Promise<T> => this.guarded(body);
    const gate = this.#gate;
    this.#relays = relays && new RelayService({ relays, store, now, randomId, log, guarded, gate });
    this.methods = this.#bind();
  }

  /** Removes what has expired and tells the watchers. Returns how many it removed. */
  async sweep(): Promise<number> {
    const { store, now } = this.#options;
    let total = 0;
    for (;;) {
      const removed = await this.guarded(() => store.sweep(now(), SWEEP_MAX));
      for (const record of removed) await this.#relays?.left(record);
      total += removed.length;
      if (removed.length < SWEEP_MAX) break;
    }
    await this.#relays?.sweep();
    while (await this.guarded(() => store.sweepSpent(now(), SWEEP_MAX)) === SWEEP_MAX);
    return total;
  }

  /** Sends a heartbeat on every Watch stream. */
  heartbeat(): void {
    this.#hub.heartbeat();
  }

  /** What `GET /health` and the Health method say. */
  async health(): Promise<HealthResponse> {
    const { store, now, version } = this.#options;
    return create(HealthResponseSchema, {
      status: this.#fault === undefined ? "ok" : "degraded",
      version,
      uptimeSeconds: BigInt(Math.max(0, Math.floor((now() - this.#startedAt) / 1000))),
      registeredColonies: await this.guarded(() => store.colonyCount(now())),
      allowUnproven: this.#options.allowUnproven ?? false,
    });
  }

  /** Counters by name; only what is not zero. */
  counters(): Record<string, number> {
    const all = {
      watches: this.#hub.watches,
      watchOverflows: this.#hub.overflowed,
      feedOverflows: this.#feed.overflowed,
      punches: this.#punchesSent,
      punchLimitEvictions: this.#punches.evicted,
      unprovenRefused: this.#gate.refused,
      ...this.#relays?.counters(),
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0));
  }

  /** Ends every Watch stream. */
  close(): void {
    this.#hub.close();
  }

  #bind(): ServiceImpl<typeof DiscoveryService> {
    return {
      registerColony: async (request, context) => {
        const proven = this.#gate.callerFor(context, request.pubkey) !== "";
        const record = await this.#register(colonyContent(request, proven));
        return create(RegisterColonyResponseSchema, this.#registered(record, context));
      },
      registerAgent: async (request, context) => {
        const proven = this.#gate.callerFor(context, request.pubkey) !== "";
        const record = await this.#register(agentContent(request, proven));
        return create(RegisterAgentResponseSchema, this.#registered(record, context));
      },
      lookupColony: (request, context) => {
        this.#gate.caller(context);
        return this.#lookupColony(checkMeshId(request.meshId));
      },
      lookupAgent: (request, context) => this.#lookupAgent(request, this.#gate.caller(context)),
      health: () => this.health(),
      getServerInfo: (_, context) =>
        create(GetServerInfoResponseSchema, {
          version: this.#options.version,
          features: [
            "deregister",
            "proof",
            "punch",
            ...this.#relays?.hasOwn === true ? ["relay"] : [],
            ...this.#options.stun.length > 0 ? ["stun"] : [],
            ...this.#relays?.takesVolunteers === true ? ["volunteer"] : [],
            "watch",
          ],
          stunServers: this.#stunServers(context),
          stunPorts: [...new Set(this.#options.stun.map(({ port }) => port))],
          ttl: this.#options.ttlMs / 1000,
          heartbeatMs: this.#options.heartbeatMs,
          ...this.#stunCredentials(),
        }),
      deregisterColony: async ({ meshId, pubkey }, context) => {
        const proven = this.#gate.callerFor(context, pubkey);
        const success = await this.#deregister({ meshId, pubkey, role: "colony", proven });
        return create(DeregisterColonyResponseSchema, { success });
      },
      deregisterAgent: async ({ meshId, pubkey }, context) => {
        const proven = this.#gate.callerFor(context, pubkey);
        const success = await this.#deregister({ meshId, pubkey, role: "agent", proven });
        return create(DeregisterAgentResponseSchema, { success });
      },
      initiatePunch: (request, context) =>
        this.#initiatePunch(request, this.#gate.callerFor(context, request.fromPubkey)),
      watch: (request, context) => this.#watch(request, context),
      requestRelay: (request, { values }) =>
        this.#withRelays().request(request, { values, address: values.get(remoteAddress) }),
      releaseRelay: (request, context) => this.#withRelays().release(request, context),
      registerRelay: (request, { values }) =>
        this.#withRelays().register(request, { values, address: values.get(remoteAddress) }),
      createBootstrapToken: () => {
        throw new ConnectError("this Discovery issues no bootstrap tokens", Code.Unimplemented);
      },
    };
  }

  async #register(content: NodeContent): Promise<NodeRecord> {
    const { store, now, ttlMs } = this.#options;
    const { meshId, role } = content;
    const outcome = await this.guarded(() => store.register(content, { now: now(), ttlMs }));
    switch (outcome.kind) {
      case "held":
        this.#options.log("warn", "registration refused: another key holds the mesh", {
          mesh: meshId,
          role,
        });
        throw new ConnectError(
          role === "colony"
            ? `mesh_id ${meshId} already registered with different pubkey`
            : `pubkey is registered as the colony of mesh_id ${meshId}`,
          Code.AlreadyExists,
        );
      case "taken":
        throw new ConnectError(
          `agent_id ${content.agentId} already registered with different pubkey`,
          Code.AlreadyExists,
        );
      case "unproven":
        throw new ConnectError(
          "the node has proven its key: so must whoever speaks for it",
          Code.Unauthenticated,
        );
      case "full":
        throw new ConnectError(
          `mesh_id ${meshId}: no room for another node`,
          Code.ResourceExhausted,
        );
      case "registered": {
        const { record, changed } = outcome;
        this.#recovered();
        this.#options.log("debug", changed ? "registered" : "refreshed", { mesh: meshId, role });
        return record;
      }
      default:
        return outcome satisfies never;
    }
  }

  /** The fields that both registration responses have. */
  #registered(record: NodeRecord, context: HandlerContext): RegisteredFields {
    const [observed] = record.observedEndpoints;
    return {
      success: true,
      ttl: this.#options.ttlMs / 1000,
      expiresAt: timestamp(record.expiresAt),
      stunServers: this.#stunServers(context),
      ...observed === undefined ? {} : { observedEndpoint: endpoint(observed) },
    };
  }

  /** Our STUN listeners as the client of this request reaches them. */
  #stunServers(context: HandlerContext): string[] {
    const requested = context.values.get(requestHost);
    const servers = this.#options.stun.flatMap(({ host = requested, port }) =>
      host === "" ? [] : [`${host}:${port}`]
    );
    return [...new Set(servers)];
  }

  #stunCredentials(): { stunUsername: string; stunPassword: string } | undefined {
    const { stun, stunCredentials } = this.#options;
    if (stun.length === 0 || stunCredentials === undefined) return undefined;
    const { username, password } = stunCredentials();
    return { stunUsername: username, stunPassword: password };
  }

  async #lookupColony(meshId: string): Promise<LookupColonyResponse> {
    const { store, now } = this.#options;
    const record = await this.guarded(() => store.colony(meshId, now()));
    if (record === undefined) throw notFound(`colony ${meshId} not found`);
    const response = colonyResponse(record);
    if (!record.noRelay) response.relays = this.#relays?.offered() ?? [];
    return response;
  }

  #withRelays(): RelayService {
    if (this.#relays !== undefined) return this.#relays;
    throw new ConnectError("this Discovery has no relay", Code.Unimplemented);
  }

  /** Agents are shown to their mesh only: whoever asks is registered there, or need prove nothing. */
  async #lookupAgent(
    { agentId, meshId, pubkey }: LookupAgentRequest,
    proven: string,
  ): Promise<LookupAgentResponse> {
    const { store, now } = this.#options;
    if (proven !== "") {
      const asker = { meshId: checkMeshId(meshId), publicKey: proven };
      const member = await this.guarded(() => store.node(asker, now()));
      // In the words for an agent that is not there: who is no member learns nothing.
      if (member === undefined) throw noAgent(pubkey === "" ? agentId : "");
    }
    if (pubkey !== "") {
      const key = { meshId: checkMeshId(meshId), publicKey: checkKey(pubkey) };
      const record = await this.guarded(() => store.node(key, now()));
      if (record === undefined || record.role !== "agent") throw noAgent("");
      if (agentId !== "" && record.agentId !== agentId) throw noAgent("");
      return agentResponse(record);
    }
    checkAgentId(agentId);
    const scope = meshId === "" ? {} : { meshId: checkMeshId(meshId) };
    const records = await this.guarded(
      () => store.agentsById(agentId, { ...scope, now: now() }),
    );
    const [record, ...others] = records;
    if (record === undefined) throw noAgent(agentId);
    if (others.length > 0) throw invalid("agent_id is used in several meshes: mesh_id is required");
    return agentResponse(record);
  }

  async #deregister(
    { meshId, pubkey, role, proven }: {
      readonly meshId: string;
      readonly pubkey: string;
      readonly role: Role;
      readonly proven: string;
    },
  ): Promise<boolean> {
    const { store, now } = this.#options;
    const key = { meshId: checkMeshId(meshId), publicKey: checkKey(pubkey) };
    if (proven === "") this.#gate.guard(proven, await this.guarded(() => store.node(key, now())));
    const removed = await this.guarded(() => store.remove(key, role));
    // A node may hold a relay before it was ever registered.
    await this.#relays?.left(key, { loggedOut: true });
    return removed !== undefined;
  }

  async #initiatePunch(
    request: InitiatePunchRequest,
    proven: string,
  ): Promise<InitiatePunchResponse> {
    const meshId = checkMeshId(request.meshId);
    const fromKey = checkKey(request.fromPubkey, "from_pubkey");
    const toKey = checkKey(request.toPubkey, "to_pubkey");
    if (fromKey === toKey) throw invalid("from_pubkey and to_pubkey are the same");
    const from = await this.#node({ meshId, publicKey: fromKey }, "from_pubkey");
    this.#gate.guard(proven, from);
    const to = await this.#node({ meshId, publicKey: toKey }, "to_pubkey");

    const refusal = this.#punches.refusal(this.#options.now(), {
      meshId,
      from: fromKey,
      to: toKey,
    });
    if (refusal !== undefined) {
      throw new ConnectError(`too many punches: ${refusal}`, Code.ResourceExhausted);
    }
    const punchId = this.#options.randomId();
    const windowMs = PUNCH_WINDOW_MS;
    const order = { punchId, windowMs, from, to };
    const delivered = await this.guarded(() => this.#desk.punch(order));
    this.#punchesSent++;
    return create(InitiatePunchResponseSchema, {
      delivered,
      windowMs,
      peer: peerRecord(to),
      punchId,
    });
  }

  async #node(key: NodeKey, field: string): Promise<NodeRecord> {
    const { store, now } = this.#options;
    const record = await this.guarded(() => store.node(key, now()));
    if (record === undefined) throw notFound(`${field} is not registered in mesh ${key.meshId}`);
    return record;
  }

  async *#watch(request: WatchRequest, context: HandlerContext): AsyncGenerator<WatchEvent> {
    const { signal } = context;
    const meshId = checkMeshId(request.meshId);
    const publicKey = checkKey(request.pubkey);
    const proven = this.#gate.callerFor(context, publicKey);
    const node = await this.#node({ meshId, publicKey }, "pubkey");
    this.#gate.guard(proven, node);
    const { role } = node;
    const subscription = this.#hub.subscribe({ meshId, publicKey, role, cursor: request.cursor });
    // The client's disappearance must end a stream that waits for an event.
    const end = (): void => subscription.end();
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
    try {
      const { missed, cursor } = subscription;
      if (missed !== undefined) yield* missed;
      else yield* await this.#snapshot(meshId, role);
      const value = create(SnapshotCompleteSchema, { resumed: missed !== undefined });
      yield create(WatchEventSchema, { cursor, event: { case: "snapshotComplete", value } });
      for (;;) {
        const events = await subscription.next();
        if (events.length === 0) return;
        yield* events;
      }
    } finally {
      signal.removeEventListener("abort", end);
      end();
    }
  }

  /** What a watcher of this role sees now. A change after the subscription may be in here and in its queue: harmless. */
  async #snapshot(meshId: string, role: Role): Promise<WatchEvent[]> {
    const { store, now } = this.#options;
    const records = await this.guarded(async () => {
      if (role === "colony") return await store.agents(meshId, now());
      const colony = await store.colony(meshId, now());
      return colony === undefined ? [] : [colony];
    });
    return records.map((record) =>
      create(WatchEventSchema, { event: { case: "peerUpserted", value: peerRecord(record) } })
    );
  }

  /** Runs what calls the store; its faults are logged once and told to the client without the server's inside. */
  async guarded<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      const message = messageOf(error);
      const at = this.#options.now();
      if (this.#fault?.message !== message) this.#options.log("error", message);
      this.#fault = { message, at };
      throw storeError(error);
    }
  }

  /** Takes note that a registration was stored. */
  #recovered(): void {
    // On a full disk some writes still fit: wait, or the log would fill with the change of mind.
    if (this.#fault === undefined || this.#options.now() < this.#fault.at + RECOVERY_MS) return;
    this.#fault = undefined;
    this.#options.log("info", "the store works again");
  }
}

function storeError(error: unknown): ConnectError {
  const code = error instanceof MorayError ? error.code : "internal";
  if (code === "diskFull") {
    return new ConnectError("Discovery's disk is full: nothing was stored", Code.ResourceExhausted);
  }
  if (code === "corrupt") return new ConnectError("Discovery's database is damaged", Code.DataLoss);
  if (code === "unreachable" || code === "closed") {
    return new ConnectError("Discovery's database does not answer", Code.Unavailable);
  }
  return new ConnectError("Discovery's store failed", Code.Internal);
}

function noAgent(agentId: string): ConnectError {
  return notFound(agentId === "" ? "agent not found" : `agent ${agentId} not found`);
}

function notFound(message: string): ConnectError {
  return new ConnectError(message, Code.NotFound);
}
