import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { SleepDetector } from "./sleep.ts";

const EVERY_MS = 2000;

function ticks(...clocks: readonly (readonly [number, number])[]): number[] {
  const detector = new SleepDetector(0, 1_000_000);
  return clocks.map(([monotonicMs, wallMs]) =>
    detector.handleTick({ monotonicMs, wallMs: 1_000_000 + wallMs, everyMs: EVERY_MS })
  );
}

Deno.test("SleepDetector notices a suspended machine, whose monotonic clock stood still", () => {
  assertEquals(ticks([2000, 2000], [4000, 604_000], [6000, 606_000]), [0, 600_000, 0]);
});

Deno.test("SleepDetector notices a stopped process, whose clocks both went on", () => {
  assertEquals(ticks([2000, 2000], [94_000, 94_000], [96_000, 96_000]), [0, 90_000, 0]);
});

Deno.test("SleepDetector takes a busy machine and a clock set back for no sleep", () => {
  assertEquals(ticks([6900, 6900], [8900, -3_600_000], [10_900, -3_598_000]), [0, 0, 0]);
});
