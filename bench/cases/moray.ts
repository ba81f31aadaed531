/** moray's ways through a tunnel: streams in the program itself, forwarded ports, and a device. @module */
import { parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import { Child } from "../../tests/support/child.ts";
import { Moray, moray, type Program } from "../../tests/support/moray.ts";
import { ROOT, unmet } from "../../tests/support/needs.ts";
import type { Scope } from "../../tests/support/scope.ts";
import { ControlledLoad } from "../load/controlled.ts";
import { BULK_PORT, KernelLoad, PING_PORT, startKernelServers } from "../load/kernel.ts";
import { type Ends, INNER_B, makeSecrets, placeOf, type Tunnel, writeConfigs } from "./tunnel.ts";

/** Ports inside the tunnel that B exposes. */
const EXPOSED_BULK = 81;
const EXPOSED_PING = 80;

/** Where a tunnel is, and which program makes it. */
export interface MorayOptions {
  /** The two places. */
  readonly ends: Ends;
  /** The program: its source, or compiled. */
  readonly program: Program;
}

/** `bench/stream_node.ts` at both ends: source, sink and echo are in the two programs. */
export async function openUserspace(scope: Scope, ends: Ends): Promise<Tunnel> {
  const secrets = await makeSecrets(scope, ends);
  const [configA, configB] = await writeConfigs(scope, { ends, secrets });
  const folder = scope.directory();
  const start = async (end: "a" | "b", config: string): Promise<Child> => {
    const command = [Deno.execPath(), "run", "-A", `${ROOT}bench/stream_node.ts`];
    const node = new Child([...command, config, `${folder}/${end}.sock`], {
      ...placeOf(ends[end]),
      cwd: ROOT,
    });
    scope.use(node);
    await node.line(/^ready/);
    return node;
  };
  const b = await start("b", configB);
  const a = await start("a", configA);
  return { pids: [a.pid, b.pid], load: new ControlledLoad(`${folder}/a.sock`, INNER_B) };
}

/** `moray wireguard` at both ends, `--forward` at A and `--expose` at B. */
export async function openForward(scope: Scope, options: MorayOptions): Promise<Tunnel> {
  const { ends } = options;
  await startKernelServers(scope, { end: ends.b });
  const { pids, bulk, ping } = await openForwards(scope, options);
  return { pids, load: new KernelLoad({ from: ends.a, bulk, ping }) };
}

/** As {@linkcode openForward}, for servers that run already. */
export async function openForwards(
  scope: Scope,
  { ends, program }: MorayOptions,
): Promise<{
  /** The processes, A's first. */
  readonly pids: readonly [number, number];
  /** Where A reaches B's iperf3. */
  readonly bulk: SocketAddress;
  /** Where A reaches B's `tcp_ping`. */
  readonly ping: SocketAddress;
}> {
  const secrets = await makeSecrets(scope, ends);
  const [configA, configB] = await writeConfigs(scope, { ends, secrets });
  const b = await Moray.start([
    "wireguard",
    configB,
    "--expose",
    `${EXPOSED_PING}:127.0.0.1:${PING_PORT}`,
    "--expose",
    `${EXPOSED_BULK}:127.0.0.1:${BULK_PORT}`,
  ], { program, ...placeOf(ends.b) });
  scope.use(b);
  const a = await Moray.start([
    "wireguard",
    configA,
    "--forward",
    `127.0.0.1:0:${INNER_B}:${EXPOSED_PING}`,
    "--forward",
    `127.0.0.1:0:${INNER_B}:${EXPOSED_BULK}`,
  ], { program, ...placeOf(ends.a) });
  scope.use(a);
  const [ping, bulk] = a.addresses("forward").map(parseSocketAddress);
  if (ping === undefined || bulk === undefined) throw new Error("No forwards in the ready line");
  return { pids: [a.child.pid, b.child.pid], bulk, ping };
}

/** Why `moray wireguard --tun` cannot be measured here, or `undefined`. */
export async function morayTunUnmet(program: Program): Promise<string | undefined> {
  const { stdout } = await moray(["wireguard", "--help"], { program });
  return stdout.includes("--tun") ? unmet(["tun"]) : "this moray has no --tun";
}

let devices = 0;

/** `moray wireguard --tun` at both ends; returns the processes, A's first. */
export async function openMorayTun(
  scope: Scope,
  { ends, program }: MorayOptions,
): Promise<Tunnel["pids"]> {
  const secrets = await makeSecrets(scope, ends);
  const [configA, configB] = await writeConfigs(scope, { ends, secrets });
  const start = async (end: "a" | "b", config: string): Promise<number> => {
    const device = `m${Deno.pid}n${++devices}`;
    const node = await Moray.start(["wireguard", config, "--tun", device], {
      program,
      ...placeOf(ends[end]),
    });
    return scope.use(node).child.pid;
  };
  const b = await start("b", configB);
  return [await start("a", configA), b];
}
