/** Results as tables: plain text for a terminal, Markdown for the page. @module */
import type { BenchmarkResult, CaseResult, Measure, Verdict } from "./result.ts";
import { formatSummary } from "./statistics.ts";

/** A cell where nothing was measured. */
const EMPTY = "-";

/** Rows of cells, the first of them the head. */
export type Rows = readonly (readonly string[])[];

/** One row for each measure, one column for each case that was measured. */
export function figureRows({ measures, cases }: BenchmarkResult): Rows {
  const measured = cases.filter(({ skipped }) => skipped === null);
  const shown = measures.filter(({ key }) => measured.some(({ figures }) => key in figures));
  const head = ["", ...measured.map(({ title }) => title)];
  return [head, ...shown.map((measure) => figureRow(measure, measured))];
}

/** One row for each target. */
export function verdictRows(verdicts: readonly Verdict[], measures: readonly Measure[]): Rows {
  const head = ["wanted", "bound", "measured", "met"];
  return [
    head,
    ...verdicts.map((verdict) => {
      const { title, atLeast, atMost, theirs, value, met } = verdict;
      const measure = measures.find(({ key }) => key === verdict.measure);
      const digits = theirs === undefined ? measure?.digits ?? 2 : 2;
      const bounds = [
        ...(atLeast === undefined ? [] : [`at least ${atLeast}`]),
        ...(atMost === undefined ? [] : [`at most ${atMost}`]),
      ];
      return [
        title,
        bounds.join(", "),
        value === null ? EMPTY : formatSummary(value, digits),
        met === null ? EMPTY : met ? "yes" : "no",
      ];
    }),
  ];
}

/** What was left out and what failed, one line each. */
export function remarks({ cases }: BenchmarkResult): string[] {
  return cases.flatMap(({ title, skipped, failures }) => [
    ...(skipped === null ? [] : [`${title} is left out: ${skipped}`]),
    ...failures.map((failure) => `${title}: a run failed: ${failure}`),
  ]);
}

/** Columns padded to their widest cell. */
export function plainTable(rows: Rows): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0))
  );
  return rows.map((row) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()
  ).join("\n");
}

/** A table of Markdown. */
export function markdownTable([head = [], ...body]: Rows): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${"---|".repeat(head.length)}`, ...body.map(line)].join("\n");
}

function figureRow(
  { key, title, unit, digits }: Measure,
  cases: readonly CaseResult[],
): readonly string[] {
  const name = unit === "" ? title : `${title}, ${unit}`;
  const cells = cases.map(({ figures }) => {
    const figure = figures[key];
    return figure === undefined ? EMPTY : formatSummary(figure, digits);
  });
  return [name, ...cells];
}
