/** Medians and spreads of a few runs. @module */

/** What several runs of one measurement come to. */
export interface Summary {
  /** The middle value, or the mean of the two in the middle. */
  readonly median: number;
  /** Smallest value. */
  readonly min: number;
  /** Largest value. */
  readonly max: number;
  /** The values in the order of the runs. */
  readonly runs: readonly number[];
}

/** Sums up at least one run. */
export function summarize(runs: readonly number[]): Summary {
  const sorted = [...runs].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const median = ((sorted[Math.floor(middle)] ?? NaN) + (sorted[Math.ceil(middle)] ?? NaN)) / 2;
  return { median, min: sorted[0] ?? NaN, max: sorted.at(-1) ?? NaN, runs };
}

/** Formats a summary as `median (min-max)`. */
export function formatSummary({ median, min, max }: Summary, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}-${max.toFixed(digits)})`;
}
