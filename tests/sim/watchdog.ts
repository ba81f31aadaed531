/**
 * Holds a pair to its recovery times: from the moment at which the networks let it talk and it is asked to, an echo must be
 * answered soon.
 *
 * ```text
 *   something happens     the last obstacle goes     first echo asked for      first answer to one of these
 *   ------|------------------------|--------------------------|------------------------|-----
 *                                                             +------ recovery --------+
 * ```
 *
 * An echo that is not answered although nothing has happened begins such a time by itself.
 *
 * @module
 */

/** What a recovery follows; `quiet` is nothing at all. */
export type Disturbance = "start" | "network" | "sleep" | "quiet";

/** One recovery. */
export interface Recovery {
  /** What it followed. */
  readonly after: Disturbance;
  /** What happened, and what was in the way until then: for a person. */
  readonly cause: string;
  /** When the pair was able and asked, in milliseconds of the world. */
  readonly at: number;
  /** From then to the first echo answered. */
  readonly ms: number;
}

/** What happened to a pair. */
export interface Happened {
  /** Its kind. */
  readonly after: Disturbance;
  /** For a person. */
  readonly cause: string;
}

/** Watches one pair. */
export class Watchdog {
  readonly #limitMs: (after: Disturbance) => number;
  readonly #recoveries: Recovery[] = [];
  #happened: Happened = { after: "start", cause: "start" };
  /** What was last in the way since it happened, and whether it is. */
  #obstacle: string | undefined;
  #blocked = false;
  /** Since when it could talk; `undefined` while all is well. */
  #since: number | undefined;
  /** Since when it is asked to besides. */
  #askedAt: number | undefined;
  #told = false;
  #met = false;

  /** A pair that has not met. `limitMs` says how long a recovery may take. */
  constructor(limitMs: (after: Disturbance) => number) {
    this.#limitMs = limitMs;
  }

  /** Every recovery so far. */
  get recoveries(): readonly Recovery[] {
    return this.#recoveries;
  }

  /** Whether an echo is waited for that should be answered: whoever asks asks again soon. */
  get waits(): boolean {
    return this.#askedAt !== undefined;
  }

  /** Something has happened to the pair: what counts is the time from now on. */
  disturbed(nowMs: number, happened: Happened): void {
    this.#happened = happened;
    this.#obstacle = undefined;
    this.#begin(nowMs);
  }

  /** An echo is asked for. */
  asked(nowMs: number): void {
    if (this.#since !== undefined) this.#askedAt ??= nowMs;
  }

  /** An echo was answered that was asked for at `askedMs`. Returns what {@linkcode Watchdog.look} does. */
  heard(nowMs: number, askedMs: number): number | undefined {
    this.#met = true;
    // What was under way when it happened says nothing.
    if (this.#since !== undefined && askedMs < this.#since) return undefined;
    const silentMs = this.#askedAt === undefined ? undefined : nowMs - this.#askedAt;
    const late = silentMs === undefined ? undefined : this.#judge(silentMs);
    if (silentMs !== undefined && this.#askedAt !== undefined) {
      this.#recoveries.push({
        after: this.#happened.after,
        cause: this.cause,
        at: this.#askedAt,
        ms: silentMs,
      });
    }
    this.#since = undefined;
    this.#askedAt = undefined;
    return late;
  }

  /** An echo that was asked for at `askedMs` has not been answered. */
  missed(askedMs: number): void {
    if (this.#since !== undefined || !this.#met) return;
    this.#happened = { after: "quiet", cause: "nothing happened" };
    this.#obstacle = undefined;
    this.#begin(askedMs);
    this.#askedAt = askedMs;
  }

  /**
   * Takes a look; `obstacle` is what keeps the pair from talking, `undefined` for nothing. Returns for how long it has been silent
   * although it is able, if that is too long and was not told before.
   */
  look(nowMs: number, obstacle: string | undefined): number | undefined {
    if (obstacle !== undefined) {
      // Its time begins when nothing is in the way any more.
      if (this.#since === undefined && this.#met) return undefined;
      this.#obstacle = obstacle;
      this.#blocked = true;
      this.#begin(nowMs);
      return undefined;
    }
    if (this.#blocked) {
      this.#blocked = false;
      this.#begin(nowMs);
    }
    return this.#askedAt === undefined ? undefined : this.#judge(nowMs - this.#askedAt);
  }

  /** What happened, and what was in the way, for a person. */
  get cause(): string {
    const { cause } = this.#happened;
    return this.#obstacle === undefined ? cause : `${cause}; until then ${this.#obstacle}`;
  }

  #begin(nowMs: number): void {
    this.#since = nowMs;
    this.#askedAt = undefined;
    this.#told = false;
  }

  #judge(silentMs: number): number | undefined {
    if (this.#told || silentMs <= this.#limitMs(this.#happened.after)) return undefined;
    this.#told = true;
    return silentMs;
  }
}
