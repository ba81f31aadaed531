/**
 * When to have Discovery punch towards which peers: at once, then after 2, 4, 8 ... 60 s, for ever; bounded in all. Pure.
 *
 * @module
 */
import { after, earlier, type Instant, type Rng } from "../core/mod.ts";
import { jittered, Pace } from "./pace.ts";

/** First wait after a punch; doubles up to the second. */
const RETRY_MS = 2000;
const RETRY_MS_MAX = 60_000;
/** Part of each wait that chance may take away. */
const RETRY_JITTER = 0.25;
/** Least time between two punches towards one peer: Discovery admits no more. */
const PUNCH_GAP_MS = 2000;
/** Punches under way at once; more wait. */
export const PUNCHES_UNDER_WAY_MAX = 8;
/** Punches that one node starts: a quarter of what Discovery admits for a whole mesh. */
const PUNCH_PACE = { perSecond: 50, burst: 16 };

/** One peer that is not reached directly. */
interface Wish {
  readonly publicKey: string;
  at: Instant;
  retryMs: number;
  underWay: boolean;
}

/** What is remembered of a peer's last punch. */
interface Last {
  readonly at: Instant;
  /** Discovery tells of the same punch by answer and by stream. */
  readonly punchId: string;
}

/** The punches of one node; as many peers as its owner has. */
export class Puncher {
  readonly #rng: Rng;
  readonly #pace: Pace;
  readonly #wishes = new Map<string, Wish>();
  readonly #last = new Map<string, Last>();
  #underWay = 0;

  /** A puncher without a wish. */
  constructor(now: Instant, rng: Rng) {
    this.#rng = rng;
    this.#pace = new Pace(now, PUNCH_PACE);
  }

  /** Whether a punch towards a peer is wanted. */
  wants(publicKey: string): boolean {
    return this.#wishes.has(publicKey);
  }

  /** Wants a punch at `at`, or as soon afterwards as Discovery admits it, and counts the waits from the beginning. */
  soon(publicKey: string, at: Instant): void {
    const last = this.#last.get(publicKey);
    const allowedAt = last === undefined ? at : after(last.at, PUNCH_GAP_MS);
    const next = at > allowedAt ? at : allowedAt;
    const wish = this.#wishes.get(publicKey);
    if (wish === undefined) {
      const fresh = { publicKey, at: next, retryMs: RETRY_MS, underWay: false };
      this.#wishes.set(publicKey, fresh);
      return;
    }
    wish.retryMs = RETRY_MS;
    if (next < wish.at) wish.at = next;
  }

  /** Wants no more: the peer is reached directly. */
  done(publicKey: string): void {
    const wish = this.#wishes.get(publicKey);
    if (wish?.underWay === true) this.#underWay--;
    this.#wishes.delete(publicKey);
  }

  /** Forgets a peer. */
  forget(publicKey: string): void {
    this.done(publicKey);
    this.#last.delete(publicKey);
  }

  /** Takes the next peer to punch towards now; {@linkcode Puncher.answered} must follow. `undefined` if none is due. */
  take(now: Instant): string | undefined {
    if (this.#underWay >= PUNCHES_UNDER_WAY_MAX) return undefined;
    for (const wish of this.#wishes.values()) {
      if (wish.underWay || now < wish.at) continue;
      if (!this.#pace.take(now)) return undefined;
      wish.underWay = true;
      this.#underWay++;
      this.#last.set(wish.publicKey, { at: now, punchId: "" });
      return wish.publicKey;
    }
    return undefined;
  }

  /** The punch that was taken is over or has failed: the next one waits longer. */
  answered(publicKey: string, now: Instant): void {
    const wish = this.#wishes.get(publicKey);
    if (wish?.underWay !== true) return;
    wish.underWay = false;
    this.#underWay--;
    wish.at = after(now, jittered(this.#rng, wish.retryMs, RETRY_JITTER));
    wish.retryMs = Math.min(wish.retryMs * 2, RETRY_MS_MAX);
  }

  /** Takes part in a punch, whoever asked for it: none of our own before its window is over. Returns false for a known one. */
  joined(
    publicKey: string,
    { now, punchId, windowMs }: {
      readonly now: Instant;
      readonly punchId: string;
      readonly windowMs: number;
    },
  ): boolean {
    if (this.#last.get(publicKey)?.punchId === punchId) return false;
    this.#last.set(publicKey, { at: now, punchId });
    const wish = this.#wishes.get(publicKey);
    const over = after(now, windowMs);
    if (wish !== undefined && wish.at < over) wish.at = over;
    return true;
  }

  /** When {@linkcode Puncher.take} may give a peer. */
  pollTimeout(now: Instant): Instant | undefined {
    if (this.#underWay >= PUNCHES_UNDER_WAY_MAX) return undefined;
    let at: Instant | undefined;
    for (const wish of this.#wishes.values()) if (!wish.underWay) at = earlier(at, wish.at);
    if (at === undefined) return undefined;
    const allowedAt = this.#pace.nextAt(now);
    return at > allowedAt ? at : allowedAt;
  }
}
