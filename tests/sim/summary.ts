/** What became of worlds, as text. @module */
import type { Verdict } from "./oracle.ts";
import type { Disturbance, Recovery } from "./watchdog.ts";
import type { Outcome, PairOutcome } from "./world.ts";

const VERDICTS: readonly Verdict[] = ["direct", "guess", "predict", "relay"];

/** One world: a line, and one for each violation. */
export function formatOutcome({ seed, hash, violations, pairs, happenings }: Outcome): string {
  const state = violations.length === 0 ? "ok" : "FAILED";
  const head = `seed ${seed}: ${state}, trace ${hash}, ${happenings} happenings`;
  const lines = pairs.map(({ name, verdict, connectMs, healMs, moves, events }) =>
    `  ${name}: ${verdict}, connected ${seconds(connectMs)}, healed ${seconds(healMs)}, ` +
    `moved ${moves} times in ${events} events`
  );
  return [head, ...lines, ...violations.map((line) => `  ${line}`)].join("\n");
}

/** Many worlds: what pairs reached, how soon, and the seeds that failed. */
export function formatSummary(outcomes: readonly Outcome[], elapsedMs: number): string {
  const failed = outcomes.filter(({ violations }) => violations.length > 0);
  const pairs = outcomes.flatMap(({ pairs }) => pairs);
  const rows = VERDICTS.map((verdict) => formatVerdict(verdict, pairs));
  const recoveries = (["start", "network", "sleep"] as const).map((after) =>
    `after ${after}: ${
      formatTimes(pairs.flatMap(({ recoveries }) => timesAfter(recoveries, after)))
    }`
  );
  const perSeed = (elapsedMs / Math.max(1, outcomes.length)).toFixed(0);
  const seeds = failed.map(({ seed }) => seed).join(" ");
  return [
    ...rows,
    ...recoveries,
    `${outcomes.length} seeds in ${(elapsedMs / 1000).toFixed(1)} s (${perSeed} ms each), ` +
    (failed.length === 0 ? "all well" : `${failed.length} failed: ${seeds}`),
  ].join("\n");
}

function formatVerdict(verdict: Verdict, all: readonly PairOutcome[]): string {
  const pairs = all.filter((pair) => pair.verdict === verdict);
  return `${verdict.padEnd(7)} ${pairs.length} pairs; ` +
    `connected ${formatTimes(pairs.map(({ connectMs }) => connectMs))}; ` +
    `healed ${formatTimes(pairs.map(({ healMs }) => healMs))}`;
}

function timesAfter(recoveries: readonly Recovery[], after: Disturbance): number[] {
  return recoveries.filter((recovery) => recovery.after === after).map(({ ms }) => ms);
}

function formatTimes(times: readonly (number | undefined)[]): string {
  const known = times.filter((time) => time !== undefined).sort((a, b) => a - b);
  const at = (part: number): string => seconds(known[Math.floor(known.length * part)]);
  return `${known.length}, p50 ${at(0.5)}, p95 ${at(0.95)}, last ${seconds(known.at(-1))}`;
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? "never" : `${(ms / 1000).toFixed(1)} s`;
}
