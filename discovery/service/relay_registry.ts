/**
 * The relays that Discovery offers: those of its configuration, and those that report themselves; and which one a node
 * gets. Pure; time is in unix milliseconds.
 *
 * A mesh's nodes get the same relay where nothing speaks against it, so that one relay is on the way and not two: by
 * rendezvous hashing of mesh and relay, after region and load.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { RelayIdentity, RelayReport } from "../relay/report.ts";

/** How long a relay is offered after a report. */
export const REPORT_TTL_MS = 30_000;
/** How far a relay's clock may be from ours. */
export const REPORT_SKEW_MS = 60_000;
/** Relays of either kind; further ones are refused. */
export const RELAYS_MAX = 256;
/** Loads from which a relay is chosen after those with less. */
const LOADS_HIGH = [75, 95] as const;

/** A relay of the configuration. */
export interface RelayServer extends RelayIdentity {
  /** The secret that it shares with us. */
  readonly secret: string;
}

/** A relay that can be asked for. */
export interface OfferedRelay extends RelayServer {
  /** Load, 0 to 100; 0 where it does not say. */
  readonly load: number;
}

/** How a relay stands, for the operator. */
export interface RelayStanding {
  /** Its id. */
  readonly id: string;
  /** Where it stands; empty for unknown. */
  readonly region: string;
  /** Who knows it: the configuration, its own reports, or a node that runs it for its mesh. */
  readonly source: "configured" | "reported" | "volunteer";
  /** Load, 0 to 100. */
  readonly load: number;
  /** Whether nodes are sent to it, and why not. */
  readonly state: "offered" | "draining" | "silent" | "unreachable";
}

/** A relay that reported itself. */
interface Reported {
  readonly relay: OfferedRelay;
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly draining: boolean;
}

/** What became of a report. */
export type ReportOutcome =
  /** It is offered, or draining; `added` if it was not known. */
  | { readonly kind: "taken"; readonly added: boolean }
  /** Its time is not near ours: by so much, in milliseconds. */
  | { readonly kind: "skewed"; readonly byMs: number }
  /** A later one of the same relay was taken. */
  | { readonly kind: "old" }
  /** The id is of another relay that is alive, or of the configuration. */
  | { readonly kind: "held" }
  /** There are {@linkcode RELAYS_MAX}. */
  | { readonly kind: "full" };

/** Who asks for a relay. */
export interface RelayWish {
  /** Mesh id. */
  readonly meshId: string;
  /** The wanted relay; empty for any. */
  readonly relayId: string;
  /** Where the node stands; empty for unknown. */
  readonly region: string;
  /** Relays that the node could not use. */
  readonly failed: readonly string[];
}

/** The relays. */
export class RelayRegistry {
  readonly #configured: ReadonlyMap<string, RelayServer>;
  readonly #loads = new Map<string, number>();
  readonly #reported = new Map<string, Reported>();

  /** Relays of the configuration. Throws `RangeError` for two with one id, or too many. */
  constructor(servers: readonly RelayServer[]) {
    this.#configured = new Map(servers.map((server) => [server.id, server]));
    if (this.#configured.size !== servers.length) throw new RangeError("Two relays have one id");
    if (servers.length > RELAYS_MAX) throw new RangeError(`More than ${RELAYS_MAX} relays`);
  }

  /** Relays known, offered or not. */
  get size(): number {
    return this.#configured.size + this.#reported.size;
  }

  /** Takes the load of a relay of the configuration. */
  setLoad(id: string, load: number): void {
    if (this.#configured.has(id)) this.#loads.set(id, load);
  }

  /** Takes a report that was proven to be of a relay with this secret. */
  report(now: number, report: RelayReport, secret: string): ReportOutcome {
    const { id, issuedAt, draining } = report;
    const byMs = issuedAt - now;
    if (Math.abs(byMs) > REPORT_SKEW_MS) return { kind: "skewed", byMs };
    if (this.#configured.has(id)) return { kind: "held" };
    const known = this.#reported.get(id);
    if (known !== undefined) {
      if (issuedAt <= known.issuedAt) return { kind: "old" };
      const alive = known.expiresAt > now && !known.draining;
      if (alive && !draining && !sameTransports(known.relay, report)) return { kind: "held" };
    } else if (this.size >= RELAYS_MAX) return { kind: "full" };
    const { region, transports, realm, bandwidthBytesPerSecond, load } = report;
    const relay = { id, region, transports, realm, bandwidthBytesPerSecond, load, secret };
    // Kept while a replay of an earlier report would be fresh.
    this.#reported.set(id, { relay, issuedAt, draining, expiresAt: now + REPORT_TTL_MS });
    return { kind: "taken", added: known === undefined || known.expiresAt <= now };
  }

  /** Forgets relays whose reports can no longer be played again. Returns the ids of those that have fallen silent. */
  sweep(now: number): readonly string[] {
    const forgotten: string[] = [];
    for (const [id, { issuedAt, expiresAt }] of this.#reported) {
      if (expiresAt > now || issuedAt + 2 * REPORT_SKEW_MS > now) continue;
      this.#reported.delete(id);
      forgotten.push(id);
    }
    return forgotten;
  }

  /** Every relay that takes sessions now, by id. */
  offered(now: number): readonly OfferedRelay[] {
    const configured = [...this.#configured.values()]
      .map((server) => ({ ...server, load: this.#loads.get(server.id) ?? 0 }));
    const reported = [...this.#reported.values()]
      .filter(({ expiresAt, draining }) => expiresAt > now && !draining)
      .map(({ relay }) => relay);
    return [...configured, ...reported].sort((a, b) => a.id < b.id ? -1 : 1);
  }

  /** How every relay stands, by id. */
  standings(now: number): readonly RelayStanding[] {
    const configured = [...this.#configured.values()].map(({ id, region }): RelayStanding => ({
      id,
      region,
      source: "configured",
      load: this.#loads.get(id) ?? 0,
      state: "offered",
    }));
    const reported = [...this.#reported.values()].map(
      ({ relay: { id, region, load }, draining, expiresAt }): RelayStanding => ({
        id,
        region,
        source: "reported",
        load,
        state: draining ? "draining" : expiresAt > now ? "offered" : "silent",
      }),
    );
    return [...configured, ...reported].sort((a, b) => a.id < b.id ? -1 : 1);
  }

  /**
   * The relay for a node: the one that it wants, or the best; `undefined` if there is none. `volunteers`: those of its mesh, which
   * come after relays that are nobody's own.
   */
  choose(
    now: number,
    wish: RelayWish,
    volunteers: readonly OfferedRelay[] = [],
  ): OfferedRelay | undefined {
    const offered = [...this.offered(now), ...volunteers];
    const { relayId, meshId, region, failed } = wish;
    if (relayId !== "") return offered.find(({ id }) => id === relayId);
    const ranked = offered.map((relay) => ({
      relay,
      rank: [
        failed.includes(relay.id) ? 1 : 0,
        volunteers.includes(relay) ? 1 : 0,
        region !== "" && relay.region !== region ? 1 : 0,
        LOADS_HIGH.filter((high) => relay.load >= high).length,
        rendezvous(meshId, relay.id),
      ],
    }));
    ranked.sort((a, b) => compare(a.rank, b.rank));
    return ranked[0]?.relay;
  }
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [i, value] of a.entries()) {
    const difference = value - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** A number that is the same for a mesh and a relay everywhere, and spreads meshes over relays. */
function rendezvous(meshId: string, relayId: string): number {
  return createHash("sha256").update(`${meshId} ${relayId}`).digest().readUIntBE(0, 6);
}

/** Whether two relays are reached in the same ways. */
export function sameTransports(
  a: Pick<RelayIdentity, "transports">,
  b: Pick<RelayIdentity, "transports">,
): boolean {
  return JSON.stringify(a.transports) === JSON.stringify(b.transports);
}
