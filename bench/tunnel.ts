/**
 * `deno task bench [--runs N] [--seconds S] [--binary] [--json]`: throughput and round trip of the tunnel between
 * two nodes, beside wireguard-go on the same machine in the same run.
 *
 * As root: two namespaces and a veth pair for each; the runs alternate, so that a busy neighbour slows both.
 * moray runs in userspace at both ends and takes its load through `--forward` and `--expose`; wireguard-go runs
 * TUN to TUN. Without root: moray alone on the loopback interface.
 *
 * @module
 */
import { Child, must, residentBytes } from "../tests/support/child.ts";
import { keyPair } from "../tests/support/keys.ts";
import { Link } from "../tests/support/link.ts";
import { aloneBinary, Moray, type Program, SOURCE } from "../tests/support/moray.ts";
import { ROOT, unmet } from "../tests/support/needs.ts";
import { say } from "../tests/support/say.ts";
import { OwnScope, type Scope } from "../tests/support/scope.ts";
import { openUdp } from "../tests/support/udp.ts";
import { WireGuardGo } from "../tests/support/wireguard_go.ts";
import { writeConfig } from "../tests/support/wireguard_pair.ts";
import { formatSummary, summarize, type Summary } from "./statistics.ts";

/** What is measured, and how the figures read. */
const MEASURES = [
  { key: "up", title: "A to B, Mbit/s", digits: 0 },
  { key: "down", title: "B to A, Mbit/s", digits: 0 },
  { key: "roundTrip", title: "round trip p50, ms", digits: 3 },
] as const;

type Measure = typeof MEASURES[number]["key"];

/** Two tunnel ends with a load server behind B, ready to be measured from A. */
interface Tunnel {
  readonly name: string;
  /** Where A's side connects to reach B's load server, and iperf3's. */
  readonly load: string;
  readonly iperf3: string;
  /** Namespace of A. Absent: ours. */
  readonly namespace?: string;
  /** The two processes that carry the tunnel. */
  readonly pids: readonly number[];
}

interface Settings {
  readonly runs: number;
  readonly seconds: number;
  readonly json: boolean;
  readonly program: Program;
  readonly iperf3: boolean;
}

const PINGS = 1_000;
const IPERF3_PORT = 5201;

async function main(scope: Scope): Promise<void> {
  const settings = parseArguments(scope);
  const note = unmet(["wireguard-go"]);
  if (note !== undefined && !settings.json) {
    say(`wireguard-go is left out, and moray runs on the loopback interface: ${note}`);
  }
  const tunnels = note === undefined
    ? [await morayTunnel(scope, settings), await wireGuardGoTunnel(scope, settings)]
    : [await morayTunnel(scope, { ...settings, loopback: true })];
  const results = new Map(tunnels.map((tunnel) => [tunnel, emptyRuns()]));
  for (let run = 0; run < settings.runs; run++) {
    for (const [tunnel, measured] of results) {
      measured.roundTrip.push(await roundTrip(tunnel));
      measured.up.push(await throughput(tunnel, "up", settings));
      measured.down.push(await throughput(tunnel, "down", settings));
    }
  }
  report([...results], settings);
}

function emptyRuns(): Record<Measure, number[]> {
  return { up: [], down: [], roundTrip: [] };
}

// ---- the two tunnels

/** `moray wireguard` at both ends. */
async function morayTunnel(
  scope: Scope,
  { program, iperf3, loopback = false }: Settings & { readonly loopback?: boolean },
): Promise<Tunnel> {
  const link = loopback ? undefined : scope.use(await Link.up());
  const [a, b] = [await keyPair(), await keyPair()];
  const hostname = link?.b.ip ?? "127.0.0.1";
  const port = link === undefined ? freePort(scope) : 51820;
  const inB = link === undefined ? {} : { namespace: link.b.namespace };
  const inA = link === undefined ? {} : { namespace: link.a.namespace };
  const server = await loadServer(scope, { ...inB, listen: "127.0.0.1:0", iperf3 });
  const far = await writeConfig(scope, [
    "[Interface]",
    `PrivateKey = ${b.privateKey}`,
    "Address = 10.9.0.2/24",
    `ListenPort = ${port}`,
    "[Peer]",
    `PublicKey = ${a.publicKey}`,
    "AllowedIPs = 10.9.0.1/32",
  ]);
  const near = await writeConfig(scope, [
    "[Interface]",
    `PrivateKey = ${a.privateKey}`,
    "Address = 10.9.0.1/24",
    "[Peer]",
    `PublicKey = ${b.publicKey}`,
    "AllowedIPs = 10.9.0.2/32",
    `Endpoint = ${hostname}:${port}`,
  ]);
  const exposes = [`80:${server.load}`, `81:127.0.0.1:${IPERF3_PORT}`];
  const forwards = ["127.0.0.1:0:10.9.0.2:80", "127.0.0.1:0:10.9.0.2:81"];
  const flags = (name: string, values: string[]): string[] => values.flatMap((v) => [name, v]);
  const ends = [
    await Moray.start(["wireguard", far, ...flags("--expose", exposes)], { program, ...inB }),
    await Moray.start(["wireguard", near, ...flags("--forward", forwards)], { program, ...inA }),
  ];
  for (const end of ends) scope.use(end);
  const [load = "", iperf = ""] = ends[1]?.addresses("forward") ?? [];
  const pids = ends.map(({ child }) => child.pid);
  return { name: "moray", load, iperf3: iperf, ...inA, pids };
}

/** wireguard-go on TUN devices at both ends. */
async function wireGuardGoTunnel(scope: Scope, { iperf3 }: Settings): Promise<Tunnel> {
  const link = scope.use(await Link.up());
  const [a, b] = [await keyPair(), await keyPair()];
  const ends = [
    await WireGuardGo.start({
      namespace: link.a.namespace,
      privateKey: a.privateKey,
      address: "10.9.0.1/24",
      listenPort: 51820,
      peerPublicKey: b.publicKey,
      allowedIps: "10.9.0.2/32",
      endpoint: `${link.b.ip}:51820`,
      quiet: true,
    }),
    await WireGuardGo.start({
      namespace: link.b.namespace,
      privateKey: b.privateKey,
      address: "10.9.0.2/24",
      listenPort: 51820,
      peerPublicKey: a.publicKey,
      allowedIps: "10.9.0.1/32",
      quiet: true,
    }),
  ];
  for (const end of ends) scope.use(end);
  const { load } = await loadServer(scope, {
    namespace: link.b.namespace,
    listen: "10.9.0.2:0",
    iperf3,
  });
  return {
    name: "wireguard-go",
    load,
    iperf3: `10.9.0.2:${IPERF3_PORT}`,
    namespace: link.a.namespace,
    pids: ends.map(({ child }) => child.pid),
  };
}

/** Starts our load server, and iperf3's where it is installed. */
async function loadServer(
  scope: Scope,
  { namespace, listen, iperf3 }: { namespace?: string; listen: string; iperf3: boolean },
): Promise<{ load: string }> {
  const place = { namespace, cwd: ROOT };
  const server = new Child([Deno.execPath(), "run", "-A", "bench/load.ts", "serve", listen], place);
  scope.use(server);
  const ready = await server.line(/^ready load=/);
  if (iperf3) {
    const other = scope.use(
      new Child(["iperf3", "--server", "--forceflush", "--port", `${IPERF3_PORT}`], place),
    );
    await other.line(/Server listening/);
  }
  return { load: ready.slice("ready load=".length) };
}

/** A UDP port that is free now. */
function freePort(scope: Scope): number {
  const { socket, port } = openUdp(scope);
  socket.close();
  return port;
}

// ---- measuring

async function throughput(
  { load, iperf3, namespace }: Tunnel,
  direction: "up" | "down",
  settings: Settings,
): Promise<number> {
  const { seconds } = settings;
  const options = { namespace, cwd: ROOT, timeoutMs: (seconds + 30) * 1000 };
  if (!settings.iperf3) {
    const mode = direction === "up" ? "send" : "receive";
    const result = JSON.parse(await must([...LOAD, mode, load, `${seconds}`], options)) as {
      bytes: number;
      seconds: number;
    };
    return result.bytes * 8e-6 / result.seconds;
  }
  const [host = "", port = ""] = iperf3.split(":");
  const flags = ["-c", host, "-p", port, "-t", `${seconds}`, "-J"];
  const text = await must(["iperf3", ...flags, ...(direction === "up" ? [] : ["-R"])], options);
  const { end } = JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e6;
}

async function roundTrip({ load, namespace }: Tunnel): Promise<number> {
  const options = { namespace, cwd: ROOT, timeoutMs: 60_000 };
  const text = await must([...LOAD, "ping", load, `${PINGS}`], options);
  return (JSON.parse(text) as { p50Ms: number }).p50Ms;
}

const LOAD = [Deno.execPath(), "run", "-A", "bench/load.ts"];

// ---- reporting

function report(
  results: readonly (readonly [Tunnel, Record<Measure, number[]>])[],
  { json, runs, seconds, iperf3 }: Settings,
): void {
  const rows = results.map(([tunnel, measured]) => ({
    name: tunnel.name,
    residentMiB: tunnel.pids.map((pid) => Math.round(residentBytes(pid) / (1 << 20))),
    figures: Object.fromEntries(
      MEASURES.map(({ key }) => [key, summarize(measured[key])]),
    ) as Record<Measure, Summary>,
  }));
  const [ours, theirs] = rows;
  const ratio = (key: Measure): number | null =>
    ours === undefined || theirs === undefined
      ? null
      : ours.figures[key].median / theirs.figures[key].median;
  const ratios = Object.fromEntries(MEASURES.map(({ key }) => [key, ratio(key)]));
  if (json) {
    const load = iperf3 ? "iperf3" : "bench/load.ts";
    say(JSON.stringify({ load, runs, seconds, rows, ratios }, null, 2));
    return;
  }
  say(
    `${runs} runs of ${seconds} s, alternating; median (min-max); load: ${
      iperf3 ? "iperf3, 1 stream" : "bench/load.ts, 1 stream"
    }`,
  );
  say("");
  const width = 24;
  say(["".padEnd(20), ...rows.map(({ name }) => name.padEnd(width)), "ratio"].join(""));
  for (const { key, title, digits } of MEASURES) {
    const cells = rows.map(({ figures }) => formatSummary(figures[key], digits).padEnd(width));
    say([title.padEnd(20), ...cells, ratio(key)?.toFixed(2) ?? "-"].join(""));
  }
  const memory = rows.map(({ residentMiB }) => residentMiB.join(" and ").padEnd(width));
  say(["memory A, B, MiB".padEnd(20), ...memory].join(""));
}

function parseArguments(scope: Scope): Settings {
  const value = (flag: string, fallback: number): number => {
    const at = Deno.args.indexOf(flag);
    const given = at < 0 ? fallback : Number(Deno.args[at + 1]);
    if (!Number.isInteger(given) || given < 1 || given > 600) {
      throw new Error(`${flag} takes a whole number from 1 to 600`);
    }
    return given;
  };
  return {
    runs: value("--runs", 3),
    seconds: value("--seconds", 5),
    json: Deno.args.includes("--json"),
    program: Deno.args.includes("--binary") ? aloneBinary(scope) : SOURCE,
    iperf3: unmet(["iperf3"]) === undefined,
  };
}

if (import.meta.main) {
  await using scope = new OwnScope();
  await main(scope);
}
