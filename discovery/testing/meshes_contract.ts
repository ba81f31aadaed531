/** What every store must do about meshes that nobody uses: a part of the suite that runs against each. @module */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { MESH_LIFE_MS, type Store } from "../store/store.ts";
import { agent, colony, key } from "./nodes.ts";

const NOW = 1_700_000_000_000;
const TTL_MS = 300_000;
const OPTIONS = { now: NOW, ttlMs: TTL_MS };
const INVITE = "A".repeat(43);
const OWNER = colony({ proven: true });

const nodeKey = (seed: number): { meshId: string; publicKey: string } => ({
  meshId: "reef",
  publicKey: key(seed),
});

/** Registers the tests. `test` registers one, with an empty store. */
export function testMeshes(
  test: (behaviour: string, body: (store: Store) => Promise<void>) => void,
): void {
  test("ends the binding of a mesh id whose colony was not seen for long, with all that belonged to it", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: false });
    const member = { publicKey: key(2), state: "admitted", sequence: 1, statement: "s" } as const;
    const end = NOW + 2 * MESH_LIFE_MS;
    await store.publishMembers({
      meshId: "reef",
      colonyKey: key(1),
      members: [member],
      invites: [{ key: INVITE, expiresAt: end }],
      revision: 7,
    });
    const rotation = { meshId: "reef", oldKey: key(2), newKey: key(12), sequence: 1 };
    assertEquals(await store.rotate(rotation, NOW), { kind: "rotated" });
    // It lived for a year longer, by refreshes alone, and was swept.
    const last = NOW + 365 * 86_400_000;
    await store.register(OWNER, { now: last, ttlMs: last });
    await store.register(OWNER, { now: last, ttlMs: TTL_MS });
    assertEquals((await store.sweep(last + TTL_MS, 10)).length, 1);

    assertEquals(await store.sweepMeshes(last + MESH_LIFE_MS - 1, 10), 0);
    assertEquals(await store.boundKey("reef"), key(1));
    assertEquals((await store.members("reef", { after: "", max: 10 })).length, 1);
    const late = last + MESH_LIFE_MS;
    assertEquals(await store.sweepMeshes(late, 10), 1);
    assertEquals(await store.boundKey("reef"), undefined);
    assertEquals(await store.members("reef", { after: "", max: 10 }), []);
    assertEquals(await store.sweepMeshes(late, 10), 0);

    // Whoever has it next inherits nothing: neither members, nor invites, nor keys that were given up.
    const next = colony({ publicKey: key(9), proven: true });
    const options = { now: late, ttlMs: TTL_MS };
    assertEquals((await store.register(next, { ...options, open: false })).kind, "registered");
    assertEquals(await store.boundKey("reef"), key(9));
    assertEquals(await store.membersRevision("reef"), 0);
    const joining = { ...options, invite: INVITE };
    for (const seed of [12, 2]) {
      const node = agent(seed, { proven: true, admission: "jwt" });
      assertEquals(await store.register(node, joining), { kind: "barred", why: "invite" });
    }
  });

  test("keeps the binding of a mesh that anybody is registered in, and ends the others in batches", async (store) => {
    for (const meshId of ["reef", "atoll", "bay", "cape"]) {
      await store.register(colony({ meshId, proven: true }), OPTIONS);
    }
    assertEquals((await store.sweep(NOW + TTL_MS, 10)).length, 4);
    const late = NOW + MESH_LIFE_MS;
    const options = { now: late, ttlMs: TTL_MS };
    await store.register(colony({ meshId: "atoll", proven: true }), options);
    await store.register(agent(2, { meshId: "bay" }), options);
    assertEquals(await store.sweepMeshes(late, 1), 1);
    assertEquals(await store.sweepMeshes(late, 1), 1);
    assertEquals(await store.sweepMeshes(late, 1), 0);
    const bound = async (meshId: string): Promise<boolean> =>
      await store.boundKey(meshId) !== undefined;
    assertEquals(
      [await bound("reef"), await bound("atoll"), await bound("bay"), await bound("cape")],
      [false, true, true, false],
    );
    // The colony's time begins anew, the agent's mesh has none left.
    await store.sweep(late + TTL_MS, 10);
    assertEquals(await store.sweepMeshes(late + TTL_MS, 10), 1);
    assertEquals(await bound("atoll"), true);
  });

  test("counts a colony's rotation as a use of its mesh", async (store) => {
    await store.register(OWNER, OPTIONS);
    await store.remove(nodeKey(1), "colony");
    const later = NOW + MESH_LIFE_MS - 1;
    const rotation = { meshId: "reef", oldKey: key(1), newKey: key(9), sequence: 1 };
    assertEquals(await store.rotate(rotation, later), { kind: "rotated" });
    assertEquals(await store.sweepMeshes(later + 1, 10), 0);
    assertEquals(await store.boundKey("reef"), key(9));
    assertEquals(await store.sweepMeshes(later + MESH_LIFE_MS, 10), 1);
  });

  test("forgets invites whose time is over, and old rotations of meshes that are bound to nobody", async (store) => {
    await store.register(OWNER, { ...OPTIONS, open: false });
    const invites = [{ key: INVITE, expiresAt: NOW + 10 }];
    const news = { meshId: "reef", colonyKey: key(1), members: [], invites, revision: 0 };
    await store.publishMembers(news);
    assertEquals(await store.sweepMeshes(NOW + 9, 10), 0);
    assertEquals(await store.sweepMeshes(NOW + 10, 10), 1);

    await store.register(agent(2, { meshId: "atoll" }), OPTIONS);
    const rotation = { meshId: "atoll", oldKey: key(2), newKey: key(12), sequence: 1 };
    assertEquals(await store.rotate(rotation, NOW), { kind: "rotated" });
    assertEquals(await store.sweepMeshes(NOW + MESH_LIFE_MS - 1, 10), 0);
    await store.register(OWNER, { now: NOW + MESH_LIFE_MS, ttlMs: TTL_MS });
    assertEquals(await store.sweepMeshes(NOW + MESH_LIFE_MS, 10), 1);
  });
}
