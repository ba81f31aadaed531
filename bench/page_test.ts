import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  throws as assertThrows,
} from "node:assert/strict";
import { replacePart, section } from "./page.ts";
import { judge } from "./result.ts";
import { summarize } from "./statistics.ts";

Deno.test("replacePart changes what lies between a benchmark's marks, and nothing else", () => {
  const page = "top\n<!-- bench:a -->\nold\n<!-- /bench:a -->\nbottom\n";
  const changed = replacePart(page, "a", "new");
  assertEquals(changed, "top\n<!-- bench:a -->\nnew\n<!-- /bench:a -->\nbottom\n");
  assertEquals(replacePart(changed, "a", "new"), changed);
  assertThrows(() => replacePart(page, "b", "new"), /has no <!-- bench:b -->/);
});

Deno.test("section says where and with what the figures were taken", () => {
  const rate = summarize([5, 7]);
  if (rate === undefined) throw new Error("No figure");
  const moray = { name: "a", title: "moray", ours: true, skipped: null, failures: [] };
  const cases = [{ ...moray, figures: { rate } }];
  const text = section({
    benchmark: "x",
    title: "Speed",
    date: "2026-01-02T03:04:05Z",
    command: "deno task bench:x",
    runs: 2,
    seconds: 1,
    environment: {
      processor: "CPU",
      cores: 2,
      memoryMiB: 4096,
      kernel: "6.1",
      loadAverage: [0.25],
      versions: { moray: "abc", deno: "2" },
    },
    measures: [{ key: "rate", title: "rate", unit: "x", digits: 0 }],
    cases,
    verdicts: [judge({ title: "fast", measure: "rate", ours: "a", atLeast: 5 }, cases)],
    series: [],
  }, { paths: ["p/x.svg"], data: "p/x.json" });
  assertMatch(text, /^## Speed\n\n`deno task bench:x`, 2026-01-02: 2 alternating runs/);
  assertMatch(
    text,
    /CPU, 2 processors, 4 GiB, Linux 6\.1, load average 0\.3 .*moray abc, deno 2\./,
  );
  assertMatch(text, /!\[Speed\]\(p\/x\.svg\)/);
  assertMatch(text, /\| rate, x \| 6 \(5-7\) \|/);
  assertMatch(text, /\| fast \| at least 5 \| 6 \(5-7\) \| yes \|/);
});
