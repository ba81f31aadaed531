/** Where a benchmark runs, and with which versions. @module */
import { messageOf } from "../core/mod.ts";
import { run } from "../tests/support/child.ts";
import { ROOT, which } from "../tests/support/needs.ts";
import type { Environment } from "./result.ts";

/** Program to how its version is found out. */
export type Versions = Readonly<Record<string, () => Promise<string>>>;

/** Describes this machine, and asks for the versions of moray, Deno and `others`. */
export async function environment(others: Versions): Promise<Environment> {
  const versions: Record<string, string> = { moray: await commit(), deno: Deno.version.deno };
  for (const [name, ask] of Object.entries(others)) {
    versions[name] = await ask().catch((error) => `unknown: ${messageOf(error).split("\n")[0]}`);
  }
  return {
    processor: processor(),
    cores: navigator.hardwareConcurrency,
    memoryMiB: Math.round(Deno.systemMemoryInfo().total / (1 << 20)),
    kernel: Deno.osRelease(),
    loadAverage: Deno.loadavg(),
    versions,
  };
}

/** Asks a program for its version: the first thing in what it prints that looks like one. */
export async function versionOf(...command: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run(command);
  const version = /\d+(\.\d+)+[\w.-]*/.exec(stdout + stderr)?.[0];
  if (version === undefined) throw new Error(`${command.join(" ")} names no version`);
  return version;
}

async function commit(): Promise<string> {
  if (which("git") === undefined) return "unknown";
  const git = async (...args: string[]): Promise<string> =>
    (await run(["git", "-C", ROOT, ...args])).stdout.trim();
  const head = await git("rev-parse", "--short=12", "HEAD");
  const changed = await git("status", "--porcelain", "--untracked-files=no");
  return `${head}${changed === "" ? "" : " with changes"}`;
}

function processor(): string {
  try {
    const text = Deno.readTextFileSync("/proc/cpuinfo");
    return /^model name\s*:\s*(.+)$/m.exec(text)?.[1] ?? Deno.build.arch;
  } catch {
    return Deno.build.arch;
  }
}
