/** A TURN client and a TURN server made of pion, built once and kept. @module */
import { parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import { Child, must } from "./child.ts";
import { ROOT, toolFolder, which } from "./needs.ts";
import type { Scope } from "./scope.ts";
import { selfSigned, type TurnServer } from "./turn.ts";

const SOURCE = `${ROOT}tests/support/pion`;
/** Downloading and compiling on a slow machine. */
const BUILD_MS_MAX = 300_000;

/** What it says at the end. */
export interface PionOutcome {
  /** Allocations that were made. */
  readonly allocations: number;
  /** Datagrams that came back. */
  readonly echoed: number;
}

/** How it is started; see `main.go`. */
export interface PionOptions {
  /** The relay. */
  readonly server: string;
  /** How it is spoken to. */
  readonly transport: "udp" | "tcp" | "tls";
  /** User name. */
  readonly username: string;
  /** Password. */
  readonly password: string;
  /** Allocations at once. */
  readonly count: number;
  /** Datagrams through each. */
  readonly datagrams: number;
}

/** Runs the client to its end. Rejects with what it complains about. */
export async function runPion(options: PionOptions, timeoutMs = 60_000): Promise<PionOutcome> {
  const flags = Object.entries(options).flatMap(([name, value]) => [`-${name}`, `${value}`]);
  const text = await must([await build("."), ...flags], { timeoutMs });
  return JSON.parse(text) as PionOutcome;
}

/** Options of {@linkcode startPion}. */
export interface PionServerOptions {
  /** Allocations at once. @default 1000 */
  readonly quota?: number;
}

/** Starts pion's server on free ports with the REST scheme; peers on loopback are allowed. */
export async function startPion(
  scope: Scope,
  { quota = 1000 }: PionServerOptions = {},
): Promise<TurnServer> {
  const secret = `secret-${crypto.randomUUID()}`;
  const { key, certificate } = await selfSigned(scope.directory());
  const files = ["-cert", certificate, "-key", key];
  const program = await build("./server");
  const child = new Child([program, "-secret", secret, "-quota", `${quota}`, ...files]);
  scope.use(child);
  const ready = await child.line(/^ready /);
  const pem = await Deno.readTextFile(certificate);
  return {
    plain: addressIn(ready, "udp"),
    tls: addressIn(ready, "tls"),
    certificate: pem,
    secret,
    child,
    removed: /^removed /,
  };
}

function addressIn(ready: string, name: string): SocketAddress {
  const address = parseSocketAddress(new RegExp(`${name}=(\\S+)`).exec(ready)?.[1] ?? "");
  if (address === undefined) throw new Error(`no ${name} in: ${ready}`);
  return address;
}

/** The path of the program of a Go package for the sources as they are. */
async function build(source: "." | "./server"): Promise<string> {
  const sources = [`${source}/main.go`, "go.mod", "go.sum"].map((name) => `${SOURCE}/${name}`);
  const parts = await Promise.all(sources.map((path) => Deno.readFile(path)));
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  const path = `${toolFolder()}/pion-${new Uint8Array(digest).slice(0, 6).toHex()}`;
  if (which(path) !== undefined) return path;
  await Deno.mkdir(toolFolder(), { recursive: true });
  const command = ["nice", "-n", "19", which("go") ?? "go", "build", "-trimpath", "-mod=readonly"];
  await must([...command, "-o", path, source], { cwd: SOURCE, timeoutMs: BUILD_MS_MAX });
  return path;
}
