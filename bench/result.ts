/** The result of a benchmark as it is written to `bench/results/` and read by the report. @module */
import { ratio, type Summary } from "./statistics.ts";

/** One thing that is measured. */
export interface Measure {
  /** Its name in JSON. */
  readonly key: string;
  /** Its name for people, without the unit. */
  readonly title: string;
  /** What its values are in, for example `Mbit/s`. */
  readonly unit: string;
  /** Decimals shown. */
  readonly digits: number;
  /** Whether more or less of it is good; absent where neither is. */
  readonly better?: "more" | "less";
  /** Measures with the same group share a plot. Absent: in tables only. */
  readonly group?: string;
}

/** One contestant. */
export interface CaseResult {
  /** Its name in JSON and on the command line. */
  readonly name: string;
  /** Its name for people. */
  readonly title: string;
  /** Whether it is moray. */
  readonly ours: boolean;
  /** Why it was not measured, or `null`. */
  readonly skipped: string | null;
  /** What each failed run said. */
  readonly failures: readonly string[];
  /** By the key of the measure. What a case does not measure is absent. */
  readonly figures: Readonly<Record<string, Summary>>;
}

/** A line of issue 4's "Done when", or of DESIGN.md section 3. */
export interface Target {
  /** What it is about, for people. */
  readonly title: string;
  /** Key of the measure. */
  readonly measure: string;
  /** Name of our case. */
  readonly ours: string;
  /** Name of the case to divide by. Absent: the figure itself is held against the bound. */
  readonly theirs?: string;
  /** The bound, of which at least one side is given. */
  readonly atLeast?: number;
  /** Upper bound. */
  readonly atMost?: number;
}

/** A target and how it was met. */
export interface Verdict extends Target {
  /** The ratio, or the figure; `null` where one of the cases has none. */
  readonly value: Summary | null;
  /** Whether the median is within the bound; `null` without a value. */
  readonly met: boolean | null;
}

/** Where and with what a benchmark ran. */
export interface Environment {
  /** Processor, as the kernel names it. */
  readonly processor: string;
  /** Processors that the kernel offers. */
  readonly cores: number;
  /** Memory in MiB. */
  readonly memoryMiB: number;
  /** Kernel release. */
  readonly kernel: string;
  /** Load averages at the start. */
  readonly loadAverage: readonly number[];
  /** Program to version; `moray` is the commit. */
  readonly versions: Readonly<Record<string, string>>;
}

/** Something that was watched over time. */
export interface Series {
  /** What it is, for people. */
  readonly title: string;
  /** Abscissa (minutes since the start, unless the result's axes say otherwise) and value. */
  readonly points: readonly (readonly [number, number])[];
}

/** What the axes of the series are in. */
export interface Axes {
  /** Unit of the abscissa. */
  readonly x: string;
  /** What the values are, with their unit. */
  readonly y: string;
}

/** Everything that a benchmark found. */
export interface BenchmarkResult {
  /** `tunnel`, `udp`, ... */
  readonly benchmark: string;
  /** Its name for people. */
  readonly title: string;
  /** When it started, ISO 8601. */
  readonly date: string;
  /** How it was started. */
  readonly command: string;
  /** Runs of each case. */
  readonly runs: number;
  /** Length of one measurement in seconds. */
  readonly seconds: number;
  /** Machine and versions. */
  readonly environment: Environment;
  /** What was measured. */
  readonly measures: readonly Measure[];
  /** Who was measured. */
  readonly cases: readonly CaseResult[];
  /** What was to be reached. */
  readonly verdicts: readonly Verdict[];
  /** What was watched over time. */
  readonly series: readonly Series[];
  /** The axes of the series. @default minutes and MiB */
  readonly axes?: Axes;
}

/** Holds the figures against a target. */
export function judge(target: Target, cases: readonly CaseResult[]): Verdict {
  const figure = (name: string): Summary | undefined =>
    cases.find((one) => one.name === name)?.figures[target.measure];
  const ours = figure(target.ours);
  const theirs = target.theirs === undefined ? undefined : figure(target.theirs);
  const value = target.theirs === undefined
    ? ours
    : ours === undefined || theirs === undefined
    ? undefined
    : ratio(ours, theirs);
  if (value === undefined) return { ...target, value: null, met: null };
  const { atLeast = -Infinity, atMost = Infinity } = target;
  return { ...target, value, met: value.median >= atLeast && value.median <= atMost };
}
