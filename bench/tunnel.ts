/**
 * `deno task bench:tunnel [--runs N] [--seconds S] [--cases A,B] [--binary] [--json]`: throughput and round trip of the
 * tunnel between two nodes, moray's ways beside those of others on the same machine in the same run.
 *
 * As root: two namespaces and a veth pair for each case; the runs alternate, so that a busy neighbour slows all. Without
 * root: moray alone on the loopback interface.
 *
 * @module
 */
import { aloneBinary, type Program, SOURCE } from "../tests/support/moray.ts";
import { OwnScope, type Scope } from "../tests/support/scope.ts";
import { type BenchArguments, readArguments } from "./arguments.ts";
import { morayTunUnmet, openForward, openMorayTun, openUserspace } from "./cases/moray.ts";
import {
  boringtunUnmet,
  deviceTunnel,
  netstackUnmet,
  onetunUnmet,
  openBoringtun,
  openNetstack,
  openOnetun,
  openWireguardGo,
  wireguardGoUnmet,
} from "./cases/peers.ts";
import { type Ends, joinedEnds, type Tunnel } from "./cases/tunnel.ts";
import { versionOf } from "./environment.ts";
import { kernelLoadUnmet } from "./load/kernel.ts";
import { VERSIONS } from "./peers/programs.ts";
import { residentMiB, withCpuOf } from "./processes.ts";
import type { Measure, Target } from "./result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "./runner.ts";

const PINGS = 1_000;

/** The four bulk measurements. */
const BULKS = ([1, 8] as const).flatMap((streams) =>
  (["up", "down"] as const).map((direction) => ({ streams, direction, key: direction + streams }))
);

const MEASURES: readonly Measure[] = [
  ...BULKS.map(({ streams, direction, key }) => ({
    key,
    title: `${streams} ${streams === 1 ? "stream" : "streams"}, ${arrow(direction)}`,
    unit: "Mbit/s",
    digits: 0,
    better: "more" as const,
    group: "throughput",
  })),
  {
    key: "roundTrip",
    title: "round trip p50",
    unit: "ms",
    digits: 3,
    better: "less",
    group: "round trip",
  },
  { key: "roundTrip99", title: "round trip p99", unit: "ms", digits: 3, better: "less" },
  ...BULKS.flatMap(({ streams, direction, key }) =>
    (["A", "B"] as const).map((end) => ({
      key: `${key}Cpu${end}`,
      title: `CPU of ${end}, ${streams} ${streams === 1 ? "stream" : "streams"}, ${
        arrow(direction)
      }`,
      unit: "s per Gbit",
      digits: 3,
      better: "less" as const,
    }))
  ),
  { key: "memoryA", title: "memory of A after the run", unit: "MiB", digits: 0, better: "less" },
  { key: "memoryB", title: "memory of B after the run", unit: "MiB", digits: 0, better: "less" },
];

const TARGETS: readonly Target[] = [
  ...BULKS.flatMap(({ streams, direction, key }) => {
    const what = `${streams} ${streams === 1 ? "stream" : "streams"}, ${arrow(direction)}`;
    const target = (ours: string, theirs: string, atLeast: number): Target => ({
      title: `${ours} over ${theirs}, ${what}`,
      measure: key,
      ours,
      theirs,
      atLeast,
    });
    return [
      target("userspace", "wireguard-go", 2),
      target("userspace", "netstack", 4),
      target("tun", "wireguard-go", 1),
      target("forward", "wireguard-go", 1),
    ];
  }),
  ...["userspace", "tun", "forward"].map((ours) => ({
    title: `${ours} over wireguard-go, round trip p50`,
    measure: "roundTrip",
    ours,
    theirs: "wireguard-go",
    atMost: 1,
  })),
];

if (import.meta.main) {
  const names = ["userspace", "forward", "tun", "wireguard-go", "netstack", "boringtun", "onetun"];
  const args = readArguments({ runs: 5, seconds: 5, cases: names });
  await using scope = new OwnScope();
  await runBenchmark({
    name: "tunnel",
    title: "The tunnel",
    args,
    measures: MEASURES,
    cases: tunnelCases(args, args.binary ? aloneBinary(scope) : SOURCE),
    targets: TARGETS,
    versions: { ...VERSIONS, iperf3: () => versionOf("iperf3", "--version") },
  });
}

function tunnelCases(args: BenchArguments, program: Program): readonly Case[] {
  const { seconds } = args;
  const probed = (
    open: (scope: Scope, ends: Ends) => Promise<Tunnel>,
    limits: { readonly streamsMax?: number } = {},
  ): Case["open"] =>
  async (scope) => stepsOf(await open(scope, await joinedEnds(scope)), { seconds, ...limits });
  const devices = (open: (scope: Scope, ends: Ends) => Promise<Tunnel["pids"]>): Case["open"] =>
    probed(async (scope, ends) =>
      await deviceTunnel(scope, { ends, pids: await open(scope, ends) })
    );
  return [
    {
      name: "userspace",
      title: "moray, streams in the program",
      ours: true,
      open: probed(openUserspace),
    },
    {
      name: "forward",
      title: "moray, --forward to --expose",
      ours: true,
      unmet: kernelLoadUnmet,
      open: probed((scope, ends) => openForward(scope, { ends, program })),
    },
    {
      name: "tun",
      title: "moray, TUN to TUN",
      ours: true,
      unmet: async () => await morayTunUnmet(program) ?? await kernelLoadUnmet(),
      open: devices((scope, ends) => openMorayTun(scope, { ends, program })),
    },
    {
      name: "wireguard-go",
      title: "wireguard-go, TUN to TUN",
      ours: false,
      unmet: wireguardGoUnmet,
      open: devices(openWireguardGo),
    },
    {
      name: "netstack",
      title: "wireguard-go, netstack to netstack",
      ours: false,
      unmet: netstackUnmet,
      open: probed(openNetstack),
    },
    {
      name: "boringtun",
      title: "boringtun-cli, TUN to TUN",
      ours: false,
      unmet: boringtunUnmet,
      open: devices(openBoringtun),
    },
    {
      name: "onetun",
      title: "onetun to wireguard-go",
      ours: false,
      unmet: onetunUnmet,
      // With eight it stands still.
      open: probed(openOnetun, { streamsMax: 1 }),
    },
  ];
}

function stepsOf(
  { pids, load }: Tunnel,
  { seconds, streamsMax = Infinity }: { readonly seconds: number; readonly streamsMax?: number },
): readonly Step[] {
  const bulks = BULKS.filter(({ streams }) => streams <= streamsMax);
  return [
    async (): Promise<Figures> => {
      const { p50Ms, p99Ms } = await load.roundTrip(PINGS);
      return { roundTrip: p50Ms, roundTrip99: p99Ms };
    },
    ...bulks.map(({ streams, direction, key }) => async (): Promise<Figures> => {
      const bulk = { direction, streams, seconds };
      const { value, cpu: [a = NaN, b = NaN] } = await withCpuOf(pids, () => load.bulk(bulk));
      const gigabits = value * seconds / 1e3;
      return { [key]: value, [`${key}CpuA`]: a / gigabits, [`${key}CpuB`]: b / gigabits };
    }),
    // deno-lint-ignore require-await -- a step is asynchronous
    async (): Promise<Figures> => ({
      memoryA: residentMiB(pids[0]),
      memoryB: residentMiB(pids[1]),
    }),
  ];
}

function arrow(direction: "up" | "down"): string {
  return direction === "up" ? "A to B" : "B to A";
}
