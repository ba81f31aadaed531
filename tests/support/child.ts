/** A process under test: its output is kept, its end is bounded, and it never outlives its owner. @module */
import { createHash } from "node:crypto";
import { which } from "./needs.ts";
import { within } from "./scope.ts";

/** How a process is started. */
export interface ChildOptions {
  /** Network namespace to run in. Absent: ours. */
  readonly namespace?: string | undefined;
  /** Additional environment. */
  readonly env?: Record<string, string>;
  /** Starts from an empty environment. @default false */
  readonly clearEnv?: boolean;
  /** Working directory. Absent: ours. */
  readonly cwd?: string;
}

/** The result of a process that ended. */
export interface Output {
  /** Exit code. */
  readonly code: number;
  /** Standard output as text. */
  readonly stdout: string;
  /** Standard error as text. */
  readonly stderr: string;
}

/** The kept part of a process's output; what is beyond is dropped, so a runaway log cannot fill the memory. */
const LOG_CHARACTERS_MAX = 16 << 20;
/** How much of the log goes into an error message. */
const LOG_SHOWN = 4_000;

/** A running process. */
export class Child implements AsyncDisposable {
  /** Resolves when the process has ended and its output was read. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** Process id: the command's own, also in a namespace. */
  readonly pid: number;
  readonly #process: Deno.ChildProcess;
  readonly #label: string;
  readonly #lines: string[] = [];
  readonly #waiters = new Set<(line: string | undefined) => void>();
  #kept = 0;
  #ended = false;

  /** Starts `command`; the first word is looked up in `PATH`. */
  constructor(command: readonly string[], options: ChildOptions = {}) {
    this.#label = command.slice(0, 6).join(" ");
    this.#process = prepared(command, options).spawn();
    this.pid = this.#process.pid;
    this.exited = this.#finish([
      this.#collect(this.#process.stdout),
      this.#collect(this.#process.stderr),
    ]);
  }

  /** Everything that it printed so far, both streams. */
  get log(): string {
    return this.#lines.join("\n");
  }

  /** Whether it has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Resolves with the first line, old or new, that matches. Rejects with the log if the process ends or time is up. */
  async line(pattern: RegExp, timeoutMs = 20_000): Promise<string> {
    const old = this.#lines.find((line) => pattern.test(line));
    if (old !== undefined) return old;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const waiter = (line: string | undefined): void => {
      if (line === undefined) reject(this.#failure(`ended before it printed ${pattern}`));
      else if (pattern.test(line)) resolve(line);
    };
    this.#waiters.add(waiter);
    if (this.#ended) waiter(undefined);
    try {
      return await within(timeoutMs, `${this.#label} to print ${pattern}`, promise);
    } catch (error) {
      throw this.#failure(error instanceof Error ? error.message : String(error));
    } finally {
      this.#waiters.delete(waiter);
    }
  }

  /** Sends a signal; nothing happens if the process has ended. */
  signal(name: Deno.Signal): void {
    if (this.#ended) return;
    try {
      this.#process.kill(name);
    } catch (error) {
      // It ended between the check and the call.
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Asks it to end, waits, and returns the exit code. Rejects, and kills it, if it does not end in time. */
  async stop(timeoutMs = 5_000): Promise<number> {
    this.signal("SIGTERM");
    try {
      return (await within(timeoutMs, `${this.#label} to end on SIGTERM`, this.exited)).code;
    } catch (error) {
      this.signal("SIGKILL");
      await this.exited;
      throw this.#failure(error instanceof Error ? error.message : String(error));
    }
  }

  /** Ends it, by force if need be. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.signal("SIGTERM");
    const force = setTimeout(() => this.signal("SIGKILL"), 2_500);
    await this.exited;
    clearTimeout(force);
  }

  #failure(what: string): Error {
    return new Error(`${what}\n--- log of ${this.#label}\n${this.log.slice(-LOG_SHOWN)}\n---`);
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) this.#add(part);
    }
    if (rest !== "") this.#add(rest);
  }

  #add(line: string): void {
    if (this.#kept < LOG_CHARACTERS_MAX) this.#lines.push(line);
    this.#kept += line.length;
    for (const waiter of [...this.#waiters]) waiter(line);
  }

  async #finish(streams: Promise<void>[]): Promise<Deno.CommandStatus> {
    const [status] = await Promise.all([this.#process.status, ...streams]);
    this.#ended = true;
    for (const waiter of [...this.#waiters]) waiter(undefined);
    return status;
  }
}

/** Runs a command to its end and returns what it printed. Rejects if it takes longer than `timeoutMs`. */
export async function run(
  command: readonly string[],
  { timeoutMs = 30_000, ...options }: ChildOptions & { readonly timeoutMs?: number } = {},
): Promise<Output> {
  const process = prepared(command, options).spawn();
  try {
    const { code, stdout, stderr } = await within(timeoutMs, command.join(" "), process.output());
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    await kill(process);
    throw error;
  }
}

/** As {@linkcode run}, but a failure of the command is an error; returns its standard output. */
export async function must(
  command: readonly string[],
  options: ChildOptions & { readonly timeoutMs?: number } = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit ${code}\n${stdout}${stderr}`);
  return stdout;
}

/** Runs a command whose standard output is too large to keep, and returns its size and SHA-256. */
export async function digest(
  command: readonly string[],
  { timeoutMs = 120_000, ...options }: ChildOptions & { readonly timeoutMs?: number } = {},
): Promise<{ code: number; bytes: number; sha256: string; stderr: string }> {
  const process = prepared(command, options).spawn();
  const hash = createHash("sha256");
  let bytes = 0;
  const reading = (async () => {
    for await (const chunk of process.stdout) {
      bytes += chunk.length;
      hash.update(chunk);
    }
  })();
  const errors = new Response(process.stderr).text();
  try {
    const all = Promise.all([process.status, reading, errors]);
    const [{ code }, , stderr] = await within(timeoutMs, command.join(" "), all);
    return { code, bytes, sha256: hash.digest("hex"), stderr };
  } catch (error) {
    await kill(process);
    throw error;
  }
}

/** Resident memory of a process in bytes (Linux). */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
  if (match === null) throw new Error(`No VmRSS for process ${pid}`);
  return Number(match[1]) * 1024;
}

/** Resident memory of a process in bytes without the pages of files, which come and go with the code that runs (Linux). */
export function ownBytes(pid: number): number {
  const match = /^RssAnon:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
  if (match === null) throw new Error(`No RssAnon for process ${pid}`);
  return Number(match[1]) * 1024;
}

function prepared(
  command: readonly string[],
  { namespace, env, clearEnv, cwd }: ChildOptions,
): Deno.Command {
  // Resolved here: with an empty environment the child has no PATH to look in.
  const [name = "", ...args] = command;
  const path = which(name) ?? name;
  const entered = namespace === undefined
    ? [path, ...args]
    : [which("nsenter") ?? "nsenter", `--net=/run/netns/${namespace}`, "--", path, ...args];
  return new Deno.Command(entered[0] ?? "", {
    args: entered.slice(1),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...(env === undefined ? {} : { env }),
    ...(clearEnv === undefined ? {} : { clearEnv }),
    ...(cwd === undefined ? {} : { cwd }),
  });
}

/** Kills a process and waits for its end, so that nothing of it is in the way of a clean-up. */
async function kill(process: Deno.ChildProcess): Promise<void> {
  try {
    process.kill("SIGKILL");
  } catch {
    // Already ended.
  }
  await process.status;
}
