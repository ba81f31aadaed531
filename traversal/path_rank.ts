/**
 * Which of two paths is the better one.
 *
 * Each path has a cost in milliseconds: its round trip, and a handicap for what a round trip does not show.
 *
 * ```text
 *  handicap   0  a private address: a neighbour, on a network that nobody else pays for
 *            20  IPv6, which has no NAT to forget us
 *            30  IPv4
 *         5,000  more where answers come another way: what keeps one way open does not keep the other
 *        10,000  more for each relay, which is never better than a direct path
 *       100,000  more for a path that is about to end, which is used where nothing else works
 * ```
 *
 * So a better class wins until it is clearly slower, and the order is total: preferences cannot run in a circle, as they could
 * where class and round trip were compared one after the other. Within a class the gain must be worth a change.
 *
 * @module
 */
import type { PathRecord } from "./path_record.ts";

const PRIVATE_MS = 0;
const IPV6_MS = 20;
const IPV4_MS = 30;
const CROOKED_MS = 5_000;
const RELAY_MS = 10_000;
const LEAVING_MS = 100_000;
/** Assumed for a path whose round trip nobody has measured. */
const UNKNOWN_RTT_MS = 1_000;
/** A change within a class gains at least this, and this share of the present round trip. */
const GAIN_MS_MIN = 5;
const GAIN_SHARE_MIN = 0.25;
/** Round trips that a change within a class is decided on. */
export const SAMPLES_MIN = 3;

/** The handicap of a path in milliseconds, whatever its round trip. */
export function handicapOf(record: PathRecord): number {
  const { relays, leaving, crooked } = record;
  const family = record.family === 6 ? IPV6_MS : IPV4_MS;
  const network = record.private && relays === 0 ? PRIVATE_MS : family;
  return network + (crooked ? CROOKED_MS : 0) + relays * RELAY_MS + (leaving ? LEAVING_MS : 0);
}

/** The cost of a path in milliseconds: less is better. */
export function costOf(record: PathRecord): number {
  return handicapOf(record) + (record.rttFloorMs ?? UNKNOWN_RTT_MS);
}

/** Orders two paths, best first. For `Array.sort`. */
export function comparePaths(a: PathRecord, b: PathRecord): number {
  return costOf(a) - costOf(b);
}

/** Whether a path is of a better class than another and not so slow that this does not matter. */
export function isBetterClass(challenger: PathRecord, current: PathRecord): boolean {
  if (handicapOf(challenger) >= handicapOf(current)) return false;
  // Without a round trip to compare with, the class decides.
  return current.rttFloorMs === undefined || costOf(challenger) < costOf(current);
}

/** Whether a path is so much faster than another of the same or a better class that a change is worth it. */
export function isClearlyFaster(challenger: PathRecord, current: PathRecord): boolean {
  if (challenger.samples < SAMPLES_MIN || current.samples < SAMPLES_MIN) return false;
  const gain = costOf(current) - costOf(challenger);
  return gain > Math.max(GAIN_MS_MIN, GAIN_SHARE_MIN * (current.rttFloorMs ?? 0));
}
