/** What became of worlds, as text. @module */
import type { Verdict } from "./oracle.ts";
import { RECOVERY_MS } from "./chatter.ts";
import type { Disturbance, Recovery } from "./watchdog.ts";
import type { Outcome, PairOutcome } from "./outcome.ts";

const VERDICTS: readonly Verdict[] = ["direct", "guess", "predict", "relay"];
const DISTURBANCES: readonly Disturbance[] = ["start", "network", "sleep", "quiet"];
/** Slowest recoveries that are listed with their causes. */
const SLOWEST = 12;

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
  const rows = [false, true].flatMap((relayable) =>
    VERDICTS.map((verdict) => {
      const own = pairs.filter((pair) => pair.verdict === verdict && pair.relayable === relayable);
      return own.length === 0 ? [] : formatPairs(relayable ? `${verdict}, relays` : verdict, own);
    })
  ).flat();
  const recoveries = DISTURBANCES.map((after) => {
    const times = pairs.flatMap(({ recoveries }) => timesAfter(recoveries, after));
    return `after ${after}: ${formatTimes(times)}; wanted within ${seconds(RECOVERY_MS[after])}`;
  });
  const relayed = outcomes.filter(({ relays }) => relays > 0);
  const upgrades = DISTURBANCES.map((after) => {
    const times = pairs.flatMap(({ upgrades }) => timesAfter(upgrades, after));
    return `direct after ${after}: ${formatTimes(times)}; wanted within ${
      seconds(RECOVERY_MS[after])
    }`;
  });
  const perSeed = (elapsedMs / Math.max(1, outcomes.length)).toFixed(0);
  const seeds = failed.map(({ seed }) => seed).join(" ");
  return [
    ...rows,
    ...recoveries,
    ...(relayed.length > 0 ? [`${relayed.length} worlds with relays`, ...upgrades] : []),
    ...formatSlowest(outcomes),
    `${outcomes.length} seeds in ${(elapsedMs / 1000).toFixed(1)} s (${perSeed} ms each), ` +
    (failed.length === 0 ? "all well" : `${failed.length} failed: ${seeds}`),
  ].join("\n");
}

function formatPairs(name: string, pairs: readonly PairOutcome[]): string {
  return `${name.padEnd(7)} ${pairs.length} pairs; ` +
    `connected ${formatTimes(pairs.map(({ connectMs }) => connectMs))}; ` +
    `healed ${formatTimes(pairs.map(({ healMs }) => healMs))}`;
}

/** The recoveries that came closest to their limits, or broke them, each with its cause. */
function formatSlowest(outcomes: readonly Outcome[]): string[] {
  const all = outcomes.flatMap(({ seed, pairs }) =>
    pairs.flatMap(({ name, recoveries }) =>
      recoveries.map((recovery) => ({
        ...recovery,
        part: recovery.ms / RECOVERY_MS[recovery.after],
        where: `seed ${seed}, ${name}, ${seconds(recovery.at)}`,
      }))
    )
  );
  const slowest = all.sort((a, b) => b.part - a.part).slice(0, SLOWEST);
  return slowest.map(({ ms, cause, where }) => `  ${seconds(ms)} after ${cause} (${where})`);
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
