/**
 * `deno task bench:discovery [--runs N] [--seconds S] [--cases A,B] [--json]`: calls of `moray discovery` with 10,000 registered
 * nodes on SQLite and PostgreSQL, beside a server that reads the same requests and says something, and its STUN answers beside coturn's.
 *
 * Every registration and lookup proves the node's key. Requests are made beforehand, and a native program sends them, each
 * connection from an address of its own, as the service limits what one address may ask.
 *
 * @module
 */
import { Moray, SOURCE } from "../tests/support/moray.ts";
import { unmet } from "../tests/support/needs.ts";
import { PostgresServer } from "../tests/support/postgres.ts";
import type { Scope } from "../tests/support/scope.ts";
import { readArguments } from "./arguments.ts";
import {
  type CallBench,
  callSteps,
  hostOf,
  memoryOfStreams,
  registerAll,
  rest,
  startBare,
  startCoturn,
  stunStep,
} from "./cases/discovery.ts";
import { versionOf } from "./environment.ts";
import { askTarget, type Herd, makeHerd, RequestWriter } from "./load/herd.ts";
import { unbuildable } from "./peers/cache.ts";
import { nativeProgram } from "./peers/programs.ts";
import { residentMiB } from "./processes.ts";
import type { Measure, Target } from "./result.ts";
import { type Case, progress, runBenchmark } from "./runner.ts";

const MESHES = 100;
/** One of each mesh's hundred nodes is its colony. */
const AGENTS_PER_MESH = 99;
const NODES = MESHES * (AGENTS_PER_MESH + 1);
const STREAMS = 1000;

const CALLS = [
  ["health", "Health"],
  ["lookup", "LookupColony"],
  ["register", "RegisterAgent, refreshed"],
] as const;

const MEASURES: readonly Measure[] = [
  ...CALLS.flatMap(([key, title]): Measure[] => [
    { key, title, unit: "calls/s", digits: 0, better: "more", group: "calls per second" },
    { key: `${key}P50`, title: `${title}, p50`, unit: "ms", digits: 2, better: "less" },
    { key: `${key}P99`, title: `${title}, p99`, unit: "ms", digits: 2, better: "less" },
    {
      key: `${key}Cpu`,
      title: `${title}, CPU of the service`,
      unit: "µs per call",
      digits: 0,
      better: "less",
    },
    {
      key: `${key}Load`,
      title: `${title}, the load's own share`,
      unit: "% of two processors",
      digits: 0,
    },
  ]),
  { key: "first", title: "RegisterAgent, first", unit: "calls/s", digits: 0, better: "more" },
  { key: "perNode", title: "memory of a node", unit: "KiB", digits: 1, better: "less" },
  { key: "perStream", title: "memory of a Watch stream", unit: "KiB", digits: 1, better: "less" },
  { key: "memory", title: "memory at the end", unit: "MiB", digits: 0, better: "less" },
  {
    key: "stun",
    title: "STUN",
    unit: "answers/s",
    digits: 0,
    better: "more",
    group: "STUN answers per second",
  },
  { key: "stunCpu", title: "STUN, CPU", unit: "µs per answer", digits: 2, better: "less" },
  { key: "stunLost", title: "STUN, without an answer", unit: "%", digits: 3, better: "less" },
];

const TARGETS: readonly Target[] = [
  ...["sqlite", "postgres"].flatMap((ours): Target[] => [
    {
      title: `proven registrations per second (${ours})`,
      measure: "register",
      ours,
      atLeast: 5000,
    },
    { title: `lookups per second (${ours})`, measure: "lookup", ours, atLeast: 20_000 },
  ]),
  ...["lookup", "register"].map((measure): Target => ({
    title: `${
      measure === "lookup" ? "lookups" : "proven registrations"
    } over what Deno.serve alone answers`,
    measure,
    ours: "sqlite",
    theirs: "bare",
  })),
  {
    title: "STUN answers over coturn's",
    measure: "stun",
    ours: "stun",
    theirs: "coturn",
    atLeast: 1,
  },
];

if (import.meta.main) {
  const args = readArguments({
    runs: 3,
    seconds: 4,
    cases: ["bare", "sqlite", "postgres", "stun", "coturn"],
  });
  await runBenchmark({
    name: "discovery",
    title: "Discovery with 10,000 nodes",
    args,
    measures: MEASURES,
    cases: discoveryCases(args.seconds),
    targets: TARGETS,
    versions: { coturn: () => versionOf("turnserver", "--version") },
  });
}

function discoveryCases(seconds: number): readonly Case[] {
  let herd: Promise<Herd> | undefined;
  const storeCase = (
    { name, title, unmet: reason, store }: {
      readonly name: string;
      readonly title: string;
      readonly unmet?: () => string | undefined;
      readonly store: (scope: Scope) => Promise<string>;
    },
  ): Case => ({
    name,
    title,
    ours: true,
    unmet: async () => reason?.() ?? unbuildable(await nativeProgram("http_load")),
    open: async (scope) => {
      herd ??= makeHerd({ meshes: MESHES, agents: AGENTS_PER_MESH });
      const bench = await startBench(scope, {
        herd: await herd,
        store: await store(scope),
        seconds,
      });
      await rest();
      const before = residentMiB(bench.pid);
      const first = await registerAll(bench);
      await rest();
      const perNode = (residentMiB(bench.pid) - before) * 1024 / NODES;
      const perStream = await memoryOfStreams(bench, STREAMS);
      progress(`${title}: ${NODES} nodes are registered`);
      const [health, ...others] = callSteps(bench);
      return [
        async () => ({ ...await health?.(), ...first, perNode, perStream }),
        ...others,
        () => Promise.resolve({ memory: residentMiB(bench.pid) }),
      ];
    },
  });
  return [
    {
      name: "bare",
      title: "Deno.serve alone",
      ours: false,
      unmet: async () => unbuildable(await nativeProgram("http_load")),
      open: async (scope) => {
        herd ??= makeHerd({ meshes: MESHES, agents: AGENTS_PER_MESH });
        const { pid, host } = await startBare(scope);
        // Nobody looks at the proofs: what counts is that they are as long.
        const writer = new RequestWriter({
          host,
          serverKey: new Uint8Array(32).fill(9),
          aheadMs: 0,
        });
        return callSteps({ scope, pid, host, writer, herd: await herd, seconds });
      },
    },
    storeCase({
      name: "sqlite",
      title: "SQLite",
      store: (scope) => Promise.resolve(`${scope.directory()}/discovery.db`),
    }),
    storeCase({
      name: "postgres",
      title: "PostgreSQL",
      unmet: () => unmet(["postgres"]),
      store: async (scope) => await scope.use(await PostgresServer.start()).createDatabase(),
    }),
    {
      name: "stun",
      title: "moray, STUN",
      ours: true,
      unmet: async () => unbuildable(await nativeProgram("stun_load")),
      open: async (scope) => {
        const service = await startService(scope, ":memory:");
        const { pid } = service.child;
        return [stunStep({ pid, host: hostOf(service, "stun"), seconds })];
      },
    },
    {
      name: "coturn",
      title: "coturn, STUN",
      ours: false,
      unmet: async () => unmet(["turnserver"]) ?? unbuildable(await nativeProgram("stun_load")),
      open: async (scope) => {
        const port = freePort();
        const { pid } = await startCoturn(scope, port);
        return [stunStep({ pid, host: `127.0.0.1:${port}`, seconds })];
      },
    },
  ];
}

async function startBench(
  scope: Scope,
  { herd, store, seconds }: {
    readonly herd: Herd;
    readonly store: string;
    readonly seconds: number;
  },
): Promise<CallBench> {
  const service = await startService(scope, store);
  const host = hostOf(service, "http");
  const writer = new RequestWriter(await askTarget(`http://${host}`));
  return { scope, pid: service.child.pid, host, writer, herd, seconds };
}

async function startService(scope: Scope, store: string): Promise<Moray> {
  const program = {
    ...SOURCE,
    options: { ...SOURCE.options, env: { ...SOURCE.options.env, MORAY_STORE: store } },
  };
  const flags = ["--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"];
  return scope.use(await Moray.start(["discovery", ...flags], { program }));
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
