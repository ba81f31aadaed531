/**
 * The methods about relays: who may use which one, for how long, and what it carried.
 *
 * ```text
 *   node --RequestRelay--> limits (key, mesh, address) -> choice -> session in the store -> credentials
 *   relay --RegisterRelay-> proof -> registry;  bytes of each session -> store
 * ```
 *
 * @module
 */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Instant } from "../../core/mod.ts";
import {
  EndpointSchema,
  type RegisterRelayRequest,
  type RegisterRelayResponse,
  RegisterRelayResponseSchema,
  type RelayOption,
  RelayOptionSchema,
  type ReleaseRelayRequest,
  type ReleaseRelayResponse,
  ReleaseRelayResponseSchema,
  type RequestRelayRequest,
  type RequestRelayResponse,
  RequestRelayResponseSchema,
} from "../../proto/mod.ts";
import { SourceLimiter, type SourceLimiterOptions } from "../../traversal/mod.ts";
import type { Log } from "../log.ts";
import { volunteerId } from "../relay/names.ts";
import { openReport, type RelayState } from "../relay/report.ts";
import { relayTransport, udpAddress } from "../relay/transport.ts";
import type { NodeKey, PeerSession, Store } from "../store/store.ts";
import type { EndedSession } from "./member_words.ts";
import type { Caller, Gate } from "./proven.ts";
import { relayCredentials, relaySessionId } from "./relay_credentials.ts";
import {
  type OfferedRelay,
  RelayRegistry,
  type RelayServer,
  type RelayStanding,
  REPORT_TTL_MS,
  type ReportOutcome,
} from "./relay_registry.ts";
import { tooMany } from "./request_limits.ts";
import { Revocations } from "./revocations.ts";
import { parseRelayRequest, parseRelease, parseVolunteer } from "./requests.ts";
import { invalid } from "./validate.ts";
import { type VolunteerOptions, Volunteers } from "./volunteers.ts";

/** Life of a session and its credentials; a node renews them before. */
export const SESSION_TTL_MS = 3_600_000;
/** Relays named in one answer. */
const OPTIONS_MAX = 16;
/** Expired sessions removed in one step. */
const SWEEP_MAX = 500;

/** How often may be asked: at once after a rest, and per second for ever. */
export interface RelayLimits {
  /** By one key. */
  readonly key: SourceLimiterOptions;
  /** By one mesh. */
  readonly mesh: SourceLimiterOptions;
  /** From one address, or IPv6 /64. */
  readonly address: SourceLimiterOptions;
}

const LIMITS: RelayLimits = {
  key: { ratePerSecond: 1, burst: 30, sourcesMax: 100_000 },
  mesh: { ratePerSecond: 100, burst: 4000, sourcesMax: 10_000 },
  address: { ratePerSecond: 20, burst: 1000 },
};

/** A relay in this process. */
export interface LocalRelay extends RelayServer {
  /** How it is doing, and what sessions carried since the last call. */
  readonly report: () => RelayState;
  /** Ends these sessions, and takes their credentials no more. Absent: they are good until they end. */
  readonly revoke?: (sessions: readonly string[]) => void;
}

/** What Discovery knows of relays at its start. */
export interface RelayOptions {
  /** Relays of the configuration. @default [] */
  readonly servers?: readonly RelayServer[];
  /** The relay in this process. Absent: none. */
  readonly local?: LocalRelay;
  /** The secret of relays that report themselves. Absent: none may. */
  readonly secret?: string;
  /** Takes relays that nodes run for their own mesh. Absent: none. */
  readonly volunteers?: VolunteerOptions;
  /** How often nodes may ask, for tests. */
  readonly limits?: RelayLimits;
}

/** Options of {@linkcode RelayService}. */
export interface RelayServiceOptions {
  /** The relays. */
  readonly relays: RelayOptions;
  /** Where sessions are kept. */
  readonly store: Store;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** A fresh unguessable id. */
  readonly randomId: () => string;
  /** Runs a call of the store and names its faults. */
  readonly guarded: <T>(body: () => Promise<T>) => Promise<T>;
  /** Knows who may do what. */
  readonly gate: Gate;
  /** Called with sessions that were given back, for the relays of other replicas. */
  readonly onEnded: (sessions: readonly EndedSession[]) => Promise<void>;
  /** Where the log goes. */
  readonly log: Log;
}

/** Who asks for a relay. */
export interface RelayCaller extends Caller {
  /** The client's address, for limits only; empty for none. */
  readonly address: string;
}

/** Relays of a Discovery. */
export class RelayService {
  readonly #options: RelayServiceOptions;
  readonly #registry: RelayRegistry;
  readonly #volunteers: Volunteers | undefined;
  readonly #revocations = new Revocations();
  readonly #limiters: Readonly<Record<keyof RelayLimits, SourceLimiter>>;
  readonly #counters = {
    relaySessionsOpened: 0,
    relaySessionsRenewed: 0,
    relaySessionsReleased: 0,
    relaySessionsExpired: 0,
    relaySessionsRefused: 0,
    relayReports: 0,
    relayReportsRefused: 0,
    relayRxBytes: 0,
    relayTxBytes: 0,
  };

  /** Throws `RangeError` for relays that cannot stand beside each other. */
  constructor(options: RelayServiceOptions) {
    const { servers = [], local, volunteers, limits = LIMITS } = options.relays;
    const { log, now, randomId } = options;
    this.#volunteers = volunteers && new Volunteers({ ...volunteers, log, now, randomId });
    this.#options = options;
    this.#limiters = {
      key: new SourceLimiter(limits.key),
      mesh: new SourceLimiter(limits.mesh),
      address: new SourceLimiter(limits.address),
    };
    this.#registry = new RelayRegistry(local === undefined ? servers : [...servers, local]);
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return {
      ...this.#counters,
      ...this.#volunteers?.counters(),
      relayRevocationsForgotten: this.#revocations.forgotten,
    };
  }

  /** The relays that anybody may ask for now. */
  offered(): RelayOption[] {
    return this.#registry.offered(this.#options.now()).slice(0, OPTIONS_MAX).map(optionOf);
  }

  /** How every relay stands that this server knows: those of the configuration first, then nodes' own. */
  standings(): readonly RelayStanding[] {
    const own = this.#registry.standings(this.#options.now());
    return [...own, ...this.#volunteers?.standings() ?? []];
  }

  /** Whether there may be relays for everybody. */
  get hasOwn(): boolean {
    const { servers, local, secret } = this.#options.relays;
    return servers !== undefined || local !== undefined || secret !== undefined;
  }

  /** Whether nodes may run relays for their meshes. */
  get takesVolunteers(): boolean {
    return this.#volunteers !== undefined;
  }

  /** Assigns a relay to a node, which proves its key. */
  async request(request: RequestRelayRequest, caller: RelayCaller): Promise<RequestRelayResponse> {
    try {
      return await this.#request(request, caller);
    } catch (error) {
      this.#counters.relaySessionsRefused++;
      throw error;
    }
  }

  /** Gives a session back: the node's own, and nobody else's. */
  async release(
    request: ReleaseRelayRequest,
    caller: Caller,
  ): Promise<ReleaseRelayResponse> {
    const proven = this.#options.gate.caller(caller);
    const { meshId, sessionId } = parseRelease(request);
    const { store, guarded } = this.#options;
    const session = { sessionId, meshId, ...(proven !== "" && { publicKey: proven }) };
    const closed = await guarded(() => store.closeSession(session));
    if (closed !== undefined) {
      this.#counters.relaySessionsReleased++;
      await this.#revoke([closed]);
    }
    return create(ReleaseRelayResponseSchema, { success: closed !== undefined });
  }

  /** Takes a relay's report of itself; a node that runs one for its mesh proves its key. */
  async register(
    request: RegisterRelayRequest,
    caller: RelayCaller,
  ): Promise<RegisterRelayResponse> {
    try {
      return request.meshId === "" && request.pubkey === "" && request.secret === ""
        ? await this.#register(request)
        : await this.#volunteer(request, caller);
    } catch (error) {
      this.#counters.relayReportsRefused++;
      throw error;
    }
  }

  /**
   * A node has deregistered (`loggedOut`), or its registration has expired: then Discovery may be what it does not reach, and what it
   * carries over a relay goes on until its credentials end.
   */
  async left(
    node: NodeKey,
    { loggedOut = false }: { readonly loggedOut?: boolean } = {},
  ): Promise<void> {
    const { store, guarded } = this.#options;
    this.#volunteers?.leave(node);
    const closed = await guarded(() => store.closeSessions(node));
    this.#counters.relaySessionsReleased += closed.length;
    if (loggedOut) await this.#revoke(closed);
  }

  /** Asks the relay in this process how it is doing, removes expired sessions, and forgets relays that are gone. */
  async sweep(): Promise<void> {
    const { store, guarded, now, relays: { local }, log } = this.#options;
    for (const id of this.#registry.sweep(now())) log("warn", `relay ${id} has fallen silent`);
    this.#volunteers?.sweep();
    this.#revocations.sweep(now());
    if (local !== undefined) {
      const state = local.report();
      this.#registry.setLoad(local.id, state.load);
      await this.#account(local.id, state);
    }
    for (;;) {
      const expired = await guarded(() => store.sweepSessions(now(), SWEEP_MAX));
      this.#counters.relaySessionsExpired += expired.length;
      if (expired.length < SWEEP_MAX) return;
    }
  }

  async #request(
    request: RequestRelayRequest,
    { values, address }: RelayCaller,
  ): Promise<RequestRelayResponse> {
    const { store, now, randomId, guarded, gate, log } = this.#options;
    const { node, agentKey, colonyKey, relayId, region, failed } = parseRelayRequest(request);
    const proven = gate.callerFor({ values }, node.publicKey);
    if (proven === "") gate.guard(proven, await guarded(() => store.node(node, now())));
    this.#admit(node, address);
    const standing = await guarded(() => store.standing(node, now()));
    if (standing === "revoked") {
      throw new ConnectError("the node was thrown out of the mesh", Code.PermissionDenied);
    }
    const stranger = standing !== "member";
    this.#admitTo(node.meshId, stranger);
    const unwilling = await this.#isUnwilling(node, [agentKey, colonyKey]);
    // Whoever cannot know that the mesh is there is answered as if it were not.
    if (unwilling && standing !== "outsider") {
      throw new ConnectError("the node, or its peer, wants no relay", Code.FailedPrecondition);
    }
    const wish = { meshId: node.meshId, relayId, region, failed };
    const volunteers = await this.#volunteersFor(node, failed);
    const relay = this.#registry.choose(now(), wish, volunteers);
    if (relay === undefined) throw noRelay(relayId);
    const session = {
      ...node,
      sessionId: relaySessionId(node, randomId()),
      agentKey,
      colonyKey,
      relayId: relay.id,
    };
    const options = { now: now(), ttlMs: SESSION_TTL_MS, stranger };
    const outcome = await guarded(() => store.openSession(session, options));
    if (outcome.kind === "full") {
      throw exhausted(
        outcome.of === "node"
          ? "the node has as many relay sessions as it may have"
          : outcome.of === "mesh"
          ? `mesh_id ${node.meshId}: no room for another relay session`
          : "no room for another relay session",
      );
    }
    if (outcome.renewed) this.#counters.relaySessionsRenewed++;
    else this.#counters.relaySessionsOpened++;
    log("debug", outcome.renewed ? "relay session renewed" : "relay session opened", {
      mesh: node.meshId,
      relay: relay.id,
    });
    return this.#grant(relay, outcome.session, volunteers);
  }

  /** The relays of a node's own mesh, for a node that is registered in it. */
  async #volunteersFor(
    node: NodeKey,
    failed: readonly string[],
  ): Promise<readonly OfferedRelay[]> {
    const { store, now, guarded } = this.#options;
    if (this.#volunteers === undefined || this.#volunteers.size === 0) return [];
    const record = await guarded(() => store.node(node, now()));
    if (record === undefined) return [];
    for (const id of failed) this.#volunteers.doubt(node.meshId, id);
    return this.#volunteers.offered(node);
  }

  #grant(
    relay: OfferedRelay,
    { sessionId, expiresAt }: { readonly sessionId: string; readonly expiresAt: number },
    volunteers: readonly OfferedRelay[],
  ): RequestRelayResponse {
    const { endpoint } = optionOf(relay);
    return create(RequestRelayResponseSchema, {
      ...endpoint && { relayEndpoint: endpoint },
      sessionId,
      expiresAt: BigInt(Math.floor(expiresAt / 1000)),
      relayId: relay.id,
      transports: relay.transports.map(relayTransport),
      ...relayCredentials(relay.secret, { sessionId, expiresAt }),
      realm: relay.realm,
      bandwidthBytesPerSecond: BigInt(relay.bandwidthBytesPerSecond),
      relays: [...this.offered(), ...volunteers.map(optionOf)].slice(0, OPTIONS_MAX),
      ttl: SESSION_TTL_MS / 1000,
    });
  }

  /** Throws unless the node and its address may ask once more now. */
  #admit({ meshId, publicKey }: NodeKey, address: string): void {
    if (address !== "") {
      this.#count("address", address, "too many relay requests from this address");
    }
    this.#count("key", `${meshId} ${publicKey}`, "too many relay requests of this key");
  }

  /** Throws unless a mesh's members, or those who only name it, may ask once more now. */
  #admitTo(meshId: string, stranger: boolean): void {
    const source = `${stranger ? "strangers to" : "mesh"} ${meshId}`;
    this.#count("mesh", source, `mesh_id ${meshId}: too many relay requests`);
  }

  #count(kind: keyof RelayLimits, source: string, message: string): void {
    const at = this.#options.now() as Instant;
    const limiter = this.#limiters[kind];
    if (!limiter.admit(at, source)) throw tooMany(message, limiter.waitMs(at, source));
  }

  /** Whether the node, or whom it would reach, wants no relay. */
  async #isUnwilling({ meshId, publicKey }: NodeKey, others: readonly string[]): Promise<boolean> {
    const { store, now, guarded } = this.#options;
    const keys = new Set([publicKey, ...others].filter((key) => key !== ""));
    const records = await guarded(async () => [
      ...await Promise.all([...keys].map((key) => store.node({ meshId, publicKey: key }, now()))),
      // Agents reach nobody but their colony, named or not.
      await store.colony(meshId, now()),
    ]);
    return records.some((record) => record?.noRelay === true);
  }

  async #register(request: RegisterRelayRequest): Promise<RegisterRelayResponse> {
    const { relays: { secret }, now, log } = this.#options;
    if (secret === undefined) {
      throw new ConnectError("this Discovery takes no reports of relays", Code.Unimplemented);
    }
    const report = openReport(secret, request);
    if ("fault" in report) {
      throw report.forged
        ? new ConnectError(report.fault, Code.PermissionDenied)
        : invalid(report.fault);
    }
    const { id } = report;
    const { added } = takenOf(id, this.#registry.report(now(), report, secret));
    if (added) log("info", `relay ${id} reports itself`, { region: report.region });
    this.#counters.relayReports++;
    await this.#account(id, report);
    return this.#registered(id, { offered: !report.draining, reason: "" });
  }

  /** Takes the report of a relay that a node runs for its own mesh, and looks whether it can be reached, where that is due. */
  async #volunteer(
    request: RegisterRelayRequest,
    { values, address }: RelayCaller,
  ): Promise<RegisterRelayResponse> {
    const { store, now, guarded, gate, log } = this.#options;
    if (this.#volunteers === undefined) {
      throw new ConnectError("this Discovery takes no relays of nodes", Code.Unimplemented);
    }
    const { node, secret } = parseVolunteer(request);
    const proven = gate.callerFor({ values }, node.publicKey);
    this.#admit(node, address);
    const record = await guarded(() => store.node(node, now()));
    if (record === undefined) {
      throw new ConnectError("the node is not registered", Code.FailedPrecondition);
    }
    gate.guard(proven, record);
    const report = openReport(secret, request);
    if ("fault" in report) throw invalid(report.fault);
    const { id } = report;
    if (id !== volunteerId(node)) throw invalid("relay_id is not what follows from the node");
    const { added } = takenOf(id, this.#volunteers.report(node, { report, secret }));
    if (added) log("info", `relay ${id} of a node reports itself`, { mesh: node.meshId });
    this.#counters.relayReports++;
    await this.#account(id, report);
    await this.#volunteers.check(id);
    return this.#registered(id, this.#volunteers.standing(id));
  }

  #registered(
    id: string,
    standing: { readonly offered: boolean; readonly reason: string },
  ): RegisterRelayResponse {
    return create(RegisterRelayResponseSchema, {
      ttl: REPORT_TTL_MS / 1000,
      ...standing,
      revokedSessions: [...this.#revocations.of(id, this.#options.now())],
    });
  }

  /** Has every relay end sessions that were given back, whichever replica it reports to, or is part of. */
  async #revoke(sessions: readonly PeerSession[]): Promise<void> {
    const { store, onEnded } = this.#options;
    this.ended(sessions);
    if (sessions.length > 0 && store.shared) await onEnded(sessions);
  }

  /** A node was thrown out: nobody is sent to its relay any more. */
  expelled(node: NodeKey): void {
    this.#volunteers?.leave(node);
  }

  /** Sessions were given back: the relay in this process ends them now, others with the answers to their reports. */
  ended(sessions: readonly EndedSession[]): void {
    const { relays: { local }, now } = this.#options;
    const own = sessions.filter(({ relayId }) => relayId === local?.id);
    if (own.length > 0) local?.revoke?.(own.map(({ sessionId }) => sessionId));
    for (const { relayId, sessionId } of sessions) {
      if (relayId !== local?.id) this.#revocations.add(relayId, sessionId, now());
    }
  }

  async #account(relayId: string, { usage }: RelayState): Promise<void> {
    if (usage.length === 0) return;
    const { store, guarded } = this.#options;
    await guarded(() => store.addUsage(relayId, usage));
    for (const { rxBytes, txBytes } of usage) {
      this.#counters.relayRxBytes += rxBytes;
      this.#counters.relayTxBytes += txBytes;
    }
  }
}

/** A report that was taken; throws for any other. */
function takenOf(id: string, outcome: ReportOutcome): ReportOutcome & { readonly kind: "taken" } {
  switch (outcome.kind) {
    case "skewed":
      throw new ConnectError(
        `the relay's clock is ${Math.round(outcome.byMs / 1000)} s ahead of Discovery's`,
        Code.FailedPrecondition,
      );
    case "old":
      throw new ConnectError("the report is not newer than the last", Code.PermissionDenied);
    case "held":
      throw new ConnectError(`relay_id ${id} is another relay's`, Code.AlreadyExists);
    case "full":
      throw exhausted("no room for another relay");
    case "taken":
      return outcome;
  }
}

function optionOf({ id, region, load, transports }: OfferedRelay): RelayOption {
  const address = udpAddress(transports);
  return create(RelayOptionSchema, {
    relayId: id,
    region,
    load: Math.round(load),
    ...address && {
      endpoint: create(EndpointSchema, {
        ip: address.hostname,
        port: address.port,
        protocol: "udp",
        viaRelay: true,
      }),
    },
  });
}

/** Not UNAVAILABLE, which clients take for a Discovery that does not answer. */
function noRelay(relayId: string): ConnectError {
  const what = relayId === "" ? "no relay is available now" : `relay ${relayId} is not offered`;
  return new ConnectError(what, Code.NotFound);
}

function exhausted(message: string): ConnectError {
  return new ConnectError(message, Code.ResourceExhausted);
}
