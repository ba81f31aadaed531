/**
 * `deno task bench:links [--runs N] [--seconds S] [--cases A,B] [--links A,B] [--binary] [--json]`: one stream over links
 * with delay, loss and reordering, through moray, through wireguard-go's netstack, and by the kernel's TCP without a tunnel.
 *
 * @module
 */
import { aloneBinary, type Program, SOURCE } from "../tests/support/moray.ts";
import { unmet } from "../tests/support/needs.ts";
import { OwnScope, type Scope } from "../tests/support/scope.ts";
import { parseArguments } from "./arguments.ts";
import { type Link, type ShapedEnds, shapedEnds } from "./cases/lab.ts";
import { openForwards, openUserspace } from "./cases/moray.ts";
import { netstackUnmet, openNetstack } from "./cases/peers.ts";
import type { Load } from "./cases/tunnel.ts";
import { directLoad, KernelLoad, kernelLoadUnmet, startKernelServers } from "./load/kernel.ts";
import { VERSIONS } from "./peers/programs.ts";
import type { Measure, Target } from "./result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "./runner.ts";

/** The links of issue 4, then links that nothing was tuned on. */
const LINKS: readonly (Link & { readonly atLeast?: number })[] = [
  { name: "clean", title: "66 ms", settings: { delay: "33ms" }, atLeast: 1 },
  {
    name: "reordering",
    title: "66 ms, 1 % reordering",
    settings: { delay: "33ms", reorder: "1%" },
    atLeast: 0.9,
  },
  {
    name: "loss1",
    title: "66 ms, 1 % loss",
    settings: { delay: "33ms", loss: "1%" },
    atLeast: 0.9,
  },
  {
    name: "loss3",
    title: "66 ms, 3 % loss",
    settings: { delay: "33ms", loss: "3%" },
    atLeast: 0.5,
  },
  {
    name: "shallow",
    title: "20 ms, 50 Mbit/s, 10 ms of queue",
    settings: { delay: "10ms", rate: "50mbit", queue: "10ms" },
    atLeast: 0.9,
  },
  {
    name: "far",
    title: "150 ms, 100 Mbit/s, 0.5 % loss",
    settings: { delay: "75ms", rate: "100mbit", loss: "0.5%" },
    atLeast: 0.9,
  },
  {
    name: "satellite",
    title: "300 ms, 50 Mbit/s",
    settings: { delay: "150ms", rate: "50mbit" },
    atLeast: 0.9,
  },
  {
    name: "jitter",
    title: "40 ms, jitter 8 ms, 100 Mbit/s",
    settings: { delay: "20ms", jitter: "8ms", rate: "100mbit" },
    atLeast: 0.9,
  },
  {
    name: "bursts",
    title: "30 ms, 1 % loss in bursts of 8, 100 Mbit/s",
    settings: { delay: "15ms", loss: "1%", burst: "8", rate: "100mbit" },
    atLeast: 0.9,
  },
];

const DIRECTIONS = [
  { direction: "up", title: "A to B" },
  { direction: "down", title: "B to A" },
] as const;

if (import.meta.main) {
  const names = ["userspace", "forward", "netstack", "bbr", "cubic"];
  const links = LINKS.map(({ name }) => name);
  const args = parseArguments(Deno.args, { runs: 5, seconds: 10, cases: names, links });
  const chosen = LINKS.filter(({ name }) => args.links.includes(name));
  await using scope = new OwnScope();
  const program = args.binary ? aloneBinary(scope) : SOURCE;
  await runBenchmark({
    name: "links",
    title: "One stream over difficult links",
    args,
    measures: chosen.flatMap(measuresOf),
    cases: await linkCases(scope, { links: chosen, seconds: args.seconds, program }),
    targets: chosen.flatMap(targetsOf),
    versions: { "wireguard-go": VERSIONS["wireguard-go"], gvisor: VERSIONS.gvisor },
  });
}

function measuresOf({ name, title }: Link): Measure[] {
  return DIRECTIONS.map(({ direction, title: way }) => ({
    key: `${name}${direction}`,
    title: `${title}, ${way}`,
    unit: "Mbit/s",
    digits: 1,
    better: "more",
    group: title,
  }));
}

function targetsOf({ name, title, atLeast }: typeof LINKS[number]): Target[] {
  return atLeast === undefined ? [] : DIRECTIONS.map(({ direction, title: way }) => ({
    title: `userspace over the kernel's BBR, ${title}, ${way}`,
    measure: `${name}${direction}`,
    ours: "userspace",
    theirs: "bbr",
    atLeast,
  }));
}

async function linkCases(
  scope: Scope,
  { links, seconds, program }: {
    readonly links: readonly Link[];
    readonly seconds: number;
    readonly program: Program;
  },
): Promise<readonly Case[]> {
  const missing = unmet(["natlab"]) ?? await kernelLoadUnmet();
  // One laboratory for all: they take turns on the same link.
  const ends = missing === undefined ? await shapedEnds(scope) : undefined;
  if (ends !== undefined) await startKernelServers(scope, { end: ends.b });
  const linkCase = (
    { load, unmet: reason, ...rest }: Omit<Case, "open"> & {
      readonly load: (scope: Scope, ends: ShapedEnds) => Promise<Load> | Load;
    },
  ): Case => ({
    ...rest,
    unmet: async () => missing ?? await reason?.(),
    open: async (scope) => {
      if (ends === undefined) return [];
      const made = await load(scope, ends);
      return links.flatMap((link) => stepsOf(made, { ends, link, seconds }));
    },
  });
  const kernel = (congestion: "bbr" | "cubic"): Case =>
    linkCase({
      name: congestion,
      title: `kernel without a tunnel, ${congestion.toUpperCase()}`,
      ours: false,
      unmet: () => congestionUnmet(congestion),
      load: (_, { a, b }) => directLoad({ from: a, hostname: b.ip, congestion }),
    });
  return [
    linkCase({
      name: "userspace",
      title: "moray, streams in the program",
      ours: true,
      load: async (scope, ends) => (await openUserspace(scope, ends)).load,
    }),
    linkCase({
      name: "forward",
      title: "moray, --forward to --expose",
      ours: true,
      load: async (scope, ends) => {
        const { bulk, ping } = await openForwards(scope, { ends, program });
        return new KernelLoad({ from: ends.a, bulk, ping });
      },
    }),
    linkCase({
      name: "netstack",
      title: "wireguard-go netstack",
      ours: false,
      unmet: netstackUnmet,
      load: async (scope, ends) => (await openNetstack(scope, ends)).load,
    }),
    kernel("bbr"),
    kernel("cubic"),
  ];
}

function stepsOf(
  load: Load,
  { ends, link, seconds }: {
    readonly ends: ShapedEnds;
    readonly link: Link;
    readonly seconds: number;
  },
): readonly Step[] {
  return DIRECTIONS.map(({ direction }) => async (): Promise<Figures> => {
    await ends.shape(link);
    const before = await ends.overrun();
    const megabits = await load.bulk({ direction, streams: 1, seconds });
    const lost = await ends.overrun() - before;
    if (lost > 0) throw new Error(`the laboratory was too slow and lost ${lost} packets itself`);
    return { [`${link.name}${direction}`]: megabits };
  });
}

/** Why the kernel's senders cannot use a congestion control, or `undefined`. */
function congestionUnmet(name: string): string | undefined {
  const path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
  const available = Deno.readTextFileSync(path).trim().split(" ");
  return available.includes(name)
    ? undefined
    : `this kernel has no ${name}: ${available.join(", ")}`;
}
