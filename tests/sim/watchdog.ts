/**
 * Holds a pair to its recovery times while things go wrong elsewhere: from the moment at which the networks let it talk, so
 * long as it is asked to, an echo must be answered soon.
 *
 * @module
 */

/** What a recovery follows. */
export type Disturbance = "start" | "network" | "sleep";

/** One recovery. */
export interface Recovery {
  /** What it followed. */
  readonly after: Disturbance;
  /** From the moment of being able to the first echo answered. */
  readonly ms: number;
}

/** Watches one pair. */
export class Watchdog {
  readonly #recoveries: Recovery[] = [];
  #since: number | undefined;
  #after: Disturbance = "start";
  #told = false;
  #met = false;

  /** Every recovery so far. */
  get recoveries(): readonly Recovery[] {
    return this.#recoveries;
  }

  /** Something has happened to the pair: what counts is the time from now on. */
  disturbed(nowMs: number, after: Disturbance): void {
    this.#after = after;
    this.#since = nowMs;
    this.#told = false;
  }

  /** The pair was answered. */
  heard(nowMs: number): void {
    if (this.#since !== undefined && !this.#told) {
      this.#recoveries.push({ after: this.#after, ms: nowMs - this.#since });
    }
    this.#since = undefined;
    this.#told = false;
    this.#met = true;
  }

  /**
   * Takes a look. Returns how long the pair has been silent although it is able, if that is longer than `limitMs` and was
   * not told before.
   */
  look(nowMs: number, able: boolean, limitMs: (after: Disturbance) => number): number | undefined {
    if (!able) {
      // Its time begins when it is able again.
      if (this.#since !== undefined || !this.#met) this.#since = nowMs;
      this.#told = false;
      return undefined;
    }
    if (this.#since === undefined || this.#told) return undefined;
    const silentMs = nowMs - this.#since;
    if (silentMs <= limitMs(this.#after)) return undefined;
    this.#told = true;
    return silentMs;
  }
}
