/**
 * `deno task bench:stun [--runs N] [--seconds S] [--cases A,B] [--json]`: the fast driver alone as a server of small
 * datagrams beside coturn's `turnserver`, on the same processors with the same native load.
 *
 * A server in C that sends everything back shows what the load itself can take.
 *
 * @module
 */
import { Child, must } from "../tests/support/child.ts";
import { ROOT, unmet } from "../tests/support/needs.ts";
import type { Scope } from "../tests/support/scope.ts";
import { readArguments } from "./arguments.ts";
import { type Ends, joinedEnds, placeOf } from "./cases/tunnel.ts";
import { versionOf } from "./environment.ts";
import { built, unbuildable } from "./peers/cache.ts";
import { nativeProgram } from "./peers/programs.ts";
import { residentMiB, withCpuOf } from "./processes.ts";
import type { Measure, Target } from "./result.ts";
import { type Case, type Figures, runBenchmark, type Step } from "./runner.ts";

/** Clients at once, and requests of each that wait for an answer. */
const SOCKETS = 64;
const WINDOW = 8;
const PORT = 3478;
const GRACE_MS = 15_000;

const MEASURES: readonly Measure[] = [
  {
    key: "answers",
    title: "answers",
    unit: "per second",
    digits: 0,
    better: "more",
    group: "answers",
  },
  {
    key: "cpu",
    title: "CPU of the server",
    unit: "µs per answer",
    digits: 2,
    better: "less",
    group: "CPU per answer",
  },
  { key: "lost", title: "requests without an answer", unit: "%", digits: 3, better: "less" },
  { key: "memory", title: "memory of the server", unit: "MiB", digits: 0, better: "less" },
];

const TARGETS: readonly Target[] = ["driver", "echo"].map((ours) => ({
  title: `${ours} over coturn, answers per second`,
  measure: "answers",
  ours,
  theirs: "coturn",
  atLeast: 1,
}));

/** What is answered to: STUN, or anything. */
type Kind = "stun" | "echo";

if (import.meta.main) {
  const names = ["driver", "echo", "coturn", "native"];
  const args = readArguments({ runs: 5, seconds: 5, cases: names });
  await runBenchmark({
    name: "stun",
    title: "STUN answers of the driver alone",
    args,
    measures: MEASURES,
    cases: serverCases(args.seconds),
    targets: TARGETS,
    versions: { coturn: () => versionOf("turnserver", "--version") },
  });
}

function serverCases(seconds: number): readonly Case[] {
  const serverCase = (
    { kind, start, unmet: reason, ...rest }: Omit<Case, "open" | "unmet"> & {
      readonly kind: Kind;
      readonly start: (scope: Scope, ends: Ends) => Promise<Child>;
      readonly unmet?: () => string | undefined;
    },
  ): Case => ({
    ...rest,
    unmet: async () => reason?.() ?? unbuildable(await nativeProgram("stun_load")),
    open: async (scope) => {
      const ends = await joinedEnds(scope);
      const server = scope.use(await start(scope, ends));
      return [stepOf(server, { ends, kind, seconds })];
    },
  });
  return [
    serverCase({
      name: "driver",
      title: "moray, STUN",
      ours: true,
      kind: "stun",
      start: (_, ends) => startDriver(ends, "stun"),
    }),
    serverCase({
      name: "echo",
      title: "moray, plain echo",
      ours: true,
      kind: "echo",
      start: (_, ends) => startDriver(ends, "echo"),
    }),
    serverCase({
      name: "coturn",
      title: "coturn, STUN",
      ours: false,
      kind: "stun",
      unmet: () => unmet(["turnserver"]),
      start: startCoturn,
    }),
    serverCase({
      name: "native",
      title: "C, plain echo",
      ours: false,
      kind: "echo",
      start: (_, ends) => startNative(ends),
    }),
  ];
}

async function startDriver({ b }: Ends, kind: Kind): Promise<Child> {
  const command = [Deno.execPath(), "run", "-A", `${ROOT}bench/stun_server.ts`, `${PORT}`, kind];
  const server = new Child(command, { ...placeOf(b), cwd: ROOT });
  await server.line(/^ready/);
  return server;
}

async function startCoturn(scope: Scope, { b }: Ends): Promise<Child> {
  const flags = ["--no-auth", "--no-tls", "--no-dtls", "--stun-only", "--no-cli"];
  const server = new Child([
    "turnserver",
    "-n",
    ...flags,
    "--no-software-attribute",
    "--listening-ip",
    b.ip,
    "--listening-port",
    `${PORT}`,
    "--log-file",
    "stdout",
    "--pidfile",
    `${scope.directory()}/turnserver.pid`,
  ], placeOf(b));
  await server.line(/IPv4\. UDP listener opened on|SQLite DB connection success/);
  return server;
}

async function startNative({ b }: Ends): Promise<Child> {
  const program = await built(await nativeProgram("stun_load"));
  const server = new Child([program, "echo", `${PORT}`], placeOf(b));
  await server.line(/^ready/);
  return server;
}

function stepOf(
  server: Child,
  { ends: { a, b }, kind, seconds }: {
    readonly ends: Ends;
    readonly kind: Kind;
    readonly seconds: number;
  },
): Step {
  return async (): Promise<Figures> => {
    const program = await built(await nativeProgram("stun_load"));
    const words = ["ask", b.ip, `${PORT}`, `${seconds}`, `${SOCKETS}`, `${WINDOW}`, kind];
    const options = { ...placeOf(a), timeoutMs: seconds * 1000 + GRACE_MS };
    const { value: text, cpu: [cpu = NaN] } = await withCpuOf(
      [server.pid],
      () => must([program, ...words], options),
    );
    const result = JSON.parse(text) as { answers: number; seconds: number; lost: number };
    if (result.answers === 0) throw new Error("no answers");
    return {
      answers: result.answers / result.seconds,
      cpu: cpu * 1e6 / result.answers,
      lost: result.lost / (result.answers + result.lost) * 100,
      memory: residentMiB(server.pid),
    };
  };
}
