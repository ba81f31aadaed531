/** How often something may happen within a second. @module */
import type { Instant } from "../../core/mod.ts";

/** Counts within seconds that begin with the first event after the last one. */
export class SecondLimit {
  readonly #most: number;
  #since = -Infinity;
  #count = 0;

  /** Lets `most` events of each second pass. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Whether an event may pass now. */
  take(now: Instant): boolean {
    if (now - this.#since >= 1000) {
      this.#since = now;
      this.#count = 0;
    }
    return ++this.#count <= this.#most;
  }
}
