/**
 * What a node remembers of its Watch streams, from one to the next: which peers it was told of, and how often a stream has
 * failed. Pure.
 *
 * ```text
 *   begun --upserted--> ... --completed--> live --upserted, removed--> ... --broke--> wait --> begun
 *          what is there now      what was not named is gone
 * ```
 *
 * @module
 */
import type { DiscoveredPeer } from "./peer.ts";

/** First wait before a stream is opened again; it doubles up to {@linkcode BACKOFF_MAX_MS}. */
export const BACKOFF_MIN_MS = 250;
/** Longest wait before a stream is opened again. */
export const BACKOFF_MAX_MS = 15_000;
/** Silence after which a stream counts as dead: more than two heartbeats of the default. */
export const SILENCE_MAX_MS = 40_000;

/** The memory of one watch. */
export class WatchRecord {
  /** Generation of each node told of as present. */
  readonly #known = new Map<string, number>();
  /** Nodes told of by this stream before its snapshot was complete; `undefined` after it. */
  #snapshot: Set<string> | undefined;
  #connected: boolean | undefined;
  #failures = 0;

  /** A stream begins. */
  begin(): void {
    this.#snapshot = new Set();
  }

  /** A node is there. Returns whether that, or what is told of it, is news. */
  upserted({ publicKey, generation }: Pick<DiscoveredPeer, "publicKey" | "generation">): boolean {
    this.#snapshot?.add(publicKey);
    const known = this.#known.get(publicKey);
    if (known === generation) return false;
    // A change may come after the snapshot that holds a later one. A snapshot itself is right: another replica's clock
    // may be behind.
    if (known !== undefined && known > generation && this.#snapshot === undefined) return false;
    this.#known.set(publicKey, generation);
    return true;
  }

  /** A node is there, and nothing of what was told of it counts. */
  named(publicKey: string): void {
    this.#snapshot?.add(publicKey);
  }

  /** A node is gone. Returns whether that is news. */
  removed(publicKey: string): boolean {
    return this.#known.delete(publicKey);
  }

  /** The first part of a stream is over. Returns who is gone: whom a snapshot did not name. One that was `resumed` is none. */
  completed(resumed: boolean): readonly string[] {
    const present = this.#snapshot ?? new Set<string>();
    this.#snapshot = undefined;
    if (resumed) return [];
    const gone = [...this.#known.keys()].filter((publicKey) => !present.has(publicKey));
    for (const publicKey of gone) this.#known.delete(publicKey);
    return gone;
  }

  /** The stream stands. Returns whether that is news. */
  stands(): boolean {
    const news = this.#connected !== true;
    this.#connected = true;
    return news;
  }

  /** The stream was given up for a new one at once. */
  renewed(): void {
    this.#failures = 0;
  }

  /** The stream is over, or never stood. */
  ended({ live }: { readonly live: boolean }): void {
    this.#connected = false;
    if (live) this.#failures = 0;
  }

  /** How long to wait before the next one, in milliseconds. `random`: from 0 to below 1. */
  waitMs(random: number, leastMs = BACKOFF_MIN_MS): number {
    const backoffMs = leastMs * 2 ** Math.min(this.#failures++, 16);
    return Math.min(BACKOFF_MAX_MS, backoffMs) * (0.5 + random / 2);
  }
}
