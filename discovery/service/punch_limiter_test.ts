import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";
import {
  AGENT_PUNCHES,
  PUNCH_BURST_MAX,
  PUNCH_INTERVAL_MS,
  type PunchAttempt,
  PunchLimiter,
} from "./punch_limiter.ts";

/** A punch in mesh `reef` from an agent to its colony. */
function attempt(part: Partial<PunchAttempt>): PunchAttempt {
  return { meshId: "reef", from: "a", to: "c", fromRole: "agent", toRole: "colony", ...part };
}

Deno.test("PunchLimiter lets each direction of a pair punch once per interval", () => {
  const limiter = new PunchLimiter();
  const there = attempt({ from: "a", to: "b" });
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
    assertEquals(limiter.refusal(0, attempt({ from: `n${i}` })), undefined);
  }
  const next = attempt({ from: "late" });
  assertEquals(limiter.refusal(0, next), "at most 200 punches per second in a mesh");
  assertEquals(limiter.refusal(0, { ...next, meshId: "atoll" }), undefined);
  assertEquals(limiter.refusal(5, next), undefined);
});

Deno.test("PunchLimiter bounds what one agent starts and what it is told, and not a colony", () => {
  const { burst } = AGENT_PUNCHES;
  const ways: readonly ((i: number) => PunchAttempt)[] = [
    (i) => attempt({ from: "evil", to: `a${i}`, toRole: "agent" }),
    (i) => attempt({ from: `a${i}`, to: "victim", toRole: "agent" }),
  ];
  for (const way of ways) {
    const limiter = new PunchLimiter();
    for (let i = 0; i < burst; i++) assertEquals(limiter.refusal(0, way(i)), undefined);
    assertMatch(limiter.refusal(0, way(burst)) ?? "", /at most 10 per second/);
    assertEquals(limiter.refusal(100, way(burst)), undefined);
    // Others, and the colony with everybody, are not held up.
    assertEquals(limiter.refusal(100, attempt({ from: "b" })), undefined);
    for (let i = 0; i < 2 * burst; i++) {
      const told = attempt({ from: "c", fromRole: "colony", to: `n${i}`, toRole: "agent" });
      assertEquals(limiter.refusal(100, told), undefined);
    }
  }
});

Deno.test("PunchLimiter forgets the oldest meshes and counts them", () => {
  const limiter = new PunchLimiter();
  for (let i = 0; i < 10_010; i++) limiter.refusal(i, attempt({ meshId: `m${i}` }));
  assertEquals(limiter.evicted, 10);
});
