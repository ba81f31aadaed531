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
  type HealthResponse,
  HealthResponseSchema,
  RegisterAgentResponseSchema,
  RegisterColonyResponseSchema,
  SnapshotCompleteSchema,
  type WatchEvent,
  WatchEventSchema,
  type WatchRequest,
} from "../../proto/mod.ts";
import { delay } from "../delay.ts";
import type { Log } from "../log.ts";
import type {
  AccessOptions,
  NodeContent,
  NodeKey,
  NodeRecord,
  Role,
  Standing,
  Store,
} from "../store/store.ts";
import {
  decodeMemberWord,
  encodeMemberWord,
  type EndedSession,
  type MemberWord,
} from "./member_words.ts";
import { Observations } from "./observations.ts";
import { PathReports } from "./path_reports.ts";
import type { FrequentMethods } from "./direct_calls.ts";
import { type Caller, Gate } from "./proven.ts";
import { PunchDesk } from "./punch_desk.ts";
import { PunchService } from "./punches.ts";
import { type RelayOptions, RelayService } from "./relay_service.ts";
import { RotationService } from "./rotation.ts";
import type { RelayStanding } from "./relay_registry.ts";
import { endpoint, peerRecord, timestamp } from "./records.ts";
import { parseMesh, parseNode } from "./requests.ts";
import type { StunReceipts } from "./stun_receipts.ts";
import { agentContent, checkObservations, colonyContent } from "./validate.ts";
import { recordRefusal, StatementChecker } from "./statements.ts";
import { TokenIssuer } from "../token/issuer.ts";
import { Lookups } from "./lookups.ts";
import { MemberService } from "./members.ts";
import { TokenService } from "./tokens.ts";
import { ServerInformation, type ServerInformationOptions } from "./server_information.ts";
import { StoreFeed } from "./store_feed.ts";
import { WatchHub, type WatchHubLimits } from "./watch_hub.ts";

/** Expired registrations removed in one step, so that a sweep never holds up requests for long. */
const SWEEP_MAX = 500;
/** Time without a fault of the store after which it counts as sound again. */
const RECOVERY_MS = 30_000;

/** The client's address as the socket saw it. For limits only: it says nothing about the node's WireGuard socket. */
export const remoteAddress = createContextKey<string>("", { description: "address of the client" });

/** Options of {@linkcode Service}. */
export interface ServiceOptions extends ServerInformationOptions {
  /** Where registrations are kept. The service does not close it. */
  readonly store: Store;
  /** Checks what the STUN listeners vouch for. Absent: nothing is observed. */
  readonly stunReceipts?: StunReceipts;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** A fresh unguessable id. */
  readonly randomId: () => string;
  /** 32 random bytes: the seed of a key that tokens are signed with. @default from the system's entropy */
  readonly freshSeed?: () => Uint8Array<ArrayBuffer>;
  /** Where the log goes. */
  readonly log: Log;
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
  /** Those of them that nodes call all the time. */
  readonly frequent: FrequentMethods;
  /** What nodes say of their paths. */
  readonly paths: PathReports;
  readonly #options: ServiceOptions;
  readonly #hub: WatchHub;
  readonly #feed: StoreFeed;
  readonly #desk: PunchDesk;
  readonly #punches: PunchService;
  readonly #statements = new StatementChecker();
  readonly #observations: Observations;
  readonly #info: ServerInformation;
  readonly #gate: Gate;
  readonly #relays: RelayService | undefined;
  readonly #tokens: TokenService;
  readonly #rotations: RotationService;
  readonly #members: MemberService;
  readonly #lookups: Lookups;
  readonly #startedAt: number;
  /** What is wrong with the store, said once in the log, and when it last was; `undefined` while nothing is. */
  #fault: { readonly message: string; readonly at: number } | undefined;

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
    this.#observations = new Observations(options.stunReceipts, now);
    this.#info = new ServerInformation(options);
    this.#desk = new PunchDesk({ store, hub: this.#hub, now, wait });
    const guarded = <T>(body: () => Promise<T>): Promise<T> => this.guarded(body);
    const gate = this.#gate;
    const desk = this.#desk;
    this.#punches = new PunchService({ store, gate, desk, now, randomId, guarded });
    this.paths = new PathReports({ store, gate, guarded, now });
    const onSaid = (text: string): void => {
      const word = decodeMemberWord(text);
      if (word !== undefined) return this.#heed(word);
      this.paths.heard(text);
      void this.#desk.heard(text).catch((error) => log("debug", messageOf(error)));
    };
    const onRemoved = (node: NodeKey): void => this.paths.left(node);
    this.#feed = new StoreFeed({ store, hub: this.#hub, onSaid, onRemoved, now, log });
    const onEnded = (sessions: readonly EndedSession[]): Promise<void> =>
      this.#say({ kind: "ended", sessions });
    this.#relays = relays &&
      new RelayService({ relays, store, now, randomId, log, guarded, gate, onEnded });
    const { freshSeed = () => crypto.getRandomValues(new Uint8Array(32)) } = options;
    const issuer = new TokenIssuer({ store, now, freshSeed, randomId });
    this.#tokens = new TokenService({ store, issuer, now, guarded });
    const onLeft = async (node: NodeKey): Promise<void> =>
      await this.#relays?.left(node, { loggedOut: true });
    this.#rotations = new RotationService({ store, gate, now, guarded, onLeft, log });
    this.#members = new MemberService({
      store,
      gate,
      now,
      guarded,
      onExpelled: (node) => this.#expel(node),
      onDecided: (word) => this.#say({ kind: "membership", ...word }),
    });
    const relayOptions = () => this.#relays?.offered() ?? [];
    this.#lookups = new Lookups({ store, members: this.#members, now, guarded, relayOptions });
    this.frequent = this.#bindFrequent();
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
    await this.paths.sweep();
    while (await this.guarded(() => store.sweepSpent(now(), SWEEP_MAX)) === SWEEP_MAX);
    await this.#members.sweep();
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

  /** The keys that bootstrap tokens are verified with, as `GET /.well-known/jwks.json` says them. */
  keySet(): Promise<{ readonly keys: readonly object[] }> {
    return this.#tokens.keySet();
  }

  /** Counters by name; only what is not zero. */
  counters(): Record<string, number> {
    const all = {
      watches: this.#hub.watches,
      watchOverflows: this.#hub.overflowed,
      feedOverflows: this.#feed.overflowed,
      statementsForgotten: this.#statements.forgotten,
      ...this.#observations.counters(),
      unprovenRefused: this.#gate.refused,
      ...this.#punches.counters(),
      ...this.#relays?.counters(),
      ...this.#tokens.counters(),
      ...this.#rotations.counters(),
      ...this.#members.counters(),
      ...this.#lookups.counters(),
      ...this.paths.counters(),
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0));
  }

  /** The relays that are known here, and how they stand; empty where there are none. */
  relayStandings(): readonly RelayStanding[] {
    return this.#relays?.standings() ?? [];
  }

  /** Ends every Watch stream. */
  close(): void {
    this.#hub.close();
  }

  #bindFrequent(): FrequentMethods {
    return {
      registerColony: async (request, context) => {
        const proven = this.#gate.callerFor(context, request.pubkey) !== "";
        const claimed = colonyContent(request, proven);
        const settled = this.#observations.settle(claimed, checkObservations(request));
        const content = await this.#statements.with(settled, request.statement);
        const { open } = request;
        const record = await this.#register(content, open === undefined ? {} : { open });
        const { store } = this.#options;
        const revision = await this.guarded(() => store.membersRevision(content.meshId));
        return create(RegisterColonyResponseSchema, {
          ...this.#registered(record, context),
          membersRevision: BigInt(revision),
        });
      },
      registerAgent: async (request, context) => {
        const proven = this.#gate.callerFor(context, request.pubkey) !== "";
        const claimed = agentContent(request, proven);
        const settled = this.#observations.settle(claimed, checkObservations(request));
        const content = await this.#statements.with(settled, request.statement);
        const invite = await this.#members.inviteOf(content);
        const record = await this.#register(content, { invite });
        return create(RegisterAgentResponseSchema, this.#registered(record, context));
      },
      lookupColony: (request, context) => {
        const publicKey = this.#gate.caller(context);
        return this.#lookups.colony({ meshId: parseMesh(request), publicKey });
      },
      lookupAgent: (request, context) => this.#lookups.agent(request, this.#gate.caller(context)),
      health: () => this.health(),
    };
  }

  #bind(): ServiceImpl<typeof DiscoveryService> {
    return {
      ...this.frequent,
      getServerInfo: (request, { values }) =>
        this.#info.answer(request, values, {
          relay: this.#relays?.hasOwn === true,
          volunteer: this.#relays?.takesVolunteers === true,
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
      initiatePunch: (request, context) => this.#punches.initiate(request, context),
      watch: (request, context) => this.#watch(request, context),
      requestRelay: (request, { values }) =>
        this.#withRelays().request(request, { values, address: values.get(remoteAddress) }),
      releaseRelay: (request, context) => this.#withRelays().release(request, context),
      registerRelay: (request, { values }) =>
        this.#withRelays().register(request, { values, address: values.get(remoteAddress) }),
      rotateKey: (request, context) => this.#rotations.rotate(request, context),
      publishMembership: (request, { values }) =>
        this.#members.publish(request, { values, address: values.get(remoteAddress) }),
      listMembers: (request, context) => this.#members.list(request, context),
      createBootstrapToken: (request, context) => this.#tokens.create(request, context),
      reportPath: (request, context) => this.paths.report(request, context),
    };
  }

  async #register(content: NodeContent, access: AccessOptions): Promise<NodeRecord> {
    const { store, now, ttlMs } = this.#options;
    const { meshId, role } = content;
    const options = { ...access, now: now(), ttlMs };
    const outcome = await this.guarded(() => store.register(content, options));
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
      case "retired":
        throw new ConnectError(
          "the key was given up for another: register that one",
          Code.FailedPrecondition,
        );
      case "unsigned":
      case "older":
        throw recordRefusal(outcome);
      case "barred":
        throw this.#members.refusal(content, outcome.why);
      case "full":
        throw new ConnectError(
          `mesh_id ${meshId}: no room for another node`,
          Code.ResourceExhausted,
        );
      case "registered": {
        const { record, changed, displaced } = outcome;
        this.#recovered();
        // Who is no member goes when a mesh closes.
        if (access.open === false) {
          for (const node of displaced) if (node.role === "agent") await this.#expel(node);
        }
        this.#options.log("debug", changed ? "registered" : "refreshed", { mesh: meshId, role });
        return record;
      }
      default:
        return outcome satisfies never;
    }
  }

  /** The fields that both registration responses have. */
  #registered(record: NodeRecord, context: Caller): RegisteredFields {
    const observed = record.observedEndpoints.find(({ viaRelay }) => !viaRelay);
    return {
      success: true,
      ttl: this.#options.ttlMs / 1000,
      expiresAt: timestamp(record.expiresAt),
      stunServers: this.#info.stunServers(context.values),
      ...observed === undefined ? {} : { observedEndpoint: endpoint(observed) },
    };
  }

  /** A node is in its mesh no more: its streams and its relay sessions end, at every replica. */
  async #expel(node: NodeKey): Promise<void> {
    const { meshId, publicKey } = node;
    await this.#relays?.left(node, { loggedOut: true });
    await this.#say({ kind: "expelled", meshId, publicKey });
  }

  /** Does what a replica says, this one too. */
  #heed(word: MemberWord): void {
    switch (word.kind) {
      case "expelled":
        this.#relays?.expelled(word);
        return this.#hub.expel(word);
      case "membership":
        return this.#hub.membership(word);
      case "ended":
        return this.#relays?.ended(word.sessions);
      default:
        return word satisfies never;
    }
  }

  async #say(word: MemberWord): Promise<void> {
    const { store } = this.#options;
    for (const text of encodeMemberWord(word)) await this.guarded(() => store.say(text));
  }

  #withRelays(): RelayService {
    if (this.#relays !== undefined) return this.#relays;
    throw new ConnectError("this Discovery has no relay", Code.Unimplemented);
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
    const key = parseNode({ meshId, pubkey });
    if (proven === "") this.#gate.guard(proven, await this.guarded(() => store.node(key, now())));
    const removed = await this.guarded(() => store.remove(key, role));
    // A node may hold a relay before it was ever registered.
    await this.#relays?.left(key, { loggedOut: true });
    return removed !== undefined;
  }

  async #node(key: NodeKey, field: string): Promise<NodeRecord> {
    const { store, now } = this.#options;
    const record = await this.guarded(() => store.node(key, now()));
    if (record === undefined) throw notFound(`${field} is not registered in mesh ${key.meshId}`);
    return record;
  }

  async *#watch(request: WatchRequest, context: HandlerContext): AsyncGenerator<WatchEvent> {
    const { signal } = context;
    const { meshId, publicKey } = parseNode(request);
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

  /** What a node is to a mesh. Throws `ConnectError` as the store fails. */
  standing(key: NodeKey): Promise<Standing> {
    const { store, now } = this.#options;
    return this.guarded(() => store.standing(key, now()));
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

function notFound(message: string): ConnectError {
  return new ConnectError(message, Code.NotFound);
}
