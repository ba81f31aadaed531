/** The relay's life: allocations that end, drains, its own addresses. @module */
import assert from "node:assert/strict";
import { after, formatSocketAddress } from "../../core/mod.ts";
import {
  ALTERNATE_SERVER,
  DATA,
  decodeAddress,
  decodeStun,
  findAttribute,
  lifetimeAttribute,
  lifetimeOf,
  METHOD_ALLOCATE,
  METHOD_REFRESH,
  requestedTransportAttribute,
  verifyStun,
  XOR_MAPPED_ADDRESS,
  xorAddressOf,
} from "../../traversal/mod.ts";
import { codeOf, EXTERNAL_IP, one, RelayWorld } from "../testing/relay_world.ts";
import type { Flow } from "./flow.ts";
import { RELAY_LIMITS } from "./limits.ts";

Deno.test("an allocation ends when nobody refreshes it, or by LIFETIME 0 (section 8.2)", () => {
  const world = new RelayWorld();
  const [kept, left, given] = [world.client(1), world.client(2), world.client(3)];
  for (const client of [kept, left, given]) client.allocate();
  world.pass(500_000);
  assert.equal(kept.refresh(), 0);
  assert.equal(given.refresh([lifetimeAttribute(0)]), 0);
  assert.equal(given.refresh(), 437);
  world.pass(101_000);
  assert.equal(world.relay.allocations, 1);
  assert.equal(world.open.size, 1);
  kept.nonce = left.nonce = "";
  assert.equal(left.refresh(), 437);
  assert.equal(kept.refresh(), 0);
  assert.ok(left.allocate() > 0);
});

Deno.test("a client that comes back before the sweep gets a new allocation, and the old port is closed", () => {
  const world = new RelayWorld();
  const client = world.client(1);
  client.allocate();
  world.now = after(world.now, 601_000);
  client.nonce = "";
  assert.ok(client.allocate() > 0);
  assert.equal(world.open.size, 1);
});

Deno.test("what listens on the relay's own addresses is no peer, except other clients of the relay", () => {
  const world = new RelayWorld();
  const [a, b] = [world.client(1, { session: "a" }), world.client(2, { session: "b" })];
  const [portA, portB] = [a.allocate(), b.allocate()];
  const own = { hostname: EXTERNAL_IP, port: 53 };
  assert.equal(a.bind(0x4000, own), 403);
  assert.equal(a.permit(own), 0);
  a.send(own, [{ type: DATA, value: Uint8Array.of(1) }]);
  a.send({ hostname: "198.51.100.2", port: 22 }, [{ type: DATA, value: Uint8Array.of(1) }]);
  assert.equal(world.toPeers.length, 0);
  assert.equal(a.bind(0x4000, { hostname: EXTERNAL_IP, port: portB }), 0);
  assert.equal(b.bind(0x4001, { hostname: EXTERNAL_IP, port: portA }), 0);
  a.offer(Uint8Array.of(0x40, 0x00, 0, 3, 7, 8, 9));
  assert.deepEqual(world.toClients, [{
    to: formatSocketAddress(b.flow.source),
    by: 0x4001,
    data: Uint8Array.of(7, 8, 9),
  }]);
});

Deno.test("a drain: 300 with the other server, or 508; clients are told, and have until its end", () => {
  const world = new RelayWorld();
  const client = world.client(1);
  client.allocate();
  const before = world.messages.length;
  world.relay.drain(world.now, 5000, { hostname: "198.51.100.77", port: 3478 });
  const told = world.messages[before]?.bytes ?? new Uint8Array();
  const indication = decodeStun(told);
  assert.deepEqual([indication?.class, indication?.method], ["indication", METHOD_REFRESH]);
  assert.equal(indication && lifetimeOf(indication), 5);
  assert.ok(indication && verifyStun(told, indication, client.key));
  const refused = world.client(2).request(METHOD_ALLOCATE, [requestedTransportAttribute()]);
  assert.equal(codeOf(refused), 300);
  const value = findAttribute(refused, ALTERNATE_SERVER) ?? new Uint8Array();
  assert.deepEqual(decodeAddress(value), { hostname: "198.51.100.77", port: 3478 });
  assert.equal(lifetimeOf(client.request(METHOD_REFRESH)), 5);
  world.pass(5001);
  assert.equal(world.relay.allocations, 0);
  const alone = new RelayWorld();
  alone.relay.drain(alone.now, 1000);
  assert.equal(alone.client(1).allocate(), -508);
});

Deno.test("the end is told five times by UDP, where one may be lost, and once by a stream", () => {
  const world = new RelayWorld();
  const [udp, tcp, gone] = [
    world.client(1),
    world.client(2, { protocol: "tcp" }),
    world.client(3),
  ];
  for (const client of [udp, tcp, gone]) client.allocate();
  world.messages.length = 0;
  world.relay.drain(world.now, 30_000);
  gone.request(METHOD_REFRESH, [lifetimeAttribute(0)]);
  const toldTo = ({ flow }: { readonly flow: Flow }): number =>
    world.messages.filter(({ flow: { key }, bytes }) =>
      key === flow.key && decodeStun(bytes)?.class === "indication"
    ).length;
  const told: number[] = [];
  for (let ms = 0; ms < 2_000; ms += 200) {
    told.push(toldTo(udp));
    world.pass(Math.max(0, (world.relay.pollTimeout() ?? 0) - world.now));
  }
  assert.deepEqual(told.slice(0, 6), [1, 2, 3, 4, 5, 5]);
  assert.deepEqual([udp, tcp, gone].map(toldTo), [5, 1, 1]);
});

Deno.test("a stream that ends takes its allocation along; one whose allocation ends is closed (section 7.3)", () => {
  const world = new RelayWorld();
  const [a, b] = [world.client(1, { protocol: "tcp" }), world.client(2, { protocol: "tls" })];
  a.allocate();
  b.allocate();
  world.relay.handleEnd(world.now, a.flow);
  assert.equal(world.relay.allocations, 1);
  world.pass(601_000);
  assert.deepEqual(world.ended, [b.flow]);
  assert.equal(world.open.size, 0);
});

Deno.test("Binding requests are answered, by nobody's name", () => {
  const client = new RelayWorld().client(1000);
  const answer = one(client.offer(client.unsigned(1, [])));
  assert.deepEqual(xorAddressOf(answer, XOR_MAPPED_ADDRESS), client.flow.source);
});

Deno.test("requests on one allocation are looked at so often and no more", () => {
  const world = new RelayWorld({ limits: { ...RELAY_LIMITS, requestsPerSecond: 2 } });
  const client = world.client(1);
  client.allocate();
  let answers = 0;
  for (let i = 0; i < 100; i++) answers += client.offer(client.encode(METHOD_REFRESH, [])).length;
  assert.equal(answers, 20);
  assert.equal(world.relay.counters()["requestsLimited"], 80);
});

Deno.test("a spoofer without a nonce cannot use up what a client may ask for", () => {
  const world = new RelayWorld({ limits: { ...RELAY_LIMITS, requestsPerSecond: 2 } });
  const client = world.client(1);
  client.allocate();
  const spoofer = world.client(1);
  spoofer.nonce = "AAAAAAAAAAAA";
  for (let i = 0; i < 1000; i++) {
    spoofer.offer(spoofer.unsigned(METHOD_REFRESH, []));
    spoofer.offer(spoofer.encode(METHOD_REFRESH, []));
  }
  assert.equal(client.refresh(), 0);
  assert.equal(world.relay.counters()["requestsLimited"], undefined);
});
