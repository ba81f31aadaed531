/** Which sessions may use a relay, and until when. @module */
import assert from "node:assert/strict";
import type { Instant } from "../../core/mod.ts";
import {
  lifetimeAttribute,
  METHOD_ALLOCATE,
  METHOD_REFRESH,
  requestedTransportAttribute,
} from "../../traversal/mod.ts";
import {
  codeOf,
  EXTERNAL_IP,
  one,
  PEER,
  RelayWorld,
  type TestClient,
} from "../testing/relay_world.ts";
import { Counters } from "./counters.ts";
import { ENDED_FLOWS_MAX, EndedFlows } from "./ended_flows.ts";
import type { Flow, RelayProtocol } from "./flow.ts";
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

/** An allocation of a client, and the request that ended it, as somebody else on its way has seen it. */
function endedAllocation(world: RelayWorld): { client: TestClient; goodbye: Uint8Array } {
  const client = world.client(1000);
  assert.ok(client.allocate() > 0);
  const goodbye = client.encode(METHOD_REFRESH, [lifetimeAttribute(0)]);
  assert.equal(codeOf(one(client.offer(goodbye))), 0);
  assert.equal(world.relay.allocations, 0);
  return { client, goodbye };
}

Deno.test("438: requests of an allocation that its client has ended cannot be played again, neither its end nor its begin", () => {
  for (const later of [0, 999, 1000, 599_000]) {
    const world = new RelayWorld();
    const { client, goodbye } = endedAllocation(world);
    const hello = client.encode(METHOD_ALLOCATE, [requestedTransportAttribute()]);
    world.now = world.now + later as Instant;
    assert.equal(codeOf(one(client.offer(hello))), 438);
    assert.equal(world.relay.allocations, 0);
    // The client itself asks anew, also in the same second.
    client.nonce = "";
    assert.ok(client.allocate() > 0, `${later}`);
    assert.equal(codeOf(one(client.offer(goodbye))), 438);
    assert.equal(codeOf(one(client.offer(hello))), 438);
    assert.equal(world.relay.allocations, 1);
    assert.equal(client.refresh(), 0);
  }
});

Deno.test("a nonce that was given up for one client is good for another, and forgotten when it would have expired", () => {
  const world = new RelayWorld();
  const { client } = endedAllocation(world);
  const other = world.client(1001, { session: "s2" });
  assert.ok(other.allocate() > 0);
  world.pass(602_000);
  assert.equal(codeOf(client.request(METHOD_ALLOCATE, [requestedTransportAttribute()])), 438);
  client.nonce = "";
  assert.ok(client.allocate() > 0);
});

Deno.test("ends of 16,384 clients are remembered, those of streams are not", () => {
  const counters = new Counters();
  const ended = new EndedFlows(counters);
  const flow = (i: number, protocol: RelayProtocol = "udp"): Flow => ({
    key: `${protocol} ${i}`,
    protocol,
    source: { hostname: "192.0.2.7", port: 1 },
  });
  const now = 5000 as Instant;
  for (let i = 0; i <= ENDED_FLOWS_MAX; i++) ended.add(now, flow(i));
  assert.equal(counters.of("endedFlowsForgotten"), 1);
  assert.deepEqual([ended.notBefore(flow(0)), ended.notBefore(flow(1))], [0, 6]);
  ended.add(now, flow(7, "tcp"));
  assert.equal(ended.notBefore(flow(7, "tcp")), 0);
  ended.sweep(606_999 as Instant);
  assert.equal(ended.notBefore(flow(1)), 6);
  ended.sweep(607_000 as Instant);
  assert.equal(ended.notBefore(flow(1)), 0);
});
