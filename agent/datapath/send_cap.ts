/** How much may be sent over a relay: so many bytes a second, and a short burst. @module */
import type { Instant } from "../../core/mod.ts";

/** This much of a second passes at once. */
const BURST_SECONDS = 0.25;
/** The least that passes at once, so that a small cap does not stop large datagrams for ever. */
const BURST_BYTES_MIN = 16_384;

/** A cap on what is sent. */
export class SendCap {
  /** What is left to be sent; `undefined` before the first time, when all of a burst is. */
  #bytes: number | undefined;
  #at: Instant;

  /** Nothing was sent. */
  constructor(now: Instant) {
    this.#at = now;
  }

  /** Whether so many bytes pass now, with this many a second; 0 for no limit. What passes counts. */
  allows(now: Instant, bytesPerSecond: number, bytes: number): boolean {
    if (bytesPerSecond <= 0) return true;
    const most = Math.max(BURST_BYTES_MIN, bytesPerSecond * BURST_SECONDS);
    const left = (this.#bytes ?? most) + (now - this.#at) * bytesPerSecond / 1000;
    this.#bytes = Math.min(most, left);
    this.#at = now;
    // The last run may overdraw: what is owed is waited for.
    if (this.#bytes <= 0) return false;
    this.#bytes -= bytes;
    return true;
  }
}
