/** What is measured of a Discovery that runs as a process: its calls, its STUN answers, and what it keeps. @module */
import { formatSocketAddress } from "../../core/mod.ts";
import { Child, must } from "../../tests/support/child.ts";
import { ROOT } from "../../tests/support/needs.ts";
import type { Moray } from "../../tests/support/moray.ts";
import type { Scope } from "../../tests/support/scope.ts";
import { type Herd, type HerdNode, RequestWriter, writeRequests } from "../load/herd.ts";
import { built } from "../peers/cache.ts";
import { nativeProgram } from "../peers/programs.ts";
import { residentMiB, withCpuOf } from "../processes.ts";
import type { Figures, Step } from "../runner.ts";

/** Callers at once, each from an address of its own and with one call on its way. */
export const CALLERS = 128;
/** Lookups and questions for health that are made in turn. */
const REPEATED = 2000;
/** More registrations than any server takes in a second. */
const REGISTRATIONS_PER_SECOND = 8000;
/** Clients of STUN, the addresses they ask from in turn, and requests of each client that wait for an answer. */
const STUN_SOCKETS = 64;
const STUN_SOURCES = 16_000;
const STUN_WINDOW = 8;
const GRACE_MS = 60_000;
/** After a change, until the memory of a process is read. */
const REST_MS = 1500;

/** What `http_load` says. */
interface LoadResult {
  readonly calls: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly refused: number;
  readonly cpuSeconds: number;
  readonly refusal: string;
}

/** A server that is asked, and who asks. */
export interface CallBench {
  /** Where the files of requests are. */
  readonly scope: Scope;
  /** The server's process. */
  readonly pid: number;
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** Makes the requests. */
  readonly writer: RequestWriter;
  /** Who asks. */
  readonly herd: Herd;
  /** Length of one measurement. */
  readonly seconds: number;
}

/** Registers every node, the colonies first. Returns how fast the agents were. Rejects unless all are taken. */
export async function registerAll(bench: CallBench): Promise<Figures> {
  const { herd: { colonies, agents }, writer } = bench;
  for (const nodes of [colonies, agents]) {
    const requests = await Promise.all(nodes.map((node) => writer.register(node)));
    const { calls, seconds } = await load({ ...bench, seconds: 120 }, { requests, again: false });
    if (calls !== nodes.length) throw new Error(`${calls} of ${nodes.length} nodes registered`);
    if (nodes === agents) return { first: calls / seconds };
  }
  return {};
}

/** The steps of one run: health, lookups, registrations. */
export function callSteps(bench: CallBench): readonly Step[] {
  const { writer, herd: { agents }, seconds } = bench;
  return [
    () => {
      const requests = Array.from({ length: REPEATED }, () => writer.health());
      return measured(bench, "health", { requests, again: true });
    },
    async () => {
      const askers = everyNth(agents, REPEATED);
      const requests = await Promise.all(askers.map((node) => writer.lookup(node)));
      return await measured(bench, "lookup", { requests, again: true });
    },
    async () => {
      const count = REGISTRATIONS_PER_SECOND * seconds;
      const nodes = Array.from({ length: count }, (_, i) => agents[i % agents.length] as HerdNode);
      const requests: Uint8Array[] = [];
      for (const node of nodes) requests.push(await writer.register(node));
      return await measured(bench, "register", { requests, again: false });
    },
  ];
}

/** Opens a Watch stream for each of so many agents, and says what each takes in the server, in KiB. */
export async function memoryOfStreams(bench: CallBench, count: number): Promise<number> {
  const { herd: { agents }, writer, host, pid } = bench;
  const [hostname = "", port = ""] = host.split(":");
  const connections: Deno.Conn[] = [];
  try {
    await rest();
    const before = residentMiB(pid);
    for (const node of everyNth(agents, count)) {
      const connection = await Deno.connect({ hostname, port: Number(port) });
      connections.push(connection);
      await connection.write(await writer.watch(node));
      const answer = new Uint8Array(64);
      await connection.read(answer);
      const line = new TextDecoder().decode(answer).split("\r\n")[0] ?? "";
      if (!line.startsWith("HTTP/1.1 200")) throw new Error(`a Watch stream got ${line}`);
    }
    await rest();
    return (residentMiB(pid) - before) * 1024 / count;
  } finally {
    for (const connection of connections) connection.close();
  }
}

/** Waits until what was just done no longer counts. */
export function rest(): Promise<void> {
  return new Promise((wake) => setTimeout(wake, REST_MS));
}

/** Asks a STUN server from many addresses, as one alone is limited. */
export function stunStep(
  { pid, host, seconds }: Pick<CallBench, "pid" | "host" | "seconds">,
): Step {
  return async () => {
    const program = await built(await nativeProgram("stun_load"));
    const [hostname = "", port = ""] = host.split(":");
    const words = [seconds, STUN_SOCKETS, STUN_WINDOW, "stun", STUN_SOURCES].map(String);
    const { value: text, cpu: [cpu = NaN] } = await withCpuOf(
      [pid],
      () =>
        must([program, "ask", hostname, port, ...words], { timeoutMs: seconds * 1000 + GRACE_MS }),
    );
    const result = JSON.parse(text) as { answers: number; seconds: number; lost: number };
    if (result.answers === 0) throw new Error("no answers");
    return {
      stun: result.answers / result.seconds,
      stunCpu: cpu * 1e6 / result.answers,
      stunLost: result.lost / (result.answers + result.lost) * 100,
    };
  };
}

/** Starts coturn as a plain STUN server on loopback. */
export async function startCoturn(scope: Scope, port: number): Promise<Child> {
  const flags = ["--no-auth", "--no-tls", "--no-dtls", "--stun-only", "--no-cli"];
  const server = scope.use(
    new Child([
      ...["turnserver", "-n", ...flags, "--no-software-attribute"],
      ...["--listening-ip", "127.0.0.1", "--listening-port", `${port}`, "--log-file", "stdout"],
      ...["--pidfile", `${scope.directory()}/turnserver.pid`],
    ]),
  );
  await server.line(/IPv4\. UDP listener opened on|SQLite DB connection success/);
  return server;
}

/** Starts a server that reads requests and answers them all alike: what no Discovery under Deno can exceed. */
export async function startBare(
  scope: Scope,
): Promise<{ readonly pid: number; readonly host: string }> {
  const server = scope.use(
    new Child([Deno.execPath(), "run", "--allow-net", `${ROOT}bench/bare_server.ts`]),
  );
  const [, host = ""] = /http=(\S+)/.exec(await server.line(/^ready\b/)) ?? [];
  return { pid: server.pid, host };
}

/** Where a service listens, as `HOST:PORT`. */
export function hostOf(service: Moray, name: string): string {
  return formatSocketAddress({ hostname: "127.0.0.1", port: service.port(name) });
}

/** Makes the calls and names the figures after what was called. */
async function measured(
  bench: CallBench,
  name: string,
  requests: { readonly requests: readonly Uint8Array[]; readonly again: boolean },
): Promise<Figures> {
  const { value, cpu: [cpu = NaN] } = await withCpuOf([bench.pid], () => load(bench, requests));
  const { calls, seconds, p50Us, p99Us, cpuSeconds } = value;
  return {
    [name]: calls / seconds,
    [`${name}P50`]: p50Us / 1000,
    [`${name}P99`]: p99Us / 1000,
    [`${name}Cpu`]: cpu * 1e6 / calls,
    [`${name}Load`]: cpuSeconds / seconds / 2 * 100,
  };
}

async function load(
  { scope, host, seconds }: CallBench,
  { requests, again }: { readonly requests: readonly Uint8Array[]; readonly again: boolean },
): Promise<LoadResult> {
  const program = await built(await nativeProgram("http_load"));
  const path = `${scope.directory()}/requests`;
  await writeRequests(path, requests);
  const [hostname = "", port = ""] = host.split(":");
  const words = [hostname, port, `${seconds}`, `${CALLERS}`, path, again ? "again" : "once"];
  const text = await must([program, ...words], { timeoutMs: seconds * 1000 + GRACE_MS });
  const result = JSON.parse(text) as LoadResult;
  if (result.refused > 0) throw new Error(`${result.refused} calls refused: ${result.refusal}`);
  if (result.calls === 0) throw new Error("no calls were answered");
  return result;
}

/** So many of all, evenly spread. */
function everyNth<T>(all: readonly T[], count: number): readonly T[] {
  const step = Math.max(1, Math.floor(all.length / count));
  return all.filter((_, i) => i % step === 0).slice(0, count);
}
