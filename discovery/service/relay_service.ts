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
import { formatBase64, type Instant } from "../../core/mod.ts";
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
import { openReport, type RelayState } from "../relay/report.ts";
import { isRelayName, relayTransport, udpAddress } from "../relay/transport.ts";
import type { NodeKey, Store } from "../store/store.ts";
import { relayCredentials, relaySessionId } from "./relay_credentials.ts";
import {
  type OfferedRelay,
  RelayRegistry,
  type RelayServer,
  REPORT_TTL_MS,
} from "./relay_registry.ts";
import { checkKey, checkMeshId, invalid } from "./validate.ts";

/** Life of a session and its credentials; a node renews them before. */
export const SESSION_TTL_MS = 3_600_000;
/** Relays named in one answer. */
const OPTIONS_MAX = 16;
/** Relays that a node may name as failed. */
const FAILED_MAX = 16;
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
}

/** What Discovery knows of relays at its start. */
export interface RelayOptions {
  /** Relays of the configuration. @default [] */
  readonly servers?: readonly RelayServer[];
  /** The relay in this process. Absent: none. */
  readonly local?: LocalRelay;
  /** The secret of relays that report themselves. Absent: none may. */
  readonly secret?: string;
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
  /** Where the log goes. */
  readonly log: Log;
}

/** Relays of a Discovery. */
export class RelayService {
  readonly #options: RelayServiceOptions;
  readonly #registry: RelayRegistry;
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
    const { servers = [], local, limits = LIMITS } = options.relays;
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
    return { ...this.#counters };
  }

  /** The relays that may be asked for now. */
  offered(): RelayOption[] {
    return this.#registry.offered(this.#options.now()).slice(0, OPTIONS_MAX).map(optionOf);
  }

  /** Assigns a relay to a node. `address` is the client's, for limits only; empty for none. */
  async request(request: RequestRelayRequest, address: string): Promise<RequestRelayResponse> {
    try {
      return await this.#request(request, address);
    } catch (error) {
      this.#counters.relaySessionsRefused++;
      throw error;
    }
  }

  /** Gives a session back. */
  async release({ sessionId, meshId: mesh }: ReleaseRelayRequest): Promise<ReleaseRelayResponse> {
    const meshId = checkMeshId(mesh);
    if (sessionId === "") throw invalid("session_id is required");
    const { store, guarded } = this.#options;
    const closed = await guarded(() => store.closeSession(sessionId, meshId));
    if (closed !== undefined) this.#counters.relaySessionsReleased++;
    return create(ReleaseRelayResponseSchema, { success: closed !== undefined });
  }

  /** Takes a relay's report of itself. */
  async register(request: RegisterRelayRequest): Promise<RegisterRelayResponse> {
    try {
      return await this.#register(request);
    } catch (error) {
      this.#counters.relayReportsRefused++;
      throw error;
    }
  }

  /** A node has deregistered, or its registration has expired. */
  async left(node: NodeKey): Promise<void> {
    const { store, guarded } = this.#options;
    const closed = await guarded(() => store.closeSessions(node));
    this.#counters.relaySessionsReleased += closed.length;
  }

  /** Asks the relay in this process how it is doing, removes expired sessions, and forgets relays that are gone. */
  async sweep(): Promise<void> {
    const { store, guarded, now, relays: { local }, log } = this.#options;
    for (const id of this.#registry.sweep(now())) log("warn", `relay ${id} has fallen silent`);
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

  async #request(request: RequestRelayRequest, address: string): Promise<RequestRelayResponse> {
    const { store, now, randomId, guarded, log } = this.#options;
    const { node, agentKey, colonyKey } = askerOf(request);
    const { relayId, region, failedRelayIds: failed } = request;
    if (relayId !== "" && !isRelayName(relayId)) throw invalid("relay_id is not a relay's id");
    if (region !== "" && !isRelayName(region)) throw invalid("region is not a name");
    if (failed.length > FAILED_MAX) {
      throw invalid(`failed_relay_ids has more than ${FAILED_MAX} entries`);
    }
    this.#admit(node, address);
    await this.#checkWilling(node, [agentKey, colonyKey]);
    const wish = { meshId: node.meshId, relayId, region, failed };
    const relay = this.#registry.choose(now(), wish);
    if (relay === undefined) throw noRelay(relayId);
    const session = {
      ...node,
      sessionId: relaySessionId(node, randomId()),
      agentKey,
      colonyKey,
      relayId: relay.id,
    };
    const options = { now: now(), ttlMs: SESSION_TTL_MS };
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
    return this.#grant(relay, outcome.session);
  }

  #grant(
    relay: OfferedRelay,
    { sessionId, expiresAt }: { readonly sessionId: string; readonly expiresAt: number },
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
      relays: this.offered(),
      ttl: SESSION_TTL_MS / 1000,
    });
  }

  /** Throws unless the node, its mesh and its address may ask once more now. */
  #admit({ meshId, publicKey }: NodeKey, address: string): void {
    const at = this.#options.now() as Instant;
    const { key, mesh, address: source } = this.#limiters;
    if (address !== "" && !source.admit(at, address)) {
      throw exhausted("too many relay requests from this address");
    }
    if (!key.admit(at, `${meshId} ${publicKey}`)) {
      throw exhausted("too many relay requests of this key");
    }
    if (!mesh.admit(at, `mesh ${meshId}`)) {
      throw exhausted(`mesh_id ${meshId}: too many relay requests`);
    }
  }

  /** Throws if the node, or whom it would reach, wants no relay. */
  async #checkWilling({ meshId, publicKey }: NodeKey, others: readonly string[]): Promise<void> {
    const { store, now, guarded } = this.#options;
    const keys = new Set([publicKey, ...others].filter((key) => key !== ""));
    const records = await guarded(async () => [
      ...await Promise.all([...keys].map((key) => store.node({ meshId, publicKey: key }, now()))),
      // Agents reach nobody but their colony, named or not.
      await store.colony(meshId, now()),
    ]);
    if (records.some((record) => record?.noRelay === true)) {
      throw new ConnectError("the node, or its peer, wants no relay", Code.FailedPrecondition);
    }
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
    const outcome = this.#registry.report(now(), report, secret);
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
        break;
      default:
        outcome satisfies never;
    }
    if (outcome.added) log("info", `relay ${id} reports itself`, { region: report.region });
    this.#counters.relayReports++;
    await this.#account(id, report);
    return create(RegisterRelayResponseSchema, { ttl: REPORT_TTL_MS / 1000 });
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

/** Who asks, and for whom. */
function askerOf(
  request: RequestRelayRequest,
): { readonly node: NodeKey; readonly agentKey: string; readonly colonyKey: string } {
  const meshId = checkMeshId(request.meshId);
  const agentKey = keyOf(request.agentPubkey, "agent_pubkey");
  const colonyKey = keyOf(request.colonyPubkey, "colony_pubkey");
  const nodeKey = keyOf(request.nodePubkey, "node_pubkey");
  if (agentKey !== "" && agentKey === colonyKey) {
    throw invalid("agent_pubkey and colony_pubkey are the same");
  }
  const publicKey = nodeKey !== "" ? nodeKey : agentKey;
  if (publicKey === "") throw invalid("node_pubkey or agent_pubkey is required");
  return { node: { meshId, publicKey }, agentKey, colonyKey };
}

/** A key in its text form; empty for none. */
function keyOf(bytes: Uint8Array, field: string): string {
  return bytes.length === 0 ? "" : checkKey(formatBase64(bytes), field);
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
