/** Medians and spreads of a few runs. @module */

/** What several runs of one measurement come to. */
export interface Summary {
  /** The middle value, or the mean of the two in the middle. */
  readonly median: number;
  /** Smallest value. */
  readonly min: number;
  /** Largest value. */
  readonly max: number;
  /** The values in the order of the runs; `null` where a run failed. */
  readonly runs: readonly (number | null)[];
}

/** Sums up runs; `undefined` if none of them gave a value. */
export function summarize(runs: readonly (number | null)[]): Summary | undefined {
  const sorted = runs.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low, high] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  const [min, max] = [sorted[0], sorted.at(-1)];
  if (low === undefined || high === undefined || min === undefined || max === undefined) {
    return undefined;
  }
  return { median: (low + high) / 2, min, max, runs };
}

/**
 * The ratio of two measurements whose runs alternated: each run is divided by its neighbour, so that what slows both
 * falls out. `undefined` if no run has both.
 */
export function ratio(of: Summary, to: Summary): Summary | undefined {
  const quotients = of.runs.map((value, i) => {
    const other = to.runs[i] ?? null;
    return value === null || other === null || other === 0 ? null : value / other;
  });
  return summarize(quotients);
}

/** The value that `share` (0 to 1) of the values do not exceed, by nearest rank; `Infinity` stands for a failure. `NaN` without values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

/** Formats a summary as `median (min-max)`. */
export function formatSummary({ median, min, max, runs }: Summary, digits: number): string {
  const middle = median.toFixed(digits);
  return runs.length === 1 ? middle : `${middle} (${min.toFixed(digits)}-${max.toFixed(digits)})`;
}

/** The slope of the straight line that fits points best (least squares). Zero for fewer than two abscissas. */
export function slopeOf(points: readonly (readonly [number, number])[]): number {
  const count = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / count;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / count;
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  if (!(spread > 0)) return 0;
  return points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
}

/**
 * The lowest point of each stretch of `width` along the abscissa, in order. A sawtooth, such as memory under a garbage
 * collector, is flat in its floors when nothing is kept.
 */
export function floorsOf(
  points: readonly (readonly [number, number])[],
  width: number,
): readonly (readonly [number, number])[] {
  const floors = new Map<number, readonly [number, number]>();
  for (const point of points) {
    const stretch = Math.floor(point[0] / width);
    const floor = floors.get(stretch);
    if (floor === undefined || point[1] < floor[1]) floors.set(stretch, point);
  }
  return [...floors.values()];
}
