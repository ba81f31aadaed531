/** The TURN client made of pion, built once and kept. @module */
import { must } from "./child.ts";
import { ROOT, toolFolder, which } from "./needs.ts";

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
  const text = await must([await pionClient(), ...flags], { timeoutMs });
  return JSON.parse(text) as PionOutcome;
}

/** The path of the client for the sources as they are. */
async function pionClient(): Promise<string> {
  const sources = ["main.go", "go.mod", "go.sum"].map((name) => `${SOURCE}/${name}`);
  const parts = await Promise.all(sources.map((path) => Deno.readFile(path)));
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  const path = `${toolFolder()}/pion-${new Uint8Array(digest).slice(0, 6).toHex()}`;
  if (which(path) !== undefined) return path;
  await Deno.mkdir(toolFolder(), { recursive: true });
  const command = ["nice", "-n", "19", which("go") ?? "go", "build", "-trimpath", "-mod=readonly"];
  await must([...command, "-o", path, "."], { cwd: SOURCE, timeoutMs: BUILD_MS_MAX });
  return path;
}
