/** Several servers of which one may be silent: the next one is asked soon, without giving up on the one before (after RFC 8305). @module */

/** How {@linkcode staggered} goes. */
export interface StaggeredOptions<T> {
  /** How many there are to try, in order; at least one. */
  readonly count: number;
  /** Tries one. The signal is aborted once another has succeeded. */
  readonly attempt: (index: number, signal: AbortSignal) => Promise<T>;
  /** Whether an error is an answer: then no other is tried, and those under way are given up. */
  readonly isFinal: (error: unknown) => boolean;
  /** Time after which the next one is tried although the one before may still answer, in milliseconds. */
  readonly staggerMs: number;
  /** Gives up when aborted. */
  readonly signal: AbortSignal | undefined;
}

/** What came of it: the first success, or every error in order. */
export type StaggeredOutcome<T> =
  | { readonly ok: true; readonly index: number; readonly value: T }
  | { readonly ok: false; readonly errors: readonly unknown[] };

/** Tries one after another until one succeeds. Rejects with a final error, or with the signal's reason. */
export function staggered<T>(
  { count, attempt, isFinal, staggerMs, signal }: StaggeredOptions<T>,
): Promise<StaggeredOutcome<T>> {
  const { promise, resolve, reject } = Promise.withResolvers<StaggeredOutcome<T>>();
  const ended = new AbortController();
  const errors: unknown[] = [];
  let started = 0;
  let failed = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    ended.abort();
  };
  function abort(): void {
    reject(signal?.reason);
    end();
  }
  const next = (): void => {
    clearTimeout(timer);
    const index = started++;
    if (started < count) timer = setTimeout(next, staggerMs);
    attempt(index, ended.signal).then((value) => {
      resolve({ ok: true, index, value });
      end();
    }, (error) => {
      if (ended.signal.aborted) return;
      if (isFinal(error)) {
        reject(error);
        return end();
      }
      errors[index] = error;
      if (++failed === count) {
        resolve({ ok: false, errors });
        end();
      } else if (started < count) next();
    });
  };
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  else next();
  return promise;
}
