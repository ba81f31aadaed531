import { deepStrictEqual as assertEquals, rejects as assertRejects } from "node:assert/strict";
import { staggered, type StaggeredOptions, type StaggeredOutcome } from "./staggered.ts";

/** Tries that end when the test says so. */
interface Tries {
  readonly outcome: Promise<StaggeredOutcome<string>>;
  readonly ends: readonly PromiseWithResolvers<string>[];
  readonly signals: readonly AbortSignal[];
  /** Resolves once that one has begun. */
  readonly start: (index: number) => Promise<void>;
}

function tries(count: number, part: Partial<StaggeredOptions<string>> = {}): Tries {
  const ends: PromiseWithResolvers<string>[] = [];
  const begun: (() => void)[] = [];
  const signals: AbortSignal[] = [];
  const outcome = staggered<string>({
    count,
    attempt: (index, signal) => {
      const end = Promise.withResolvers<string>();
      ends[index] = end;
      signals[index] = signal;
      begun[index]?.();
      return end.promise;
    },
    isFinal: (error) => error === "refused",
    staggerMs: 20,
    signal: undefined,
    ...part,
  });
  const start = (index: number): Promise<void> =>
    ends[index] === undefined
      ? new Promise((resolve) => begun[index] = resolve)
      : Promise.resolve();
  return { outcome, ends, signals, start };
}

Deno.test("staggered asks the second while the first is silent, and takes whoever answers first", async () => {
  const { outcome, ends, signals, start } = tries(2);
  await start(1);
  ends[1]?.resolve("second");
  assertEquals(await outcome, { ok: true, index: 1, value: "second" });
  assertEquals(signals.map(({ aborted }) => aborted), [true, true]);
});

Deno.test("staggered still takes the first, if it answers after the second was asked", async () => {
  const { outcome, ends, start } = tries(2);
  await start(1);
  ends[0]?.resolve("first");
  assertEquals(await outcome, { ok: true, index: 0, value: "first" });
});

Deno.test("staggered asks the next at once when one fails, and tells of all failures in order", async () => {
  const { outcome, ends, start } = tries(2, { staggerMs: 3_600_000 });
  ends[0]?.reject("down");
  await start(1);
  ends[1]?.reject("down too");
  assertEquals(await outcome, { ok: false, errors: ["down", "down too"] });
});

Deno.test("staggered asks nobody else when one says no, or when it is aborted", async () => {
  const refused = tries(2, { staggerMs: 3_600_000 });
  refused.ends[0]?.reject("refused");
  await assertRejects(refused.outcome, (error) => error === ("refused" as unknown));
  assertEquals(refused.ends.length, 1);
  const ended = new AbortController();
  const aborted = tries(2, { staggerMs: 3_600_000, signal: ended.signal });
  ended.abort("enough");
  await assertRejects(aborted.outcome, (error) => error === ("enough" as unknown));
  assertEquals(aborted.signals[0]?.aborted, true);
});
