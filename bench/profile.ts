/**
 * `deno task bench:profile [--runs N] [--seconds S] [--cases A,B] [--json]`: where the time of both ends goes while one stream
 * goes from A to B, as `perf` samples it. The names of hot symbols go to standard error.
 *
 * @module
 */
import { run } from "../tests/support/child.ts";
import { SOURCE } from "../tests/support/moray.ts";
import { which } from "../tests/support/needs.ts";
import type { Scope } from "../tests/support/scope.ts";
import { readArguments } from "./arguments.ts";
import { morayTunUnmet, openForward, openMorayTun, openUserspace } from "./cases/moray.ts";
import {
  deviceTunnel,
  netstackUnmet,
  openNetstack,
  openWireguardGo,
  wireguardGoUnmet,
} from "./cases/peers.ts";
import { type Ends, joinedEnds, type Tunnel } from "./cases/tunnel.ts";
import { kernelLoadUnmet } from "./load/kernel.ts";
import { KINDS, parsePerfReport, type Sample, sharesOf } from "./perf_report.ts";
import type { Measure } from "./result.ts";
import { type Case, type Figures, progress, runBenchmark, type Step } from "./runner.ts";

/** Samples per second; not a round number, so that it does not beat with timers. */
const FREQUENCY = 997;
/** Lets perf name what V8 compiles, JavaScript and wasm alike. Read by every Deno that is started from here on. */
const V8_FLAGS = "--perf-basic-prof";
const GRACE_MS = 120_000;
const HOT_SYMBOLS = 15;
/** How long the load runs before and after the samples. */
const EDGE_SECONDS = 1;

const ENDS = ["A", "B"] as const;
const MEASURES: readonly Measure[] = [
  { key: "rate", title: "throughput while sampled", unit: "Mbit/s", digits: 0 },
  ...ENDS.flatMap((end) =>
    KINDS.map((kind) => ({
      key: `${end}${kind}`,
      title: `${end === "A" ? "A, the sender" : "B, the receiver"}: ${kind}`,
      unit: "% of its samples",
      digits: 0,
      group: end,
    }))
  ),
];

if (import.meta.main) {
  const names = ["userspace", "forward", "tun", "wireguard-go", "netstack"];
  const args = readArguments({ runs: 3, seconds: 5, cases: names });
  Deno.env.set("DENO_V8_FLAGS", V8_FLAGS);
  await runBenchmark({
    name: "profile",
    title: "Where the time goes",
    args,
    measures: MEASURES,
    cases: profileCases(args.seconds),
    targets: [],
  });
}

function profileCases(seconds: number): readonly Case[] {
  const profiled = (
    { open, unmet: reason, ...rest }: Omit<Case, "open"> & {
      readonly open: (scope: Scope, ends: Ends) => Promise<Tunnel>;
    },
  ): Case => ({
    ...rest,
    unmet: async () =>
      which("perf") === undefined ? "needs perf (package linux-perf)" : await reason?.(),
    open: async (scope) => [
      stepOf(await open(scope, await joinedEnds(scope)), {
        seconds,
        title: rest.title,
        folder: scope.directory(),
      }),
    ],
  });
  const program = SOURCE;
  return [
    profiled({
      name: "userspace",
      title: "moray, streams in the program",
      ours: true,
      open: openUserspace,
    }),
    profiled({
      name: "forward",
      title: "moray, --forward to --expose",
      ours: true,
      unmet: kernelLoadUnmet,
      open: (scope, ends) => openForward(scope, { ends, program }),
    }),
    profiled({
      name: "tun",
      title: "moray, TUN to TUN",
      ours: true,
      unmet: async () => await morayTunUnmet(program) ?? await kernelLoadUnmet(),
      open: async (scope, ends) =>
        await deviceTunnel(scope, { ends, pids: await openMorayTun(scope, { ends, program }) }),
    }),
    profiled({
      name: "wireguard-go",
      title: "wireguard-go, TUN to TUN",
      ours: false,
      unmet: wireguardGoUnmet,
      open: async (scope, ends) =>
        await deviceTunnel(scope, { ends, pids: await openWireguardGo(scope, ends) }),
    }),
    profiled({
      name: "netstack",
      title: "wireguard-go, netstack to netstack",
      ours: false,
      unmet: netstackUnmet,
      open: openNetstack,
    }),
  ];
}

function stepOf(
  { pids, load }: Tunnel,
  { seconds, title, folder }: {
    readonly seconds: number;
    readonly title: string;
    readonly folder: string;
  },
): Step {
  return async (): Promise<Figures> => {
    const running = load.bulk({
      direction: "up",
      streams: 1,
      seconds: seconds + 2 * EDGE_SECONDS,
    });
    const sampling = Promise.all(
      ENDS.map((end, i) => sample(pids[i] ?? 0, { seconds, file: `${folder}/${end}` })),
    );
    const [rate, samples] = await Promise.all([running, sampling]);
    const figures: Record<string, number> = { rate };
    for (const [i, end] of ENDS.entries()) {
      const ofEnd = samples[i] ?? [];
      for (const [kind, share] of Object.entries(sharesOf(ofEnd))) figures[end + kind] = share;
      tell(`${title}, ${end}`, ofEnd);
    }
    return figures;
  };
}

/** Samples a process and returns its symbols, the hottest first. */
async function sample(
  pid: number,
  { seconds, file }: { readonly seconds: number; readonly file: string },
): Promise<readonly Sample[]> {
  await new Promise((wake) => setTimeout(wake, EDGE_SECONDS * 1000));
  const options = { timeoutMs: seconds * 1000 + GRACE_MS };
  const flags = ["--quiet", "--event=cpu-clock", `--freq=${FREQUENCY}`, `--pid=${pid}`];
  await perf(["record", ...flags, `--output=${file}`, "--", "sleep", `${seconds}`], options);
  const form = ["--stdio", "--field-separator=;", "--fields=overhead,dso,symbol"];
  const text = await perf(["report", `--input=${file}`, "--force", ...form], options);
  const samples = parsePerfReport(text);
  if (samples.length === 0) throw new Error(`perf saw nothing of process ${pid}`);
  return [...samples].sort((a, b) => b.percent - a.percent);
}

async function perf(
  args: readonly string[],
  options: { readonly timeoutMs: number },
): Promise<string> {
  const { code, stdout, stderr } = await run(["perf", ...args], options);
  if (code !== 0) throw new Error(`perf ${args[0]}: ${stderr.split("\n")[0]}`);
  return stdout;
}

function tell(title: string, samples: readonly Sample[]): void {
  progress(`--- ${title}`);
  for (const { percent, symbol } of samples.slice(0, HOT_SYMBOLS)) {
    progress(`${percent.toFixed(2).padStart(6)} %  ${symbol}`);
  }
}
