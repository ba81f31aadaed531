/**
 * Tells from a gateway's clock whether it has lost its mappings.
 *
 * Every answer says how long ago the gateway's state began. If that does not run as our own clock does, the gateway has
 * been reset in between (RFC 6887 section 8.5, RFC 6886 section 3.6).
 *
 * @module
 */
import type { Instant } from "../../core/mod.ts";

/** A gateway's clock as seen from here. */
export class EpochClock {
  #seen: { readonly epoch: number; readonly at: Instant } | undefined;

  /**
   * Takes a gateway's epoch time in seconds. Returns whether the gateway still knows what it knew when it was heard
   * last: true at the first time.
   */
  handle(now: Instant, epoch: number): boolean {
    const before = this.#seen;
    this.#seen = { epoch, at: now };
    if (before === undefined) return true;
    // One second back is a datagram that overtook another.
    if (epoch + 1 < before.epoch) return false;
    const ours = (now - before.at) / 1000;
    const theirs = epoch - before.epoch;
    return ours + 2 >= theirs - theirs / 16 && theirs + 2 >= ours - ours / 16;
  }
}
