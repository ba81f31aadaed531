/** The tunnels of others that moray is compared with. @module */
import { formatHex, parseBase64 } from "../../core/mod.ts";
import { Child } from "../../tests/support/child.ts";
import { unmet } from "../../tests/support/needs.ts";
import type { Scope } from "../../tests/support/scope.ts";
import { WireGuardGo } from "../../tests/support/wireguard_go.ts";
import { ControlledLoad } from "../load/controlled.ts";
import {
  BULK_PORT,
  directLoad,
  KernelLoad,
  kernelLoadUnmet,
  PING_PORT,
  startKernelServers,
} from "../load/kernel.ts";
import { built, unbuildable } from "../peers/cache.ts";
import { BORINGTUN, netstackProgram, ONETUN } from "../peers/programs.ts";
import {
  type Ends,
  INNER_A,
  INNER_B,
  makeSecrets,
  MTU,
  placeOf,
  type Secrets,
  type Tunnel,
} from "./tunnel.ts";

/** Where onetun listens at end A. */
const ONETUN_BULK = 5301;
const ONETUN_PING = 5302;

/** Why wireguard-go on TUN devices cannot be measured here, or `undefined`. */
export async function wireguardGoUnmet(): Promise<string | undefined> {
  return unmet(["wireguard-go"]) ?? await kernelLoadUnmet();
}

/** wireguard-go on TUN devices at both ends; returns the processes, A's first. */
export async function openWireguardGo(scope: Scope, ends: Ends): Promise<Tunnel["pids"]> {
  return await openDevices(scope, { ends });
}

/** Why boringtun-cli cannot be measured here, or `undefined`. */
export async function boringtunUnmet(): Promise<string | undefined> {
  return unmet(["wireguard-go"]) ?? unbuildable(BORINGTUN) ?? await kernelLoadUnmet();
}

/** boringtun-cli on TUN devices at both ends, with a thread for each processor; returns the processes, A's first. */
export async function openBoringtun(scope: Scope, ends: Ends): Promise<Tunnel["pids"]> {
  const threads = `${navigator.hardwareConcurrency}`;
  const flags = ["--foreground", "--threads", threads, "--disable-drop-privileges"];
  return await openDevices(scope, {
    ends,
    program: [await built(BORINGTUN), ...flags, "--verbosity", "error"],
  });
}

/** Why the netstack program cannot be measured here, or `undefined`. */
export async function netstackUnmet(): Promise<string | undefined> {
  return unbuildable(await netstackProgram());
}

/** wireguard-go with gVisor's TCP at both ends: source, sink and echo are in the two programs. */
export async function openNetstack(scope: Scope, ends: Ends): Promise<Tunnel> {
  const secrets = await makeSecrets(scope, ends);
  const program = await built(await netstackProgram());
  const folder = scope.directory();
  const start = async (
    end: "a" | "b",
    { config, address }: { readonly config: readonly string[]; readonly address: string },
  ): Promise<Child> => {
    const file = `${folder}/${end}.conf`;
    await Deno.writeTextFile(file, `${config.join("\n")}\n`, { mode: 0o600 });
    const command = [program, file, address, `${MTU}`, `${folder}/${end}.sock`];
    const node = scope.use(new Child(command, placeOf(ends[end])));
    await node.line(/^ready/);
    return node;
  };
  const b = await start("b", {
    address: INNER_B,
    config: [
      `private_key=${hex(secrets.privateB)}`,
      `listen_port=${secrets.port}`,
      `public_key=${hex(secrets.publicA)}`,
      `allowed_ip=${INNER_A}/32`,
    ],
  });
  const a = await start("a", {
    address: INNER_A,
    config: [
      `private_key=${hex(secrets.privateA)}`,
      `public_key=${hex(secrets.publicB)}`,
      `allowed_ip=${INNER_B}/32`,
      `endpoint=${ends.b.ip}:${secrets.port}`,
    ],
  });
  return { pids: [a.pid, b.pid], load: new ControlledLoad(`${folder}/a.sock`, INNER_B) };
}

/** Why onetun cannot be measured here, or `undefined`. */
export async function onetunUnmet(): Promise<string | undefined> {
  return unmet(["wireguard-go"]) ?? unbuildable(ONETUN) ?? await kernelLoadUnmet();
}

/** onetun at A, wireguard-go on a TUN device at B. */
export async function openOnetun(scope: Scope, ends: Ends): Promise<Tunnel> {
  const secrets = await makeSecrets(scope, ends);
  const b = await startDeviceB(scope, { ends, secrets });
  await startKernelServers(scope, { end: ends.b });
  const keyFile = `${scope.directory()}/key`;
  await Deno.writeTextFile(keyFile, secrets.privateA, { mode: 0o600 });
  const a = new Child([
    await built(ONETUN),
    `127.0.0.1:${ONETUN_BULK}:${INNER_B}:${BULK_PORT}:TCP`,
    `127.0.0.1:${ONETUN_PING}:${INNER_B}:${PING_PORT}:TCP`,
    "--endpoint-addr",
    `${ends.b.ip}:${secrets.port}`,
    "--endpoint-public-key",
    secrets.publicB,
    "--private-key-file",
    keyFile,
    "--source-peer-ip",
    INNER_A,
    "--keep-alive",
    "25",
    "--log",
    "info",
  ], placeOf(ends.a));
  scope.use(a);
  await a.line(new RegExp(`Tunneling TCP .*:${ONETUN_PING}`));
  const hostname = "127.0.0.1";
  const load = new KernelLoad({
    from: ends.a,
    bulk: { hostname, port: ONETUN_BULK },
    ping: { hostname, port: ONETUN_PING },
  });
  return { pids: [a.pid, b.child.pid], load };
}

/** A tunnel between two devices, with servers at B and the load from A. */
export async function deviceTunnel(
  scope: Scope,
  { ends, pids }: { readonly ends: Ends; readonly pids: Tunnel["pids"] },
): Promise<Tunnel> {
  await startKernelServers(scope, { end: ends.b });
  return { pids, load: directLoad({ from: ends.a, hostname: INNER_B }) };
}

/** A program with wireguard-go's ways on a TUN device at each end. */
async function openDevices(
  scope: Scope,
  { ends, program }: { readonly ends: Ends; readonly program?: readonly string[] },
): Promise<Tunnel["pids"]> {
  const secrets = await makeSecrets(scope, ends);
  const b = await startDeviceB(scope, { ends, secrets, ...(program && { program }) });
  const a = await WireGuardGo.start({
    namespace: ends.a.namespace ?? "",
    privateKey: secrets.privateA,
    address: `${INNER_A}/24`,
    listenPort: secrets.port,
    peerPublicKey: secrets.publicB,
    allowedIps: `${INNER_B}/32`,
    endpoint: `${ends.b.ip}:${secrets.port}`,
    quiet: true,
    ...(program && { program }),
  });
  scope.use(a);
  return [a.child.pid, b.child.pid];
}

async function startDeviceB(
  scope: Scope,
  { ends, secrets, program }: {
    readonly ends: Ends;
    readonly secrets: Secrets;
    readonly program?: readonly string[];
  },
): Promise<WireGuardGo> {
  return scope.use(
    await WireGuardGo.start({
      namespace: ends.b.namespace ?? "",
      privateKey: secrets.privateB,
      address: `${INNER_B}/24`,
      listenPort: secrets.port,
      peerPublicKey: secrets.publicA,
      allowedIps: `${INNER_A}/32`,
      quiet: true,
      ...(program && { program }),
    }),
  );
}

function hex(key: string): string {
  const bytes = parseBase64(key);
  if (bytes === undefined) throw new Error("A key is not base64");
  return formatHex(bytes);
}
