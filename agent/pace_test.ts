import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant, Rng } from "../core/mod.ts";
import { jittered, Pace, Retry } from "./pace.ts";

const at = (ms: number): Instant => ms as Instant;
const STEADY: Rng = { bytes: (length) => new Uint8Array(length) };

Deno.test("Pace gives a burst, then as many per second as it says", () => {
  const pace = new Pace(at(0), { perSecond: 10, burst: 3 });
  const taken = (now: number): number => {
    let count = 0;
    while (pace.take(at(now))) count++;
    return count;
  };
  assertEquals([taken(0), taken(50), taken(100), taken(1100)], [3, 0, 1, 3]);
  assertEquals(pace.nextAt(at(1100)), at(1200));
  assertEquals(pace.nextAt(at(1300)), at(1300));
  assertEquals(taken(900_000), 3, "no more than a burst after any rest");
});

Deno.test("Retry waits twice as long each time, up to the longest", () => {
  const retry = new Retry(STEADY, { first: 2000, longest: 5000 });
  assertEquals(retry.at, undefined);
  retry.begin(at(7));
  assertEquals([retry.take(at(6)), retry.take(at(7)), retry.take(at(8))], [false, true, false]);
  const waits = [0, 0, 0].map(() => {
    retry.later(at(0));
    const due = retry.at ?? at(-1);
    retry.take(due);
    return due;
  });
  assertEquals(waits, [2000, 4000, 5000]);
  retry.end();
  retry.later(at(0));
  retry.later(at(500));
  assertEquals(retry.at, at(2000), "what is due earlier stays");
});

Deno.test("jittered takes away at most the part that it is given", () => {
  assertEquals(jittered(STEADY, 1000, 0.5), 1000);
  const most = jittered({ bytes: () => Uint8Array.of(255, 255) }, 1000, 0.5);
  assertEquals(Math.round(most), 500);
});
