/** What every store must do: one suite, run against each. @module */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import type { NodeRecord, RegisterOutcome, Store } from "../store/store.ts";
import { agent, colony, key } from "./nodes.ts";

const TTL_MS = 300_000;
const NOW = 1_700_000_000_000;

/** Limits that the stores under test are opened with. */
export interface ContractLimits {
  /** Nodes per mesh. */
  readonly nodesPerMeshMax: number;
  /** Nodes in all. */
  readonly nodesMax: number;
}

/** Registers the suite's tests. `open` returns an empty store with these limits. */
export function testStore(
  name: string,
  open: (limits: ContractLimits) => Store | Promise<Store>,
): void {
  const limits = { nodesPerMeshMax: 4, nodesMax: 6 };
  function test(behaviour: string, body: (store: Store) => Promise<void>): void {
    Deno.test(`${name} ${behaviour}`, async () => {
      const store = await open(limits);
      try {
        await body(store);
      } finally {
        await store.close();
        await store.close();
      }
    });
  }

  test("gives back what was registered, until the TTL is over", async (store) => {
    const outcome = registered(await store.register(colony(), { now: NOW, ttlMs: TTL_MS }));
    const expected = {
      ...colony(),
      registeredAt: NOW,
      lastSeenAt: NOW,
      expiresAt: NOW + TTL_MS,
      generation: NOW,
    };
    assertEquals(outcome, { kind: "registered", record: expected, changed: true, displaced: [] });
    assertEquals(await store.colony("reef", NOW + TTL_MS - 1), expected);
    assertEquals(
      await store.node({ meshId: "reef", publicKey: key(1) }, NOW + TTL_MS - 1),
      expected,
    );
    assertEquals(await store.colonyCount(NOW + TTL_MS - 1), 1);
    assertEquals(await store.colony("reef", NOW + TTL_MS), undefined);
    assertEquals(await store.node({ meshId: "reef", publicKey: key(1) }, NOW + TTL_MS), undefined);
    assertEquals(await store.colonyCount(NOW + TTL_MS), 0);
    assertEquals(await store.colony("atoll", NOW), undefined);
  });

  test("keeps the generation on a refresh and raises it on a change", async (store) => {
    await store.register(agent(2), { now: NOW, ttlMs: TTL_MS });
    const refreshed = registered(
      await store.register(agent(2), { now: NOW + 10, ttlMs: TTL_MS }),
    );
    assertEquals(refreshed.changed, false);
    assertEquals(refreshed.record.generation, NOW);
    assertEquals(refreshed.record.lastSeenAt, NOW + 10);
    assertEquals(refreshed.record.expiresAt, NOW + 10 + TTL_MS);
    assertEquals(await store.agents("reef", NOW + 10), [refreshed.record]);
    // Also when the clock went back.
    const changed = registered(
      await store.register(agent(2, { nat: 3 }), { now: NOW - 5, ttlMs: TTL_MS }),
    );
    assertEquals(changed.changed, true);
    assertEquals(changed.record.generation, NOW + 1);
    assertEquals(changed.record.registeredAt, NOW);
    assertEquals(await store.agents("reef", NOW), [changed.record]);
  });

  test("begins a new life after expiry", async (store) => {
    await store.register(agent(2), { now: NOW, ttlMs: TTL_MS });
    const again = registered(
      await store.register(agent(2), { now: NOW + TTL_MS, ttlMs: TTL_MS }),
    );
    assertEquals(again.changed, true);
    assertEquals(again.record.registeredAt, NOW + TTL_MS);
    assertEquals(again.record.generation, NOW + TTL_MS);
  });

  test("holds off a second colony key while the first lives", async (store) => {
    await store.register(colony(), { now: NOW, ttlMs: TTL_MS });
    const rival = colony({ publicKey: key(9) });
    assertEquals(await store.register(rival, { now: NOW + TTL_MS - 1, ttlMs: TTL_MS }), {
      kind: "held",
    });
    assertEquals((await store.colony("reef", NOW))?.publicKey, key(1));
    const later = registered(await store.register(rival, { now: NOW + TTL_MS, ttlMs: TTL_MS }));
    assertEquals(keys(later.displaced), [key(1)]);
    assertEquals((await store.colony("reef", NOW + TTL_MS))?.publicKey, key(9));
  });

  test("keeps colony and agent keys apart", async (store) => {
    await store.register(colony(), { now: NOW, ttlMs: TTL_MS });
    const impostor = agent(1);
    assertEquals(await store.register(impostor, { now: NOW, ttlMs: TTL_MS }), { kind: "held" });
    // A colony is never locked out of its mesh by an agent that took its key first.
    await store.register(agent(7, { meshId: "atoll" }), { now: NOW, ttlMs: TTL_MS });
    const taken = registered(
      await store.register(colony({ meshId: "atoll", publicKey: key(7) }), {
        now: NOW,
        ttlMs: TTL_MS,
      }),
    );
    assertEquals(taken.record.role, "colony");
    assertEquals(await store.agents("atoll", NOW), []);
  });

  test("lets a new key take over an agent id", async (store) => {
    await store.register(agent(2), { now: NOW, ttlMs: TTL_MS });
    const outcome = registered(
      await store.register(agent(3, { agentId: "a2" }), { now: NOW + 1, ttlMs: TTL_MS }),
    );
    assertEquals(keys(outcome.displaced), [key(2)]);
    assertEquals(keys(await store.agents("reef", NOW + 1)), [key(3)]);
    // And a key that changes its id keeps one record.
    const renamed = registered(
      await store.register(agent(3, { agentId: "a3" }), { now: NOW + 2, ttlMs: TTL_MS }),
    );
    assertEquals(renamed.displaced, []);
    assertEquals((await store.agents("reef", NOW + 2)).map((r) => r.agentId), ["a3"]);
  });

  test("finds agents by id, in one mesh or all", async (store) => {
    await store.register(agent(2), { now: NOW, ttlMs: TTL_MS });
    await store.register(agent(2, { meshId: "atoll" }), { now: NOW, ttlMs: TTL_MS });
    assertEquals((await store.agentsById("a2", { now: NOW })).length, 2);
    const [found, ...rest] = await store.agentsById("a2", { meshId: "atoll", now: NOW });
    assertEquals([found?.meshId, rest.length], ["atoll", 0]);
    assertEquals(await store.agentsById("a2", { now: NOW + TTL_MS }), []);
    assertEquals(await store.agentsById("none", { now: NOW }), []);
  });

  test("removes by key and role", async (store) => {
    await store.register(colony(), { now: NOW, ttlMs: TTL_MS });
    const node = { meshId: "reef", publicKey: key(1) };
    assertEquals(await store.remove(node, "agent"), undefined);
    assertEquals((await store.remove(node, "colony"))?.publicKey, key(1));
    assertEquals(await store.remove(node, "colony"), undefined);
    assertEquals(await store.colony("reef", NOW), undefined);
  });

  test("sweeps what has expired, the oldest first, in batches", async (store) => {
    for (const seed of [2, 3, 4]) {
      await store.register(agent(seed), { now: NOW + seed, ttlMs: TTL_MS });
    }
    const at = NOW + 3 + TTL_MS;
    assertEquals(keys(await store.sweep(at, 1)), [key(2)]);
    assertEquals(keys(await store.sweep(at, 10)), [key(3)]);
    assertEquals(await store.sweep(at, 10), []);
    assertEquals(keys(await store.agents("reef", NOW)), [key(4)]);
  });

  test("refuses nodes beyond the limits and lets expired ones make room", async (store) => {
    for (const seed of [2, 3, 4, 5]) {
      await store.register(agent(seed), { now: NOW + seed, ttlMs: TTL_MS });
    }
    const options = { now: NOW + 6, ttlMs: TTL_MS };
    assertEquals(await store.register(agent(6), options), { kind: "full" });
    registered(await store.register(agent(5), options));
    const later = { now: NOW + 2 + TTL_MS, ttlMs: TTL_MS };
    const squeezed = registered(await store.register(agent(6), later));
    assertEquals(keys(squeezed.displaced), [key(2)]);

    registered(await store.register(agent(2, { meshId: "atoll" }), later));
    registered(await store.register(agent(3, { meshId: "atoll" }), later));
    assertEquals(await store.register(agent(4, { meshId: "atoll" }), later), { kind: "full" });
    await store.remove({ meshId: "atoll", publicKey: key(2) }, "agent");
    registered(await store.register(agent(4, { meshId: "atoll" }), later));
  });

  test("rejects once closed", async (store) => {
    await store.close();
    await assertRejects(store.colony("reef", NOW), { name: "MorayError" });
  });
}

function registered(outcome: RegisterOutcome): Extract<RegisterOutcome, { kind: "registered" }> {
  assert(outcome.kind === "registered", `registered, not ${outcome.kind}`);
  return outcome;
}

function keys(records: readonly NodeRecord[]): string[] {
  return records.map((record) => record.publicKey);
}
