import { deepStrictEqual as assertEquals } from "node:assert/strict";
import {
  REVOCATION_MS,
  Revocations,
  REVOCATIONS_MAX,
  REVOCATIONS_TOLD_MAX,
} from "./revocations.ts";

Deno.test("a relay is told of its own sessions for a minute, the latest first", () => {
  const revocations = new Revocations();
  revocations.add("eu", "one", 0);
  revocations.add("us", "two", 0);
  revocations.add("eu", "three", 10);
  assertEquals(revocations.of("eu", 10), ["three", "one"]);
  assertEquals(revocations.of("us", 10), ["two"]);
  assertEquals(revocations.of("eu", REVOCATION_MS), ["three"]);
  revocations.sweep(REVOCATION_MS + 10);
  assertEquals(revocations.of("eu", 10), []);
});

Deno.test("an answer tells of 512 sessions, and no more than 16,384 are remembered", () => {
  const revocations = new Revocations();
  for (let i = 0; i <= REVOCATIONS_MAX; i++) revocations.add("eu", `${i}`, 0);
  const told = revocations.of("eu", 0);
  assertEquals([told.length, told[0]], [REVOCATIONS_TOLD_MAX, `${REVOCATIONS_MAX}`]);
  assertEquals(revocations.forgotten, 1);
});
