/** A limit in rate: so many at once, and one more for each time that passes. @module */
import { after, type Instant } from "../core/mod.ts";

/** Counts what may still be done. */
export class TokenBucket {
  readonly #most: number;
  readonly #everyMs: number;
  #left: number;
  #countedAt: Instant;
  #refused = 0;

  /** A full bucket of `most`, into which one more falls every `everyMs`. */
  constructor(
    now: Instant,
    { most, everyMs }: { readonly most: number; readonly everyMs: number },
  ) {
    this.#most = most;
    this.#left = most;
    this.#everyMs = everyMs;
    this.#countedAt = now;
  }

  /** How often nothing was left. */
  get refused(): number {
    return this.#refused;
  }

  /** Takes one, unless there are no more than `reserved`. Returns whether it did. */
  take(now: Instant, reserved = 0): boolean {
    const earned = Math.floor((now - this.#countedAt) / this.#everyMs);
    if (earned > 0) {
      this.#left = Math.min(this.#most, this.#left + earned);
      this.#countedAt = after(this.#countedAt, earned * this.#everyMs);
    }
    if (this.#left <= reserved) {
      this.#refused++;
      return false;
    }
    this.#left--;
    return true;
  }
}
