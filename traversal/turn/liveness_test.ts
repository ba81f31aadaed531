import { strictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../../core/mod.ts";
import { Liveness } from "./liveness.ts";

Deno.test("a server that is not spoken to is asked as often as the mapping wants it, after the allocation", () => {
  const life = new Liveness(at(0), 10_000);
  assertEquals(life.pollTimeout(), undefined);
  life.begin(at(100));
  assertEquals(life.pollTimeout(), at(10_100));
  assertEquals(life.isDue(at(10_099)), false);
  assertEquals(life.isDue(at(10_100)), true);
  assertEquals(life.ask(), true);
  assertEquals(life.ask(), false);
  assertEquals(life.pollTimeout(), undefined);
  life.answered(at(10_150));
  assertEquals(life.pollTimeout(), at(20_150));
  life.setKeepalive(at(10_200), 5_000);
  assertEquals(life.pollTimeout(), at(15_200));
});

Deno.test("it is asked a second after the first thing that was sent and found no echo", () => {
  const life = new Liveness(at(0), 10_000);
  life.begin(at(0));
  for (const ms of [2_000, 2_400, 2_900]) life.used(at(ms));
  assertEquals(life.pollTimeout(), at(3_000));
  life.heard(at(2_950));
  assertEquals(life.isDue(at(3_000)), false);
  // It was heard, and the mapping is in use.
  assertEquals(life.pollTimeout(), at(12_950));
  life.used(at(3_100));
  assertEquals(life.isDue(at(4_099)), false);
  assertEquals(life.isDue(at(4_100)), true);
  assertEquals(life.heardAt, at(2_950));
});

Deno.test("what is sent while it is being asked leaves no deadline behind that has passed", () => {
  const life = new Liveness(at(0), 10_000);
  life.begin(at(0));
  life.used(at(1));
  assertEquals(life.isDue(at(1_001)), true);
  life.ask();
  life.used(at(1_100));
  life.heard(at(1_150));
  life.used(at(1_200));
  assertEquals(life.isDue(at(2_200)), true);
  assertEquals(life.ask(), false);
  assertEquals(life.pollTimeout(), undefined);
});

function at(ms: number): Instant {
  return ms as Instant;
}
