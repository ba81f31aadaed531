import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../../core/mod.ts";
import { EpochClock } from "./epoch.ts";

/** Offers pairs of our time and the gateway's, both in seconds. */
function verdicts(...pairs: readonly (readonly [ours: number, theirs: number])[]): boolean[] {
  const clock = new EpochClock();
  return pairs.map(([ours, theirs]) => clock.handle(ours * 1000 as Instant, theirs));
}

Deno.test("EpochClock trusts a clock that runs with ours", () => {
  assertEquals(verdicts([0, 1000], [60, 1060], [3660, 4660], [3660, 4659]), Array(4).fill(true));
});

Deno.test("EpochClock bears what RFC 6887 section 8.5 bears: a second back, two seconds and a sixteenth off", () => {
  assertEquals(verdicts([0, 1000], [0, 999]), [true, true]);
  assertEquals(verdicts([0, 1000], [0, 998]), [true, false]);
  assertEquals(verdicts([0, 0], [1600, 1502]), [true, true]);
  assertEquals(verdicts([0, 0], [1600, 1490]), [true, false]);
  assertEquals(verdicts([0, 0], [1600, 1700]), [true, true]);
  assertEquals(verdicts([0, 0], [1600, 1720]), [true, false]);
});

Deno.test("EpochClock tells a reset once, then follows the new clock", () => {
  assertEquals(verdicts([0, 5000], [60, 3], [120, 63], [180, 123]), [true, false, true, true]);
});
