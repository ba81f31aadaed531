import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { BenchmarkResult, CaseResult } from "./result.ts";
import { summarize } from "./statistics.ts";
import { figureRows, markdownTable, plainTable, remarks, verdictRows } from "./table.ts";
import { EMPTY_RESULT } from "./testing/result.ts";

const figure = summarize([1, 3]) ?? (() => {
  throw new Error("No figure");
})();
const A: CaseResult = {
  name: "a",
  title: "moray",
  ours: true,
  skipped: null,
  failures: ["gave up"],
  figures: { rate: figure },
};
const B: CaseResult = { ...A, name: "b", title: "other", skipped: "needs x", failures: [] };
const RESULT: BenchmarkResult = {
  ...EMPTY_RESULT,
  measures: [
    { key: "rate", title: "rate", unit: "Mbit/s", digits: 1 },
    { key: "none", title: "never measured", unit: "", digits: 0 },
  ],
  cases: [A, B],
};

Deno.test("figureRows has measures as rows and what was measured as columns", () => {
  assertEquals(figureRows(RESULT), [["", "moray"], ["rate, Mbit/s", "2.0 (1.0-3.0)"]]);
  const both = { ...RESULT, cases: [A, { ...B, skipped: null, figures: {} }] };
  assertEquals(figureRows(both)[1], ["rate, Mbit/s", "2.0 (1.0-3.0)", "-"]);
});

Deno.test("verdictRows says what was wanted, what came out, and whether it is enough", () => {
  const target = { title: "fast", measure: "rate", ours: "a" };
  const rows = verdictRows([
    { ...target, theirs: "b", atLeast: 2, value: figure, met: true },
    { ...target, atMost: 1, value: figure, met: false },
    { ...target, theirs: "b", atLeast: 1, value: null, met: null },
  ], RESULT.measures);
  assertEquals(rows.slice(1), [
    ["fast", "at least 2", "2.00 (1.00-3.00)", "yes"],
    ["fast", "at most 1", "2.0 (1.0-3.0)", "no"],
    ["fast", "at least 1", "-", "-"],
  ]);
});

Deno.test("remarks name what was left out and what failed", () => {
  assertEquals(remarks(RESULT), ["moray: a run failed: gave up", "other is left out: needs x"]);
});

Deno.test("tables come as aligned text and as Markdown", () => {
  const rows = [["", "a"], ["long", "x|y"]];
  assertEquals(plainTable(rows), "      a\nlong  x|y");
  assertEquals(markdownTable(rows), "|  | a |\n|---|---|\n| long | x\\|y |");
});
