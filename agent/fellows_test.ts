import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { type Fellow, Fellows, FELLOWS_MAX } from "./fellows.ts";

const rng = { bytes: (count: number): Uint8Array => new Uint8Array(count) };

function fellow(publicKey: string, present = true): Fellow {
  return { publicKey, present };
}

Deno.test("Fellows says who came, who left and who is a fellow no more", () => {
  const fellows = new Fellows({ publicKey: "m", rng });
  const nothing = { came: [], left: [], dropped: [] };
  assertEquals(fellows.set([fellow("a"), fellow("z", false)]), { ...nothing, came: ["a"] });
  assert(fellows.has("z"));
  assertEquals(fellows.set([fellow("a"), fellow("z", false)]), nothing);
  assertEquals(fellows.set([fellow("a", false), fellow("z")]), {
    came: ["z"],
    left: ["a"],
    dropped: [],
  });
  assertEquals(fellows.set([fellow("z")]), { ...nothing, dropped: ["a"] });
  assert(!fellows.has("a"));
});

Deno.test("of two fellows exactly one asks for punches", () => {
  const one = new Fellows({ publicKey: "a", rng });
  const other = new Fellows({ publicKey: "b", rng });
  assert(one.asks("b"));
  assert(!other.asks("a"));
});

Deno.test("Fellows keeps so many, those that are there first, and counts the others", () => {
  const fellows = new Fellows({ publicKey: "m", rng });
  const away = Array.from({ length: FELLOWS_MAX }, (_, i) => fellow(`away${i}`, false));
  fellows.set([...away, fellow("there")]);
  assert(fellows.has("there"));
  assertEquals([fellows.has(`away${FELLOWS_MAX - 1}`), fellows.ignored], [false, 1]);
});

Deno.test("Fellows has one looked up at ever longer intervals until it is found or leaves", () => {
  const fellows = new Fellows({ publicKey: "m", rng });
  fellows.set([fellow("a"), fellow("b")]);
  fellows.search("a", 0 as Instant);
  fellows.search("b", 0 as Instant);
  assertEquals(fellows.takeSearches(3999 as Instant), []);
  assertEquals(fellows.pollTimeout(), 4000);
  assertEquals(fellows.takeSearches(4000 as Instant), ["a", "b"]);
  fellows.found("b");
  assertEquals(fellows.pollTimeout(), 12_000);
  assertEquals(fellows.takeSearches(12_000 as Instant), ["a"]);
  fellows.set([fellow("a", false), fellow("b")]);
  assertEquals(fellows.pollTimeout(), undefined);
});
