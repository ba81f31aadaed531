/** A result for tests of what is made of results: nothing was measured. @module */
import type { BenchmarkResult } from "../result.ts";

/** Without cases and measures, on a machine that is none. */
export const EMPTY_RESULT: BenchmarkResult = {
  benchmark: "x",
  title: "X",
  date: "2026-01-01T00:00:00Z",
  command: "x",
  runs: 2,
  seconds: 1,
  environment: {
    processor: "",
    cores: 1,
    memoryMiB: 1,
    kernel: "",
    loadAverage: [],
    versions: {},
  },
  measures: [],
  cases: [],
  verdicts: [],
  series: [],
};
