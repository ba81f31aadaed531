/** How often punches may be started: per pair of nodes and per mesh. @module */

/** Least time between two punches from one node to another. */
export const PUNCH_INTERVAL_MS = 2000;
/** Punches that one mesh may start per second for ever. */
export const PUNCHES_PER_SECOND_MAX = 200;
/** Punches that one mesh may start at once after a rest: a colony that comes back to its agents. */
export const PUNCH_BURST_MAX = 2000;
/** Pairs remembered. The one that punched longest ago is forgotten; {@linkcode PunchLimiter.evicted} counts. */
const PAIRS_MAX = 100_000;
/** Meshes remembered, as pairs. */
const MESHES_MAX = 10_000;

/** The start of a punch. */
export interface PunchAttempt {
  /** Mesh id. */
  readonly meshId: string;
  /** Asking node's key. */
  readonly from: string;
  /** Other node's key. */
  readonly to: string;
}

/** Admits punches. Time is in unix milliseconds. */
export class PunchLimiter {
  /** When each pair last punched; in that order. */
  readonly #pairs = new Map<string, number>();
  /** Tokens per mesh; in order of last use. */
  readonly #meshes = new Map<string, { tokens: number; countedAt: number }>();
  #evicted = 0;

  /** Pairs and meshes forgotten to make room. */
  get evicted(): number {
    return this.#evicted;
  }

  /** Returns why the punch must not start, or `undefined` if it may; then it counts. */
  refusal(now: number, { meshId, from, to }: PunchAttempt): string | undefined {
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
