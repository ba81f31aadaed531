import { deepStrictEqual as assertEquals } from "node:assert/strict";
import {
  floorsOf,
  formatSummary,
  percentile,
  ratio,
  slopeOf,
  summarize,
  type Summary,
} from "./statistics.ts";

function summary(runs: readonly (number | null)[]): Summary {
  const result = summarize(runs);
  if (result === undefined) throw new Error("No value");
  return result;
}

Deno.test("summarize takes the middle of odd and even numbers of runs and keeps their order", () => {
  assertEquals(summarize([3, 1, 2]), { median: 2, min: 1, max: 3, runs: [3, 1, 2] });
  assertEquals(summary([4, 1, 2, 3]).median, 2.5);
  assertEquals(summarize([7]), { median: 7, min: 7, max: 7, runs: [7] });
});

Deno.test("summarize leaves failed runs out, and gives nothing where all failed", () => {
  assertEquals(summarize([null, 5, 1]), { median: 3, min: 1, max: 5, runs: [null, 5, 1] });
  assertEquals(summarize([null]), undefined);
  assertEquals(summarize([]), undefined);
});

Deno.test("ratio divides run by run, so that a slow minute falls out", () => {
  assertEquals(ratio(summary([20, 2]), summary([10, 1])), {
    median: 2,
    min: 2,
    max: 2,
    runs: [2, 2],
  });
  assertEquals(ratio(summary([20, null, 9]), summary([10, 1, 3]))?.runs, [2, null, 3]);
  assertEquals(ratio(summary([null, 4]), summary([4, null])), undefined);
});

Deno.test("formatSummary shows the spread where there is one", () => {
  assertEquals(formatSummary(summary([0.5, 0.25, 0.75]), 2), "0.50 (0.25-0.75)");
  assertEquals(formatSummary(summary([0.5]), 2), "0.50");
});

Deno.test("slopeOf is the rise of the best line, and zero where there is no line", () => {
  assertEquals(slopeOf([[0, 1], [1, 3], [2, 5]]), 2);
  assertEquals(slopeOf([[0, 1], [1, 2], [2, 1], [3, 2], [4, 1]]), 0);
  assertEquals(slopeOf([[1, 5]]), 0);
  assertEquals(slopeOf([[1, 5], [1, 9]]), 0);
  assertEquals(slopeOf([]), 0);
});

Deno.test("floorsOf keeps the lowest point of each stretch, so that a sawtooth is flat and a ramp is not", () => {
  const sawtooth = Array.from({ length: 40 }, (_, i) => [i / 10, 5 + (i % 7)] as const);
  assertEquals(slopeOf(floorsOf(sawtooth, 1)), 0);
  assertEquals(floorsOf([[0, 4], [0.5, 3], [1, 5], [1.5, 6]], 1), [[0.5, 3], [1, 5]]);
  assertEquals(floorsOf([], 1), []);
});

Deno.test("percentile is the value that so many do not exceed, failures last", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  assertEquals(percentile(hundred, 0.5), 50);
  assertEquals(percentile(hundred, 0.95), 95);
  assertEquals(percentile([3, Infinity, 1], 0.95), Infinity);
  assertEquals(percentile([3, Infinity, 1], 0.5), 3);
  assertEquals(percentile([], 0.5), NaN);
});
