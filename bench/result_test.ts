import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { type CaseResult, judge } from "./result.ts";
import { summarize } from "./statistics.ts";

function measured(name: string, runs: readonly number[]): CaseResult {
  const figure = summarize(runs);
  const figures = figure === undefined ? {} : { rate: figure };
  return { name, title: name, ours: name === "ours", skipped: null, failures: [], figures };
}

const CASES = [measured("ours", [4, 6]), measured("theirs", [2, 2]), measured("none", [])];
const RATE = { title: "rate", measure: "rate", ours: "ours" };

Deno.test("judge holds the median of the ratios against the bound", () => {
  const target = { ...RATE, theirs: "theirs" };
  assertEquals(judge({ ...target, atLeast: 2.5 }, CASES).met, true);
  assertEquals(judge({ ...target, atLeast: 2.6 }, CASES).met, false);
  assertEquals(judge({ ...target, atMost: 2.4 }, CASES).met, false);
  assertEquals(judge({ ...target, atLeast: 2 }, CASES).value?.runs, [2, 3]);
});

Deno.test("judge holds the figure itself against the bound where nobody is to be divided by", () => {
  assertEquals(judge({ ...RATE, atMost: 5 }, CASES).met, true);
  assertEquals(judge({ ...RATE, atMost: 4.9 }, CASES).met, false);
});

Deno.test("judge gives no verdict without both sides", () => {
  const { value, met } = judge({ ...RATE, theirs: "none", atLeast: 1 }, CASES);
  assertEquals([value, met], [null, null]);
  assertEquals(judge({ ...RATE, ours: "nobody", atLeast: 1 }, CASES).met, null);
});
