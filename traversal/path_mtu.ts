/**
 * Finds the largest inner packet that a path carries, by padded probes (after RFC 8899).
 *
 * ```text
 *                start()                 every size of the ladder answered or given up        neighbours within 16 bytes
 *  resting -----------------> ladder -------------------------------------------------> bisect ------------------------> settled
 *                               ^                                                                                           |
 *                               +-------------------------------------------------------------------------------------------+
 *                                 the size in use is not answered any more; a hint; 10 minutes below the largest size
 * ```
 *
 * The ladder's sizes go out together, so that one round trip tells the usable size nearly, and an answer to a larger size
 * also speaks for the smaller ones. A size is given up after {@linkcode TRIES_MAX} probes without an answer, and only if the path
 * itself answered meanwhile: a dead path says nothing about sizes. A hint ("packet too big", which anybody may forge)
 * starts a search and decides nothing.
 *
 * Sizes count inner packets in bytes. The datagram is larger by 60 bytes on IPv4 and 80 on IPv6, and probes are never split.
 *
 * @module
 */
import { after, type Family, type Instant } from "../core/mod.ts";

/** Options of {@linkcode MtuSearch}. */
export interface MtuSearchOptions {
  /** Largest inner packet that this node ever sends. */
  readonly max: number;
  /** The family of the datagrams outside. */
  readonly family: Family;
}

/** Inner packets that every path is asked to carry: a 576-byte datagram of IPv4, less everything around. */
export const MTU_FLOOR = 512;
/** Assumed while nothing was measured: what every IPv6 link carries inside. */
export const MTU_ASSUMED = 1280;
/** Headers of IP, UDP and WireGuard around an inner packet. */
export const OUTER_BYTES = { 4: 20 + 8 + 32, 6: 40 + 8 + 32 } as const;
/** A search ends where the size that passes and the one that does not are this close. */
const CLOSE_BYTES = 16;
/** Probes of one size before it is given up. */
export const TRIES_MAX = 3;
/** How long a probe of a size is waited for, at least; twice the round trip if that is longer. */
const WAIT_MS_MIN = 300;
const WAIT_MS_MAX = 3_000;
/** The size in use is tried again this long after it last passed, while there is traffic. */
const CONFIRM_MS = 5_000;
/** Larger sizes are tried again after this. */
const RAISE_MS = 600_000;
/** A search in which the path did not answer at all is repeated after this. */
const RETRY_MS = 10_000;
/** Hints are listened to this often. */
const HINT_MS = 10_000;
/** IP packets that real networks carry at most: Ethernet, PPPoE, tunnels in tunnels, the least of IPv6, and narrower. */
const OUTER_MTUS = [1500, 1492, 1420, 1360, 1280, 1124, 800];

interface Try {
  readonly bytes: number;
  count: number;
  sentAt: Instant | undefined;
}

/** Which sizes one path carries. */
export class MtuSearch {
  readonly #max: number;
  readonly #family: Family;
  #phase: "resting" | "ladder" | "bisect" | "settled" = "resting";
  /** Largest size answered. */
  #low = 0;
  /** Smallest size given up. */
  #high: number;
  /** Sizes asked for now, largest first. */
  #tries: readonly Try[] = [];
  #startedAt: Instant | undefined;
  #aliveAt: Instant | undefined;
  #confirmedAt: Instant | undefined;
  #settledAt: Instant | undefined;
  #hintedAt: Instant | undefined;
  #mtu: number;

  /** A path of which nothing is known. */
  constructor({ max, family }: MtuSearchOptions) {
    this.#max = Math.max(MTU_FLOOR, max);
    this.#family = family;
    this.#high = this.#max + 1;
    this.#mtu = Math.min(this.#max, MTU_ASSUMED);
  }

  /** Largest inner packet to send now. */
  get mtu(): number {
    return this.#mtu;
  }

  /** Whether the size was measured. */
  get settled(): boolean {
    return this.#phase === "settled";
  }

  /** Begins to measure, unless that is done or under way. */
  start(now: Instant): void {
    if (this.#phase === "resting") this.#climb(now, []);
  }

  /** Forgets what was measured. */
  forget(): void {
    this.#phase = "resting";
    this.#tries = [];
    this.#low = 0;
    this.#high = this.#max + 1;
    this.#mtu = Math.min(this.#max, MTU_ASSUMED);
    this.#hintedAt = undefined;
  }

  /** Takes the hint that datagrams of `outerMtu` bytes of IP pass at most, and measures. */
  hint(now: Instant, outerMtu: number): void {
    const bytes = this.#innerOf(outerMtu);
    if (!(bytes >= MTU_FLOOR && bytes < this.#mtu) || this.#phase === "resting") return;
    if (this.#hintedAt !== undefined && now - this.#hintedAt < HINT_MS) return;
    this.#hintedAt = now;
    this.#climb(now, [this.#mtu, bytes]);
  }

  /** The path answered something that went out at `sentAt`. */
  alive(sentAt: Instant): void {
    if (this.#aliveAt === undefined || sentAt > this.#aliveAt) this.#aliveAt = sentAt;
  }

  /** A probe of `bytes` was answered. */
  answered(now: Instant, bytes: number): void {
    if (bytes > this.#max) return;
    if (bytes >= this.#high) this.#high = this.#max + 1;
    this.#low = Math.max(this.#low, bytes);
    if (bytes >= this.#mtu) {
      this.#mtu = bytes;
      this.#confirmedAt = now;
    }
    this.#tries = this.#tries.filter((size) => size.bytes > bytes);
    this.#advance(now);
  }

  /** When {@linkcode MtuSearch.poll} has something to say; `undefined` for never. */
  dueAt({ rttMs, sentAt }: MtuClues): Instant | undefined {
    if (this.#phase === "resting") return undefined;
    const wait = waitMs(rttMs);
    let at: Instant | undefined;
    for (const { sentAt: triedAt } of this.#tries) {
      const due = triedAt === undefined ? this.#startedAt : after(triedAt, wait);
      if (due !== undefined && (at === undefined || due < at)) at = due;
    }
    if (at !== undefined || this.#settledAt === undefined) return at;
    const raiseAt = this.#low < this.#max ? after(this.#settledAt, RAISE_MS) : undefined;
    const confirmAt = this.#confirmAt(sentAt);
    if (raiseAt === undefined || confirmAt === undefined) return raiseAt ?? confirmAt;
    return raiseAt < confirmAt ? raiseAt : confirmAt;
  }

  /** Takes the size of the next probe that is due; `undefined` for none. Ask until then. */
  poll(now: Instant, clues: MtuClues): number | undefined {
    if (this.#phase === "resting") return undefined;
    if (this.#phase === "settled" && this.#tries.length === 0) {
      const confirmAt = this.#confirmAt(clues.sentAt);
      if (
        this.#low < this.#max && this.#settledAt !== undefined &&
        now >= after(this.#settledAt, RAISE_MS)
      ) {
        this.#high = this.#max + 1;
        this.#climb(now, [this.#mtu]);
      } else if (confirmAt !== undefined && now >= confirmAt) {
        this.#startedAt = now;
        // The small one tells a path that is dead from one that has become narrow.
        const sizes = this.#mtu > MTU_FLOOR ? [this.#mtu, MTU_FLOOR] : [this.#mtu];
        this.#tries = sizes.map((bytes) => ({ bytes, count: 0, sentAt: undefined }));
      } else return undefined;
    }
    if (this.#startedAt !== undefined && now < this.#startedAt) return undefined;
    const wait = waitMs(clues.rttMs);
    for (const size of this.#tries) {
      if (size.sentAt !== undefined && now < after(size.sentAt, wait)) continue;
      if (size.count === TRIES_MAX) {
        this.#giveUp(now);
        return this.poll(now, clues);
      }
      size.count++;
      size.sentAt = now;
      return size.bytes;
    }
    return undefined;
  }

  #confirmAt(sentAt: Instant | undefined): Instant | undefined {
    if (sentAt === undefined || this.#confirmedAt === undefined) return undefined;
    const at = after(this.#confirmedAt, CONFIRM_MS);
    // Only sizes that are used need to be watched.
    return sentAt > this.#confirmedAt ? (at > sentAt ? at : sentAt) : undefined;
  }

  /** Every size whose tries are used up. */
  #giveUp(now: Instant): void {
    const [largest] = this.#tries;
    const startedAt = this.#startedAt;
    const spent = this.#tries.filter(({ count }) => count === TRIES_MAX);
    this.#tries = this.#tries.filter(({ count }) => count < TRIES_MAX);
    const alive = this.#aliveAt !== undefined && startedAt !== undefined &&
      this.#aliveAt >= startedAt;
    if (largest === undefined) return;
    if (!alive) {
      // Nothing passed, small or large: ask again when the path may be back.
      if (this.#tries.length > 0 || this.#phase === "settled") return;
      return this.#rest(after(now, RETRY_MS));
    }
    for (const { bytes } of spent) {
      this.#high = Math.min(this.#high, bytes);
      if (this.#low >= bytes) this.#low = 0;
    }
    if (this.#phase === "settled" || this.#low === 0 && this.#phase === "bisect") {
      // What has passed until now does not any more: from the ladder's top that is left.
      return this.#climb(now, []);
    }
    this.#advance(now);
  }

  /** Repeats the search at an instant. */
  #rest(at: Instant): void {
    this.#low = 0;
    this.#climb(at, []);
  }

  /** Asks for the sizes of the ladder that are still possible, and for more. */
  #climb(at: Instant, more: readonly number[]): void {
    const sizes = [
      ...OUTER_MTUS.map((mtu) => this.#innerOf(mtu)),
      this.#max,
      MTU_ASSUMED,
      MTU_FLOOR,
    ];
    this.#phase = "ladder";
    this.#startedAt = at;
    if (more.length > 0) this.#low = 0;
    if (this.#low >= this.#high) this.#low = 0;
    const possible = [...sizes, ...more].filter((bytes) =>
      bytes > this.#low && bytes < this.#high && bytes >= MTU_FLOOR && bytes <= this.#max
    );
    this.#tries = [...new Set(possible)].sort((a, b) => b - a)
      .map((bytes) => ({ bytes, count: 0, sentAt: undefined }));
    if (this.#tries.length === 0) this.#advance(at);
  }

  #advance(now: Instant): void {
    const wasConfirming = this.#phase === "settled";
    if (this.#tries.length > 0) {
      // Larger sizes may still pass. A smaller one is used once the present one is known not to.
      const tooLarge = this.#high <= this.#mtu && this.#low > 0;
      if (this.#low > this.#mtu || tooLarge) this.#mtu = this.#low;
      return;
    }
    if (wasConfirming) return;
    if (this.#low === 0) {
      // Not even the floor passed while small probes did: no path is that narrow, so it was loss.
      this.#high = this.#max + 1;
      return this.#rest(after(now, RETRY_MS));
    }
    this.#mtu = this.#low;
    const high = Math.min(this.#high, this.#max + 1);
    if (this.#low < this.#max && high - this.#low > CLOSE_BYTES) {
      const middle = Math.floor((this.#low + high) / 2);
      this.#phase = "bisect";
      this.#startedAt = now;
      // What passed before tells a path that is dead, or narrower by now, from one that is just too narrow for more.
      this.#tries = [middle, this.#low].map((bytes) => ({ bytes, count: 0, sentAt: undefined }));
      return;
    }
    this.#phase = "settled";
    this.#settledAt = now;
    this.#confirmedAt = now;
  }

  #innerOf(outerMtu: number): number {
    const bytes = outerMtu - OUTER_BYTES[this.#family];
    return Math.min(bytes, this.#max);
  }
}

/** What a search must know of its path. */
export interface MtuClues {
  /** The path's round trip, smoothed; `undefined` until measured. */
  readonly rttMs: number | undefined;
  /** When data last went out over it; `undefined` for never. */
  readonly sentAt: Instant | undefined;
}

function waitMs(rttMs: number | undefined): number {
  return Math.min(Math.max(WAIT_MS_MIN, 2 * (rttMs ?? 0) + 100), WAIT_MS_MAX);
}
