import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { FLOW_IDLE_MS, FlowTable } from "./flow_table.ts";

const at = (ms: number): Instant => ms as Instant;

Deno.test("a flow lasts as long as it is used, and for the idle time after that", () => {
  const flows = new FlowTable<string>({ idleMs: 1000, flowsMax: 8 });
  flows.add(at(0), "a", "A");
  flows.add(at(0), "b", "B");
  assertEquals(flows.use(at(900), "a"), "A");
  assertEquals(flows.use(at(900), "c"), undefined);
  assertEquals([flows.expire(at(999)), flows.expire(at(1000))], [[], ["B"]]);
  assertEquals([flows.expire(at(1899)), flows.expire(at(1900)), flows.size], [[], ["A"], 0]);
});

Deno.test("one more than there may be takes the place of the one that was silent longest", () => {
  const flows = new FlowTable<string>({ idleMs: 1000, flowsMax: 3 });
  for (const [i, key] of ["a", "b", "c"].entries()) flows.add(at(i), key, key.toUpperCase());
  flows.use(at(5), "a");
  assertEquals(flows.add(at(6), "d", "D"), "B");
  assertEquals([flows.size, flows.use(at(6), "b")], [3, undefined]);
  flows.delete("a");
  assertEquals(flows.add(at(7), "e", "E"), undefined);
  assertEquals([...flows.clear()].sort(), ["C", "D", "E"]);
  assertEquals(flows.size, 0);
});

Deno.test("the idle time is no shorter than RFC 4787 asks for", () => {
  assertEquals(FLOW_IDLE_MS >= 120_000, true);
});
