/**
 * `deno task bench:start [--runs N] [--seconds S] [--cases A,B] [--json]`: how fast moray starts and what it takes while it
 * is idle, under load, and with many peers; the compiled program and the source. `--seconds` is the time of idling.
 *
 * @module
 */
import { parseSocketAddress } from "../core/mod.ts";
import { must } from "../tests/support/child.ts";
import { keyPair } from "../tests/support/keys.ts";
import { aloneBinary, Moray, type Program, SOURCE } from "../tests/support/moray.ts";
import { unmet } from "../tests/support/needs.ts";
import { OwnScope, type Scope } from "../tests/support/scope.ts";
import { writeConfig } from "../tests/support/wireguard_pair.ts";
import { readArguments } from "./arguments.ts";
import { type BenchMesh, meshUnmet, openMesh, WEB_PORT } from "./cases/mesh.ts";
import { BULK_PORT, KernelLoad, kernelLoadUnmet, PING_PORT } from "./load/kernel.ts";
import { built, unbuildable } from "./peers/cache.ts";
import { nativeProgram } from "./peers/programs.ts";
import { cpuSeconds, residentMiB, whileSampling } from "./processes.ts";
import type { Measure, Target } from "./result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "./runner.ts";
import { summarize } from "./statistics.ts";

/** Starts in each run, of which the middle one counts. */
const STARTS = 10;
const PEERS = 1_000;
/** How long a node may settle before it is looked at. */
const SETTLE_MS = 5_000;
/** Length of each load whose memory is looked at. */
const LOAD_SECONDS = 5;
const SAMPLE_MS = 250;
/** Where the agent's forward listens, in a namespace of its own. */
const FORWARD_PORT = 18_080;

const MEASURES: readonly Measure[] = [
  measure("version", "--version, p50", "ms"),
  measure("firstByte", "agent's start to the first byte through the tunnel, p50", "ms"),
  measure("firstByteWorst", "the same, slowest", "ms"),
  { ...measure("idleCpu", "CPU of an idle agent", "%"), digits: 2 },
  measure("idleMemory", "memory of an idle agent", "MiB"),
  measure("loadMemory", "memory of an agent under load, largest", "MiB"),
  measure("colonyMemory", "memory of its colony under load, largest", "MiB"),
  measure("peersMemory", `memory with ${PEERS} peers in a file`, "MiB"),
  measure("meshMemory", `memory of a colony with ${PEERS} registered agents`, "MiB"),
];

/** A megabyte of the targets in MiB. */
const MB = 1e6 / (1 << 20);

const TARGETS: readonly Target[] = ["binary", "source"].flatMap((ours) => {
  const target = (measure: string, title: string, atMost: number): Target => ({
    title: `${title} (${ours})`,
    measure,
    ours,
    atMost,
  });
  return [
    target("version", "--version, ms", 60),
    target("firstByte", "start to first byte, ms", 1_000),
    target("idleCpu", "idle CPU, % of a core", 0.5),
    target("idleMemory", "idle memory, 90 MB", round(90 * MB)),
    target("loadMemory", "memory under load, 200 MB", round(200 * MB)),
    target("peersMemory", "memory with 1,000 peers, 150 MB", round(150 * MB)),
  ];
});

if (import.meta.main) {
  const args = readArguments({ runs: 5, seconds: 30, cases: ["binary", "source"] });
  await runBenchmark({
    name: "start",
    title: "Start and memory",
    args,
    measures: MEASURES,
    cases: [
      programCase("binary", { title: "compiled", make: aloneBinary, seconds: args.seconds }),
      programCase("source", { title: "deno run", make: () => SOURCE, seconds: args.seconds }),
    ],
    targets: TARGETS,
  });
}

function measure(key: string, title: string, unit: string): Measure {
  return { key, title, unit, digits: 0, better: "less", group: title };
}

function programCase(
  name: "binary" | "source",
  { title, make, seconds }: {
    readonly title: string;
    readonly make: (scope: Scope) => Program;
    readonly seconds: number;
  },
): Case {
  return {
    name,
    title,
    ours: true,
    unmet: async () =>
      (name === "binary" ? unmet(["binary"]) : undefined) ?? meshUnmet() ??
        await kernelLoadUnmet() ?? unbuildable(await nativeProgram("start_time")),
    open: async (scope) => {
      const program = make(scope);
      const mesh = await openMesh(scope, program);
      return [
        () => version(program),
        () => firstByte(program, mesh),
        () => runningAgent({ program, mesh, seconds }),
        () => manyPeers(program),
        registeredAgents(program),
      ];
    },
  };
}

async function version(program: Program): Promise<Figures> {
  const times: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    times.push((await timed(program, { how: ["exit"], args: ["--version"] })).ms);
  }
  return { version: summarize(times)?.median ?? NaN };
}

async function firstByte(program: Program, { ends, agentFlags }: BenchMesh): Promise<Figures> {
  const forward = ["--forward", `127.0.0.1:${FORWARD_PORT}:colony:${WEB_PORT}`];
  const times: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    const how = ["http", `${FORWARD_PORT}`];
    const args = ["agent", ...agentFlags, ...forward];
    times.push((await timed(program, { how, args, namespace: ends.a.namespace })).ms);
  }
  return { firstByte: summarize(times)?.median ?? NaN, firstByteWorst: Math.max(...times) };
}

async function timed(
  { command, options }: Program,
  { how, args, namespace }: {
    readonly how: readonly string[];
    readonly args: readonly string[];
    readonly namespace?: string | undefined;
  },
): Promise<{ readonly ms: number }> {
  const watch = await built(await nativeProgram("start_time"));
  const text = await must([watch, ...how, ...command, ...args], { ...options, namespace });
  return JSON.parse(text) as { ms: number };
}

/** An agent that idles, then carries one stream and eight, both ways. */
async function runningAgent(
  { program, mesh, seconds }: {
    readonly program: Program;
    readonly mesh: BenchMesh;
    readonly seconds: number;
  },
): Promise<Figures> {
  const { ends: { a }, agentFlags, colonyPid } = mesh;
  const args = ["agent", ...agentFlags, "--socks5", "127.0.0.1:0"];
  args.push("--forward", `127.0.0.1:0:colony:${BULK_PORT}`);
  await using agent = await Moray.start(args, {
    program,
    ...(a.namespace === undefined ? {} : { namespace: a.namespace }),
  });
  const { pid } = agent.child;
  await sleep(SETTLE_MS);
  const before = cpuSeconds(pid);
  await sleep(seconds * 1000);
  const idleCpu = (cpuSeconds(pid) - before) / seconds * 100;
  const idleMemory = residentMiB(pid);
  const bulk = parseSocketAddress(agent.address("forward"));
  if (bulk === undefined) throw new Error("No forward in the ready line");
  const load = new KernelLoad({ from: a, bulk, ping: { ...bulk, port: PING_PORT } });
  const read = (): readonly number[] => {
    // Its last words are worth more than the missing figure.
    if (agent.child.ended) throw new Error(`the agent has ended: ${agent.child.log.slice(-500)}`);
    return [residentMiB(pid), residentMiB(colonyPid)];
  };
  const samples = await whileSampling({ read, everyMs: SAMPLE_MS }, async () => {
    for (const streams of [1, 8]) {
      await load.bulk({ direction: "up", streams, seconds: LOAD_SECONDS });
      await load.bulk({ direction: "down", streams, seconds: LOAD_SECONDS });
    }
  });
  const largest = (at: number): number => Math.max(...samples.map((sample) => sample[at] ?? NaN));
  return { idleCpu, idleMemory, loadMemory: largest(0), colonyMemory: largest(1) };
}

/** A plain peer whose file names many others. */
async function manyPeers(program: Program): Promise<Figures> {
  await using scope = new OwnScope();
  const lines = [
    "[Interface]",
    `PrivateKey = ${(await keyPair()).privateKey}`,
    "Address = 10.9.0.1/16",
  ];
  for (let i = 0; i < PEERS; i++) {
    const ip = `10.9.${1 + (i >> 8)}.${i & 255}`;
    lines.push("[Peer]", `PublicKey = ${(await keyPair()).publicKey}`, `AllowedIPs = ${ip}/32`);
    lines.push(`Endpoint = 127.0.0.1:9`);
  }
  const file = await writeConfig(scope, lines);
  const node = scope.use(await Moray.start(["wireguard", file], { program }));
  await sleep(SETTLE_MS);
  return { peersMemory: residentMiB(node.child.pid) };
}

/** A mesh of its own with many registered agents, made anew in each run: registrations expire. */
function registeredAgents(program: Program): Step {
  return async (): Promise<Figures> => {
    await using scope = new OwnScope();
    const mesh = await openMesh(scope, program);
    await mesh.register(PEERS);
    await sleep(SETTLE_MS);
    return { meshMemory: residentMiB(mesh.colonyPid) };
  };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

async function sleep(ms: number): Promise<void> {
  await new Promise((wake) => setTimeout(wake, ms));
}
