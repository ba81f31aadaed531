/**
 * `deno task bench:soak [--seconds S] [--cases A,B] [--binary] [--json]`: ten minutes at full rate after ten of warm-up, the memory of
 * both ends every few seconds, and whether it grows.
 *
 * @module
 */
import { aloneBinary, SOURCE } from "../tests/support/moray.ts";
import { OwnScope, type Scope } from "../tests/support/scope.ts";
import { readArguments } from "./arguments.ts";
import { openForward, openUserspace } from "./cases/moray.ts";
import { type Ends, joinedEnds, type Tunnel } from "./cases/tunnel.ts";
import { kernelLoadUnmet } from "./load/kernel.ts";
import { residentMiB, whileSampling, withCpuOf } from "./processes.ts";
import type { Measure, Series, Target } from "./result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "./runner.ts";
import { floorsOf, slopeOf } from "./statistics.ts";

/** Between two looks at the memory. */
const SAMPLE_MS = 2_000;
/** Growth is read from the least of each so many minutes: what is above it goes with the next collection of garbage. */
const FLOOR_MINUTES = 1;
/** The load changes its direction so often. */
const PART_SECONDS = 30;
/** The part at the start in which nothing is called growth: V8's heap fills up to its first full collections. */
const WARM_UP_SHARE = 0.5;

const MEASURES: readonly Measure[] = [
  { key: "rate", title: "throughput", unit: "Mbit/s", digits: 0, better: "more" },
  ...(["A", "B"] as const).flatMap((end) => [
    {
      key: `growth${end}`,
      title: `growth of ${end} after the warm-up, floors of each minute`,
      unit: "MiB per minute",
      digits: 2,
      better: "less" as const,
    },
    {
      key: `largest${end}`,
      title: `memory of ${end}, largest`,
      unit: "MiB",
      digits: 0,
      better: "less" as const,
    },
    { key: `last${end}`, title: `memory of ${end}, last`, unit: "MiB", digits: 0 },
    {
      key: `cpu${end}`,
      title: `CPU of ${end}`,
      unit: "s per Gbit",
      digits: 3,
      better: "less" as const,
    },
  ]),
];

/** 200 MB in MiB. */
const LOADED_MIB_MAX = 190.7;
/** What caches that still move may look like; a leak of one small object for each segment would be far more. */
const GROWTH_MAX = 0.5;

const TARGETS: readonly Target[] = ["forward", "userspace"].flatMap((ours) =>
  (["A", "B"] as const).flatMap((end) => [
    {
      title: `growth of ${end}, MiB per minute (${ours})`,
      measure: `growth${end}`,
      ours,
      atMost: GROWTH_MAX,
    },
    {
      title: `memory of ${end}, 200 MB (${ours})`,
      measure: `largest${end}`,
      ours,
      atMost: LOADED_MIB_MAX,
    },
  ])
);

if (import.meta.main) {
  const names = ["forward", "userspace"];
  const args = readArguments({ runs: 1, seconds: 1200, cases: names });
  await using scope = new OwnScope();
  const series: Series[] = [];
  const soaked = (
    title: string,
    open: (scope: Scope, ends: Ends) => Promise<Tunnel>,
  ): Case["open"] =>
  async (scope) => {
    const tunnel = await open(scope, await joinedEnds(scope));
    return [soakStep(tunnel, { title, seconds: args.seconds, series })];
  };
  const program = args.binary ? aloneBinary(scope) : SOURCE;
  const forwarded = "moray, --forward to --expose";
  const streamed = "moray, streams in the program";
  await runBenchmark({
    name: "soak",
    title: "Twenty minutes at full rate",
    args,
    measures: MEASURES,
    cases: [
      {
        name: "forward",
        title: forwarded,
        ours: true,
        unmet: kernelLoadUnmet,
        open: soaked(forwarded, (scope, ends) => openForward(scope, { ends, program })),
      },
      { name: "userspace", title: streamed, ours: true, open: soaked(streamed, openUserspace) },
    ],
    targets: TARGETS,
    series: () => series,
  });
}

function soakStep(
  { pids, load }: Tunnel,
  { title, seconds, series }: {
    readonly title: string;
    readonly seconds: number;
    readonly series: Series[];
  },
): Step {
  return async (): Promise<Figures> => {
    const from = performance.now();
    let bits = 0;
    const read = (): readonly [number, number, number] => [
      (performance.now() - from) / 60_000,
      residentMiB(pids[0]),
      residentMiB(pids[1]),
    ];
    const { value: samples, cpu: [cpuA = NaN, cpuB = NaN] } = await withCpuOf(
      pids,
      () =>
        whileSampling({ read, everyMs: SAMPLE_MS }, async () => {
          for (let left = seconds, up = true; left > 0; left -= PART_SECONDS, up = !up) {
            const part = Math.min(left, PART_SECONDS);
            const bulk = { direction: up ? "up" : "down", streams: 2, seconds: part } as const;
            bits += await load.bulk(bulk) * part * 1e6;
          }
        }),
    );
    const settled = samples.filter(([minutes]) => minutes * 60 >= seconds * WARM_UP_SHARE);
    const figures: Record<string, number> = { rate: bits / seconds / 1e6 };
    for (const [end, at, cpu] of [["A", 1, cpuA], ["B", 2, cpuB]] as const) {
      series.push({
        title: `${title}, ${end}`,
        points: samples.map((sample) => [sample[0], sample[at]]),
      });
      figures[`growth${end}`] = slopeOf(
        floorsOf(settled.map((sample) => [sample[0], sample[at]]), FLOOR_MINUTES),
      );
      figures[`largest${end}`] = Math.max(...samples.map((sample) => sample[at]));
      figures[`last${end}`] = samples.at(-1)?.[at] ?? NaN;
      figures[`cpu${end}`] = cpu / (bits / 1e9);
    }
    return figures;
  };
}
