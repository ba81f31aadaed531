/** Where the programs to compare with are kept between runs, and how they get there. @module */
import { messageOf } from "../../core/mod.ts";
import { must } from "../../tests/support/child.ts";
import { which } from "../../tests/support/needs.ts";

/** Downloading and compiling on a slow machine. */
const BUILD_MS_MAX = 1_200_000;

/** A program that is built once and kept. */
export interface BuiltProgram {
  /** Its name in the cache: what is built from something else has another name. */
  readonly name: string;
  /** Commands that building takes, and the Debian packages they come with. */
  readonly needs: Readonly<Record<string, string>>;
  /** The command that leaves the program at `path`, and where it runs. */
  readonly build: (path: string) => {
    readonly command: readonly string[];
    readonly cwd?: string;
    readonly env?: Record<string, string>;
  };
}

/** The folder for programs: `moray-bench` in the user's cache, outside the repository. */
export function cacheFolder(): string {
  const home = Deno.env.get("HOME") ?? "/tmp";
  return `${Deno.env.get("XDG_CACHE_HOME") ?? `${home}/.cache`}/moray-bench`;
}

/** Why a program is not there and cannot be built either, in one line; `undefined` if it can be had. */
export function unbuildable({ name, needs }: BuiltProgram): string | undefined {
  if (which(`${cacheFolder()}/${name}`) !== undefined) return undefined;
  const missing = Object.entries(needs).find(([command]) => locate(command) === undefined);
  return missing && `needs ${missing[0]} (package ${missing[1]}) to build ${name}`;
}

/** Returns the path of a program, building it first if it is not there, at the lowest priority. Rejects with one line. */
export async function built(program: BuiltProgram): Promise<string> {
  const { name, build } = program;
  const folder = cacheFolder();
  const path = `${folder}/${name}`;
  if (which(path) !== undefined) return path;
  const reason = unbuildable(program);
  if (reason !== undefined) throw new Error(reason);
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  const { command: [first = "", ...rest], ...options } = build(path);
  try {
    const command = ["nice", "-n", "19", locate(first) ?? first, ...rest];
    await must(command, { ...options, timeoutMs: BUILD_MS_MAX });
  } catch (error) {
    const lines = messageOf(error).split("\n").filter((line) => /error|cannot|failed/i.test(line));
    throw new Error(`cannot build ${name}: ${lines[0] ?? messageOf(error).split("\n")[0]}`);
  }
  return path;
}

/** A short name for the content of files, so that what is built from them is rebuilt when they change. */
export async function fingerprint(paths: readonly string[]): Promise<string> {
  const parts = await Promise.all(paths.map((path) => Deno.readFile(path)));
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return new Uint8Array(digest).slice(0, 6).toHex();
}

/** Where a command is; cargo's own folder counts as well. */
function locate(command: string): string | undefined {
  return which(command) ?? which(`${Deno.env.get("HOME") ?? ""}/.cargo/bin/${command}`);
}
