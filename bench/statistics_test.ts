import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { formatSummary, summarize } from "./statistics.ts";

Deno.test("summarize takes the middle of odd and even numbers of runs and keeps their order", () => {
  assertEquals(summarize([3, 1, 2]), { median: 2, min: 1, max: 3, runs: [3, 1, 2] });
  assertEquals(summarize([4, 1, 2, 3]).median, 2.5);
  assertEquals(summarize([7]), { median: 7, min: 7, max: 7, runs: [7] });
  assertEquals(formatSummary(summarize([0.5, 0.25, 0.75]), 2), "0.50 (0.25-0.75)");
});
