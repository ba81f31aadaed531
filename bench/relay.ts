/**
 * `deno task bench:relay [--runs N] [--seconds S] [--cases A,B] [--json]`: ChannelData through `moray relay` and through coturn's
 * `turnserver`, on the same processors with the same native client and peer.
 *
 * The client hands datagrams to the kernel in trains (UDP_SEGMENT) and receives them joined (UDP_GRO), as a node's fast driver does;
 * the cases named `single` send and receive each by itself, as a client without segmentation offload.
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

const PORT = 3478;
const CHANNEL = "0x4000";
const SECRET = "bench";
const REALM = "moray";
/** Payload of a datagram, and how many are on their way at once. */
const PAYLOAD_BYTES = 1200;
const WINDOW = 512;
/** Datagrams handed over at once: what 64 KiB hold, less some room. */
const TRAIN = 44;
const GRACE_MS = 15_000;

type Direction = "up" | "down";
const DIRECTIONS: readonly Direction[] = ["up", "down"];
const WORDS = { up: "client to peer", down: "peer to client" } as const;

const MEASURES: readonly Measure[] = [
  ...DIRECTIONS.flatMap((direction): Measure[] => [
    {
      key: direction,
      title: WORDS[direction],
      unit: "packets/s",
      digits: 0,
      better: "more",
      group: "packets",
    },
    {
      key: `${direction}Mbit`,
      title: WORDS[direction],
      unit: "Mbit/s",
      digits: 0,
      better: "more",
      group: "throughput",
    },
    {
      key: `${direction}Cpu`,
      title: `CPU of the relay, ${WORDS[direction]}`,
      unit: "µs per packet",
      digits: 2,
      better: "less",
      group: "CPU per packet",
    },
    {
      key: `${direction}Lost`,
      title: `lost, ${WORDS[direction]}`,
      unit: "%",
      digits: 2,
      better: "less",
    },
  ]),
  { key: "memory", title: "memory of the relay", unit: "MiB", digits: 0, better: "less" },
];

const TARGETS: readonly Target[] = ["", "-single"].flatMap((kind) =>
  DIRECTIONS.map((direction) => ({
    title: `moray over coturn, packets/s ${WORDS[direction]}${kind === "" ? "" : ", one by one"}`,
    measure: direction,
    ours: `moray${kind}`,
    theirs: `coturn${kind}`,
    atLeast: 1,
  }))
);

/** Ports of the next client: a client that asks again from the same port would be refused. */
let nextPort = 40_000;

if (import.meta.main) {
  const names = ["moray", "coturn", "moray-single", "coturn-single"];
  const args = readArguments({ runs: 5, seconds: 3, cases: names });
  await runBenchmark({
    name: "relay",
    title: "ChannelData through a relay",
    args,
    measures: MEASURES,
    cases: names.map((name) => relayCase(name, args.seconds)),
    targets: TARGETS,
    versions: { coturn: () => versionOf("turnserver", "--version") },
  });
}

function relayCase(name: string, seconds: number): Case {
  const ours = name.startsWith("moray");
  const single = name.endsWith("-single");
  return {
    name,
    title: `${ours ? "moray relay" : "coturn"}${single ? ", one by one" : ""}`,
    ours,
    unmet: async () =>
      (ours ? undefined : unmet(["turnserver"])) ?? unbuildable(await nativeProgram("turn_load")),
    open: async (scope) => {
      const ends = await joinedEnds(scope);
      const server = scope.use(await (ours ? startOurs(ends) : startCoturn(scope, ends)));
      return DIRECTIONS.map((direction) =>
        stepOf(server, { ends, direction, seconds, train: single ? 1 : TRAIN })
      );
    },
  };
}

async function startOurs({ b }: Ends): Promise<Child> {
  const command = [
    Deno.execPath(),
    ...[
      "run",
      "-A",
      "--unstable-net",
      `${ROOT}main.ts`,
      "relay",
      "--listen-udp",
      `${b.ip}:${PORT}`,
    ],
    ...["--external-ip", b.ip, "--allow-private-peers", "--secret", SECRET, "--realm", REALM],
    ...["--datapath", "fast", "--log-level", "warn"],
  ];
  const server = new Child(command, { ...placeOf(b), cwd: ROOT });
  await server.line(/^ready/);
  return server;
}

async function startCoturn(scope: Scope, { b }: Ends): Promise<Child> {
  const server = new Child([
    ...["turnserver", "-n", "--use-auth-secret", "--static-auth-secret", SECRET, "--realm", REALM],
    ...["--no-tls", "--no-dtls", "--no-cli", "--allow-loopback-peers", "--relay-ip", b.ip],
    ...["--listening-ip", b.ip, "--listening-port", `${PORT}`, "--log-file", "stdout"],
    ...["--no-software-attribute", "--pidfile", `${scope.directory()}/turnserver.pid`],
  ], placeOf(b));
  await server.line(/IPv4\. UDP listener opened on|SQLite DB connection success/);
  return server;
}

function stepOf(
  server: Child,
  { ends: { a, b }, direction, seconds, train }: {
    readonly ends: Ends;
    readonly direction: Direction;
    readonly seconds: number;
    readonly train: number;
  },
): Step {
  return async (): Promise<Figures> => {
    const [client, peer] = [nextPort++, nextPort++];
    const setUp = await must([
      ...[Deno.execPath(), "run", "-A", "--unstable-net", `${ROOT}bench/load/turn_setup.ts`],
      ...[`${b.ip}:${PORT}`, `${client}`, `${a.ip}:${peer}`, SECRET, REALM, CHANNEL],
    ], { ...placeOf(a), timeoutMs: GRACE_MS });
    const relayed = setUp.trim().split(":").at(-1) ?? "";
    const program = await built(await nativeProgram("turn_load"));
    const command = [
      ...[program, direction, `${client}`, b.ip, `${PORT}`, CHANNEL, relayed, `${peer}`],
      ...[`${PAYLOAD_BYTES}`, `${WINDOW}`, `${seconds}`, `${train}`],
    ];
    const options = { ...placeOf(a), timeoutMs: seconds * 1000 + GRACE_MS };
    const { value: text, cpu: [cpu = NaN] } = await withCpuOf(
      [server.pid],
      () => must(command, options),
    );
    const result = JSON.parse(text) as Readonly<
      Record<"packets" | "seconds" | "lost" | "bytes", number>
    >;
    const { packets, lost, bytes } = result;
    if (packets === 0) throw new Error("nothing came through");
    return {
      [direction]: packets / result.seconds,
      [`${direction}Mbit`]: bytes * 8 / result.seconds / 1e6,
      [`${direction}Cpu`]: cpu * 1e6 / packets,
      [`${direction}Lost`]: lost / (packets + lost) * 100,
      memory: residentMiB(server.pid),
    };
  };
}
