/**
 * A link and what it does to packets, each direction by itself.
 *
 * Loss is Gilbert's model: in the bad state everything is lost, and the mean stay there is the mean length of a burst.
 * Packets keep their order unless reordering holds one back.
 *
 * @module
 */
import { after, type Instant } from "../../../core/mod.ts";
import type { Chance } from "../random.ts";

/** What a link is like, in each direction alike. */
export interface LinkQuality {
  /** One way, in milliseconds. */
  readonly delayMs: number;
  /** Added to the delay, uniformly from 0. */
  readonly jitterMs: number;
  /** Share of packets lost. */
  readonly loss: number;
  /** Mean length of a burst of losses, in packets; at least 1. */
  readonly burst: number;
  /** Share of packets held back. */
  readonly reorder: number;
  /** How long one is held back, in milliseconds. */
  readonly reorderMs: number;
  /** Share of packets that arrive twice. */
  readonly duplicate: number;
  /** Largest IP packet. */
  readonly mtu: number;
  /** Whether a router in front of the link says which packets are too big. */
  readonly icmp: boolean;
}

/** Which way a packet goes: towards the Internet, or away from it. */
export type Direction = "up" | "down";

/** A link that does nothing to packets. */
export const PERFECT: LinkQuality = {
  delayMs: 0,
  jitterMs: 0,
  loss: 0,
  burst: 1,
  reorder: 0,
  reorderMs: 0,
  duplicate: 0,
  mtu: 1500,
  icmp: true,
};

/** What becomes of a packet: when it arrives, maybe twice, or why it does not. */
export type Transit = readonly Instant[] | "tooBig";

const LOST: readonly Instant[] = [];

/** A link. */
export class Link {
  /** May be changed while packets are on their way: they keep what they have met. */
  quality: LinkQuality;
  /** Directions in which nothing passes. */
  readonly dead = new Set<Direction>();
  readonly #chance: Chance;
  readonly #bad = { up: false, down: false };
  readonly #lastAt = { up: 0, down: 0 };

  /** A link with a quality. */
  constructor(quality: LinkQuality, chance: Chance) {
    this.quality = quality;
    this.#chance = chance;
  }

  /** Sends a packet of `bytes` and says what becomes of it. */
  carry(now: Instant, direction: Direction, bytes: number): Transit {
    const { mtu, duplicate } = this.quality;
    if (this.dead.has(direction)) return LOST;
    if (bytes > mtu) return "tooBig";
    if (this.#loses(direction)) return LOST;
    const at = this.#arrival(now, direction);
    if (duplicate === 0 || !this.#chance.chance(duplicate)) return [at];
    return [at, this.#arrival(now, direction)];
  }

  #loses(direction: Direction): boolean {
    const { loss, burst } = this.quality;
    if (loss === 0) return false;
    // Stationary share of the bad state is enter / (enter + leave) = loss.
    const leave = 1 / burst;
    const enter = Math.min(1, leave * loss / (1 - loss));
    const bad = this.#bad[direction] ? !this.#chance.chance(leave) : this.#chance.chance(enter);
    this.#bad[direction] = bad;
    return bad;
  }

  #arrival(now: Instant, direction: Direction): Instant {
    const { delayMs, jitterMs, reorder, reorderMs } = this.quality;
    const jitter = jitterMs === 0 ? 0 : this.#chance.between(0, jitterMs);
    const at = after(now, delayMs + jitter);
    if (reorder > 0 && this.#chance.chance(reorder)) return after(at, reorderMs);
    const ordered = Math.max(at, this.#lastAt[direction]) as Instant;
    this.#lastAt[direction] = ordered;
    return ordered;
  }
}
