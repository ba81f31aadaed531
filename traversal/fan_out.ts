/**
 * When handshake initiations go out: a schedule that never ends, and windows in which both sides send at once.
 *
 * ```text
 *  start()   0  200  500  1000  2000 ms, every 5 s for 30 s, then after 10 20 40 60 60 ... s, for ever
 *  punch()   every 250 ms for the window
 * ```
 *
 * Each time either a fresh initiation or the latest one again. WireGuard remembers the last two that it made, so where each was
 * fresh, no answer slower than twice the interval would count; and each can be answered only once, so a lost answer needs a
 * fresh one. Fresh ones therefore come after 0.5, 1, 2, 4 s: an answer that takes three seconds still finds its initiation.
 *
 * Only the copy that comes first is answered, the way it came. Where the way to a neighbour leads there and not back (two networks with
 * the same addresses), it uses up every initiation. So in a window every second fresh one is not for neighbours. A NAT that lets
 * everybody in and answers from another port for each is such a way as well: while a guess is under way, every second fresh one is its.
 *
 * @module
 */
import { after, earlier, type Instant } from "../core/mod.ts";
import { TokenBucket } from "./token_bucket.ts";

/** Longest coordinated punch; a longer window is cut. */
export const PUNCH_WINDOW_MS_MAX = 30_000;

/** Waits between the fan-outs of the schedule; the last one repeats for ever. */
const GAPS_MS = [
  ...[200, 300, 500, 1000],
  ...Array<number>(6).fill(5_000),
  ...[10_000, 20_000, 40_000, 60_000],
];
const PUNCH_INTERVAL_MS = 250;
/** WireGuard responders drop initiations of one peer that come within 20 ms, and timestamps are 16 ms coarse. */
const INITIATION_GAP_MS = 50;
/** Time from a fresh initiation to the next; doubles. */
const FRESH_MS_MIN = 500;
const FRESH_MS_MAX = 4_000;
/** Time from a fresh initiation to one of a guess, and where both take turns. */
const BESIDE_MS = 2_000;
const TURN_MS = 1_000;
/** Schedule restarts from outside at once, and the time that gives one back: whoever feeds candidates or hints cannot flood. */
const RESTARTS_MAX = 10;
const RESTART_EVERY_MS = 6_000;

/** One initiation that is due. */
export interface DueInitiation {
  /** Whether it must be a new one; otherwise the latest goes out again. */
  readonly fresh: boolean;
  /** Whether it goes past the neighbours. */
  readonly past: boolean;
}

/** The times of the initiations to one peer. */
export class FanOut {
  /** Position in {@linkcode GAPS_MS}. */
  #step = 0;
  /** When the schedule's next fan-out is due; `undefined` while it rests. */
  #nextAt: Instant | undefined;
  #punch: { nextAt: Instant; readonly until: Instant } | undefined;
  #lastAt: Instant | undefined;
  #freshAt: Instant | undefined;
  #freshMs = FRESH_MS_MIN;
  /** Fresh initiations since the window opened. */
  #made = 0;
  /** Whether a guess is under way. */
  #shared = false;
  /** Whether the last fresh one was not a guess's. */
  #had = false;
  #due: DueInitiation | undefined;
  readonly #restarts: TokenBucket;

  /** A schedule at rest. */
  constructor(now: Instant) {
    this.#restarts = new TokenBucket(now, { most: RESTARTS_MAX, everyMs: RESTART_EVERY_MS });
  }

  /** Restarts from outside that were refused at the limit. */
  get refused(): number {
    return this.#restarts.refused;
  }

  /** Whether anything is still to be sent. */
  get running(): boolean {
    return this.#nextAt !== undefined || this.#punch !== undefined;
  }

  /** Starts the schedule from its beginning, due at `now`. */
  start(now: Instant): void {
    this.#step = 0;
    this.#nextAt = now;
    this.#freshAt = undefined;
  }

  /** As {@linkcode FanOut.start}, at the wish of somebody who may wish often. Returns whether the budget allowed it. */
  restart(now: Instant): boolean {
    if (!this.#restarts.take(now)) return false;
    this.start(now);
    return true;
  }

  /** Opens a window that begins now, or makes the open one longer. A window that is no positive number is ignored. */
  punch(now: Instant, windowMs: number): boolean {
    if (!(windowMs > 0)) return false;
    const until = after(now, Math.min(windowMs, PUNCH_WINDOW_MS_MAX));
    const running = this.#punch?.until ?? until;
    if (this.#punch === undefined) {
      this.#freshAt = undefined;
      this.#made = 0;
    }
    this.#punch = { nextAt: now, until: until > running ? until : running };
    return true;
  }

  /** Stops schedule and window: a handshake has completed. */
  rest(): void {
    this.#nextAt = undefined;
    this.#punch = undefined;
    this.#due = undefined;
  }

  /** Stops the schedule and leaves an open window: the paths answer. */
  calm(): void {
    this.#nextAt = undefined;
  }

  /** Makes what is due so. */
  handleTimeout(now: Instant): void {
    if (this.#punch !== undefined && now > this.#punch.until) this.#punch = undefined;
    const dueAt = this.dueAt();
    if (dueAt === undefined || now < dueAt) return;
    this.#lastAt = now;
    const freshMs = this.#shared && this.#had ? FRESH_MS_MAX : this.#freshMs;
    const fresh = this.#freshAt === undefined || now - this.#freshAt >= freshMs;
    if (fresh) {
      this.#had = true;
      this.#freshMs = this.#freshAt === undefined
        ? FRESH_MS_MIN
        : Math.min(this.#freshMs * 2, FRESH_MS_MAX);
      this.#freshAt = now;
      this.#made++;
    }
    const past = this.#punch !== undefined && this.#made > 0 && this.#made % 2 === 0;
    this.#due = { fresh: fresh || this.#due?.fresh === true, past };
    if (this.#nextAt !== undefined && now >= this.#nextAt) {
      this.#nextAt = after(now, GAPS_MS[this.#step] ?? GAPS_MS.at(-1) ?? 0);
      if (this.#step < GAPS_MS.length) this.#step++;
    }
    if (this.#punch !== undefined && now >= this.#punch.nextAt) {
      this.#punch.nextAt = after(now, PUNCH_INTERVAL_MS);
      if (this.#punch.nextAt > this.#punch.until) this.#punch = undefined;
    }
  }

  /** Takes whether a guess is under way: fresh initiations are its in turns then. */
  share(shared: boolean): void {
    this.#shared = shared;
  }

  /** An initiation goes out beside the schedule. Returns whether it may be a fresh one: one in two seconds or in its turn, away from others. */
  beside(now: Instant): boolean {
    const gapMs = this.#shared && this.#had ? TURN_MS : BESIDE_MS;
    if (this.#freshAt !== undefined && now - this.#freshAt < gapMs) return false;
    if (this.#lastAt !== undefined && now - this.#lastAt < INITIATION_GAP_MS) return false;
    this.#had = false;
    this.#freshAt = now;
    this.#lastAt = now;
    return true;
  }

  /** Takes the initiation that is due. */
  poll(): DueInitiation | undefined {
    const due = this.#due;
    this.#due = undefined;
    return due;
  }

  /** When {@linkcode FanOut.handleTimeout} has something to do; `undefined` for never. */
  dueAt(): Instant | undefined {
    const dueAt = earlier(this.#nextAt, this.#punch?.nextAt);
    if (dueAt === undefined || this.#lastAt === undefined) return dueAt;
    const allowedAt = after(this.#lastAt, INITIATION_GAP_MS);
    return dueAt > allowedAt ? dueAt : allowedAt;
  }
}
