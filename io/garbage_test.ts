import { equal } from "node:assert/strict";
import { runInNewContext } from "node:vm";
import { collectGarbage } from "./garbage.ts";

Deno.test("collectGarbage collects what nobody holds, and leaves threads that start later without gc()", async () => {
  const held = { bytes: new Uint8Array(1 << 20) };
  const kept = new WeakRef(held);
  const dropped = new WeakRef({ bytes: new Uint8Array(1 << 20) });
  // A WeakRef holds its target until the turn that made it ends.
  await new Promise((resolve) => setTimeout(resolve));
  collectGarbage();
  equal(dropped.deref(), undefined);
  equal(kept.deref(), held);
  equal(runInNewContext("typeof gc"), "undefined");
});
