/** How fast a node may do what it does for many peers: a token bucket, and waits that chance makes unequal. Pure. @module */
import { after, type Instant, type Rng } from "../core/mod.ts";

/** A token bucket: so many at once after a rest, then so many per second. */
export class Pace {
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #countedAt: Instant;

  /** A full bucket. Both figures are above 0. */
  constructor(
    now: Instant,
    { perSecond, burst }: {
      /** Tokens that come back each second. */
      readonly perSecond: number;
      /** Most tokens. */
      readonly burst: number;
    },
  ) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#countedAt = now;
  }

  /** Takes a token. Returns false, and takes none, where there is none. */
  take(now: Instant): boolean {
    this.#count(now);
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  /** When the next token is there, `now` at the earliest. */
  nextAt(now: Instant): Instant {
    this.#count(now);
    return this.#tokens >= 1 ? now : after(now, (1 - this.#tokens) / this.#perSecond * 1000);
  }

  #count(now: Instant): void {
    const elapsedMs = Math.max(0, now - this.#countedAt);
    this.#tokens = Math.min(this.#burst, this.#tokens + elapsedMs / 1000 * this.#perSecond);
    this.#countedAt = now;
  }
}

/** A wait that is up to `part` (0 to 1) of `ms` shorter, by chance. */
export function jittered(rng: Rng, ms: number, part: number): number {
  const [high = 0, low = 0] = rng.bytes(2);
  return ms * (1 - part * (high * 256 + low) / 65_536);
}

/** Part of each wait of a {@linkcode Retry} that chance may take away. */
const RETRY_JITTER = 0.25;

/** Something that is done once and again after waits that double, until it is not wanted any more. */
export class Retry {
  readonly #rng: Rng;
  readonly #first: number;
  readonly #longest: number;
  #waitMs: number;
  #at: Instant | undefined;

  /** Waits of `first` to `longest` milliseconds; nothing is due. */
  constructor(rng: Rng, { first, longest }: { readonly first: number; readonly longest: number }) {
    this.#rng = rng;
    this.#first = first;
    this.#longest = longest;
    this.#waitMs = first;
  }

  /** When it is due; `undefined` for never. */
  get at(): Instant | undefined {
    return this.#at;
  }

  /** Is due at `now`, and waits from the beginning afterwards. */
  begin(now: Instant): void {
    this.#waitMs = this.#first;
    this.#at = now;
  }

  /** Is due after the next wait, unless it is already due earlier. */
  later(now: Instant): void {
    if (this.#at !== undefined) return;
    this.#at = after(now, jittered(this.#rng, this.#waitMs, RETRY_JITTER));
    this.#waitMs = Math.min(this.#waitMs * 2, this.#longest);
  }

  /** Is due after the longest wait. */
  rarely(now: Instant): void {
    this.#at = after(now, jittered(this.#rng, this.#longest, RETRY_JITTER));
  }

  /** Is not wanted any more. */
  end(): void {
    this.#waitMs = this.#first;
    this.#at = undefined;
  }

  /** Returns whether it is due; then it is not any more. */
  take(now: Instant): boolean {
    if (this.#at === undefined || now < this.#at) return false;
    this.#at = undefined;
    return true;
  }
}
