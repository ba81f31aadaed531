/** Runs commands one after another, says what they are and how long they took, and keeps count. @module */

/** A command and what it is for. */
export interface Step {
  /** What is printed. */
  readonly title: string;
  /** Program and arguments; `deno` is the one that runs this script. */
  readonly command: readonly string[];
  /** Additional environment. @default {} */
  readonly env?: Record<string, string>;
}

/** The root of the repository. */
export const ROOT: string = new URL("../", import.meta.url).pathname;

/** What programs import, by what they call it. */
export const ENTRIES: Readonly<Record<string, string>> = {
  moray: "mod.ts",
  "moray/testing": "testing.ts",
};

/** Prints one line on standard output. */
export function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Runs a step with our own output streams and returns its exit code. */
export async function runStep({ title, command, env = {} }: Step): Promise<number> {
  say(`== ${title}`);
  const from = performance.now();
  const [name = "", ...args] = command;
  const { code } = await new Deno.Command(name === "deno" ? Deno.execPath() : name, {
    args,
    cwd: ROOT,
    // Deno's own stack of a failed run says nothing about ours.
    env: { RUST_BACKTRACE: "0", ...env },
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn().status;
  const seconds = ((performance.now() - from) / 1000).toFixed(1);
  say(`== ${title}: ${code === 0 ? "ok" : `FAILED (exit ${code})`}, ${seconds} s`);
  return code;
}

/** Whether a command of that name is in `PATH`. */
export function isInstalled(name: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((folder) => {
    try {
      return Deno.statSync(`${folder}/${name}`).isFile;
    } catch {
      return false;
    }
  });
}
