import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import type { CandidateKind } from "./candidate.ts";
import type { Instant } from "../core/mod.ts";
import { ownPath } from "./path.ts";
import { comparePaths, costOf, isBetterClass, isClearlyFaster } from "./path_rank.ts";
import { PathRecord } from "./path_record.ts";

const LAN = "192.168.1.5";
const V4 = "203.0.113.9";
const V6 = "2001:db8::9";

Deno.test("a neighbour's address comes before IPv6, IPv6 before IPv4, and a relay last", () => {
  const paths = [path(V4, 40), path(V4, 1, "relayed"), path(V6, 40), path(LAN, 40)];
  assertEquals(paths.sort(comparePaths).map(({ key }) => key), [
    "192.168.1.5:1",
    "[2001:db8::9]:1",
    "203.0.113.9:1",
    "203.0.113.9:1",
  ]);
  assertEquals(paths[3]?.relays, 1);
});

Deno.test("where answers come another way, every straight direct path is better and every relay worse", () => {
  const crooked = path(LAN, 1);
  crooked.answered(0 as Instant, 0 as Instant, ownPath({ hostname: LAN, port: 2 }));
  assert(isBetterClass(path(V4, 900), crooked));
  assert(!isBetterClass(crooked, path(V4, 900)));
  assert(isBetterClass(crooked, path(V4, 1, "relayed")));
});

Deno.test("a better class is taken until it is clearly slower", () => {
  assert(isBetterClass(path(V6, 49), path(V4, 40)));
  assert(!isBetterClass(path(V6, 51), path(V4, 40)));
  assert(isBetterClass(path(LAN, 60), path(V4, 40)));
  assert(!isBetterClass(path(LAN, 80), path(V4, 40)), "a tunnel with a private address");
  assert(isBetterClass(path(V4, 900), path(V4, 20, "relayed")), "direct is direct");
  assert(!isBetterClass(path(V4, 10), path(V6, 100)));
  assert(isBetterClass(path(V6, undefined), path(V4, undefined)));
});

Deno.test("within a class a change is worth a quarter of the round trip, and at least 5 ms", () => {
  assert(isClearlyFaster(path(V4, 70), path(V4, 100)));
  assert(!isClearlyFaster(path(V4, 80), path(V4, 100)));
  assert(!isClearlyFaster(path(V4, 1), path(V4, 5)));
  assert(isClearlyFaster(path(V4, 10), path(V6, 60)));
  const once = new PathRecord(ownPath({ hostname: V4, port: 1 }), { kind: "host", mtuMax: 1280 });
  once.measured(1);
  assert(!isClearlyFaster(once, path(V4, 100)), "one round trip tells little");
});

Deno.test("preferences never run in a circle", () => {
  const any = fc.record({
    host: fc.constantFrom(LAN, V4, V6),
    rtt: fc.integer({ min: 1, max: 500 }),
    relayed: fc.boolean(),
  })
    .map(({ host, rtt, relayed }) => path(host, rtt, relayed ? "relayed" : "host"));
  fc.assert(fc.property(fc.array(any, { minLength: 2, maxLength: 8 }), (paths) => {
    let current = paths[0];
    for (let moves = 0; current !== undefined; moves++) {
      assert(moves <= paths.length, "a circle");
      const from: PathRecord = current;
      const next = paths.find((other) =>
        isBetterClass(other, from) || isClearlyFaster(other, from)
      );
      if (next !== undefined) assert(costOf(next) < costOf(from));
      current = next;
    }
  }));
});

function path(
  hostname: string,
  rttMs: number | undefined,
  kind: CandidateKind = "host",
): PathRecord {
  const record = new PathRecord(ownPath({ hostname, port: 1 }), { kind, mtuMax: 1280 });
  for (let i = 0; rttMs !== undefined && i < 3; i++) record.measured(rttMs);
  return record;
}
