/** The flags that every benchmark takes, read without a word of anything else. @module */
import { parseArgs } from "node:util";
import { messageOf } from "../core/mod.ts";
import { say } from "../tests/support/say.ts";

/** What a benchmark was asked for. */
export interface BenchArguments {
  /** Runs of each case. */
  readonly runs: number;
  /** Length of one measurement in seconds. */
  readonly seconds: number;
  /** Prints the result as JSON instead of tables. */
  readonly json: boolean;
  /** Measures the compiled program, where it is a program that is measured. */
  readonly binary: boolean;
  /** Names of the cases wanted. */
  readonly cases: readonly string[];
  /** Names of the links wanted, in a benchmark that has links. */
  readonly links: readonly string[];
}

/** What a benchmark does without flags. */
export interface Defaults {
  /** Runs. */
  readonly runs: number;
  /** Seconds. */
  readonly seconds: number;
  /** Every case that there is; all are measured unless some are named. */
  readonly cases: readonly string[];
  /** Every link that there is. @default [] */
  readonly links?: readonly string[];
}

const RUNS_MAX = 100;
const SECONDS_MAX = 3_600;

/** Reads the program's own flags. Ends it with a list of them for `--help`, and in one line with status 2 where one is wrong. */
export function readArguments(defaults: Defaults): BenchArguments {
  if (Deno.args.includes("--help")) {
    say(helpText(defaults));
    Deno.exit(0);
  }
  try {
    return parseArguments(Deno.args, defaults);
  } catch (error) {
    Deno.stderr.writeSync(new TextEncoder().encode(`${messageOf(error)}\n`));
    Deno.exit(2);
  }
}

/** What `--help` says. */
export function helpText({ runs, seconds, cases, links = [] }: Defaults): string {
  const all = (name: string, names: readonly string[]): string =>
    names.length === 0 ? "" : `  --${name} A,B  of ${names.join(", ")}\n`;
  return `  --runs N     of each case, 1 to ${RUNS_MAX} (${runs})
  --seconds N  of one measurement, 1 to ${SECONDS_MAX} (${seconds})
${all("cases", cases)}${all("links", links)}  --json       the result as JSON
  --binary     measures the compiled program`;
}

/** Reads flags. Throws an `Error` of one line that says what is wrong. */
export function parseArguments(args: readonly string[], defaults: Defaults): BenchArguments {
  const { values } = parseArgs({
    args: [...args],
    allowPositionals: false,
    options: {
      runs: { type: "string" },
      seconds: { type: "string" },
      json: { type: "boolean", default: false },
      binary: { type: "boolean", default: false },
      cases: { type: "string" },
      links: { type: "string" },
    },
  });
  if (values.links !== undefined && defaults.links === undefined) {
    throw new Error("--links: this benchmark has no links");
  }
  return {
    runs: number("--runs", values.runs, { fallback: defaults.runs, max: RUNS_MAX }),
    seconds: number("--seconds", values.seconds, { fallback: defaults.seconds, max: SECONDS_MAX }),
    json: values.json,
    binary: values.binary,
    cases: chosen("--cases", { text: values.cases, all: defaults.cases }),
    links: chosen("--links", { text: values.links, all: defaults.links ?? [] }),
  };
}

function number(
  flag: string,
  text: string | undefined,
  { fallback, max }: { readonly fallback: number; readonly max: number },
): number {
  const value = text === undefined ? fallback : /^\d+$/.test(text) ? Number(text) : NaN;
  if (value >= 1 && value <= max) return value;
  throw new Error(`${flag} takes a whole number from 1 to ${max}, not ${text}`);
}

function chosen(
  flag: string,
  { text, all }: { readonly text: string | undefined; readonly all: readonly string[] },
): readonly string[] {
  if (text === undefined) return all;
  const names = text.split(",").filter((name) => name !== "");
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) {
    throw new Error(`${flag}: there is no ${unknown}; there are ${all.join(", ")}`);
  }
  if (names.length === 0) throw new Error(`${flag} names none of ${all.join(", ")}`);
  return all.filter((name) => names.includes(name));
}
