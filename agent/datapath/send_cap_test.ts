import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../../core/mod.ts";
import { SendCap } from "./send_cap.ts";

Deno.test("SendCap lets a burst pass, then no more than the cap, and large datagrams under a small one", () => {
  const cap = new SendCap(at(0));
  let passed = 0;
  for (let ms = 0; ms < 10_000; ms += 10) {
    if (cap.allows(at(ms), 100_000, 10_000)) passed += 10_000;
  }
  assert(passed >= 1_000_000 && passed <= 1_000_000 + 25_000 + 10_000, `${passed}`);
  const small = new SendCap(at(0));
  const sent = [0, 1, 60_000, 120_000].map((ms) => small.allows(at(ms), 1_000, 60_000));
  assertEquals(sent, [true, false, true, true]);
});

Deno.test("SendCap without a cap lets everything pass", () => {
  const cap = new SendCap(at(0));
  for (let i = 0; i < 100; i++) assert(cap.allows(at(0), 0, 1_000_000));
});

function at(ms: number): Instant {
  return ms as Instant;
}
