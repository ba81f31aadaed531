/**
 * `deno task bench:fairness [--runs N] [--seconds S] [--cases A,B] [--links A,B] [--json]`: two streams start together
 * on one narrow link; what share of what both carry does the first get?
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { unmet } from "../tests/support/needs.ts";
import type { Scope } from "../tests/support/scope.ts";
import { readArguments } from "./arguments.ts";
import { type Link, type ShapedEnds, shapedEnds } from "./cases/lab.ts";
import { openUserspace } from "./cases/moray.ts";
import type { Load } from "./cases/tunnel.ts";
import { BULK_PORT, directLoad, kernelLoadUnmet, startKernelServers } from "./load/kernel.ts";
import type { Measure, Target } from "./result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "./runner.ts";

/** A link whose round trip is known. */
interface NarrowLink extends Link {
  /** Without a queue, in milliseconds. */
  readonly roundTripMs: number;
}

/** Narrow links: a deep queue, a shallow one, and longer ways. */
const LINKS: readonly NarrowLink[] = [
  {
    name: "deep",
    title: "30 ms, 50 Mbit/s, 100 ms of queue",
    roundTripMs: 30,
    settings: { delay: "15ms", rate: "50mbit" },
  },
  {
    name: "shallow",
    title: "30 ms, 50 Mbit/s, 20 ms of queue",
    roundTripMs: 30,
    settings: { delay: "15ms", rate: "50mbit", queue: "20ms" },
  },
  {
    name: "far",
    title: "66 ms, 50 Mbit/s, 100 ms of queue",
    roundTripMs: 66,
    settings: { delay: "33ms", rate: "50mbit" },
  },
  {
    name: "long",
    title: "100 ms, 50 Mbit/s, 100 ms of queue",
    roundTripMs: 100,
    settings: { delay: "50ms", rate: "50mbit" },
  },
];
/**
 * How long both find their place before it counts. Less shows who came first: of two of the kernel's CUBIC at 100 ms, the
 * one that starts a quarter of a second after the other has a sixth of the link ten seconds later.
 */
const SETTLE_SECONDS = 20;
/**
 * Round trips that iperf3 speaks with its server before its stream sends, and a stream of ours does not, as a capture
 * shows: both are to start together.
 */
const IPERF3_ROUND_TRIPS = 2.8;
/** iperf3 serves one at a time. */
const SECOND_PORT = BULK_PORT + 10;
/** Within 60:40 of each other. */
const SHARE = { atLeast: 40, atMost: 60 };

/** Who takes part. */
type Side = "ours" | "bbr" | "cubic";

const PAIRS: readonly (readonly [Side, Side])[] = [
  ["ours", "ours"],
  ["ours", "bbr"],
  ["ours", "cubic"],
  ["bbr", "bbr"],
  ["bbr", "cubic"],
  ["cubic", "cubic"],
];
const TITLES: Readonly<Record<Side, string>> = {
  ours: "moray",
  bbr: "kernel's BBR",
  cubic: "kernel's CUBIC",
};

if (import.meta.main) {
  const names = PAIRS.map((pair) => pair.join("+"));
  const links = LINKS.map(({ name }) => name);
  const args = readArguments({ runs: 5, seconds: 20, cases: names, links });
  const chosen = LINKS.filter(({ name }) => args.links.includes(name));
  await runBenchmark({
    name: "fairness",
    title: "Two streams on one narrow link",
    args,
    measures: chosen.flatMap(measuresOf),
    cases: PAIRS.map((pair) => pairCase(pair, { links: chosen, seconds: args.seconds })),
    targets: chosen.flatMap(targetsOf),
  });
}

function measuresOf({ name, title }: Link): Measure[] {
  return [
    { key: `${name}Share`, title: `first's share, ${title}`, unit: "%", digits: 0, group: title },
    {
      key: `${name}Sum`,
      title: `both together, ${title}`,
      unit: "Mbit/s",
      digits: 1,
      better: "more",
    },
  ];
}

function targetsOf({ name, title }: Link): Target[] {
  return PAIRS.filter(([first]) => first === "ours").map((pair) => ({
    title: `share of the first, ${pair.map((side) => TITLES[side]).join(" beside ")}, ${title}`,
    measure: `${name}Share`,
    ours: pair.join("+"),
    ...SHARE,
  }));
}

function pairCase(
  pair: readonly [Side, Side],
  { links, seconds }: { readonly links: readonly NarrowLink[]; readonly seconds: number },
): Case {
  return {
    name: pair.join("+"),
    title: pair.map((side) => TITLES[side]).join(" beside "),
    ours: pair.includes("ours"),
    unmet: async () => unmet(["natlab"]) ?? await kernelLoadUnmet(),
    open: async (scope) => {
      const ends = await shapedEnds(scope);
      const loads: readonly [Load, Load] = [
        await loadOf(scope, { ends, side: pair[0], port: BULK_PORT }),
        await loadOf(scope, { ends, side: pair[1], port: SECOND_PORT }),
      ];
      return links.map((link) => stepOf(loads, { ends, pair, link, seconds }));
    },
  };
}

/** One side's load: through its own tunnel, or between the two kernels. */
async function loadOf(
  scope: Scope,
  { ends, side, port }: {
    readonly ends: ShapedEnds;
    readonly side: Side;
    readonly port: number;
  },
): Promise<Load> {
  if (side === "ours") return (await openUserspace(scope, ends)).load;
  await startKernelServers(scope, { end: ends.b, port });
  return directLoad({ from: ends.a, hostname: ends.b.ip, congestion: side, port });
}

function stepOf(
  loads: readonly [Load, Load],
  { ends, pair, link, seconds }: {
    readonly ends: ShapedEnds;
    readonly pair: readonly [Side, Side];
    readonly link: NarrowLink;
    readonly seconds: number;
  },
): Step {
  return async (): Promise<Figures> => {
    await ends.shape(link);
    const before = await ends.overrun();
    const bulk = { direction: "up", streams: 1, seconds, skipSeconds: SETTLE_SECONDS } as const;
    const waitMs = pair[0] === "ours" && pair[1] !== "ours"
      ? IPERF3_ROUND_TRIPS * link.roundTripMs
      : 0;
    const [first, second] = await Promise.all([
      delay(waitMs).then(() => loads[0].bulk(bulk)),
      loads[1].bulk(bulk),
    ]);
    const lost = await ends.overrun() - before;
    if (lost > 0) throw new Error(`the laboratory was too slow and lost ${lost} packets itself`);
    const sum = first + second;
    return { [`${link.name}Share`]: first / sum * 100, [`${link.name}Sum`]: sum };
  };
}
