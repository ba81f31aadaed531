/** The program as another process. @module */

/** The entry of the program. */
export const MAIN = `${import.meta.dirname}/../../main.ts`;

/** What a program left. */
export interface Outcome {
  /** Exit status. */
  readonly code: number;
  /** All of stdout. */
  readonly out: string;
  /** All of stderr. */
  readonly err: string;
}

/** Runs a program with text on stdin and nothing of this project in its environment. */
export async function run(
  program: string,
  args: readonly string[],
  { stdin = "", env = {} }: { stdin?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<Outcome> {
  const kept = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    clearEnv: true,
    env: { ...Object.fromEntries(kept), ...env },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Starts `moray` and leaves it running. */
export function startMoray(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", MAIN, ...args],
    env: { ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Reads stderr up to the ready line; `rest` resolves with what follows until the end. */
export async function readyLineOf(
  child: Deno.ChildProcess,
): Promise<{ line: string; rest: Promise<string> }> {
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const line = text.split("\n").slice(0, -1).find((candidate) => candidate.startsWith("ready"));
    if (line !== undefined) return { line, rest: remaining(reader) };
    const { value, done } = await reader.read();
    if (done) throw new Error(`It ended before it was ready: ${text}`);
    text += value;
  }
}

async function remaining(reader: ReadableStreamDefaultReader<string>): Promise<string> {
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return text;
    text += value;
  }
}

/** Whether a program can be started. */
export function installed(program: string): boolean {
  try {
    return new Deno.Command(program, { args: ["--version"] }).outputSync().success;
  } catch {
    return false;
  }
}

/** Runs `moray` to its end. */
export function moray(...args: string[]): Promise<Outcome> {
  return run(Deno.execPath(), ["run", "-A", MAIN, ...args]);
}
