/** A context for tests: remembers what is printed, and sends signals on demand. @module */
import type { Context, StopSignal } from "../context.ts";

/** A context whose outside is in the test's hands. */
export interface TestContext extends Context {
  /** What was written to stdout. */
  readonly printed: string[];
  /** What was written to stderr. */
  readonly complained: string[];
  /** Sends a signal to whoever listens. */
  signal(signal: StopSignal): void;
  /** How many listen for signals. */
  readonly listeners: ReadonlySet<(signal: StopSignal) => void>;
  /** One entry for each time that a service said it runs: how many listened for signals then. */
  readonly settlings: readonly number[];
}

/** Thrown in place of the process's end. */
export class ExitCalled extends Error {
  /** The exit status. */
  readonly status: number;

  /** Creates it. */
  constructor(status: number) {
    super(`exit ${status}`);
    this.status = status;
  }
}

/** Returns a context with this environment and stdin, without colours. */
export function testContext(
  { env = {}, stdin = "" }: { env?: Readonly<Record<string, string>>; stdin?: string } = {},
): TestContext {
  const printed: string[] = [];
  const complained: string[] = [];
  const listeners = new Set<(signal: StopSignal) => void>();
  const settlings: number[] = [];
  return {
    version: "1.2.3",
    program: "moray",
    env: (name) => env[name],
    out: (text) => void printed.push(text),
    err: (text) => void complained.push(text),
    outColour: false,
    errColour: false,
    columns: 100,
    rows: undefined,
    stdin: () => Promise.resolve(stdin),
    onSignal(listener): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    settled: () => void settlings.push(listeners.size),
    exit(status): never {
      throw new ExitCalled(status);
    },
    printed,
    complained,
    listeners,
    settlings,
    signal(signal): void {
      for (const listener of listeners) listener(signal);
    },
  };
}
