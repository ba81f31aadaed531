import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { PUNCH_BURST_MAX, PUNCH_INTERVAL_MS, PunchLimiter } from "./punch_limiter.ts";

Deno.test("PunchLimiter lets each direction of a pair punch once per interval", () => {
  const limiter = new PunchLimiter();
  const there = { meshId: "reef", from: "a", to: "b" };
  assertEquals(limiter.refusal(1000, there), undefined);
  assertEquals(limiter.refusal(1000 + PUNCH_INTERVAL_MS - 1, there), "one punch per pair in 2 s");
  assertEquals(limiter.refusal(1000, { ...there, from: "b", to: "a" }), undefined);
  assertEquals(limiter.refusal(1000, { ...there, meshId: "atoll" }), undefined);
  assertEquals(limiter.refusal(1000 + PUNCH_INTERVAL_MS, there), undefined);
  // A clock that was set back does not close the pair.
  assertEquals(limiter.refusal(500, there), undefined);
});

Deno.test("PunchLimiter bounds a mesh and refills it", () => {
  const limiter = new PunchLimiter();
  for (let i = 0; i < PUNCH_BURST_MAX; i++) {
    assertEquals(limiter.refusal(0, { meshId: "reef", from: `n${i}`, to: "c" }), undefined);
  }
  const next = { meshId: "reef", from: "late", to: "c" };
  assertEquals(limiter.refusal(0, next), "at most 200 punches per second in a mesh");
  assertEquals(limiter.refusal(0, { ...next, meshId: "atoll" }), undefined);
  assertEquals(limiter.refusal(5, next), undefined);
});

Deno.test("PunchLimiter forgets the oldest meshes and counts them", () => {
  const limiter = new PunchLimiter();
  for (let i = 0; i < 10_010; i++) limiter.refusal(i, { meshId: `m${i}`, from: "a", to: "b" });
  assertEquals(limiter.evicted, 10);
});
