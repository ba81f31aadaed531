/** Who is let in (RFC 8489 section 9.2), and what strangers get. @module */
import assert from "node:assert/strict";
import {
  decodeStun,
  encodeStun,
  errorCode,
  findAttribute,
  lifetimeAttribute,
  longTermKey,
  METHOD_ALLOCATE,
  METHOD_CREATE_PERMISSION,
  METHOD_REFRESH,
  NONCE,
  passwordAlgorithmAttribute,
  passwordAlgorithmsAttribute,
  passwordAlgorithmsOf,
  REALM,
  requestedTransportAttribute,
  restPassword,
  signStun,
  softwareAttribute,
  USERNAME,
  verifyStun,
  XOR_PEER_ADDRESS,
  xorAddressAttribute,
} from "../../traversal/mod.ts";
import { codeOf, one, PEER, RelayWorld, SECRET } from "../testing/relay_world.ts";
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
  // Who is refused can tell that it was the relay.
  const bytes = world.messages.at(-1)?.bytes ?? new Uint8Array();
  const refusal = decodeStun(bytes);
  assert.ok(refusal && verifyStun(bytes, refusal, stranger.key));
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
