/** The page of the results: which part of it belongs to which benchmark, pure. @module */
import type { BenchmarkResult } from "./result.ts";
import { figureRows, markdownTable, remarks, verdictRows } from "./table.ts";

/** Pictures of a benchmark, by their paths relative to the page. */
export interface Pictures {
  /** Paths of what there is. */
  readonly paths: readonly string[];
  /** Path of the result as JSON. */
  readonly data: string;
}

/**
 * Replaces the part between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`. Throws an `Error` if the page has no such
 * part.
 */
export function replacePart(page: string, name: string, part: string): string {
  const [start, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const from = page.indexOf(start);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`The page has no ${start} ... ${end}`);
  return `${page.slice(0, from)}${start}\n${part}\n${page.slice(to)}`;
}

/** A benchmark as a section of Markdown. */
export function section(result: BenchmarkResult, { paths, data }: Pictures): string {
  const { title, verdicts, measures } = result;
  const notes = remarks(result);
  return [
    `## ${title}`,
    `${circumstances(result)} [As JSON](${data}).`,
    ...paths.map((path) => `![${title}](${path})`),
    markdownTable(figureRows(result)),
    ...(verdicts.length === 0 ? [] : [markdownTable(verdictRows(verdicts, measures))]),
    ...(notes.length === 0 ? [] : [notes.map((note) => `- ${note}`).join("\n")]),
  ].join("\n\n");
}

function circumstances({ date, command, runs, environment }: BenchmarkResult): string {
  const { processor, cores, memoryMiB, kernel, loadAverage, versions } = environment;
  const memory = `${Math.round(memoryMiB / 1024)} GiB`;
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const load = loadAverage[0]?.toFixed(1) ?? "unknown";
  const counted = runs === 1 ? "one run" : `${runs} alternating runs, median (min-max)`;
  return `\`${command}\`, ${date.slice(0, 10)}: ${counted}; ${processor}, ${cores} processors, ` +
    `${memory}, Linux ${kernel}, load average ${load} at the start; ${named.join(", ")}.`;
}
