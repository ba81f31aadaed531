/** The clocks of this machine. @module */
import type { Clock, Instant } from "../core/mod.ts";

/**
 * The monotonic clock of this thread.
 *
 * Instants of two threads must not be compared: each counts from its own start. On Linux and macOS the clock stands
 * still while the machine sleeps, so a gap against {@linkcode wallClock} tells that it has slept.
 */
export const systemClock: Clock = { now: (): Instant => performance.now() as Instant };

/** Time of day: for certificates, records and people, never for intervals. */
export interface WallClock {
  /** Milliseconds since 1970-01-01T00:00:00Z. Jumps, both ways. */
  unixMs(): number;
}

/** The time of day of this machine. */
export const wallClock: WallClock = { unixMs: (): number => Date.now() };
