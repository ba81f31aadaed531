import { equal as assertEquals } from "node:assert/strict";
import { SpentTokens } from "./spent_tokens.ts";

Deno.test("SpentTokens takes an id once, and none that it could not remember", () => {
  let now = 100;
  const spent = new SpentTokens(() => now, 2);
  assertEquals(spent.spend("a", 200), "spent");
  assertEquals(spent.spend("a", 900), "reused");
  assertEquals(spent.spend("b", 300), "spent");
  assertEquals(spent.spend("c", 300), "full");
  assertEquals(spent.spend("b", 300), "reused");
  now = 200;
  assertEquals(spent.spend("c", 300), "spent");
  assertEquals(spent.spend("b", 300), "reused");
  assertEquals(spent.spend("d", 300), "full");
});
