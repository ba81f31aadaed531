import { deepStrictEqual as assertEquals, rejects as assertRejects } from "node:assert/strict";
import { SPEND_BATCH_MAX, SpendBatch } from "./spend_batch.ts";
import type { SpendOutcome } from "./store.ts";

Deno.test("SpendBatch runs what one turn asks for in as few powers of two as there are", async () => {
  const sizes: number[] = [];
  const batch = new SpendBatch((list) => {
    sizes.push(list.length);
    return Promise.resolve(list.map((): SpendOutcome => "spent"));
  });
  const count = 2 * SPEND_BATCH_MAX + 5;
  const all = Array.from({ length: count }, (_, i) => batch.spend({ id: `${i}`, expiresAt: 1 }));
  assertEquals((await Promise.all(all)).length, count);
  assertEquals(sizes, [SPEND_BATCH_MAX, SPEND_BATCH_MAX, 4, 1]);
});

Deno.test("SpendBatch gives everybody what became of his own, and asks again in the next turn", async () => {
  const spent = new Set<string>();
  const batch = new SpendBatch((list) =>
    Promise.resolve(list.map(({ id }): SpendOutcome => {
      if (spent.has(id)) return "reused";
      spent.add(id);
      return "spent";
    }))
  );
  const spend = (id: string): Promise<SpendOutcome> => batch.spend({ id, expiresAt: 1 });
  const outcomes = await Promise.all(["c", "a", "b", "a"].map(spend));
  assertEquals(outcomes.toSorted(), ["reused", "spent", "spent", "spent"]);
  assertEquals([outcomes[0], outcomes[2]], ["spent", "spent"]);
  assertEquals(await spend("b"), "reused");
});

Deno.test("SpendBatch rejects those, and only those, whose statement failed", async () => {
  let fails = true;
  const batch = new SpendBatch((list) => {
    if (fails) return Promise.reject(new Error("gone"));
    return Promise.resolve(list.map((): SpendOutcome => "spent"));
  });
  const both = ["a", "b"].map((id) => batch.spend({ id, expiresAt: 1 }));
  for (const one of both) await assertRejects(one, /gone/);
  fails = false;
  assertEquals(await batch.spend({ id: "a", expiresAt: 1 }), "spent");
});
