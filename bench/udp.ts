/**
 * `deno task bench:udp [--runs N] [--seconds S] [--cases A,B] [--binary] [--json]`: packets of 64 bytes per second from
 * one kernel's UDP socket to another's, through a device at each end.
 *
 * The same way without a tunnel shows what the load itself can make.
 *
 * @module
 */
import { Child, must } from "../tests/support/child.ts";
import { aloneBinary, type Program, SOURCE } from "../tests/support/moray.ts";
import { unmet } from "../tests/support/needs.ts";
import { OwnScope, type Scope } from "../tests/support/scope.ts";
import { readArguments } from "./arguments.ts";
import { morayTunUnmet, openMorayTun } from "./cases/moray.ts";
import { boringtunUnmet, openBoringtun, openWireguardGo, wireguardGoUnmet } from "./cases/peers.ts";
import {
  type End,
  type Ends,
  INNER_A,
  INNER_B,
  joinedEnds,
  placeOf,
  type Tunnel,
} from "./cases/tunnel.ts";
import { built, unbuildable } from "./peers/cache.ts";
import { nativeProgram, VERSIONS } from "./peers/programs.ts";
import { withCpuOf } from "./processes.ts";
import type { Measure, Target } from "./result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "./runner.ts";

const PACKET_BYTES = 64;
const PORT = 5300;
const GRACE_MS = 20_000;
/** How much longer than the sink the sender runs, so that the sink never waits for it. */
const SENDER_EXTRA_SECONDS = 0.5;

const DIRECTIONS = [
  { key: "up", title: "A to B" },
  { key: "down", title: "B to A" },
] as const;

const MEASURES: readonly Measure[] = [
  ...DIRECTIONS.map(({ key, title }) => ({
    key,
    title: `packets, ${title}`,
    unit: "per second",
    digits: 0,
    better: "more" as const,
    group: "packets of 64 bytes",
  })),
  ...DIRECTIONS.flatMap(({ key, title }) => [
    {
      key: `${key}Arrived`,
      title: `arrived, ${title}`,
      unit: "%",
      digits: 1,
      better: "more" as const,
    },
    ...(["A", "B"] as const).map((end) => ({
      key: `${key}Cpu${end}`,
      title: `CPU of ${end}, ${title}`,
      unit: "µs per packet",
      digits: 2,
      better: "less" as const,
    })),
  ]),
];

const TARGETS: readonly Target[] = DIRECTIONS.map(({ key, title }) => ({
  title: `tun over boringtun, packets of 64 bytes, ${title}`,
  measure: key,
  ours: "tun",
  theirs: "boringtun",
  atLeast: 1,
}));

if (import.meta.main) {
  const names = ["tun", "boringtun", "wireguard-go", "none"];
  const args = readArguments({ runs: 5, seconds: 5, cases: names });
  await using scope = new OwnScope();
  await runBenchmark({
    name: "udp",
    title: "Small packets",
    args,
    measures: MEASURES,
    cases: deviceCases(args.seconds, args.binary ? aloneBinary(scope) : SOURCE),
    targets: TARGETS,
    versions: {
      "boringtun-cli": VERSIONS["boringtun-cli"],
      "wireguard-go": VERSIONS["wireguard-go"],
    },
  });
}

function deviceCases(seconds: number, program: Program): readonly Case[] {
  const needs = async (): Promise<string | undefined> =>
    unmet(["root"]) ?? unbuildable(await nativeProgram("udp_flood"));
  const through = (
    open: (scope: Scope, ends: Ends) => Promise<Tunnel["pids"]>,
  ): Case["open"] =>
  async (scope) => {
    const ends = await joinedEnds(scope);
    const pids = await open(scope, ends);
    return stepsOf(pids, { seconds, a: { ...ends.a, ip: INNER_A }, b: { ...ends.b, ip: INNER_B } });
  };
  return [
    {
      name: "tun",
      title: "moray, TUN to TUN",
      ours: true,
      unmet: async () => await needs() ?? await morayTunUnmet(program),
      open: through((scope, ends) => openMorayTun(scope, { ends, program })),
    },
    {
      name: "boringtun",
      title: "boringtun-cli, TUN to TUN",
      ours: false,
      unmet: async () => await needs() ?? await boringtunUnmet(),
      open: through(openBoringtun),
    },
    {
      name: "wireguard-go",
      title: "wireguard-go, TUN to TUN",
      ours: false,
      unmet: async () => await needs() ?? await wireguardGoUnmet(),
      open: through(openWireguardGo),
    },
    {
      name: "none",
      title: "no tunnel",
      ours: false,
      unmet: needs,
      open: async (scope) => stepsOf([], { seconds, ...await joinedEnds(scope) }),
    },
  ];
}

function stepsOf(
  pids: readonly number[],
  { seconds, a, b }: Ends & { readonly seconds: number },
): readonly Step[] {
  return DIRECTIONS.map(({ key }) => async (): Promise<Figures> => {
    const [from, to] = key === "up" ? [a, b] : [b, a];
    const { value: { sent, arrived }, cpu } = await withCpuOf(
      pids,
      () => flood({ from, to, seconds }),
    );
    const figures: Record<string, number> = {
      [key]: arrived.packets / arrived.seconds,
      [`${key}Arrived`]: Math.min(
        100,
        arrived.packets / arrived.seconds / (sent.packets / sent.seconds) * 100,
      ),
    };
    const [ofA, ofB] = cpu;
    // What the sender sends beyond the sink's time is carried too, at the same rate.
    const carried = arrived.packets * sent.seconds / arrived.seconds;
    if (ofA !== undefined) figures[`${key}CpuA`] = ofA * 1e6 / carried;
    if (ofB !== undefined) figures[`${key}CpuB`] = ofB * 1e6 / carried;
    return figures;
  });
}

/** What one end of a flood counted. */
interface Count {
  readonly packets: number;
  readonly seconds: number;
}

async function flood(
  { from, to, seconds }: { readonly from: End; readonly to: End; readonly seconds: number },
): Promise<{ readonly sent: Count; readonly arrived: Count }> {
  const program = await built(await nativeProgram("udp_flood"));
  await using sink = new Child([program, "sink", `${PORT}`, `${seconds}`], placeOf(to));
  await sink.line(/^ready/);
  const length = seconds + SENDER_EXTRA_SECONDS;
  const words = ["send", to.ip, `${PORT}`, `${length}`, `${PACKET_BYTES}`];
  const timeoutMs = length * 1000 + GRACE_MS;
  const sent = JSON.parse(
    await must([program, ...words], { ...placeOf(from), timeoutMs }),
  ) as Count;
  const arrived = JSON.parse(await sink.line(/^\{/, timeoutMs)) as Count;
  return { sent, arrived };
}
