/** RFC 8656 by its sections: what signed requests do. @module */
import assert from "node:assert/strict";
import {
  ADDITIONAL_ADDRESS_FAMILY,
  addressErrorOf,
  DATA,
  dontFragmentAttribute,
  encodeStun,
  EVEN_PORT,
  evenPortAttribute,
  familyAttribute,
  findAttribute,
  lifetimeAttribute,
  lifetimeOf,
  METHOD_ALLOCATE,
  METHOD_CHANNEL_BIND,
  METHOD_CREATE_PERMISSION,
  REQUESTED_ADDRESS_FAMILY,
  REQUESTED_TRANSPORT,
  requestedTransportAttribute,
  RESERVATION_TOKEN,
  reservationTokenAttribute,
  reservationTokenOf,
  SOFTWARE,
  UNKNOWN_ATTRIBUTES,
  verifyStun,
  XOR_MAPPED_ADDRESS,
  XOR_RELAYED_ADDRESS,
  xorAddressesOf,
  xorAddressOf,
} from "../../traversal/mod.ts";
import { codeOf, EXTERNAL_IP, one, PEER, RelayWorld } from "../testing/relay_world.ts";
import { RELAY_LIMITS } from "./limits.ts";

Deno.test("Allocate gives a relayed address, a lifetime and the mapped address, signed (section 7.2)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  const answer = client.request(METHOD_ALLOCATE, [requestedTransportAttribute()]);
  assert.equal(answer.class, "success");
  assert.equal(xorAddressOf(answer, XOR_RELAYED_ADDRESS)?.hostname, EXTERNAL_IP);
  assert.deepEqual(xorAddressOf(answer, XOR_MAPPED_ADDRESS), client.flow.source);
  assert.equal(lifetimeOf(answer), 600);
  const bytes = world.messages.at(-1)?.bytes ?? new Uint8Array();
  assert.notEqual(verifyStun(bytes, answer, client.key), undefined);
  assert.equal(new TextDecoder().decode(findAttribute(answer, SOFTWARE)), "moray test");
});

Deno.test("LIFETIME is at least the default and at most an hour (section 7.2)", () => {
  const world = new RelayWorld();
  for (const [i, [asked, given]] of [[1, 600], [1800, 1800], [100_000, 3600]].entries()) {
    const answer = world.client(1000 + i).request(METHOD_ALLOCATE, [
      requestedTransportAttribute(),
      lifetimeAttribute(asked ?? 0),
    ]);
    assert.equal(lifetimeOf(answer), given);
  }
});

Deno.test("Allocate that is sent again has the same answer (section 7.2)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.learnNonce();
  const request = client.encode(METHOD_ALLOCATE, [requestedTransportAttribute()]);
  const [first, second] = [one(client.offer(request)), one(client.offer(request))];
  assert.deepEqual(first, second);
  assert.equal(world.relay.allocations, 1);
  assert.equal(world.open.size, 1);
});

Deno.test("437: a second Allocate, and requests without an allocation (sections 7.2, 7.3)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  assert.ok(client.allocate() > 0);
  assert.equal(client.allocate(), -437);
  const other = world.client(1001);
  assert.equal(other.refresh(), 437);
  assert.equal(other.permit(PEER), 437);
  assert.equal(other.bind(0x4000, PEER), 437);
});

Deno.test("400 without REQUESTED-TRANSPORT, 442 for TCP, 440 for a family that is not relayed (section 7.2)", () => {
  const world = new RelayWorld();
  const code = (port: number, attributes: Parameters<typeof encodeStun>[0]["attributes"]): number =>
    codeOf(world.client(port).request(METHOD_ALLOCATE, attributes));
  assert.equal(code(1, []), 400);
  assert.equal(code(2, [requestedTransportAttribute(6)]), 442);
  assert.equal(
    code(3, [requestedTransportAttribute(), familyAttribute(REQUESTED_ADDRESS_FAMILY, 6)]),
    440,
  );
  assert.equal(code(4, [{ type: REQUESTED_TRANSPORT, value: Uint8Array.of(17) }]), 400);
  assert.equal(world.open.size, 0);
});

Deno.test("420: attributes that must be understood and are not (RFC 8489 section 6.3.1)", () => {
  const client = new RelayWorld().client(1000);
  const answer = client.request(METHOD_ALLOCATE, [
    requestedTransportAttribute(),
    { type: 0x7001, value: Uint8Array.of(1) },
  ]);
  assert.equal(codeOf(answer), 420);
  assert.deepEqual(findAttribute(answer, UNKNOWN_ATTRIBUTES), Uint8Array.of(0x70, 0x01));
  const unable = new RelayWorld({ canForbidSplitting: false }).client(1000);
  const attributes = [requestedTransportAttribute(), dontFragmentAttribute()];
  assert.equal(codeOf(unable.request(METHOD_ALLOCATE, attributes)), 420);
});

Deno.test("both families: two addresses, or one and why not the other (section 7.2, RFC 8656 section 18.12)", () => {
  const externalIps = [EXTERNAL_IP, "2001:db8::1"];
  const world = new RelayWorld({ externalIps });
  const additional = familyAttribute(ADDITIONAL_ADDRESS_FAMILY, 6);
  const answer = world.client(1).request(METHOD_ALLOCATE, [
    requestedTransportAttribute(),
    additional,
  ]);
  assert.deepEqual(
    xorAddressesOf(answer, XOR_RELAYED_ADDRESS)?.map(({ hostname }) => hostname),
    externalIps,
  );
  const half = new RelayWorld().client(1).request(METHOD_ALLOCATE, [
    requestedTransportAttribute(),
    additional,
  ]);
  assert.equal(xorAddressesOf(half, XOR_RELAYED_ADDRESS)?.length, 1);
  assert.deepEqual([addressErrorOf(half)?.family, addressErrorOf(half)?.code], [6, 440]);
  const both = [additional, familyAttribute(REQUESTED_ADDRESS_FAMILY, 6)];
  assert.equal(world.client(2).allocate(both), -400);
  assert.equal(world.client(3).allocate([familyAttribute(ADDITIONAL_ADDRESS_FAMILY, 4)]), -400);
});

Deno.test("443: a peer of a family that the allocation has not; one family can be let go (sections 8.2, 9.2)", () => {
  const world = new RelayWorld({ externalIps: [EXTERNAL_IP, "2001:db8::1"] });
  const client = world.client(1);
  client.allocate([familyAttribute(ADDITIONAL_ADDRESS_FAMILY, 6)]);
  const v6 = { hostname: "2001:db8:7::9", port: 9 };
  assert.equal(client.permit(v6), 0);
  const release = [lifetimeAttribute(0), familyAttribute(REQUESTED_ADDRESS_FAMILY, 6)];
  assert.equal(client.refresh(release), 0);
  assert.equal(world.open.size, 1);
  assert.equal(client.permit(v6), 443);
  assert.equal(client.refresh(release), 443);
  assert.equal(client.permit(PEER), 0);
});

Deno.test("EVEN-PORT, and RESERVATION-TOKEN for the port above; 508 where there is none (sections 7.2, 18.6)", () => {
  const world = new RelayWorld({ portRange: { first: 50_001, last: 50_004 } });
  const answer = world.client(1).request(METHOD_ALLOCATE, [
    requestedTransportAttribute(),
    evenPortAttribute(true),
  ]);
  const even = xorAddressOf(answer, XOR_RELAYED_ADDRESS)?.port ?? 0;
  assert.equal(even, 50_002);
  const token = reservationTokenOf(answer) ?? new Uint8Array();
  const redeem = [requestedTransportAttribute(), reservationTokenAttribute(token)];
  assert.equal(
    codeOf(world.client(2).request(METHOD_ALLOCATE, [...redeem, evenPortAttribute(false)])),
    400,
  );
  const next = world.client(3).request(METHOD_ALLOCATE, redeem);
  assert.equal(xorAddressOf(next, XOR_RELAYED_ADDRESS)?.port, 50_003);
  assert.equal(codeOf(world.client(4).request(METHOD_ALLOCATE, redeem)), 508);
  // 50004 is even, but 50005 is out of the range.
  assert.equal(world.client(5).allocate([evenPortAttribute(true)]), -508);
  assert.equal(world.client(6).allocate([evenPortAttribute(false)]), 50_004);
  assert.equal(world.client(7).allocate([{ type: EVEN_PORT, value: new Uint8Array(0) }]), -400);
});

Deno.test("a reserved port that nobody comes for is free again after 30 s (section 7.2)", () => {
  const world = new RelayWorld();
  const answer = world.client(1).request(METHOD_ALLOCATE, [
    requestedTransportAttribute(),
    evenPortAttribute(true),
  ]);
  assert.equal(world.open.size, 2);
  world.pass(30_001);
  assert.equal(world.open.size, 1);
  const token = findAttribute(answer, RESERVATION_TOKEN) ?? new Uint8Array();
  assert.equal(world.client(2).allocate([reservationTokenAttribute(token)]), -508);
});

Deno.test("486: a session, a key and a mesh have so many; 508: the relay has (section 7.2)", () => {
  const { scopes } = RELAY_LIMITS;
  const limits = {
    ...RELAY_LIMITS,
    scopes: {
      session: { ...scopes.session, allocationsMax: 2 },
      key: { ...scopes.key, allocationsMax: 3 },
      mesh: { ...scopes.mesh, allocationsMax: 4 },
      total: { ...scopes.total, allocationsMax: 5 },
    },
  };
  const world = new RelayWorld({ limits });
  let port = 1;
  const allocate = (session: string): number =>
    Math.min(0, world.client(port++, { session }).allocate());
  assert.deepEqual(["m.k.1", "m.k.1", "m.k.1"].map(allocate), [0, 0, -486]);
  assert.deepEqual(["m.k.2", "m.k.2"].map(allocate), [0, -486]);
  assert.deepEqual(["m.l.1", "m.j.1"].map(allocate), [0, -486]);
  assert.deepEqual(["other", "more"].map(allocate), [0, -508]);
  assert.equal(world.relay.counters()["quota:mesh"], 1);
});

Deno.test("508: no port is left; one that another program holds is passed over (section 7.2)", () => {
  const world = new RelayWorld({ portRange: { first: 50_000, last: 50_002 } });
  world.taken.add(50_001);
  const ports = [1, 2, 3].map((port) => world.client(port, { session: `s${port}` }).allocate());
  assert.deepEqual(ports.toSorted((a, b) => a - b), [-508, 50_000, 50_002]);
  assert.equal(world.relay.allocations, 2);
});

Deno.test("403: private, loopback, link-local, multicast and metadata addresses, and those inside others (section 21.2.3)", () => {
  const world = new RelayWorld({ externalIps: [EXTERNAL_IP, "2001:db8::1"] });
  const client = world.client(1);
  client.allocate([familyAttribute(ADDITIONAL_ADDRESS_FAMILY, 6)]);
  const refused = [
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fd00:ec2::254",
    "fc00::1",
    "ff02::1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "::7f00:1",
  ];
  for (const hostname of refused) {
    assert.equal(client.permit({ hostname, port: 80 }), 403, hostname);
    assert.equal(client.bind(0x4000, { hostname, port: 80 }), 403, hostname);
  }
  // One bad address in a list spoils it all.
  assert.equal(client.permit(PEER, { hostname: "10.0.0.1", port: 80 }), 403);
  client.send(PEER, [{ type: DATA, value: Uint8Array.of(1) }]);
  assert.equal(world.toPeers.length, 0);
  for (const hostname of ["8.8.8.8", "2001:db8:7::1", "64:ff9b::808:808"]) {
    assert.equal(client.permit({ hostname, port: 80 }), 0, hostname);
  }
});

Deno.test("private peers can be allowed; multicast and reserved addresses never", () => {
  const client = new RelayWorld({ allowPrivatePeers: true }).client(1);
  client.allocate();
  assert.equal(
    client.permit({ hostname: "10.0.0.1", port: 1 }, { hostname: "127.0.0.1", port: 1 }),
    0,
  );
  assert.equal(client.permit({ hostname: "224.0.0.1", port: 1 }), 403);
  assert.equal(client.permit({ hostname: "0.0.0.0", port: 1 }), 403);
});

Deno.test("ChannelBind: number and peer belong to each other; others are 400 (section 12.2)", () => {
  const world = new RelayWorld();
  const client = world.client(1);
  client.allocate();
  const other = { hostname: "203.0.113.10", port: 1 };
  assert.equal(client.bind(0x4000, PEER), 0);
  assert.equal(client.bind(0x4000, PEER), 0);
  assert.equal(client.bind(0x4000, other), 400);
  assert.equal(client.bind(0x4001, PEER), 400);
  assert.equal(client.bind(0x3fff, other), 400);
  assert.equal(client.bind(0x8000, other), 400);
  assert.equal(client.bind(0x4001, { ...other, port: 0 }), 400);
  assert.equal(codeOf(client.request(METHOD_CHANNEL_BIND, [])), 400);
  assert.equal(codeOf(client.request(METHOD_CREATE_PERMISSION, [])), 400);
  // Ten minutes later the number is free.
  world.pass(599_000);
  assert.equal(client.refresh(), 0);
  world.pass(1_001);
  client.nonce = "";
  client.learnNonce();
  assert.equal(client.bind(0x4000, other), 0);
});

Deno.test("508: an allocation has so many permissions and channels", () => {
  const world = new RelayWorld({ limits: { ...RELAY_LIMITS, permissionsMax: 2, channelsMax: 1 } });
  const client = world.client(1);
  client.allocate();
  const peer = (n: number): { hostname: string; port: number } => ({
    hostname: `203.0.113.${n}`,
    port: 1,
  });
  assert.equal(client.permit(peer(1), peer(2), peer(3)), 508);
  assert.equal(client.permit(peer(1), peer(1), peer(2)), 0);
  assert.equal(client.permit(peer(3)), 508);
  assert.equal(client.bind(0x4000, peer(3)), 508);
  assert.equal(client.bind(0x4000, peer(1)), 0);
  assert.equal(client.bind(0x4001, peer(2)), 508);
  world.pass(300_001);
  assert.equal(client.permit(peer(3)), 0);
});
