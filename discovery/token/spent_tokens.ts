/** Used tokens, remembered until they would be refused for their age. Pure; time is in unix milliseconds. @module */
import type { SpendOutcome } from "../store/store.ts";

/** Used tokens remembered at once. Further ones are not taken: a forgotten one could be used again. */
export const SPENT_TOKENS_MAX = 100_000;

/** The memory of one verifier. */
export class SpentTokens {
  readonly #now: () => number;
  readonly #max: number;
  /** When each may be forgotten, by id, in order of use. */
  readonly #ids = new Map<string, number>();

  /** An empty memory. */
  constructor(now: () => number, max: number = SPENT_TOKENS_MAX) {
    this.#now = now;
    this.#max = max;
  }

  /** Uses an id up; it is remembered until `expiresAt`. */
  spend(id: string, expiresAt: number): SpendOutcome {
    if (this.#ids.has(id)) return "reused";
    if (this.#ids.size >= this.#max) this.#sweep();
    if (this.#ids.size >= this.#max) return "full";
    this.#ids.set(id, expiresAt);
    return "spent";
  }

  #sweep(): void {
    const now = this.#now();
    for (const [id, expiresAt] of this.#ids) if (expiresAt <= now) this.#ids.delete(id);
  }
}
