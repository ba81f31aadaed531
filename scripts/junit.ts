/** Counts the tests in a report of `deno test --junit-path`. @module */

/** How many tests had which outcome. */
export interface TestCounts {
  /** Passed. */
  readonly passed: number;
  /** Failed, or could not be run to their end. */
  readonly failed: number;
  /** Not run, each with its reason printed. */
  readonly skipped: number;
}

/** Counts the test cases of a report. Steps count as the tests that they are. */
export function countTests(junit: string): TestCounts {
  let [passed, failed, skipped] = [0, 0, 0];
  for (const [, body = ""] of junit.matchAll(/<testcase\b[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g)) {
    if (/<(failure|error)\b/.test(body)) failed++;
    else if (/<skipped\b/.test(body)) skipped++;
    else passed++;
  }
  return { passed, failed, skipped };
}

/** The closing line of a run. */
export function formatCounts({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}
