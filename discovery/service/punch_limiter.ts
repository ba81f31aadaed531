/** How often punches may be started: per pair of nodes, per agent on either side, and per mesh. @module */
import type { Instant } from "../../core/mod.ts";
import { SourceLimiter, type SourceLimiterOptions } from "../../traversal/mod.ts";
import type { Role } from "../store/store.ts";

/** Least time between two punches from one node to another. */
export const PUNCH_INTERVAL_MS = 2000;
/** Punches that one mesh may start per second for ever. */
export const PUNCHES_PER_SECOND_MAX = 200;
/** Punches that one mesh may start at once after a rest: a colony that comes back to its agents. */
export const PUNCH_BURST_MAX = 2000;
/**
 * Punches that one agent may start, and as many that it may be told to take part in: each makes a node send to addresses that
 * another has named. A colony has all of its mesh's, as every agent punches with it.
 */
export const AGENT_PUNCHES = {
  ratePerSecond: 10,
  burst: 256,
  sourcesMax: 100_000,
} as const satisfies SourceLimiterOptions;
/** Pairs remembered. The one that punched longest ago is forgotten; {@linkcode PunchLimiter.evicted} counts. */
const PAIRS_MAX = 100_000;
/** Meshes remembered, as pairs. */
const MESHES_MAX = 10_000;

const OF_AGENT = `an agent starts at most ${AGENT_PUNCHES.ratePerSecond} per second`;
const TO_AGENT = `at most ${AGENT_PUNCHES.ratePerSecond} per second towards an agent`;

/** The start of a punch. */
export interface PunchAttempt {
  /** Mesh id. */
  readonly meshId: string;
  /** Asking node's key. */
  readonly from: string;
  /** Other node's key. */
  readonly to: string;
  /** What the asking node is. */
  readonly fromRole: Role;
  /** What the other node is. */
  readonly toRole: Role;
}

/** Admits punches. Time is in unix milliseconds. */
export class PunchLimiter {
  /** When each pair last punched; in that order. */
  readonly #pairs = new Map<string, number>();
  /** Tokens per mesh; in order of last use. */
  readonly #meshes = new Map<string, { tokens: number; countedAt: number }>();
  readonly #from = new SourceLimiter(AGENT_PUNCHES);
  readonly #to = new SourceLimiter(AGENT_PUNCHES);
  #evicted = 0;

  /** Pairs, agents and meshes forgotten to make room. */
  get evicted(): number {
    return this.#evicted + this.#from.evicted + this.#to.evicted;
  }

  /** Returns why the punch must not start, or `undefined` if it may; then it counts. */
  refusal(now: number, attempt: PunchAttempt): string | undefined {
    const { meshId, from, to, fromRole, toRole } = attempt;
    const pair = `${meshId} ${from} ${to}`;
    const last = this.#pairs.get(pair);
    // A clock that went back must not close the pair for long.
    if (last !== undefined && now >= last && now < last + PUNCH_INTERVAL_MS) {
      return `one punch per pair in ${PUNCH_INTERVAL_MS / 1000} s`;
    }
    const mesh = this.#meshes.get(meshId) ?? { tokens: PUNCH_BURST_MAX, countedAt: now };
    const elapsedMs = Math.max(0, now - mesh.countedAt);
    const tokens = mesh.tokens + elapsedMs * PUNCHES_PER_SECOND_MAX / 1000;
    const left = Math.min(PUNCH_BURST_MAX, tokens);
    if (left < 1) return `at most ${PUNCHES_PER_SECOND_MAX} punches per second in a mesh`;
    const at = now as Instant;
    if (fromRole === "agent" && !this.#from.admit(at, `${meshId} ${from}`)) return OF_AGENT;
    if (toRole === "agent" && !this.#to.admit(at, `${meshId} ${to}`)) return TO_AGENT;
    this.#remember(this.#meshes, meshId, { tokens: left - 1, countedAt: now }, MESHES_MAX);
    this.#remember(this.#pairs, pair, now, PAIRS_MAX);
    return undefined;
  }

  #remember<V>(map: Map<string, V>, key: string, value: V, max: number): void {
    map.delete(key);
    if (map.size >= max) {
      const [oldest] = map.keys();
      if (oldest !== undefined) map.delete(oldest);
      this.#evicted++;
    }
    map.set(key, value);
  }
}
