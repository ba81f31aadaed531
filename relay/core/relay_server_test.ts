/** RFC 8656 by its sections: what the relay does with requests. @module */
import assert from "node:assert/strict";
import { after, formatSocketAddress } from "../../core/mod.ts";
import {
  ADDITIONAL_ADDRESS_FAMILY,
  addressErrorOf,
  ALTERNATE_SERVER,
  DATA,
  decodeAddress,
  decodeStun,
  dontFragmentAttribute,
  encodeStun,
  errorCode,
  EVEN_PORT,
  evenPortAttribute,
  familyAttribute,
  findAttribute,
  lifetimeAttribute,
  lifetimeOf,
  longTermKey,
  METHOD_ALLOCATE,
  METHOD_CHANNEL_BIND,
  METHOD_CREATE_PERMISSION,
  METHOD_REFRESH,
  NONCE,
  passwordAlgorithmAttribute,
  passwordAlgorithmsAttribute,
  passwordAlgorithmsOf,
  REALM,
  REQUESTED_ADDRESS_FAMILY,
  REQUESTED_TRANSPORT,
  requestedTransportAttribute,
  RESERVATION_TOKEN,
  reservationTokenAttribute,
  reservationTokenOf,
  restPassword,
  signStun,
  SOFTWARE,
  softwareAttribute,
  UNKNOWN_ATTRIBUTES,
  USERNAME,
  verifyStun,
  XOR_MAPPED_ADDRESS,
  XOR_PEER_ADDRESS,
  XOR_RELAYED_ADDRESS,
  xorAddressAttribute,
  xorAddressesOf,
  xorAddressOf,
} from "../../traversal/mod.ts";
import { codeOf, EXTERNAL_IP, one, PEER, RelayWorld, SECRET } from "../testing/relay_world.ts";
import { RELAY_LIMITS } from "./limits.ts";

Deno.test("401: a request without credentials is told realm and nonce (RFC 8489 section 9.2.4)", () => {
  const answer = new RelayWorld().client(1000).learnNonce();
  assert.equal(codeOf(answer), 401);
  assert.equal(new TextDecoder().decode(findAttribute(answer, REALM)), "moray");
  assert.equal(findAttribute(answer, NONCE)?.length, 12);
});

Deno.test("the answer to a stranger is at most twice his request, and no longer than one that is padded", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  const bare = client.unsigned(METHOD_ALLOCATE, [requestedTransportAttribute()]);
  client.offer(bare);
  assert.equal(bare.length, 28);
  assert.equal(world.messages.at(-1)?.bytes.length, 56);
  for (let padding = 0; padding < 300; padding += 4) {
    const request = client.unsigned(METHOD_ALLOCATE, [
      requestedTransportAttribute(),
      softwareAttribute("x".repeat(padding)),
    ]);
    const before = world.messages.length;
    client.offer(request);
    const answer = world.messages.at(-1)?.bytes.length ?? 0;
    assert.equal(world.messages.length, before + 1);
    assert.ok(answer <= Math.max(56, request.length), `${answer} to ${request.length}`);
  }
});

Deno.test("a realm that would make the answer more than twice as long is answered by silence", () => {
  const world = new RelayWorld({ realm: "r".repeat(40) });
  const client = world.client(1000);
  assert.equal(
    client.offer(client.unsigned(METHOD_ALLOCATE, [requestedTransportAttribute()])).length,
    0,
  );
  assert.equal(world.relay.counters()["refusedInSilence"], 1);
});

Deno.test("strangers of one address are answered so often and no more", () => {
  const world = new RelayWorld({
    limits: { ...RELAY_LIMITS, unprovenPerSecond: 10, unprovenBurst: 20 },
  });
  const client = world.client(1000);
  const ask = (): number =>
    client.offer(client.unsigned(METHOD_ALLOCATE, [requestedTransportAttribute()])).length;
  let answers = 0;
  for (let i = 0; i < 100; i++) answers += ask();
  assert.equal(answers, 20);
  world.pass(1000);
  for (let i = 0; i < 100; i++) answers += ask();
  assert.equal(answers, 30);
  // Another address has its own.
  const other = new RelayWorld().client(5);
  assert.equal(codeOf(other.learnNonce()), 401);
});

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

Deno.test("438: a nonce that is old, or of another address, is replaced (RFC 8489 section 9.2.4)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.learnNonce();
  world.pass(601_000);
  const stale = client.request(METHOD_ALLOCATE, [requestedTransportAttribute()]);
  assert.equal(codeOf(stale), 438);
  client.nonce = new TextDecoder().decode(findAttribute(stale, NONCE));
  assert.ok(client.allocate() > 0);
  const replayed = client.encode(METHOD_REFRESH, [lifetimeAttribute(0)]);
  assert.equal(codeOf(one(world.client(1001).offer(replayed))), 438);
  assert.equal(world.relay.allocations, 1);
});

Deno.test("441: the allocation is another session's; 401: the password is wrong (section 5)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.allocate();
  const stranger = world.client(1000, { session: "s2" });
  stranger.nonce = client.nonce;
  assert.equal(stranger.refresh([lifetimeAttribute(0)]), 441);
  const forger = world.client(1000, { secret: "guessed" });
  forger.nonce = client.nonce;
  assert.equal(forger.refresh([lifetimeAttribute(0)]), 401);
  assert.equal(world.relay.allocations, 1);
});

Deno.test("a user name that has expired allocates nothing, and keeps what it has under its session", () => {
  const world = new RelayWorld();
  assert.equal(world.client(1000, { lifeSeconds: -1 }).allocate(), -401);
  const client = world.client(1001, { lifeSeconds: 60 });
  assert.ok(client.allocate() > 0);
  world.pass(120_000);
  assert.equal(client.refresh(), 0);
  const renewed = world.client(1001);
  renewed.nonce = client.nonce;
  assert.notEqual(renewed.username, client.username);
  assert.equal(renewed.refresh(), 0);
  assert.equal(world.relay.allocations, 1);
});

Deno.test("user names that are none of the scheme are refused", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  client.learnNonce();
  for (const username of ["", "reef", "x:s1", "-5:s1"]) {
    const key = longTermKey("md5", {
      username,
      realm: "moray",
      password: restPassword(SECRET, username),
    });
    const bytes = signStun({
      class: "request",
      method: METHOD_ALLOCATE,
      transactionId: client.transactionId(),
      attributes: [
        requestedTransportAttribute(),
        { type: USERNAME, value: new TextEncoder().encode(username) },
        { type: REALM, value: new TextEncoder().encode("moray") },
        { type: NONCE, value: new TextEncoder().encode(client.nonce) },
      ],
    }, key);
    assert.equal(codeOf(one(client.offer(bytes))), 401, username);
  }
});

Deno.test("400: a signed request without USERNAME, REALM or NONCE (RFC 8489 section 9.2.4)", () => {
  const client = new RelayWorld().client(1000);
  const bytes = signStun({
    class: "request",
    method: METHOD_ALLOCATE,
    transactionId: client.transactionId(),
    attributes: [requestedTransportAttribute()],
  }, client.key);
  assert.equal(codeOf(one(client.offer(bytes))), 400);
});

Deno.test("SHA-256 is offered where there is room, and whoever tampers with the offer is refused (RFC 8489 section 9.2)", () => {
  const world = new RelayWorld();
  const client = world.client(1000);
  const offer = one(client.offer(client.unsigned(METHOD_ALLOCATE, [
    requestedTransportAttribute(),
    softwareAttribute("x".repeat(100)),
  ])));
  assert.deepEqual(passwordAlgorithmsOf(offer), ["sha256", "md5"]);
  const nonce = findAttribute(offer, NONCE) ?? new Uint8Array();
  const { username } = client;
  const password = restPassword(SECRET, username);
  const ask = (offered: readonly ("sha256" | "md5")[], integrity: "sha1" | "sha256"): number => {
    const key = longTermKey("sha256", { username, realm: "moray", password });
    return codeOf(one(client.offer(signStun(
      {
        class: "request",
        method: METHOD_ALLOCATE,
        transactionId: client.transactionId(),
        attributes: [
          requestedTransportAttribute(),
          { type: USERNAME, value: new TextEncoder().encode(username) },
          { type: REALM, value: new TextEncoder().encode("moray") },
          { type: NONCE, value: nonce },
          passwordAlgorithmsAttribute(offered),
          passwordAlgorithmAttribute("sha256"),
        ],
      },
      key,
      { integrity },
    ))));
  };
  assert.equal(ask(["md5"], "sha256"), 400);
  assert.equal(ask(["sha256", "md5"], "sha256"), 0);
  assert.equal(world.relay.allocations, 1);
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

Deno.test("errors carry the words of the RFC, and nobody's secret", () => {
  const world = new RelayWorld();
  const answer = world.client(1).request(METHOD_REFRESH);
  assert.equal(errorCode(answer)?.reason, "Allocation Mismatch");
  const all = world.messages.map(({ bytes }) => new TextDecoder("latin1").decode(bytes)).join();
  assert.equal(all.includes(SECRET), false);
});

Deno.test("an attribute behind the signature counts for nothing", () => {
  const world = new RelayWorld();
  const client = world.client(1);
  client.allocate();
  const id = client.transactionId();
  const signed = signStun({
    class: "request",
    method: METHOD_CREATE_PERMISSION,
    transactionId: id,
    attributes: [
      { type: USERNAME, value: new TextEncoder().encode(client.username) },
      { type: REALM, value: new TextEncoder().encode("moray") },
      { type: NONCE, value: new TextEncoder().encode(client.nonce) },
    ],
  }, client.key);
  const decoded = decodeStun(signed);
  assert.ok(decoded);
  const longer = encodeStun({
    ...decoded,
    attributes: [...decoded.attributes, xorAddressAttribute(XOR_PEER_ADDRESS, PEER, id)],
  });
  assert.equal(codeOf(one(client.offer(longer))), 400);
});
