import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import { decodeStun, encodeStun, USERNAME, xorMappedAddress } from "./codec.ts";
import { signStun, verifyStun } from "./integrity.ts";
import { MemberStun } from "./member_server.ts";

const NOW = 1000 as Instant;
const SOURCE = { hostname: "203.0.113.9", port: 40_000 };
const SOURCE_6 = { hostname: "2001:db8::9", port: 40_000 };
const ALICE = { username: "YWxpY2UncyB1bmd1ZXNzYWJs", password: "secret of the pair" };
const BOB = { username: "Ym9iJ3MgdW5ndWVzc2FibGUg", password: "another secret" };

Deno.test("MemberStun tells a member its address, signed, in an answer no longer than the request", () => {
  for (const source of [SOURCE, SOURCE_6]) {
    const payload = request(ALICE);
    const answer = serving().answer(NOW, { source, payload });
    assert(answer !== undefined && answer.payload.length <= payload.length);
    assertEquals(answer.destination, source);
    const message = decodeStun(answer.payload);
    assert(message !== undefined);
    assertEquals(xorMappedAddress(message), source);
    assert(verifyStun(answer.payload, message, ALICE.password) !== undefined);
  }
});

Deno.test("MemberStun is silent for everybody else, and counts them", () => {
  const stun = serving();
  const strangers: Uint8Array[] = [
    encodeStun({ class: "request", method: 1, transactionId: new Uint8Array(12), attributes: [] }),
    request({ ...ALICE, password: "guess" }),
    request({ ...ALICE, password: BOB.password }),
    request({ username: "mallory", password: ALICE.password }),
    request({ username: "x".repeat(300), password: ALICE.password }),
    new Uint8Array(20),
    request(ALICE).subarray(1),
  ];
  for (const payload of strangers) {
    assertEquals(stun.answer(NOW, { source: SOURCE, payload }), undefined);
  }
  assertEquals(stun.counters, {
    memberStunAnswers: 0,
    memberStunRefused: strangers.length,
    memberStunLimited: 0,
  });
});

Deno.test("MemberStun limits each member by name, whatever address it seems to have", () => {
  const stun = serving();
  let answered = 0;
  for (let i = 0; i < 100; i++) {
    const source = { hostname: `203.0.113.${i}`, port: 40_000 };
    if (stun.answer(NOW, { source, payload: request(ALICE) }) !== undefined) answered++;
  }
  assertEquals([answered, stun.counters.memberStunLimited], [10, 90]);
  assert(stun.answer(NOW, { source: SOURCE, payload: request(BOB) }) !== undefined);
  const later = (NOW + 1000) as Instant;
  assert(stun.answer(later, { source: SOURCE, payload: request(ALICE) }) !== undefined);
});

Deno.test("MemberStun forgets whoever leaves, and replaces credentials", () => {
  const stun = serving();
  stun.delete("alice");
  assertEquals(stun.answer(NOW, { source: SOURCE, payload: request(ALICE) }), undefined);
  stun.set("bob", ALICE);
  assertEquals(stun.answer(NOW, { source: SOURCE, payload: request(BOB) }), undefined);
  assert(stun.answer(NOW, { source: SOURCE, payload: request(ALICE) }) !== undefined);
});

Deno.test("no mutation of a member's request gets an answer, unless what was signed is whole", () => {
  const rng = seeded(8489);
  const stun = new MemberStun();
  const original = request(ALICE);
  const signedBytes = original.length - 8;
  for (let i = 0; i < fuzzRuns(); i++) {
    stun.set("alice", ALICE);
    const payload = mutate(rng, original);
    // One second each, so that the limit does not hide an answer.
    const answer = stun.answer((NOW + 1000 * i) as Instant, { source: SOURCE, payload });
    if (answer === undefined) continue;
    const covered = payload.slice(0, signedBytes);
    covered.set(original.subarray(2, 4), 2);
    assertEquals(covered, original.slice(0, signedBytes));
  }
});

function serving(): MemberStun {
  const stun = new MemberStun();
  assertEquals([stun.set("alice", ALICE), stun.set("bob", BOB)], [true, true]);
  return stun;
}

function request({ username, password }: typeof ALICE): Uint8Array {
  return signStun(
    {
      class: "request",
      method: 1,
      transactionId: Uint8Array.from({ length: 12 }, (_, i) => i),
      attributes: [{ type: USERNAME, value: new TextEncoder().encode(username) }],
    },
    password,
    { fingerprint: true },
  );
}
