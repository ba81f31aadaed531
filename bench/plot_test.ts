import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { barChart, lineChart } from "./plot.ts";
import type { BenchmarkResult, CaseResult } from "./result.ts";
import { summarize } from "./statistics.ts";
import { EMPTY_RESULT } from "./testing/result.ts";

function measured(title: string, runs: readonly number[]): CaseResult {
  const rate = summarize(runs);
  const figures = rate === undefined ? {} : { rate };
  return { name: title, title, ours: title === "a", skipped: null, failures: [], figures };
}

const RESULT: BenchmarkResult = {
  ...EMPTY_RESULT,
  title: "A < B & C",
  measures: [
    { key: "rate", title: "rate", unit: "x", digits: 0, better: "more", group: "g" },
    { key: "rate", title: "not plotted", unit: "x", digits: 0 },
  ],
  cases: [measured("a", [100]), measured("b", [50]), measured("none", [])],
};

function widths(svg: string): number[] {
  return [...svg.matchAll(/<rect class="(?:ours|theirs)"[^>]* width="([\d.]+)"/g)]
    .map(([, width]) => Number(width));
}

Deno.test("barChart draws a bar for each case that has a figure, as long as the figure is large", () => {
  const svg = barChart(RESULT) ?? "";
  const [a = 0, b = 0, ...more] = widths(svg);
  assertEquals(more, []);
  assert(a > 0 && Math.abs(a / b - 2) < 0.01, `${a} is twice ${b}`);
  assertMatch(svg, /<title>A &lt; B &amp; C<\/title>/);
  assert(!svg.includes("not plotted"));
  assert(!svg.includes('spread" x1'), "one run has no spread");
});

Deno.test("barChart shows the spread of several runs", () => {
  const svg = barChart({ ...RESULT, cases: [measured("a", [80, 100, 90])] }) ?? "";
  assertEquals([...svg.matchAll(/class="spread" x1/g)].length, 1);
  assertMatch(svg, />90 \(80-100\)</);
});

Deno.test("barChart and lineChart are absent where there is nothing to draw", () => {
  assertEquals(barChart({ ...RESULT, cases: [] }), undefined);
  assertEquals(lineChart("x", { series: [], axes: { x: "min", y: "MiB" } }), undefined);
});

Deno.test("lineChart draws each series with its name, zero at the bottom", () => {
  const series = [{ title: "a", points: [[0, 0], [1, 10]] }, {
    title: "b",
    points: [[0, 5]],
  }] as const;
  const svg = lineChart("memory", { series, axes: { x: "min", y: "MiB" } }) ?? "";
  const lines = [...svg.matchAll(/<polyline[^>]* points="([^"]*)"/g)].map(([, points]) => points);
  assertEquals(lines.length, 2);
  const [[, bottom = 0] = [], [, top = 0] = []] = (lines[0] ?? "").split(" ")
    .map((point) => point.split(",").map(Number));
  assert(bottom > top, "larger values are higher up");
  assertMatch(svg, />a<\/text>/);
});
