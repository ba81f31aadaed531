import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { TokenBucket } from "./token_bucket.ts";

Deno.test("a TokenBucket gives what it holds, then one for each time, and never more than it holds", () => {
  const bucket = new TokenBucket(at(0), { most: 3, everyMs: 100 });
  const taken = (ms: number): number => {
    let count = 0;
    while (bucket.take(at(ms))) count++;
    return count;
  };
  assertEquals([taken(0), taken(99), taken(100), taken(350), taken(10_000)], [3, 0, 1, 2, 3]);
  assertEquals(bucket.refused, 5);
});

Deno.test("a TokenBucket keeps what is reserved", () => {
  const bucket = new TokenBucket(at(0), { most: 3, everyMs: 100 });
  assertEquals([bucket.take(at(0), 2), bucket.take(at(0), 2), bucket.take(at(0), 1)], [
    true,
    false,
    true,
  ]);
});

function at(ms: number): Instant {
  return ms as Instant;
}
