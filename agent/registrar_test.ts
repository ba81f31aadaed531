import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant, Rng } from "../core/mod.ts";
import { Registrar } from "./registrar.ts";

const at = (ms: number): Instant => ms as Instant;
/** Never makes a wait shorter. */
const STEADY: Rng = { bytes: (length) => new Uint8Array(length) };

Deno.test("Registrar registers when asked, not when something changed before that", () => {
  const registrar = new Registrar(STEADY);
  registrar.changed(at(0));
  assertEquals(registrar.pollTimeout(), undefined);
  registrar.begin(at(5));
  assertEquals([registrar.take(at(4)), registrar.take(at(5)), registrar.take(at(5))], [
    false,
    true,
    false,
  ]);
});

Deno.test("Registrar registers changes that come together once, and refreshes at a third of the life", () => {
  const registrar = new Registrar(STEADY);
  registrar.begin(at(0));
  assert(registrar.take(at(0)));
  registrar.succeeded(at(10), 300_000);
  assertEquals(registrar.pollTimeout(), at(100_010));
  registrar.changed(at(1000));
  registrar.changed(at(1040));
  assertEquals(registrar.pollTimeout(), at(1050));
  assert(registrar.take(at(1050)));
  registrar.succeeded(at(1060), 300_000);
  assertEquals(registrar.pollTimeout(), at(101_060));
});

Deno.test("Registrar registers again what changed while a registration was under way", () => {
  const registrar = new Registrar(STEADY);
  registrar.begin(at(0));
  assert(registrar.take(at(0)));
  registrar.changed(at(1));
  assert(!registrar.take(at(60)), "one at a time");
  registrar.succeeded(at(100), 300_000);
  assertEquals(registrar.pollTimeout(), at(150));
});

Deno.test("Registrar tries again after 1, 2, 4 ... 30 s, for ever, and at once when Discovery has forgotten the node", () => {
  const registrar = new Registrar(STEADY);
  registrar.begin(at(0));
  const waits: number[] = [];
  let now = 0;
  for (let i = 0; i < 8; i++) {
    assert(registrar.take(at(now)));
    registrar.failed(at(now));
    const next = registrar.pollTimeout();
    assert(next !== undefined);
    waits.push(next - now);
    now = next;
  }
  assertEquals(waits, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  registrar.begin(at(now - 20_000));
  assertEquals(registrar.pollTimeout(), at(now - 20_000));
  assert(registrar.failing);
});

Deno.test("Registrar spreads what a thousand nodes do after an outage", () => {
  const waits = Array.from({ length: 1000 }, (_, i) => {
    const registrar = new Registrar({ bytes: () => Uint8Array.of(i >> 2, i << 6 & 0xff) });
    registrar.begin(at(0));
    assert(registrar.take(at(0)));
    registrar.failed(at(0));
    return registrar.pollTimeout() ?? NaN;
  });
  assert(Math.max(...waits) <= 1000 && Math.min(...waits) >= 670);
  const busiest = Math.max(
    ...Array.from(
      { length: 10 },
      (_, i) => waits.filter((wait) => wait > 670 + i * 33 && wait <= 703 + i * 33).length,
    ),
  );
  assert(busiest <= 110, `${busiest} of 1000 in a tenth of the time`);
});
