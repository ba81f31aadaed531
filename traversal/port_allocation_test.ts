import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { allocationOf, type PortObservation } from "./port_allocation.ts";

const seen = (...ports: number[]): PortObservation[] =>
  ports.map((port) => ({ local: 51820, mapped: { hostname: "203.0.113.2", port } }));

Deno.test("allocationOf calls a NAT preserving only if every port was kept", () => {
  assertEquals(allocationOf(seen(51820, 51820)), { kind: "preserving" });
  assertEquals(allocationOf(seen(51820, 51823, 40000)), { kind: "random" });
});

Deno.test("allocationOf tells the smallest step of a sequence, upwards or downwards", () => {
  assertEquals(allocationOf(seen(4000, 4001, 4002, 4003)), { kind: "sequential", delta: 1 });
  // Somebody else's mapping took 4002.
  assertEquals(allocationOf(seen(4000, 4001, 4003)), { kind: "sequential", delta: 1 });
  assertEquals(allocationOf(seen(4000, 3998, 3996)), { kind: "sequential", delta: -2 });
});

Deno.test("allocationOf counts a mapping that was seen twice once", () => {
  assertEquals(allocationOf(seen(4000, 4000, 4001, 4001, 4002)), { kind: "sequential", delta: 1 });
});

Deno.test("allocationOf calls large or mixed steps random, and a lone step unless it is small", () => {
  assertEquals(allocationOf(seen(4000, 9000, 30000)), { kind: "random" });
  assertEquals(allocationOf(seen(4000, 4010, 4005)), { kind: "random" });
  assertEquals(allocationOf(seen(4000, 4020)), { kind: "random" });
  assertEquals(allocationOf(seen(4000, 4002)), { kind: "sequential", delta: 2 });
});

Deno.test("allocationOf does not judge from one mapping", () => {
  assertEquals(allocationOf([]), undefined);
  assertEquals(allocationOf(seen(4000, 4000)), undefined);
});
