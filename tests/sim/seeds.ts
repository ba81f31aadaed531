/** Seeds that once failed, each with what was wrong: they are run again every time. @module */

/** A seed that failed. */
export interface FailedSeed {
  /** The seed. */
  readonly seed: number;
  /** What was wrong, in one line. */
  readonly why: string;
}

/** All of them, oldest first. */
export const FAILED_SEEDS: readonly FailedSeed[] = [];
