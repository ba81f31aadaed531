/** What the relay passes on, and to whom (RFC 8656 sections 11 and 12). @module */
import assert from "node:assert/strict";
import { formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  DATA,
  decodeStun,
  dontFragmentAttribute,
  findAttribute,
  limitedOf,
  METHOD_DATA,
  METHOD_REFRESH,
  type StunMessage,
  verifyStun,
  XOR_PEER_ADDRESS,
  xorAddressOf,
} from "../../traversal/mod.ts";
import { one, PEER, RelayWorld, type TestClient } from "../testing/relay_world.ts";
import { RELAY_LIMITS, type RelayRate, type ScopeKind } from "./limits.ts";

const PEER_TEXT = formatSocketAddress(PEER);

/** A client with a channel to {@linkcode PEER}, and the number of its socket. */
function bound(world: RelayWorld): { client: TestClient; port: number; relayed: number } {
  const client = world.client(1000);
  const port = client.allocate();
  assert.equal(client.bind(0x4000, PEER), 0);
  const [relayed = 0] = world.open.keys();
  return { client, port, relayed };
}

function channelData(channel: number, ...data: readonly number[]): number[] {
  return [channel >> 8, channel & 255, data.length >> 8, data.length & 255, ...data];
}

/** Offers a datagram of the peer's. */
function fromPeer(
  world: RelayWorld,
  relayed: number,
  source: SocketAddress,
  bytes: Uint8Array,
  segment = bytes.length,
): void {
  world.relay.handlePeer(world.now, relayed, source, { bytes, segment });
}

function lastMessage(world: RelayWorld): StunMessage {
  const message = decodeStun(world.messages.at(-1)?.bytes ?? new Uint8Array());
  assert.ok(message);
  return message;
}

Deno.test("ChannelData goes to the channel's peer, and back by the channel (section 12.6)", () => {
  const world = new RelayWorld();
  const { client, port, relayed } = bound(world);
  client.offer(Uint8Array.from(channelData(0x4000, 1, 2, 3)));
  assert.deepEqual(world.toPeers, [{
    to: PEER_TEXT,
    by: port,
    data: Uint8Array.of(1, 2, 3),
    whole: false,
  }]);
  fromPeer(world, relayed, PEER, Uint8Array.of(9));
  assert.deepEqual(world.toClients, [{
    to: formatSocketAddress(client.flow.source),
    by: 0x4000,
    data: Uint8Array.of(9),
  }]);
});

Deno.test("a train passes whole, with a shorter last datagram, and other channels and STUN in between", () => {
  const world = new RelayWorld();
  const { client } = bound(world);
  const other = { hostname: "203.0.113.10", port: 7 };
  assert.equal(client.bind(0x4001, other), 0);
  const bytes = Uint8Array.from([
    ...channelData(0x4000, 1, 1, 1, 1),
    ...channelData(0x4000, 2, 2, 2, 2),
    ...channelData(0x4001, 3, 3, 3, 3),
    ...channelData(0x4000, 4, 4, 4, 4),
    ...channelData(0x4000, 5),
  ]);
  client.offer(bytes, 8);
  assert.deepEqual(
    world.toPeers.map(({ to, data }) => [to, [...data]]),
    [
      [PEER_TEXT, [1, 1, 1, 1]],
      [PEER_TEXT, [2, 2, 2, 2]],
      ["203.0.113.10:7", [3, 3, 3, 3]],
      [PEER_TEXT, [4, 4, 4, 4]],
      [PEER_TEXT, [5]],
    ],
  );
});

Deno.test("padding behind ChannelData is left out; what is too short, or not bound, is dropped (section 12.5)", () => {
  const world = new RelayWorld();
  const { client } = bound(world);
  client.offer(Uint8Array.from([...channelData(0x4000, 1), 0, 0, 0]));
  assert.deepEqual(one(world.toPeers).data, Uint8Array.of(1));
  client.offer(Uint8Array.of(0x40, 0x00, 0, 9, 1));
  client.offer(Uint8Array.of(0x40, 0x00));
  client.offer(Uint8Array.from(channelData(0x4001, 1)));
  world.client(1001).offer(Uint8Array.from(channelData(0x4000, 1)));
  assert.equal(world.toPeers.length, 1);
  const { malformed, channelUnbound } = world.relay.counters();
  assert.deepEqual([malformed, channelUnbound], [2, 2]);
});

Deno.test("an empty datagram is one too", () => {
  const world = new RelayWorld();
  const { client } = bound(world);
  client.offer(Uint8Array.from(channelData(0x4000)));
  client.send(PEER, [{ type: DATA, value: new Uint8Array() }]);
  assert.deepEqual(world.toPeers.map(({ data }) => data.length), [0, 0]);
});

Deno.test("Send needs a permission of the peer's address, whatever its port (sections 9, 11.2)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.allocate();
  const data = { type: DATA, value: Uint8Array.of(7) };
  client.send(PEER, [data]);
  assert.equal(world.toPeers.length, 0);
  assert.equal(client.permit(PEER), 0);
  client.send({ ...PEER, port: 1 }, [data]);
  client.send({ hostname: "203.0.113.10", port: PEER.port }, [data]);
  assert.deepEqual(world.toPeers.map(({ to }) => to), ["203.0.113.9:1"]);
  client.send(PEER, [data, dontFragmentAttribute()]);
  assert.equal(world.toPeers.at(-1)?.whole, true);
});

Deno.test("a peer with a permission and without a channel is heard by Data indications; any other is not (section 11.3)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.allocate();
  const [relayed = 0] = world.open.keys();
  const before = world.messages.length;
  fromPeer(world, relayed, PEER, Uint8Array.of(5));
  assert.equal(world.messages.length, before + 0);
  client.permit(PEER);
  const source = { ...PEER, port: 4242 };
  fromPeer(world, relayed, source, Uint8Array.of(5, 5, 6), 2);
  const message = lastMessage(world);
  assert.deepEqual([message.class, message.method], ["indication", METHOD_DATA]);
  assert.deepEqual(xorAddressOf(message, XOR_PEER_ADDRESS), source);
  assert.deepEqual(findAttribute(message, DATA), Uint8Array.of(6));
  assert.equal(world.relay.counters()["peerUnpermitted"], 1);
  world.pass(300_000);
  const later = world.messages.length;
  fromPeer(world, relayed, source, Uint8Array.of(5));
  assert.equal(world.messages.length, later);
});

Deno.test("a channel whose permission has expired hears nothing until it is bound again (section 9)", () => {
  const world = new RelayWorld();
  const { client, relayed } = bound(world);
  world.pass(300_000);
  fromPeer(world, relayed, PEER, Uint8Array.of(1));
  assert.equal(world.toClients.length, 0);
  assert.equal(client.bind(0x4000, PEER), 0);
  fromPeer(world, relayed, PEER, Uint8Array.of(1));
  assert.equal(world.toClients.length, 1);
});

Deno.test("an allocation that has expired passes nothing on, swept or not", () => {
  const world = new RelayWorld();
  const { client, relayed } = bound(world);
  world.now = world.now + 600_001 as typeof world.now;
  client.offer(Uint8Array.from(channelData(0x4000, 1)));
  fromPeer(world, relayed, PEER, Uint8Array.of(1));
  assert.deepEqual([world.toPeers.length, world.toClients.length], [0, 0]);
});

Deno.test("clients of one relay reach each other in memory, if they permit it", () => {
  const world = new RelayWorld();
  const [a, b] = [world.client(1, { session: "a" }), world.client(2, { session: "b" })];
  const [portA, portB] = [a.allocate(), b.allocate()];
  const [atA, atB] = [portA, portB].map((port) => ({ hostname: "198.51.100.1", port }));
  assert.ok(atA && atB);
  assert.equal(a.bind(0x4000, atB), 0);
  a.offer(Uint8Array.from(channelData(0x4000, 1)));
  assert.equal(world.toClients.length, 0);
  assert.equal(b.bind(0x4abc, atA), 0);
  a.offer(Uint8Array.from([...channelData(0x4000, 1, 2), ...channelData(0x4000, 3, 4)]), 6);
  assert.deepEqual(world.toClients.map(({ by, data }) => [by, [...data]]), [[0x4abc, [1, 2]], [
    0x4abc,
    [3, 4],
  ]]);
  assert.equal(world.toPeers.length, 0);
});

Deno.test("what is relayed is accounted for by session, each byte once, also after the end", () => {
  const world = new RelayWorld();
  const { client, relayed } = bound(world);
  client.offer(Uint8Array.from([...channelData(0x4000, 1, 2), ...channelData(0x4000, 3, 4)]), 6);
  fromPeer(world, relayed, PEER, Uint8Array.of(1, 2, 3));
  assert.deepEqual(world.relay.takeUsage(10), [{ sessionId: "s1", rxBytes: 4, txBytes: 3 }]);
  assert.deepEqual(world.relay.takeUsage(10), []);
  client.offer(Uint8Array.from(channelData(0x4000, 1)));
  world.relay.handleEnd(world.now, client.flow);
  assert.deepEqual(world.relay.takeUsage(0), []);
  assert.deepEqual(world.relay.takeUsage(10), [{ sessionId: "s1", rxBytes: 1, txBytes: 0 }]);
});

Deno.test("bytes and packets per second are limited by session, key, mesh and in total", () => {
  const { scopes } = RELAY_LIMITS;
  const worldWith = (kind: ScopeKind, rate: RelayRate): RelayWorld =>
    new RelayWorld({
      limits: { ...RELAY_LIMITS, scopes: { ...scopes, [kind]: { ...scopes[kind], ...rate } } },
    });
  for (const kind of ["session", "key", "mesh", "total"] as const) {
    const world = worldWith(kind, { bytesPerSecond: 1_000_000, packetsPerSecond: 0 });
    const client = world.client(1000, { session: "m.k.1" });
    client.allocate();
    client.bind(0x4000, PEER);
    const offer = (): number => {
      const from = world.toPeers.length;
      const datagram = Uint8Array.from(channelData(0x4000, ...new Array(1000).fill(0)));
      for (let i = 0; i < 2000; i++) client.offer(datagram);
      return world.toPeers.length - from;
    };
    // A quarter of a second at once, then what time brings.
    assert.equal(offer(), 250, kind);
    world.pass(100);
    assert.equal(offer(), 100, kind);
    assert.equal(world.relay.counters()[`limited:${kind}`], 2000 - 250 + 2000 - 100);
  }
  const world = worldWith("session", { bytesPerSecond: 0, packetsPerSecond: 1000 });
  const { client } = bound(world);
  for (let i = 0; i < 1000; i++) client.offer(Uint8Array.from(channelData(0x4000, 1)));
  assert.equal(world.toPeers.length, 250);
});

Deno.test("a client that is limited is told within a second, at most every 10 s, by an indication signed with its key", () => {
  const { scopes } = RELAY_LIMITS;
  const session = { ...scopes.session, bytesPerSecond: 0, packetsPerSecond: 128 };
  const world = new RelayWorld({
    limits: { ...RELAY_LIMITS, scopes: { ...scopes, session } },
  });
  const { client, relayed } = bound(world);
  const other = world.client(1001, { session: "s2" });
  assert.ok(other.allocate() > 0);
  const offer = (count: number): void => {
    for (let i = 0; i < count; i++) client.offer(Uint8Array.from(channelData(0x4000, 1)));
  };
  const told = (ms: number): readonly unknown[] => {
    const from = world.messages.length;
    world.pass(ms);
    return world.messages.slice(from).map(({ flow, bytes }) => {
      assert.equal(flow, client.flow);
      const message = decodeStun(bytes);
      const signed = message && verifyStun(bytes, message, client.key, { integrity: "sha1" });
      assert.ok(signed);
      assert.deepEqual([signed.class, signed.method], ["indication", METHOD_REFRESH]);
      return limitedOf(signed);
    });
  };
  assert.deepEqual(told(1000), []);
  offer(128);
  assert.deepEqual(told(1000), []);
  offer(130);
  // Both directions count together.
  fromPeer(world, relayed, PEER, Uint8Array.of(1));
  assert.deepEqual(told(1000), [{ scope: "session", packets: 3 }]);
  offer(200);
  assert.deepEqual(told(1000), []);
  assert.deepEqual(told(9000), [{ scope: "session", packets: 75 }]);
  assert.deepEqual(told(60_000), []);
  assert.equal(world.relay.counters()["limitsTold"], 2);
});

Deno.test("what comes to a relayed address that has been closed is counted", () => {
  const world = new RelayWorld();
  fromPeer(world, 77, PEER, Uint8Array.of(1));
  assert.equal(world.relay.counters()["peerLate"], 1);
});
