/**
 * `deno task bench:paths [--runs N] [--cases A,B] [--binary] [--json]`: how soon an agent that starts behind a NAT has a
 * path to its colony behind another, over N trials of each kind of pair.
 *
 * @module
 */
import { aloneBinary, SOURCE } from "../tests/support/moray.ts";
import { unmet } from "../tests/support/needs.ts";
import { OwnScope } from "../tests/support/scope.ts";
import { readArguments } from "./arguments.ts";
import { type NatPair, openTrials, type Trial, TRIAL_MS_MAX, type Way } from "./cases/trials.ts";
import { unbuildable } from "./peers/cache.ts";
import { nativeProgram } from "./peers/programs.ts";
import type { Measure, Series, Target } from "./result.ts";
import { type Case, type Figures, progress, runBenchmark } from "./runner.ts";
import { percentile } from "./statistics.ts";

/** A kind of pairs. */
interface Kind {
  readonly name: string;
  readonly title: string;
  /** Taken in turn. */
  readonly pairs: readonly NatPair[];
  /** @default "direct" */
  readonly way?: Way;
}

const TRIALS = 100;
const CLASSIC = ["fullcone", "restricted", "portrestricted", "symmetric"];
const KINDS: readonly Kind[] = [
  {
    name: "punchable",
    title: "the 13 classic pairs that need no guessing",
    pairs: CLASSIC.flatMap((colony) => CLASSIC.map((agent): NatPair => [colony, agent]))
      .filter(([colony, agent]) => !isHard(colony, agent)),
  },
  {
    name: "guessedAgent",
    title: "guessing: symmetric agent, port-restricted colony",
    pairs: [["portrestricted", "symmetric"]],
  },
  {
    name: "guessedColony",
    title: "guessing: symmetric colony, port-restricted agent",
    pairs: [["symmetric", "portrestricted"]],
  },
  {
    name: "prediction",
    title: "prediction: both sequential",
    pairs: [["symseq", "symseq"]],
  },
  {
    name: "relayed",
    title: "relayed: both symmetric, over Discovery's relay",
    pairs: [["symmetric", "symmetric"]],
    way: "relayed",
  },
];

const LATE = `${TRIAL_MS_MAX / 1000} s`;
const MEASURES: readonly Measure[] = [
  measure("direct", `direct (or relayed, where that is waited for) within ${LATE}`, "%", "more"),
  measure("firstByteP50", "agent's start to the first byte, p50", "ms", "less"),
  measure("firstByteP95", "agent's start to the first byte, p95", "ms", "less"),
  measure("directP50", "no path to such a one, p50", "ms", "less"),
  measure("directP95", "no path to such a one, p95", "ms", "less"),
];

const TARGETS: readonly Target[] = [
  { ...target("firstByteP50", "first byte, p50, ms"), atMost: 1_000 },
  { ...target("firstByteP95", "first byte, p95, ms"), atMost: 3_000 },
  { ...target("directP50", "no path to direct, p50, ms"), atMost: 1_000 },
  { ...target("directP95", "no path to direct, p95, ms"), atMost: 3_000 },
  { ...target("direct", "direct, %"), atLeast: 100 },
  {
    title: "first byte, p50, ms (relayed)",
    measure: "firstByteP50",
    ours: "relayed",
    atMost: 1_000,
  },
  ...["guessedAgent", "guessedColony"].map((ours) => ({
    title: `direct, % (${ours})`,
    measure: "direct",
    ours,
    atLeast: 95,
  })),
];

if (import.meta.main) {
  const args = readArguments({
    runs: TRIALS,
    seconds: TRIAL_MS_MAX / 1000,
    cases: KINDS.map(({ name }) => name),
  });
  const series: Series[] = [];
  await using scope = new OwnScope();
  const program = args.binary ? aloneBinary(scope) : SOURCE;
  const kindCase = ({ name, title, pairs, way = "direct" }: Kind): Case => ({
    name,
    title,
    ours: true,
    unmet: async () => unmet(["natlab"]) ?? unbuildable(await nativeProgram("start_time")),
    open: async (scope) => {
      const lab = await openTrials(scope, { program, pairs, way });
      return [async (): Promise<Figures> => {
        const trials: Trial[] = [];
        for (let i = 0; i < args.runs; i++) {
          const pair = pairs[i % pairs.length] ?? ["", ""];
          const trial = await lab.trial(pair);
          trials.push(trial);
          progress(`${i + 1}: ${pair.join(" x ")}: ${told(trial, way)}`);
        }
        series.push(...distributions(title, trials, way));
        progress(`${title}: ${arrivedOf(trials)} of ${trials.length} ${way} within ${LATE}`);
        return figuresOf(trials);
      }];
    },
  });
  await runBenchmark({
    name: "paths",
    title: "How soon a path is there",
    // Each case is one run of so many trials.
    args: { ...args, runs: 1 },
    measures: MEASURES,
    cases: KINDS.map(kindCase),
    targets: TARGETS,
    series: () => series,
    axes: { x: "s", y: "% of the trials" },
  });
}

/** Whether only guessing or a relay connects a pair. */
function isHard(colony: string, agent: string): boolean {
  const types = [colony, agent];
  if (!types.includes("symmetric")) return false;
  return colony === agent || types.includes("portrestricted");
}

function figuresOf(trials: readonly Trial[]): Figures {
  const first = trials.map(({ firstByteMs }) => firstByteMs ?? TRIAL_MS_MAX);
  const direct = trials.map(({ pathMs }) => pathMs ?? TRIAL_MS_MAX);
  return {
    direct: arrivedOf(trials) / trials.length * 100,
    firstByteP50: percentile(first, 0.5),
    firstByteP95: percentile(first, 0.95),
    directP50: percentile(direct, 0.5),
    directP95: percentile(direct, 0.95),
  };
}

function arrivedOf(trials: readonly Trial[]): number {
  return trials.filter(({ pathMs }) => pathMs !== undefined).length;
}

/** The share of the trials that were done by then, for each of the two times. */
function distributions(
  title: string,
  trials: readonly Trial[],
  way: Way,
): readonly Series[] {
  const line = (what: string, times: readonly (number | undefined)[]): Series => {
    const sorted = times.filter((ms) => ms !== undefined).sort((a, b) => a - b);
    const points = sorted.map((ms, i) => [ms / 1000, (i + 1) / trials.length * 100] as const);
    return { title: `${title}: ${what}`, points: [[0, 0], ...points] };
  };
  return [
    line("agent's start to the first byte", trials.map(({ firstByteMs }) => firstByteMs)),
    line(`no path to a ${way} one`, trials.map(({ pathMs }) => pathMs)),
  ];
}

function measure(
  key: string,
  title: string,
  unit: string,
  better: "more" | "less",
): Measure {
  return { key, title, unit, digits: 0, better };
}

function target(measure: string, title: string): Target {
  return { title: `${title} (punchable)`, measure, ours: "punchable" };
}

function told({ firstByteMs, pathMs }: Trial, way: Way): string {
  const ms = (value: number | undefined): string =>
    value === undefined ? "never" : `${Math.round(value)} ms`;
  return `first byte ${ms(firstByteMs)}, ${way} ${ms(pathMs)}`;
}
