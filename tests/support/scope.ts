/**
 * `e2e`: a test that may need more than Deno, has a deadline, and cleans up after itself.
 *
 * A test that cannot run here is reported as ignored and says why on standard output. When the deadline passes,
 * everything that was registered in the scope is closed (processes die, namespaces go), the test fails, and the
 * next one starts from a clean machine.
 *
 * ```ts ignore
 * e2e("the agent reaches the colony", { needs: ["root", "curl"], timeoutMs: 60_000 }, async (scope) => {
 *   const lab = scope.use(await Lab.up("pair", { sites: ["a=fullcone", "b=fullcone"] }));
 * });
 * ```
 *
 * @module
 */
import { type Need, unmet } from "./needs.ts";
import { say } from "./say.ts";

/** How a test is run. */
export interface EndToEndOptions {
  /** What the machine must have; the first that is missing is the reason for the skip. @default [] */
  readonly needs?: readonly Need[];
  /** The deadline of the body in milliseconds. @default 60_000 */
  readonly timeoutMs?: number;
}

/** The resources of one test, closed in reverse order when it ends, however it ends. */
export interface Scope {
  /** Registers a resource and returns it. */
  use<T extends AsyncDisposable>(resource: T): T;
  /** Registers a clean-up. */
  defer(close: () => void | Promise<void>): void;
  /** A fresh directory (mode 0700), removed with the test. */
  directory(): string;
  /** Registers what to tell a person if the test fails, asked before anything is closed. */
  explain(tell: () => Promise<string>): void;
  /** Aborts when the deadline passes. */
  readonly signal: AbortSignal;
}

/** How long clean-up may take before the test fails on that. */
const CLEANUP_MS_MAX = 20_000;
/** How long the explanations of a failure may take together. */
const EXPLANATION_MS_MAX = 10_000;

/** Registers an end-to-end test. */
export function e2e(
  name: string,
  { needs = [], timeoutMs = 60_000 }: EndToEndOptions,
  body: (scope: Scope) => Promise<void>,
): void {
  const reason = unmet(needs);
  if (reason !== undefined) say(`skipped: ${name}: ${reason}`);
  Deno.test({ name, ignore: reason !== undefined, fn: () => bounded(timeoutMs, body) });
}

/** A scope that its owner closes: what tests get, for benchmarks and scripts. */
export class OwnScope implements Scope, AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #late = new AbortController();
  readonly #explanations: (() => Promise<string>)[] = [];

  /** Registers a resource and returns it. */
  use<T extends AsyncDisposable>(resource: T): T {
    return this.#stack.use(resource);
  }

  /** Registers a clean-up. */
  defer(close: () => void | Promise<void>): void {
    this.#stack.defer(close);
  }

  /** A fresh directory (mode 0700), removed with the scope. */
  directory(): string {
    const path = Deno.makeTempDirSync({ prefix: "moray-test-" });
    this.defer(() => Deno.removeSync(path, { recursive: true }));
    return path;
  }

  /** Registers what to tell a person if the test fails. */
  explain(tell: () => Promise<string>): void {
    this.#explanations.push(tell);
  }

  /** Prints what was registered to explain a failure. */
  async tellWhy(): Promise<void> {
    for (const tell of this.#explanations) say(await tell());
  }

  /** Aborts when the owner gives up. */
  get signal(): AbortSignal {
    return this.#late.signal;
  }

  /** Aborts the signal. */
  abort(reason: Error): void {
    this.#late.abort(reason);
  }

  /** Closes everything in reverse order. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

async function bounded(timeoutMs: number, body: (scope: Scope) => Promise<void>): Promise<void> {
  const scope = new OwnScope();
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const error = new Error(`Not done within ${timeoutMs / 1000} s`);
    reject(error);
    scope.abort(error);
  }, timeoutMs);
  const running = body(scope);
  const failures: unknown[] = [];
  await Promise.race([running, promise]).catch((error) => failures.push(error));
  clearTimeout(timer);
  // A body that lost the race fails as its processes are closed; its error says less than the deadline's.
  running.catch(() => {});
  if (failures.length > 0) {
    await within(EXPLANATION_MS_MAX, "explanation", scope.tellWhy())
      .catch((error) => say(String(error)));
  }
  await within(CLEANUP_MS_MAX, "clean-up", scope[Symbol.asyncDispose]())
    .catch((error) => failures.push(...withoutSuppression(error)));
  const [first, ...others] = failures;
  for (const other of others) say(`clean-up failed as well: ${String(other)}`);
  if (failures.length > 0) throw first;
}

/** The failures of a disposal, first to last. */
function withoutSuppression(error: unknown): unknown[] {
  if (!(error instanceof SuppressedError)) return [error];
  return [...withoutSuppression(error.suppressed), ...withoutSuppression(error.error)];
}

/** Resolves with `work`, or rejects after `ms` milliseconds with an error that names `what`. */
export async function within<T>(ms: number, what: string, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what}: not within ${ms / 1000} s`)), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Asks `probe` again and again until it returns something else than `undefined`, and returns that.
 *
 * For conditions that nobody announces; rejects after `timeoutMs` with `what`.
 */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  { timeoutMs = 10_000, everyMs = 100 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<T> {
  const end = performance.now() + timeoutMs;
  while (true) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    await new Promise((wake) => setTimeout(wake, everyMs));
  }
}
