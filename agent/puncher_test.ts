import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant, Rng } from "../core/mod.ts";
import { Puncher, PUNCHES_UNDER_WAY_MAX } from "./puncher.ts";

const at = (ms: number): Instant => ms as Instant;
const STEADY: Rng = { bytes: (length) => new Uint8Array(length) };
const puncher = (): Puncher => new Puncher(at(0), STEADY);

Deno.test("Puncher punches at once, then after 2, 4, 8 ... 60 s, for ever", () => {
  const punches = puncher();
  punches.soon("a", at(0));
  const times: number[] = [];
  let now = at(0);
  for (let i = 0; i < 8; i++) {
    assertEquals(punches.take(now), "a");
    times.push(now);
    assertEquals(punches.take(now), undefined, "one at a time");
    punches.answered("a", now);
    now = punches.pollTimeout(now) ?? at(NaN);
  }
  const waits = times.map((time, i) => time - (times[i - 1] ?? 0));
  assertEquals(waits, [0, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
});

Deno.test("Puncher begins from the beginning on news, but never twice within what Discovery admits", () => {
  const punches = puncher();
  punches.soon("a", at(0));
  for (const now of [0, 2000, 6000]) {
    assertEquals(punches.take(at(now)), "a");
    punches.answered("a", at(now));
  }
  punches.soon("a", at(6500));
  assertEquals(punches.pollTimeout(at(6500)), at(8000));
  assertEquals([punches.take(at(7999)), punches.take(at(8000))], [undefined, "a"]);
  punches.answered("a", at(8000));
  assertEquals(punches.pollTimeout(at(8000)), at(10_000));
});

Deno.test("Puncher wants nothing of a peer that is direct, and remembers its last punch until it is forgotten", () => {
  const punches = puncher();
  punches.soon("a", at(0));
  assertEquals(punches.take(at(0)), "a");
  punches.done("a");
  punches.answered("a", at(10));
  assertEquals([punches.wants("a"), punches.pollTimeout(at(10))], [false, undefined]);
  punches.soon("a", at(100));
  assertEquals(punches.pollTimeout(at(100)), at(2000));
  punches.forget("a");
  punches.soon("a", at(100));
  assertEquals(punches.pollTimeout(at(100)), at(100));
});

Deno.test("Puncher takes part in another's punch once, and waits until its window is over", () => {
  const punches = puncher();
  punches.soon("a", at(0));
  const window = { punchId: "p1", windowMs: 3000 };
  assert(punches.joined("a", { now: at(0), ...window }));
  assert(!punches.joined("a", { now: at(1), ...window }), "told by the answer and by the stream");
  assertEquals(punches.pollTimeout(at(1)), at(3000));
});

Deno.test("Puncher keeps few punches under way and a pace, however many peers are lost at once", () => {
  const punches = puncher();
  for (let i = 0; i < 1000; i++) punches.soon(`peer${i}`, at(0));
  const first: string[] = [];
  for (let key; (key = punches.take(at(0))) !== undefined;) first.push(key);
  assertEquals(first.length, PUNCHES_UNDER_WAY_MAX);
  assertEquals(punches.pollTimeout(at(0)), undefined, "an answer comes first");
  const perSecond = new Map<number, number>();
  const seen = new Set<string>();
  let under = first;
  for (let now = 0; seen.size < 1000 && now < 60_000; now += 10) {
    for (const key of under) punches.answered(key, at(now));
    under = [];
    for (let key; (key = punches.take(at(now))) !== undefined;) under.push(key);
    for (const key of under) seen.add(key);
    const second = Math.floor(now / 1000);
    perSecond.set(second, (perSecond.get(second) ?? 0) + under.length);
  }
  for (const [second, count] of perSecond) assert(count <= 66, `${count} in second ${second}`);
});
