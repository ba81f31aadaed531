/**
 * `deno task sim`: worlds from seeds.
 *
 *     deno task sim --seed N [--verbose]        one world; --verbose tells what happens in it
 *     deno task sim --runs N [--from S]         N worlds from seed S on (0), on every processor
 *                    [--expect NAME,...]        also what is not expected yet (expectations.ts)
 *     ... [--relays]                            the same worlds with their relays
 *
 * @module
 */
import { say } from "../support/say.ts";
import { loadEngine } from "./engine_module.ts";
import { EXPECTATIONS, type Expectations, expecting } from "./expectations.ts";
import { runSeeds } from "./run_seeds.ts";
import { scenarioOf } from "./scenario.ts";
import { formatOutcome, formatSummary } from "./summary.ts";
import { runWorld } from "./world.ts";

const USAGE =
  "deno task sim --seed N [--verbose] | --runs N [--from S]; [--expect NAME,...] [--relays]";

interface Arguments {
  readonly seed: number | undefined;
  readonly runs: number | undefined;
  readonly from: number;
  readonly verbose: boolean;
  readonly expectations: Expectations;
  readonly relays: boolean;
}

/** The arguments; `undefined` if they are none. */
function parse(words: readonly string[]): Arguments | undefined {
  const numbers = new Map<string, number>();
  let verbose = false;
  let relays = false;
  let expectations: Expectations | undefined = EXPECTATIONS;
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? "";
    if (word === "--verbose") verbose = true;
    else if (word === "--relays") relays = true;
    else if (word === "--expect") expectations = expecting(words[++i] ?? "");
    else if (["--seed", "--runs", "--from"].includes(word)) {
      const text = words[++i] ?? "";
      if (!/^\d{1,9}$/.test(text)) return undefined;
      numbers.set(word, Number(text));
    } else return undefined;
  }
  const [seed, runs] = [numbers.get("--seed"), numbers.get("--runs")];
  if ((seed === undefined) === (runs === undefined) || expectations === undefined) return undefined;
  return { seed, runs, from: numbers.get("--from") ?? 0, verbose, expectations, relays };
}

async function main(): Promise<number> {
  const parsed = parse(Deno.args);
  if (parsed === undefined) {
    say(USAGE);
    return 2;
  }
  const { seed, runs = 0, from, verbose, expectations, relays } = parsed;
  if (seed === undefined) {
    say(`seeds ${from} to ${from + runs - 1}`);
    const started = performance.now();
    const outcomes = await runSeeds(
      Array.from({ length: runs }, (_, i) => from + i),
      {
        expectations,
        relays,
        onOutcome: (outcome) => {
          if (outcome.violations.length > 0) say(formatOutcome(outcome));
        },
      },
    );
    say(formatSummary(outcomes, performance.now() - started));
    return outcomes.every(({ violations }) => violations.length === 0) ? 0 : 1;
  }
  say(`seed ${seed}`);
  const scenario = scenarioOf(seed, { relays });
  if (verbose) say(JSON.stringify(scenario, undefined, 1));
  const outcome = runWorld(scenario, {
    module: loadEngine(),
    expectations,
    ...(verbose && { print: say }),
  });
  say(formatOutcome(outcome));
  return outcome.violations.length === 0 ? 0 : 1;
}

Deno.exit(await main());
