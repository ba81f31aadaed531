/** What every store must do: one suite, run against each. @module */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import type {
  NodeKey,
  NodeRecord,
  RegisterOutcome,
  SessionRequest,
  Store,
  StoredRotation,
} from "../store/store.ts";
import { testMembers } from "./members_contract.ts";
import { testMeshes } from "./meshes_contract.ts";
import { agent, colony, key } from "./nodes.ts";
import { testOverview } from "./overview_contract.ts";

const TTL_MS = 300_000;
const NOW = 1_700_000_000_000;

/** Limits that the stores under test are opened with. */
export interface ContractLimits {
  /** Members of a mesh. */
  readonly membersPerMeshMax: number;
  /** Used ids. */
  readonly spentMax: number;
  /** Given up keys remembered of one mesh. */
  readonly rotationsPerMeshMax: number;
  /** Nodes per mesh. */
  readonly nodesPerMeshMax: number;
  /** Nodes in all. */
  readonly nodesMax: number;
  /** Relay sessions of a node, of a mesh, and in all. */
  readonly sessionLimits: {
    readonly perNode: number;
    readonly perMesh: number;
    readonly inAll: number;
  };
}

/** Registers the suite's tests. `open` returns an empty store with these limits. */
export function testStore(
  name: string,
  open: (limits: ContractLimits) => Store | Promise<Store>,
): void {
  const limits = {
    spentMax: 3,
    rotationsPerMeshMax: 3,
    membersPerMeshMax: 3,
    nodesPerMeshMax: 4,
    nodesMax: 6,
    sessionLimits: { perNode: 2, perMesh: 4, inAll: 6 },
  };
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

  test("opens a relay session, renews it, and opens another after its end", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    const opened = await store.openSession(session("s1", 2, "eu"), options);
    const expected = {
      ...session("s1", 2, "eu"),
      createdAt: NOW,
      expiresAt: NOW + TTL_MS,
      rxBytes: 0,
      txBytes: 0,
    };
    assertEquals(opened, { kind: "opened", session: expected, renewed: false });
    assertEquals(await store.addUsage("eu", [{ sessionId: "s1", rxBytes: 10, txBytes: 20 }]), 1);

    const again = { ...session("s2", 2, "eu"), colonyKey: key(9) };
    const renewed = {
      ...expected,
      colonyKey: key(9),
      expiresAt: NOW + 10 + TTL_MS,
      rxBytes: 10,
      txBytes: 20,
    };
    assertEquals(await store.openSession(again, { now: NOW + 10, ttlMs: TTL_MS }), {
      kind: "opened",
      session: renewed,
      renewed: true,
    });
    assertEquals(await store.sessions(nodeKey(2), NOW + 10), [renewed]);
    assertEquals(await store.sessionCount(NOW + 10), 1);

    const late = NOW + 10 + TTL_MS;
    assertEquals(await store.sessions(nodeKey(2), late), []);
    assertEquals(await store.sessionCount(late), 0);
    const fresh = await store.openSession(session("s3", 2, "eu"), { now: late, ttlMs: TTL_MS });
    assert(fresh.kind === "opened" && !fresh.renewed);
    assertEquals([fresh.session.sessionId, fresh.session.rxBytes], ["s3", 0]);
    assertEquals(await store.closeSession({ sessionId: "s1", meshId: "reef" }), undefined);
  });

  test("adds up what a session's own relay says that it carried", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    await store.openSession(session("s1", 2, "eu"), options);
    await store.openSession(session("s2", 2, "us"), options);
    const usage = [
      { sessionId: "s1", rxBytes: 5, txBytes: 7 },
      { sessionId: "s2", rxBytes: 100, txBytes: 100 },
      { sessionId: "none", rxBytes: 1, txBytes: 1 },
    ];
    assertEquals(await store.addUsage("eu", usage), 1);
    assertEquals(await store.addUsage("eu", usage), 1);
    assertEquals(await store.addUsage("eu", []), 0);
    const carried = (await store.sessions(nodeKey(2), NOW))
      .map(({ relayId, rxBytes, txBytes }) => [relayId, rxBytes, txBytes]);
    assertEquals(carried, [["eu", 10, 14], ["us", 0, 0]]);
    const most = Number.MAX_SAFE_INTEGER;
    await store.addUsage("us", [{ sessionId: "s2", rxBytes: most, txBytes: most }]);
    await store.addUsage("us", [{ sessionId: "s2", rxBytes: most, txBytes: 1 }]);
    const [, us] = await store.sessions(nodeKey(2), NOW);
    assertEquals([us?.rxBytes, us?.txBytes], [most, most]);
  });

  test("closes sessions by id and by node, within their mesh", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    await store.openSession(session("s1", 2, "eu"), options);
    await store.openSession(session("s2", 2, "us"), options);
    await store.openSession(session("s3", 3, "us"), options);
    assertEquals(await store.closeSession({ sessionId: "s1", meshId: "atoll" }), undefined);
    assertEquals((await store.closeSession({ sessionId: "s1", meshId: "reef" }))?.relayId, "eu");
    assertEquals(await store.closeSession({ sessionId: "s1", meshId: "reef" }), undefined);
    assertEquals((await store.closeSessions(nodeKey(2))).map((one) => one.sessionId), ["s2"]);
    assertEquals(await store.closeSessions(nodeKey(2)), []);
    assertEquals(await store.sessionCount(NOW), 1);
  });

  test("sweeps expired sessions, the oldest first, in batches", async (store) => {
    for (const seed of [2, 3, 4]) {
      const options = { now: NOW + seed, ttlMs: TTL_MS };
      await store.openSession(session(`s${seed}`, seed, "eu"), options);
    }
    const at = NOW + 3 + TTL_MS;
    const ids = async (max: number): Promise<string[]> =>
      (await store.sweepSessions(at, max)).map(({ sessionId }) => sessionId);
    assertEquals([await ids(1), await ids(10), await ids(10)], [["s2"], ["s3"], []]);
    assertEquals(await store.sessionCount(NOW), 1);
  });

  test("refuses sessions beyond the limits of node, mesh and store", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    const open = async (id: string, seed: number, relayId: string, meshId = "reef") => {
      const outcome = await store.openSession({ ...session(id, seed, relayId), meshId }, options);
      return outcome.kind === "full" ? outcome.of : outcome.kind;
    };
    assertEquals(await open("s1", 2, "eu"), "opened");
    assertEquals(await open("s2", 2, "us"), "opened");
    assertEquals(await open("s3", 2, "asia"), "node");
    assertEquals(await open("s3", 2, "us"), "opened");
    assertEquals(await open("s4", 3, "eu"), "opened");
    assertEquals(await open("s5", 4, "eu"), "opened");
    assertEquals(await open("s6", 5, "eu"), "mesh");
    assertEquals(await open("s7", 2, "eu", "atoll"), "opened");
    assertEquals(await open("s8", 3, "eu", "atoll"), "opened");
    assertEquals(await open("s9", 4, "eu", "atoll"), "store");
    await store.closeSession({ sessionId: "s8", meshId: "atoll" });
    assertEquals(await open("s9", 4, "eu", "atoll"), "opened");
    // Expired ones of the mesh make room.
    await store.closeSession({ sessionId: "s9", meshId: "atoll" });
    const late = { now: NOW + TTL_MS, ttlMs: TTL_MS };
    const { kind } = await store.openSession(session("s10", 5, "eu"), late);
    assertEquals([kind, await store.sessionCount(NOW)], ["opened", 2]);
  });

  test("tells of every change and of what is said, in order", async (store) => {
    const told: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    store.listen((event) => {
      if (event.kind === "gap") throw new Error("nothing was missed");
      if (event.kind === "said" && event.text === "end") return resolve();
      const { meshId, publicKey, role, generation } = event.kind === "said"
        ? { meshId: event.text, publicKey: "", role: "", generation: NOW }
        : event.change;
      const seed = publicKey === "" ? "" : atob(publicKey).charCodeAt(0);
      told.push(`${event.kind} ${meshId} ${role} ${seed} ${generation - NOW}`);
    });
    await store.register(agent(2), { now: NOW, ttlMs: TTL_MS });
    // A refresh is no change, and neither is what is refused.
    await store.register(agent(2), { now: NOW + 1, ttlMs: TTL_MS });
    await store.register(colony(), { now: NOW + 2, ttlMs: TTL_MS });
    await store.register(colony({ publicKey: key(9) }), { now: NOW + 3, ttlMs: TTL_MS });
    await store.register(agent(2, { nat: 3 }), { now: NOW + 4, ttlMs: TTL_MS });
    await store.say("hello");
    await store.register(agent(3, { agentId: "a2" }), { now: NOW + 5, ttlMs: TTL_MS });
    await store.remove({ meshId: "reef", publicKey: key(3) }, "agent");
    await store.remove({ meshId: "reef", publicKey: key(3) }, "agent");
    await store.sweep(NOW + 2 + TTL_MS, 10);
    await store.say("end");
    await promise;
    assertEquals(told, [
      "upserted reef agent 2 0",
      "upserted reef colony 1 2",
      "upserted reef agent 2 4",
      "said hello   0",
      "removed reef agent 2 4",
      "upserted reef agent 3 5",
      "removed reef agent 3 5",
      "removed reef colony 1 2",
    ]);
  });

  test("binds a mesh id to the first colony that is proven, beyond its life and removal", async (store) => {
    const proven = colony({ proven: true });
    const options = { now: NOW, ttlMs: TTL_MS };
    assertEquals(await store.boundKey("reef"), undefined);
    registered(await store.register(colony(), options));
    assertEquals(await store.boundKey("reef"), undefined);
    registered(await store.register(proven, options));
    assertEquals(await store.boundKey("reef"), key(1));
    assertEquals(await store.register(colony(), options), { kind: "unproven" });
    await store.remove(nodeKey(1), "colony");
    const later = { now: NOW + 100 * TTL_MS, ttlMs: TTL_MS };
    const thief = colony({ publicKey: key(9), proven: true });
    assertEquals(await store.register(thief, later), { kind: "held" });
    assertEquals(await store.register(colony(), later), { kind: "unproven" });
    const asAgent = agent(1, { proven: true });
    assertEquals(await store.register(asAgent, later), { kind: "held" });
    assertEquals((await store.register(agent(2), later)).kind, "registered");
    assertEquals(registered(await store.register(proven, later)).record.publicKey, key(1));
  });

  test("keeps a proven agent's id and record from others while it lives", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    const proven = agent(2, { proven: true });
    registered(await store.register(agent(2), options));
    assert(registered(await store.register(proven, options)).changed);
    assertEquals(await store.register(agent(2), options), { kind: "unproven" });
    for (const own of [false, true]) {
      const other = agent(3, { agentId: "a2", proven: own });
      assertEquals(await store.register(other, options), { kind: "taken" });
    }
    assertEquals((await store.node(nodeKey(2), NOW))?.proven, true);
    const later = { now: NOW + TTL_MS, ttlMs: TTL_MS };
    const other = agent(3, { agentId: "a2" });
    assertEquals(registered(await store.register(other, later)).displaced.length, 1);
  });

  test("keeps a signed record from older ones, and from none, while it lives", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    const signed = (statement: string, sequence: number): Promise<RegisterOutcome> =>
      store.register(agent(2, { statement, sequence }), options);
    registered(await store.register(agent(2), options));
    assert(registered(await signed("five", 5)).changed);
    const first = await store.node(nodeKey(2), NOW);
    assertEquals([first?.statement, first?.sequence], ["five", 5]);
    assert(!registered(await signed("five", 5)).changed, "the same again is a refresh");
    assertEquals(await signed("four", 4), { kind: "older", sequence: 5 });
    assertEquals(await signed("another", 5), { kind: "older", sequence: 5 });
    assertEquals(await store.register(agent(2), options), { kind: "unsigned" });
    assertEquals(await store.node(nodeKey(2), NOW), first, "nothing was lost");
    assertEquals((await store.agents("reef", NOW))[0]?.statement, "five");
    assert(registered(await signed("six", 6)).changed);
    const later = { now: NOW + TTL_MS, ttlMs: TTL_MS };
    const { record } = registered(await store.register(agent(2), later));
    assertEquals([record.statement, record.sequence], ["", 0], "a new life");
  });

  test("closes a relay session for its own node, or for one that never proved its key", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    const named = { sessionId: "s1", meshId: "reef" };
    await store.openSession(session("s1", 2, "eu"), options);
    assertEquals(await store.closeSession({ ...named, publicKey: key(3) }), undefined);
    registered(await store.register(agent(2, { proven: true }), options));
    assertEquals(await store.closeSession(named), undefined);
    assertEquals((await store.closeSession({ ...named, publicKey: key(2) }))?.sessionId, "s1");
  });

  test("moves a mesh id to the key that follows its colony's, and refuses the old one", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    const told: string[] = [];
    store.listen((event) => {
      if (event.kind === "removed") told.push(`${event.change.role} ${event.change.publicKey}`);
    });
    registered(await store.register(colony({ proven: true }), options));
    assertEquals(await store.rotate(rotation(1, 11), NOW), { kind: "rotated" });
    assertEquals(await store.boundKey("reef"), key(11));
    assertEquals(await store.node(nodeKey(1), NOW), undefined);
    await store.say("end");
    for (const proven of [true, false]) {
      assertEquals(await store.register(colony({ proven }), options), { kind: "retired" });
      assertEquals(await store.register(agent(1, { proven }), options), { kind: "retired" });
    }
    assertEquals((await store.register(colony({ publicKey: key(11) }), options)).kind, "unproven");
    const next = colony({ publicKey: key(11), proven: true });
    assertEquals(registered(await store.register(next, options)).record.publicKey, key(11));
    // Once more, for one that did not hear the answer.
    assertEquals(await store.rotate(rotation(1, 11), NOW), { kind: "repeated" });
    assertEquals(await store.boundKey("reef"), key(11));
    if (!store.shared) assertEquals(told, [`colony ${key(1)}`]);
  });

  test("moves a colony that is not registered at the moment", async (store) => {
    registered(await store.register(colony({ proven: true }), { now: NOW, ttlMs: TTL_MS }));
    await store.remove(nodeKey(1), "colony");
    assertEquals(await store.rotate(rotation(1, 11), NOW), { kind: "rotated" });
    assertEquals(await store.boundKey("reef"), key(11));
  });

  test("refuses a rotation of a key that the mesh does not know, or to one that is somebody's", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    registered(await store.register(colony({ proven: true }), options));
    registered(await store.register(agent(2, { proven: true }), options));
    registered(await store.register(agent(3, { proven: true }), options));
    assertEquals(await store.rotate(rotation(9, 10), NOW), { kind: "unknown" });
    assertEquals(await store.rotate({ ...rotation(1, 10), meshId: "atoll" }, NOW), {
      kind: "unknown",
    });
    assertEquals(await store.rotate(rotation(1, 2), NOW), { kind: "taken" });
    assertEquals(await store.rotate(rotation(2, 1), NOW), { kind: "taken" });
    assertEquals(await store.rotate(rotation(2, 3), NOW), { kind: "taken" });
    assertEquals(await store.boundKey("reef"), key(1));
    assertEquals(keys(await store.agents("reef", NOW)).sort(), [key(2), key(3)]);
    assertEquals(await store.rotate(rotation(2, 12), NOW), { kind: "rotated" });
    // Neither a key that went nor one that came is anybody's to take.
    for (const to of [2, 12]) {
      assertEquals(await store.rotate(rotation(3, to), NOW), { kind: "taken" });
    }
    assertEquals(await store.rotate(rotation(2, 13), NOW), { kind: "retired" });
    assertEquals(keys(await store.agents("reef", NOW)), [key(3)]);
  });

  test("takes rotations in the order of their sequences, and none again that was left behind", async (store) => {
    registered(await store.register(colony({ proven: true }), { now: NOW, ttlMs: TTL_MS }));
    assertEquals(await store.rotate(rotation(1, 11, 5), NOW), { kind: "rotated" });
    assertEquals(await store.rotate(rotation(11, 12, 5), NOW), { kind: "older" });
    assertEquals(await store.rotate(rotation(11, 12, 4), NOW), { kind: "older" });
    assertEquals(await store.boundKey("reef"), key(11));
    assertEquals(await store.rotate(rotation(11, 12, 6), NOW), { kind: "rotated" });
    assertEquals(await store.rotate(rotation(1, 11, 5), NOW), { kind: "retired" });
    assertEquals(await store.rotate(rotation(1, 13, 9), NOW), { kind: "retired" });
    assertEquals(await store.rotate(rotation(12, 1, 9), NOW), { kind: "taken" });
    assertEquals(await store.boundKey("reef"), key(12));
  });

  test("forgets the key that was given up first, where too many were", async (store) => {
    const options = { now: NOW, ttlMs: TTL_MS };
    for (let from = 20; from < 24; from++) {
      registered(await store.register(agent(from, { proven: true }), options));
      assertEquals((await store.rotate(rotation(from, from + 10), NOW + from)).kind, "rotated");
    }
    const kinds = [];
    for (let from = 20; from < 24; from++) {
      kinds.push((await store.register(agent(from, { proven: true }), options)).kind);
    }
    assertEquals(kinds, ["registered", "retired", "retired", "retired"]);
  });

  test("lets an id be used once, until its time is over", async (store) => {
    assertEquals(await store.spend("a", NOW + 1), "spent");
    assertEquals(await store.spend("a", NOW + 9), "reused");
    assertEquals(await store.spend("b", NOW + 2), "spent");
    assertEquals(await store.spend("c", NOW + 3), "spent");
    assertEquals(await store.spend("d", NOW + 3), "full");
    assertEquals(await store.sweepSpent(NOW + 2, 1), 1);
    assertEquals(await store.spend("b", NOW + 2), "reused");
    assertEquals(await store.sweepSpent(NOW + 2, 9), 1);
    assertEquals(await store.spend("b", NOW + 5), "spent");
  });

  test("lets each of many ids that are shown at once be used once", async (store) => {
    const ids = ["a", "b", "a", "b", "a"];
    const outcomes = await Promise.all(ids.map((id) => store.spend(id, NOW + 1)));
    const spent = ids.filter((_, i) => outcomes[i] === "spent");
    assertEquals([...spent].sort(), ["a", "b"]);
    assert(outcomes.every((outcome) => ["spent", "reused", "full"].includes(outcome)));
    const others = await Promise.all(["c", "d", "e"].map((id) => store.spend(id, NOW + 1)));
    assert(others.includes("spent"));
    assert(others.every((outcome) => outcome !== "reused"));
  });

  test("shows a colony together with whether it hides", async (store) => {
    const asked = async (seed: number): Promise<unknown[]> => {
      const key_ = { meshId: "reef", publicKey: key(seed) };
      const { record, hidden } = await store.colonyFor(key_, NOW);
      assertEquals(record, await store.colony("reef", NOW));
      assertEquals(hidden, await store.hides(key_, NOW));
      return [record?.publicKey, hidden];
    };
    assertEquals(await asked(2), [undefined, false]);
    await store.register(colony({ proven: true }), { now: NOW, ttlMs: TTL_MS, open: false });
    assertEquals(await asked(2), [key(1), true]);
    assertEquals(await asked(1), [key(1), false]);
    await store.remove({ meshId: "reef", publicKey: key(1) }, "colony");
    assertEquals(await asked(2), [undefined, true]);
  });

  test("keeps the first secret of a name", async (store) => {
    const first = new Uint8Array(32).fill(1);
    assertEquals(await store.secret("proof", first), first);
    assertEquals(await store.secret("proof", new Uint8Array(32).fill(2)), first);
    assertEquals(await store.secret("other", new Uint8Array(3)), new Uint8Array(3));
  });

  test("forgets the secrets of a range of names, and no others", async (store) => {
    const names = ["key 1", "key 2", "key 3", "keyring", "proof"];
    for (const [i, name] of names.entries()) await store.secret(name, Uint8Array.of(i));
    assertEquals(await store.forgetSecrets({ from: "key 0", before: "key 3" }), 2);
    assertEquals(await store.forgetSecrets({ from: "key 0", before: "key 3" }), 0);
    const fresh = (): Uint8Array<ArrayBuffer> => Uint8Array.of(9);
    const kept = await Promise.all(names.map((name) => store.secret(name, fresh())));
    assertEquals(kept.map(([byte]) => byte), [9, 9, 2, 3, 4]);
  });

  testMeshes(test);
  testMembers(test);

  testOverview(test);

  test("rejects once closed", async (store) => {
    await store.close();
    await assertRejects(store.colony("reef", NOW), { name: "MorayError" });
  });
}

function session(sessionId: string, seed: number, relayId: string): SessionRequest {
  const agentKey = key(seed);
  return { sessionId, ...nodeKey(seed), agentKey, colonyKey: key(1), relayId };
}

function rotation(from: number, to: number, sequence = 1): StoredRotation {
  return { meshId: "reef", oldKey: key(from), newKey: key(to), sequence };
}

function nodeKey(seed: number): NodeKey {
  return { meshId: "reef", publicKey: key(seed) };
}

function registered(outcome: RegisterOutcome): Extract<RegisterOutcome, { kind: "registered" }> {
  assert(outcome.kind === "registered", `registered, not ${outcome.kind}`);
  return outcome;
}

function keys(records: readonly NodeRecord[]): string[] {
  return records.map((record) => record.publicKey);
}
