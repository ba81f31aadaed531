/**
 * The relays that nodes run for their own mesh: offered to nobody else, and only as long as they are found to be reachable. Pure;
 * time is in unix milliseconds.
 *
 * ```text
 *   report --> known --check--> passed: offered --5 min, or a node says that it failed--> check
 *                        |                                                                  |
 *                        +---> failed: not offered --15 s, 30 s ... 10 min--> check <-------+
 * ```
 *
 * @module
 */
import type { RelayReport } from "../relay/report.ts";
import type { RelayTransport } from "../relay/transport.ts";
import type { NodeKey } from "../store/store.ts";
import {
  type OfferedRelay,
  type RelayStanding,
  REPORT_SKEW_MS,
  REPORT_TTL_MS,
  type ReportOutcome,
  sameTransports,
} from "./relay_registry.ts";

/** Volunteers known at once; further ones are refused. */
export const VOLUNTEERS_MAX = 4096;
/** Those of one mesh. */
export const VOLUNTEERS_PER_MESH_MAX = 16;
/** A volunteer that was found to be reachable is looked at again after this time. */
export const RECHECK_MS = 300_000;
/** Waits before one that was not is looked at again. */
const FAILED_RECHECK_MS = { first: 15_000, longest: 600_000 } as const;
/** How soon what a node says of a volunteer has it looked at again. */
const DOUBT_GAP_MS = 30_000;

/** What came of a check: the ways that lead to the volunteer, or why none does. */
export type CheckResult =
  | { readonly transports: readonly RelayTransport[] }
  | { readonly reason: string };

/** What to check. */
export interface VolunteerCheck {
  /** The volunteer's id. */
  readonly id: string;
  /** Whose it is. */
  readonly node: NodeKey;
  /** The ways that it names. */
  readonly transports: readonly RelayTransport[];
  /** Its secret. */
  readonly secret: string;
}

/** A volunteer. */
interface Volunteer {
  readonly node: NodeKey;
  relay: OfferedRelay;
  issuedAt: number;
  expiresAt: number;
  draining: boolean;
  /** When it is looked at next; `undefined` while it is. */
  checkAt: number | undefined;
  checkedAt: number;
  /** Checks in a row that have failed. */
  failures: number;
  /** The ways that were found to work; `undefined` unless the last check has passed. */
  working: readonly RelayTransport[] | undefined;
  reason: string;
}

/** The volunteers of all meshes. */
export class VolunteerRegistry {
  /** By id. */
  readonly #volunteers = new Map<string, Volunteer>();
  readonly #perMesh = new Map<string, number>();

  /** Volunteers known, offered or not. */
  get size(): number {
    return this.#volunteers.size;
  }

  /** Takes a report of a node that is registered, and that was proven to be of a relay with this secret. */
  report(
    now: number,
    node: NodeKey,
    { report, secret }: { readonly report: RelayReport; readonly secret: string },
  ): ReportOutcome {
    const { id, issuedAt, draining, transports } = report;
    const byMs = issuedAt - now;
    if (Math.abs(byMs) > REPORT_SKEW_MS) return { kind: "skewed", byMs };
    const known = this.#volunteers.get(id);
    if (known !== undefined && issuedAt <= known.issuedAt) return { kind: "old" };
    const alive = known !== undefined && known.expiresAt > now && !known.draining;
    if (alive && known.relay.secret !== secret) return { kind: "held" };
    if (known === undefined && !this.#hasRoom(node.meshId)) return { kind: "full" };
    const { region, realm, bandwidthBytesPerSecond, load } = report;
    const relay = { id, region, transports, realm, bandwidthBytesPerSecond, load, secret };
    const life = { relay, issuedAt, expiresAt: now + REPORT_TTL_MS, draining };
    if (alive && sameTransports(known.relay, relay)) Object.assign(known, life);
    else {
      if (known === undefined) this.#count(node.meshId, 1);
      const unchecked = { checkAt: now, checkedAt: 0, failures: 0, reason: UNCHECKED };
      this.#volunteers.set(id, { node, ...life, ...unchecked, working: undefined });
    }
    return { kind: "taken", added: !alive };
  }

  /** Begins the check that is due of a volunteer; `undefined` if none is. {@linkcode VolunteerRegistry.checked} must follow. */
  beginCheck(now: number, id: string): VolunteerCheck | undefined {
    const volunteer = this.#volunteers.get(id);
    if (volunteer === undefined || volunteer.draining) return undefined;
    if (volunteer.checkAt === undefined || now < volunteer.checkAt) return undefined;
    volunteer.checkAt = undefined;
    const { node, relay: { transports, secret } } = volunteer;
    return { id, node, transports, secret };
  }

  /** Takes what came of a check. */
  checked(now: number, { id, secret, transports }: VolunteerCheck, result: CheckResult): void {
    const volunteer = this.#volunteers.get(id);
    // It may be another one by now, whose own check is due.
    if (volunteer === undefined || volunteer.relay.secret !== secret) return;
    if (!sameTransports(volunteer.relay, { transports })) return;
    volunteer.checkedAt = now;
    if ("reason" in result) {
      const { first, longest } = FAILED_RECHECK_MS;
      volunteer.checkAt = now + Math.min(longest, first * 2 ** Math.min(volunteer.failures, 10));
      volunteer.failures++;
      volunteer.working = undefined;
      volunteer.reason = result.reason;
    } else {
      volunteer.checkAt = now + RECHECK_MS;
      volunteer.failures = 0;
      volunteer.working = result.transports;
      volunteer.reason = "";
    }
  }

  /** A node of the mesh could not use a volunteer: it is looked at again soon. */
  doubt(now: number, meshId: string, id: string): void {
    const volunteer = this.#volunteers.get(id);
    if (volunteer?.node.meshId !== meshId || volunteer.checkAt === undefined) return;
    if (volunteer.working === undefined || now < volunteer.checkedAt + DOUBT_GAP_MS) return;
    volunteer.checkAt = now;
  }

  /** Whether a volunteer is offered, and why not. */
  standing(now: number, id: string): { readonly offered: boolean; readonly reason: string } {
    const volunteer = this.#volunteers.get(id);
    if (volunteer === undefined) return { offered: false, reason: "it is not known" };
    if (volunteer.draining) return { offered: false, reason: "it is about to end" };
    return { offered: isOffered(now, volunteer), reason: volunteer.reason };
  }

  /** The volunteers of a mesh that carry now, without the asking node's own, by id. */
  offered(now: number, { meshId, publicKey }: NodeKey): readonly OfferedRelay[] {
    return [...this.#volunteers.values()]
      .filter((volunteer) =>
        volunteer.node.meshId === meshId && volunteer.node.publicKey !== publicKey &&
        isOffered(now, volunteer)
      )
      .map(({ relay, working = [] }) => ({ ...relay, transports: working }))
      .sort((a, b) => a.id < b.id ? -1 : 1);
  }

  /** How every volunteer stands, by id. */
  standings(now: number): readonly RelayStanding[] {
    return [...this.#volunteers.values()].map((volunteer): RelayStanding => {
      const { relay: { id, region, load }, draining, expiresAt, working } = volunteer;
      const state = draining
        ? "draining"
        : expiresAt <= now
        ? "silent"
        : working === undefined
        ? "unreachable"
        : "offered";
      return { id, region, source: "volunteer", load, state };
    }).sort((a, b) => a.id < b.id ? -1 : 1);
  }

  /** Forgets a node's volunteer: the node has left. */
  leave(node: NodeKey): void {
    for (const [id, volunteer] of this.#volunteers) {
      const { meshId, publicKey } = volunteer.node;
      if (meshId === node.meshId && publicKey === node.publicKey) this.#forget(id);
    }
  }

  /** Forgets volunteers whose reports can no longer be played again. Returns the ids of those that have fallen silent. */
  sweep(now: number): readonly string[] {
    const over = [...this.#volunteers].filter(([, { issuedAt, expiresAt }]) =>
      expiresAt <= now && issuedAt + 2 * REPORT_SKEW_MS <= now
    ).map(([id]) => id);
    for (const id of over) this.#forget(id);
    return over;
  }

  #forget(id: string): void {
    const volunteer = this.#volunteers.get(id);
    if (volunteer === undefined) return;
    this.#volunteers.delete(id);
    this.#count(volunteer.node.meshId, -1);
  }

  #hasRoom(meshId: string): boolean {
    return this.#volunteers.size < VOLUNTEERS_MAX &&
      (this.#perMesh.get(meshId) ?? 0) < VOLUNTEERS_PER_MESH_MAX;
  }

  #count(meshId: string, by: number): void {
    const count = (this.#perMesh.get(meshId) ?? 0) + by;
    if (count > 0) this.#perMesh.set(meshId, count);
    else this.#perMesh.delete(meshId);
  }
}

const UNCHECKED = "it has not been looked at yet";

function isOffered(now: number, { expiresAt, draining, working }: Volunteer): boolean {
  return expiresAt > now && !draining && working !== undefined;
}
