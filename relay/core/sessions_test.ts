/** Which sessions may use a relay, and until when. @module */
import assert from "node:assert/strict";
import { lifetimeAttribute } from "../../traversal/mod.ts";
import { EXTERNAL_IP, PEER, RelayWorld } from "../testing/relay_world.ts";
import { REVOKED_MAX, REVOKED_MS } from "./revoked_sessions.ts";

const REEF = "0123abcd";

Deno.test("a relay of one mesh refuses sessions of others, whoever has signed for them", () => {
  const world = new RelayWorld({ onlyMesh: REEF });
  assert.ok(world.client(1000, { session: `${REEF}.aaaaaaaa.r1` }).allocate() > 0);
  for (
    const session of ["89abcdef.aaaaaaaa.r1", "r1", `x.${REEF}.r1`, REEF, `${REEF}.a`, `${REEF}...`]
  ) assert.equal(world.client(1001, { session }).allocate(), -401, session);
});

Deno.test("ports of the host that are for peers can be sent to at the relay's own address, others cannot", () => {
  const own = { hostname: EXTERNAL_IP, port: 51820 };
  const client = (options: { ownPorts?: readonly number[] }) => {
    const world = new RelayWorld(options);
    const one = world.client(1000);
    assert.ok(one.allocate() > 0);
    return { world, one };
  };
  const closed = client({});
  assert.equal(closed.one.bind(0x4000, own), 403);
  const { world, one } = client({ ownPorts: [51820] });
  assert.equal(one.bind(0x4000, own), 0);
  assert.equal(one.bind(0x4001, { ...own, port: 22 }), 403);
  one.offer(Uint8Array.of(0x40, 0, 0, 2, 7, 8));
  assert.deepEqual(world.toPeers.map(({ to, data }) => [to, [...data]]), [
    [`${EXTERNAL_IP}:51820`, [7, 8]],
  ]);
});

Deno.test("a revoked session ends, and its credentials are good for nothing until they end", () => {
  const world = new RelayWorld();
  const [gone, stays] = [
    world.client(1000, { session: "gone" }),
    world.client(1001, { session: "stays" }),
  ];
  assert.ok(gone.allocate() > 0);
  assert.ok(stays.allocate() > 0);
  assert.equal(gone.permit(PEER), 0);
  world.relay.revoke(world.now, "gone");
  world.relay.revoke(world.now, "gone");
  assert.equal(world.relay.allocations, 1);
  assert.deepEqual(world.ended, [gone.flow]);
  assert.equal(world.relay.counters()["revoked"], 1);
  assert.equal(gone.refresh(), 401);
  assert.equal(gone.allocate(), -401);
  assert.equal(world.client(1002, { session: "gone", lifeSeconds: 7200 }).allocate(), -401);
  assert.equal(stays.refresh([lifetimeAttribute(600)]), 0);
});

Deno.test("revoked sessions are forgotten after their credentials, and the oldest beyond 16,384", () => {
  const world = new RelayWorld();
  for (let i = 0; i <= REVOKED_MAX; i++) world.relay.revoke(world.now, `s${i}`);
  assert.equal(world.relay.counters()["revokedForgotten"], 1);
  assert.ok(world.client(1000, { session: "s0" }).allocate() > 0);
  assert.equal(world.client(1001, { session: "s1" }).allocate(), -401);
  world.pass(REVOKED_MS);
  assert.ok(world.client(1002, { session: "s1" }).allocate() > 0);
});
