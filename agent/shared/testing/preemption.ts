/**
 * Interleaves two threads' steps in one thread, at every atomic operation.
 *
 * A race that needs a thread to be interrupted between two neighbouring instructions hardly ever shows between real
 * threads. Here the other side's whole step runs before the first, the second, ... and after the last atomic
 * operation of one side's step.
 *
 * @module
 */

/** The operations that the code under test uses. */
const OPERATIONS = ["load", "store", "exchange", "add", "or", "waitAsync"] as const;

/** One run of an interleaving. */
export interface Interleaving {
  /** The step that is interrupted. Only its synchronous part counts. */
  readonly victim: () => void;
  /** The other side's step, run whole. */
  readonly intruder: () => void;
  /** What must hold afterwards, wherever the interruption was. */
  readonly check: (at: number) => void | Promise<void>;
}

/** Runs an interleaving, made anew by `setUp`, for every place of the interruption. Returns how many there were. */
export async function interruptEverywhere(setUp: () => Interleaving): Promise<number> {
  for (let at = 0;; at++) {
    const { victim, intruder, check } = setUp();
    const interrupted = interruptOnce(victim, { intruder, at });
    if (!interrupted) intruder();
    await check(at);
    if (!interrupted) return at + 1;
  }
}

/** Calls `seen` with the typed array of each atomic operation that `body` does, before the operation. */
export function watchAtomics(body: () => void, seen: (words: Int32Array) => void): void {
  const originals = OPERATIONS.map((name) => [name, Reflect.get(Atomics, name)] as const);
  for (const [name, original] of originals) {
    Reflect.set(Atomics, name, (words: Int32Array, ...rest: unknown[]): unknown => {
      seen(words);
      return Reflect.apply(original, Atomics, [words, ...rest]);
    });
  }
  try {
    body();
  } finally {
    for (const [name, original] of originals) Reflect.set(Atomics, name, original);
  }
}

/** Returns whether `victim` got as far as its operation number `at`. */
function interruptOnce(
  victim: () => void,
  { intruder, at }: { intruder: () => void; at: number },
): boolean {
  let count = 0;
  let interrupted = false;
  watchAtomics(victim, () => {
    if (interrupted || count++ !== at) return;
    interrupted = true;
    intruder();
  });
  return interrupted;
}
