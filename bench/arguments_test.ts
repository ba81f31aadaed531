import { deepStrictEqual as assertEquals, throws as assertThrows } from "node:assert/strict";
import { helpText, parseArguments } from "./arguments.ts";

const DEFAULTS = { runs: 5, seconds: 4, cases: ["a", "b", "c"] };

Deno.test("parseArguments gives the defaults, and what was asked for", () => {
  const fallback = { ...DEFAULTS, links: [], json: false, binary: false };
  assertEquals(parseArguments([], DEFAULTS), fallback);
  const args = ["--runs", "1", "--seconds=2", "--json", "--binary", "--cases", "c,a"];
  const expected = { runs: 1, seconds: 2, json: true, binary: true, cases: ["a", "c"], links: [] };
  assertEquals(parseArguments(args, DEFAULTS), expected);
});

Deno.test("parseArguments chooses links where there are some", () => {
  const defaults = { ...DEFAULTS, links: ["x", "y"] };
  assertEquals(parseArguments([], defaults).links, ["x", "y"]);
  assertEquals(parseArguments(["--links", "y"], defaults).links, ["y"]);
  assertThrows(() => parseArguments(["--links", "z"], defaults), /--links: there is no z/);
});

Deno.test("parseArguments says what is wrong", () => {
  for (
    const [args, message] of [
      [["--runs", "0"], /--runs takes a whole number from 1 to 100, not 0/],
      [["--runs", "x"], /--runs takes/],
      [["--seconds", "9999"], /--seconds takes/],
      [["--cases", "d"], /there is no d; there are a, b, c/],
      [["--cases", ","], /names none/],
      [["--links", "a"], /has no links/],
      [["--what"], /--what/],
      [["extra"], /extra/],
    ] as const
  ) assertThrows(() => parseArguments(args, DEFAULTS), message);
});

Deno.test("helpText names every flag that parseArguments takes", () => {
  const defaults = { ...DEFAULTS, links: ["x", "y"] };
  const flags = helpText(defaults).match(/--[a-z]+/g);
  assertEquals(flags, ["--runs", "--seconds", "--cases", "--links", "--json", "--binary"]);
  for (const flag of ["--json", "--binary"]) parseArguments([flag], defaults);
  assertEquals(helpText(DEFAULTS).includes("--links"), false);
});
