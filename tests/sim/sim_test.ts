/** Worlds from seeds: those that failed once, and as many others as there is time for. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { say } from "../support/say.ts";
import { loadEngine } from "./engine_module.ts";
import { runSeeds } from "./run_seeds.ts";
import { scenarioOf } from "./scenario.ts";
import { FAILED_RELAY_SEEDS, FAILED_SEEDS } from "./seeds.ts";
import { formatOutcome, formatSummary } from "./summary.ts";
import { runWorld } from "./world.ts";

/** Seeds of the quick tests, of the full suite, and of the long one. */
const QUICK = 30;
const FULL = 500;
const LONG = 10_000;

/** How many seeds this run is for. */
function runs(): number {
  if (Deno.env.has("MORAY_LONG")) return LONG;
  return Deno.env.has("MORAY_QUICK") ? QUICK : FULL;
}

Deno.test("sim: the same seed twice is the same world, and another seed another", () => {
  const module = loadEngine();
  const hash = (seed: number): string => runWorld(scenarioOf(seed), { module }).hash;
  const first = hash(7);
  assertEquals(hash(7), first);
  assert(hash(8) !== first);
});

Deno.test("sim: every seed keeps the world safe, and every pair that can talks after the healing", async () => {
  const some = Array.from({ length: runs() }, (_, i) => i);
  const again = FAILED_SEEDS.map(({ seed }) => seed).filter((seed) => seed >= some.length);
  const started = performance.now();
  const outcomes = await runSeeds([...again, ...some]);
  say(formatSummary(outcomes, performance.now() - started));
  const failed = outcomes.filter(({ violations }) => violations.length > 0);
  assertEquals(failed.length, 0, failed.slice(0, 10).map(formatOutcome).join("\n"));
});

Deno.test("sim: worlds with relays that failed once", async () => {
  const seeds = FAILED_RELAY_SEEDS.map(({ seed }) => seed);
  const outcomes = await runSeeds(seeds, { relays: true });
  const failed = outcomes.filter(({ violations }) => violations.length > 0);
  assertEquals(failed.map(formatOutcome), []);
  // A world that has lost its relays proves nothing of them.
  assert(outcomes.every(({ relays }) => relays > 0));
});
