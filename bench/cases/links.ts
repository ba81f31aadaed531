/** One stream over difficult links: through moray, through wireguard-go's netstack, and by the kernel's TCP without a tunnel. @module */
import { aloneBinary, type Program, SOURCE } from "../../tests/support/moray.ts";
import { unmet } from "../../tests/support/needs.ts";
import { OwnScope, type Scope } from "../../tests/support/scope.ts";
import { parseArguments } from "../arguments.ts";
import { type Link, type ShapedEnds, shapedEnds } from "./lab.ts";
import { openForwards, openUserspace } from "./moray.ts";
import { netstackUnmet, openNetstack } from "./peers.ts";
import type { Load } from "./tunnel.ts";
import { directLoad, KernelLoad, kernelLoadUnmet, startKernelServers } from "../load/kernel.ts";
import { VERSIONS } from "../peers/programs.ts";
import type { Measure, Target } from "../result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "../runner.ts";

/** A link and what is wanted on it. */
export interface WantedLink extends Link {
  /** The least ratio to the kernel's BBR without a tunnel. */
  readonly atLeast: number;
}

const DIRECTIONS = [
  { direction: "up", title: "A to B" },
  { direction: "down", title: "B to A" },
] as const;

/** Measures every link, or those that the command line names. */
export async function benchLinks(
  { name, title, links }: {
    /** The benchmark's name. */
    readonly name: string;
    /** Its name for people. */
    readonly title: string;
    /** The links. */
    readonly links: readonly WantedLink[];
  },
): Promise<void> {
  const args = parseArguments(Deno.args, {
    runs: 5,
    seconds: 8,
    cases: ["userspace", "forward", "netstack", "bbr", "cubic"],
    links: links.map((link) => link.name),
  });
  const chosen = links.filter((link) => args.links.includes(link.name));
  await using scope = new OwnScope();
  const program = args.binary ? aloneBinary(scope) : SOURCE;
  await runBenchmark({
    name,
    title,
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

function targetsOf({ name, title, atLeast }: WantedLink): Target[] {
  return DIRECTIONS.map(({ direction, title: way }) => ({
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
