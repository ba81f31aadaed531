/** Runs the cases of a benchmark in turn and says what came out. @module */
import { messageOf } from "../core/mod.ts";
import { ROOT } from "../tests/support/needs.ts";
import { say } from "../tests/support/say.ts";
import { OwnScope, type Scope } from "../tests/support/scope.ts";
import type { BenchArguments } from "./arguments.ts";
import { environment, type Versions } from "./environment.ts";
import { type BenchmarkResult, type CaseResult, judge, type Measure } from "./result.ts";
import type { Axes, Series, Target } from "./result.ts";
import { summarize, type Summary } from "./statistics.ts";
import { figureRows, plainTable, remarks, verdictRows } from "./table.ts";

/** Values of one run, by the key of the measure. */
export type Figures = Readonly<Record<string, number>>;

/** A part of a run. Rejects if it did not work out; the other parts and runs count all the same. */
export type Step = () => Promise<Figures>;

/** A contestant. */
export interface Case {
  /** Its name on the command line and in JSON. */
  readonly name: string;
  /** Its name for people. */
  readonly title: string;
  /** Whether it is moray. */
  readonly ours: boolean;
  /** Why it cannot be measured on this machine, in one line. Absent: it always can. */
  readonly unmet?: () => string | undefined | Promise<string | undefined>;
  /** Sets it up and returns the steps of each run, in the same order for every case. Everything that it holds ends with the scope. */
  readonly open: (scope: Scope) => Promise<readonly Step[]>;
}

/** A whole benchmark. */
export interface Benchmark {
  /** Its name: `deno task bench:NAME`. */
  readonly name: string;
  /** Its name for people. */
  readonly title: string;
  /** What was asked for. */
  readonly args: BenchArguments;
  /** What is measured. */
  readonly measures: readonly Measure[];
  /** Who is measured. */
  readonly cases: readonly Case[];
  /** What is to be reached. */
  readonly targets: readonly Target[];
  /** Versions of the programs beside moray and Deno that take part. */
  readonly versions?: Versions;
  /** What was watched over time, asked for at the end. @default none */
  readonly series?: () => readonly Series[];
  /** The axes of the series. @default minutes and MiB */
  readonly axes?: Axes;
}

interface Opened {
  readonly definition: Case;
  readonly steps: readonly Step[];
  readonly skipped: string | null;
  readonly failures: string[];
  readonly runs: Figures[];
}

/**
 * Sets up the cases that were asked for, measures them in turn, writes `bench/results/NAME.json`, and prints the
 * tables.
 */
export async function runBenchmark(benchmark: Benchmark): Promise<BenchmarkResult> {
  const { name, title, args, measures, targets } = benchmark;
  const date = new Date().toISOString();
  const surroundings = await environment(benchmark.versions ?? {});
  await using scope = new OwnScope();
  const opened: Opened[] = [];
  for (const definition of benchmark.cases) {
    if (args.cases.includes(definition.name)) opened.push(await open(scope, definition));
  }
  for (let run = 0; run < args.runs; run++) await measureRun(opened, `run ${run + 1}`);
  const cases = opened.map((one) => caseResult(one, measures));
  const result: BenchmarkResult = {
    benchmark: name,
    title,
    date,
    command: ["deno task", `bench:${name}`, ...Deno.args].join(" "),
    runs: args.runs,
    seconds: args.seconds,
    environment: surroundings,
    measures,
    cases,
    verdicts: targets.map((target) => judge(target, cases)),
    series: benchmark.series?.() ?? [],
    ...(benchmark.axes && { axes: benchmark.axes }),
  };
  await publish(result);
  show(result, args.json);
  return result;
}

/** Prints a line of progress on standard error. */
export function progress(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}

async function open(scope: Scope, definition: Case): Promise<Opened> {
  const { title } = definition;
  const outcome = { definition, failures: [], runs: [] };
  try {
    const reason = await definition.unmet?.();
    if (reason !== undefined) throw new Error(reason);
    return { ...outcome, steps: await definition.open(scope), skipped: null };
  } catch (error) {
    const skipped = firstLine(error);
    progress(`${title} is left out: ${skipped}`);
    return { ...outcome, steps: [], skipped };
  }
}

/** Step by step, each by every case before the next one, so that what slows the machine for a while slows all. */
async function measureRun(opened: readonly Opened[], run: string): Promise<void> {
  const measured = opened.filter(({ steps }) => steps.length > 0);
  const figures = new Map(measured.map((one) => [one, {} as Record<string, number>]));
  const stepsMax = Math.max(0, ...measured.map(({ steps }) => steps.length));
  for (let at = 0; at < stepsMax; at++) {
    // Who is first moves on, so that nobody always follows the same neighbour's noise.
    const turn = at % measured.length;
    for (const one of [...measured.slice(turn), ...measured.slice(0, turn)]) {
      const { definition: { title }, steps, failures } = one;
      try {
        const values = await steps[at]?.() ?? {};
        Object.assign(figures.get(one) ?? {}, values);
        progress(`${run}: ${title}: ${listed(values)}`);
      } catch (error) {
        failures.push(firstLine(error));
        progress(`${run}: ${title}: failed: ${messageOf(error)}`);
      }
    }
  }
  for (const [one, values] of figures) one.runs.push(values);
}

function listed(figures: Figures): string {
  return Object.entries(figures)
    .map(([key, value]) => `${key} ${Number(value.toFixed(3))}`).join(", ");
}

function caseResult(
  { definition: { name, title, ours }, skipped, failures, runs }: Opened,
  measures: readonly Measure[],
): CaseResult {
  const figures: Record<string, Summary> = {};
  for (const { key } of measures) {
    const summary = summarize(runs.map((run) => run[key] ?? null));
    if (summary !== undefined) figures[key] = summary;
  }
  return { name, title, ours, skipped, failures, figures };
}

async function publish(result: BenchmarkResult): Promise<void> {
  await Deno.mkdir(`${ROOT}bench/results`, { recursive: true });
  const path = `${ROOT}bench/results/${result.benchmark}.json`;
  await Deno.writeTextFile(path, `${JSON.stringify(result, null, 1)}\n`);
}

function show(result: BenchmarkResult, json: boolean): void {
  if (json) return say(JSON.stringify(result, null, 2));
  const { title, runs, seconds, verdicts, measures } = result;
  say(`${title}: ${runs} alternating runs of ${seconds} s, median (min-max)\n`);
  say(plainTable(figureRows(result)));
  if (verdicts.length > 0) say(`\n${plainTable(verdictRows(verdicts, measures))}`);
  for (const remark of remarks(result)) say(remark);
}

function firstLine(error: unknown): string {
  return messageOf(error).split("\n")[0] ?? "";
}
