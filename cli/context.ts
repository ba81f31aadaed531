/**
 * What a command may touch of the process: its output, its environment, its signals.
 *
 * @module
 */
import { messageOf, MorayError } from "../core/mod.ts";

/** The signals that end a command. */
export type StopSignal = "SIGINT" | "SIGTERM";

/** The process around a command. */
export interface Context {
  /** Version of this build, for `--version` and the demo. */
  readonly version: string;
  /** How this program is called on a command line: `moray`, or with Deno in front. */
  readonly program: string;
  /** Reads an environment variable; `undefined` without it, or without the right to read it. */
  env(name: string): string | undefined;
  /** Writes text to stdout. */
  out(text: string): void;
  /** Writes text to stderr. */
  err(text: string): void;
  /** Whether stdout takes colours: a terminal, and NO_COLOR is not set. */
  readonly outColour: boolean;
  /** Whether stderr takes colours. */
  readonly errColour: boolean;
  /** Width of the terminal in columns; 100 where there is none. */
  readonly columns: number;
  /** Height of the terminal in rows at the time; `undefined` where stdout is none. */
  readonly rows: number | undefined;
  /** Reads all of stdin, up to 64 KiB. Throws `limit` beyond. */
  stdin(): Promise<string>;
  /** Calls `listener` at each signal, until the returned function is called. */
  onSignal(listener: (signal: StopSignal) => void): () => void;
  /** A service runs now: what only its start needed may go. */
  settled(): void;
  /** Ends the process at once. */
  exit(status: number): never;
}

/** Most that a command reads from stdin, in bytes. */
const STDIN_BYTES_MAX = 65_536;

/** Columns of output where there is no terminal. */
const COLUMNS_DEFAULT = 100;

/** Returns the context of this process, with what only the program's entry can give. */
export function processContext(
  { version, exit, settled }: Pick<Context, "version" | "exit" | "settled">,
): Context {
  const plain = (readVariable("NO_COLOR") ?? "") !== "";
  return {
    version,
    program: Deno.build.standalone ? "moray" : "deno run -A main.ts",
    env: readVariable,
    out: (text) => writeAll(Deno.stdout, text),
    err: (text) => writeAll(Deno.stderr, text),
    outColour: !plain && Deno.stdout.isTerminal(),
    errColour: !plain && Deno.stderr.isTerminal(),
    columns: terminalColumns(),
    get rows(): number | undefined {
      return terminalRows();
    },
    stdin: readStdin,
    onSignal: listenForSignals,
    settled,
    exit,
  };
}

/** Reads a text file that the user named. Throws `config` with what to do if it cannot be read. */
export async function readNamedFile(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new MorayError("config", `Cannot read ${path}: there is no such file`, error);
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new MorayError("permission", `Cannot read ${path}: the system refuses`, error);
    }
    throw new MorayError("config", `Cannot read ${path}: ${messageOf(error)}`, error);
  }
}

function readVariable(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch {
    return undefined;
  }
}

/** Writes all of a text. A pipe whose reader has gone swallows it. */
function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(stream.writeSync(bytes));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

function terminalColumns(): number {
  try {
    return Deno.stdout.isTerminal() ? Deno.consoleSize().columns : COLUMNS_DEFAULT;
  } catch {
    return COLUMNS_DEFAULT;
  }
}

function terminalRows(): number | undefined {
  try {
    return Deno.stdout.isTerminal() ? Deno.consoleSize().rows : undefined;
  } catch {
    return undefined;
  }
}

async function readStdin(): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of Deno.stdin.readable) {
    bytes += chunk.length;
    if (bytes > STDIN_BYTES_MAX) {
      throw new MorayError("limit", `stdin: more than ${STDIN_BYTES_MAX} bytes`);
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function listenForSignals(listener: (signal: StopSignal) => void): () => void {
  // Windows knows no SIGTERM.
  const signals: StopSignal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  const handlers = signals.map((signal) => [signal, () => listener(signal)] as const);
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  return () => {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
  };
}
