/** What every store must show an operator: a part of the suite of `store_contract.ts`. @module */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { NodeOrder, SessionRequest, Store } from "../store/store.ts";
import { agent, colony, key } from "./nodes.ts";

const TTL_MS = 300_000;
const NOW = 1_700_000_000_000;

/** Registers the tests by `test`, which gives each an empty store. */
export function testOverview(
  test: (behaviour: string, body: (store: Store) => Promise<void>) => void,
): void {
  test("shows an operator its meshes page by page, without those whose nodes are gone", async (store) => {
    const at = (now: number): { now: number; ttlMs: number } => ({ now, ttlMs: 100 });
    await store.register(colony(), at(NOW));
    await store.register(agent(2), at(NOW + 5));
    await store.register(agent(3, { meshId: "atoll" }), at(NOW + 5));
    const all = await store.meshPage(NOW + 5, { offset: 0, limit: 10 });
    assertEquals(all, {
      total: 2,
      meshes: [
        { meshId: "atoll", colonies: 0, agents: 1, lastSeenAt: NOW + 5 },
        { meshId: "reef", colonies: 1, agents: 1, lastSeenAt: NOW + 5 },
      ],
    });
    const second = await store.meshPage(NOW + 100, { offset: 1, limit: 1 });
    assertEquals(second.total, 2);
    assertEquals(second.meshes[0]?.colonies, 0);
    assertEquals(await store.meshPage(NOW + 105, { offset: 0, limit: 10 }), {
      total: 0,
      meshes: [],
    });
  });

  test("shows an operator its nodes in order, page by page, and counts them by NAT", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    await store.register(colony({ name: "z" }), options);
    await store.register(agent(2, { name: "b", nat: 3 }), options);
    await store.register(agent(3, { name: "a", nat: 3, proven: true }), {
      ...options,
      now: NOW + 1,
    });
    await store.register(agent(4, { meshId: "atoll", name: "c", nat: 0 }), options);
    const page = { offset: 0, limit: 10 };
    const reef = await store.nodePage(NOW + 1, { ...page, meshId: "reef", order: "name" });
    assertEquals(reef.counts, [
      { role: "colony", nat: 1, nodes: 1 },
      { role: "agent", nat: 3, nodes: 2 },
    ]);
    assertEquals(reef.nodes.map(({ name }) => name), ["z", "a", "b"]);
    assertEquals(reef.nodes[1], {
      meshId: "reef",
      publicKey: key(3),
      role: "agent",
      agentId: "a3",
      name: "a",
      nat: 3,
      proven: true,
      lastSeenAt: NOW + 1,
      expiresAt: NOW + 1 + TTL_MS,
    });
    const names = async (order: NodeOrder, offset = 0, limit = 9): Promise<string> =>
      (await store.nodePage(NOW + 1, { order, offset, limit })).nodes.map((it) => it.name).join("");
    assertEquals(await names("name"), "zabc");
    assertEquals(await names("mesh"), "czab");
    assertEquals(await names("nat"), "czab");
    assertEquals((await names("seen"))[0], "a");
    assertEquals(await names("name", 1, 2), "ab");
    assertEquals(await names("name", 4), "");
    const gone = await store.nodePage(NOW + TTL_MS + 1, { ...page, order: "seen" });
    assertEquals(gone, { counts: [], nodes: [] });
  });

  test("shows an operator what the sessions of each relay come to", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    await store.openSession(session("s1", 1, "eu"), options);
    await store.openSession(session("s2", 2, "eu"), options);
    await store.openSession(session("s3", 1, "us"), { ...options, ttlMs: 5 });
    await store.addUsage("eu", [
      { sessionId: "s1", rxBytes: 1, txBytes: 2 },
      { sessionId: "s2", rxBytes: 10, txBytes: 20 },
    ]);
    const eu = { relayId: "eu", sessions: 2, rxBytes: 11, txBytes: 22 };
    assertEquals(await store.relayTotals(NOW, 9), [
      eu,
      { relayId: "us", sessions: 1, rxBytes: 0, txBytes: 0 },
    ]);
    assertEquals(await store.relayTotals(NOW + 5, 9), [eu]);
    assertEquals(await store.relayTotals(NOW, 1), [eu]);
  });
}

function session(sessionId: string, seed: number, relayId: string): SessionRequest {
  const publicKey = key(seed);
  return { meshId: "reef", publicKey, sessionId, agentKey: "", colonyKey: "", relayId };
}
