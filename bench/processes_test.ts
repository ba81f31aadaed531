import { deepStrictEqual as assertEquals, throws as assertThrows } from "node:assert/strict";
import { parseCpuSeconds } from "./processes.ts";

Deno.test("parseCpuSeconds adds user and system time, whatever the process is called", () => {
  const rest = "S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
  assertEquals(parseCpuSeconds(`17 (deno) ${rest}`), 3);
  assertEquals(parseCpuSeconds(`17 (a b) c) ${rest}`), 3);
  assertThrows(() => parseCpuSeconds("17 (deno) S 1"), /No times/);
});
