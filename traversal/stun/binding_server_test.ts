import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import type { Instant } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import { answerBinding, SourceLimiter } from "./binding_server.ts";
import {
  decodeStun,
  encodeStun,
  errorCode,
  findAttribute,
  FINGERPRINT,
  SOFTWARE,
  type StunMessage,
  UNKNOWN_ATTRIBUTES,
  USERNAME,
  xorMappedAddress,
} from "./codec.ts";
import { RFC_5769 } from "./testing/rfc5769.ts";

const ID = Uint8Array.from({ length: 12 }, (_, i) => 0xf0 + i);
const REQUEST: StunMessage = { class: "request", method: 1, transactionId: ID, attributes: [] };
const SOURCES = [
  { hostname: "203.0.113.9", port: 40000 },
  { hostname: "2001:db8::9", port: 1 },
];

Deno.test("answerBinding tells the source its address, with FINGERPRINT", () => {
  for (const source of SOURCES) {
    const transmit = answerBinding({ source, payload: encodeStun(REQUEST) });
    assertEquals(transmit?.destination, source);
    const response = decodeStun(transmit?.payload ?? new Uint8Array());
    assertEquals(response?.class, "success");
    assertEquals(response?.transactionId, ID);
    assertEquals(response && xorMappedAddress(response), source);
    assertEquals(response?.attributes.at(-1)?.type, FINGERPRINT);
    assertEquals(response?.attributes.length, 2);
  }
});

Deno.test("answerBinding accepts FINGERPRINT, USERNAME and optional attributes", () => {
  const value = new Uint8Array(5);
  const attributes = [{ type: USERNAME, value }, { type: 0xffff, value }];
  const payload = encodeStun({ ...REQUEST, attributes }, { fingerprint: true });
  assertEquals(answered(payload)?.class, "success");
});

Deno.test("answerBinding answers 420 for unknown required attributes, each named once", () => {
  const response = answered(RFC_5769.request);
  assertEquals(response?.class, "error");
  assertEquals(response && errorCode(response), { code: 420, reason: "Unknown Attribute" });
  assertEquals(response && findAttribute(response, UNKNOWN_ATTRIBUTES), Uint8Array.of(0, 0x24));
  assertEquals(response?.attributes.at(-1)?.type, FINGERPRINT);
});

Deno.test("answerBinding names itself only when asked", () => {
  const transmit = answerBinding(
    { source: { hostname: "192.0.2.1", port: 5 }, payload: encodeStun(REQUEST) },
    { software: "moray" },
  );
  const response = decodeStun(transmit?.payload ?? new Uint8Array());
  assertEquals(
    new TextDecoder().decode(response && findAttribute(response, SOFTWARE)),
    "moray",
  );
});

Deno.test("answerBinding is silent on everything else", () => {
  const request = encodeStun(REQUEST);
  const silent: Record<string, Uint8Array> = {
    "a success response": RFC_5769.responseIpv4,
    "an error response": encodeStun({ ...REQUEST, class: "error" }),
    "an indication": encodeStun({ ...REQUEST, class: "indication" }),
    "Allocate": encodeStun({ ...REQUEST, method: 3 }),
    "a cut request": request.subarray(0, 19),
    "a request with a tail": Uint8Array.from([...request, 0, 0, 0, 0]),
    "nothing": new Uint8Array(),
    "a WireGuard handshake": Uint8Array.from({ length: 148 }, (_, i) => i === 0 ? 1 : 0),
  };
  for (const [name, payload] of Object.entries(silent)) {
    assertEquals(answered(payload), undefined, name);
  }
  const nowhere = [{ hostname: "192.0.2.1", port: 0 }, { hostname: "fe80::1%eth0", port: 1 }];
  for (const source of nowhere) {
    assertEquals(answerBinding({ source, payload: request }), undefined);
  }
});

Deno.test("no bytes make answerBinding throw, and its answers are never answered", () => {
  const [source] = SOURCES;
  assert(source !== undefined);
  function offer(payload: Uint8Array): boolean {
    assert(source !== undefined);
    const answer = answerBinding({ source, payload });
    if (answer === undefined) return false;
    assertEquals(answerBinding({ source, payload: answer.payload }), undefined);
    return true;
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (payload) => void offer(payload)));
  const rng = seeded(2);
  const samples = [...Object.values(RFC_5769), encodeStun(REQUEST), bareUnknown()];
  let answers = 0;
  for (let run = fuzzRuns(); run > 0; run--) {
    const bytes = mutate(rng, samples[run % samples.length] ?? new Uint8Array());
    if (rng.chance(0.5) && bytes.length >= 4) {
      new DataView(bytes.buffer, bytes.byteOffset).setUint16(2, Math.max(0, bytes.length - 20));
    }
    if (offer(bytes)) answers++;
  }
  assert(answers > 100, `only ${answers} mutants were answered`);
});

Deno.test("SourceLimiter lets a burst through, then the rate, per source", () => {
  const limiter = new SourceLimiter({ ratePerSecond: 10, burst: 3 });
  const admitted = (ms: number, host: string): number => {
    let count = 0;
    while (limiter.admit(at(ms), host)) count++;
    return count;
  };
  assertEquals(admitted(0, "192.0.2.1"), 3);
  assertEquals(admitted(0, "192.0.2.2"), 3);
  assertEquals(admitted(99, "192.0.2.1"), 0);
  assertEquals(admitted(100, "192.0.2.1"), 1);
  assertEquals(admitted(10_000, "192.0.2.1"), 3);
  assertEquals(limiter.refused, 5);
});

Deno.test("SourceLimiter counts an IPv6 /64 as one source", () => {
  const limiter = new SourceLimiter({ ratePerSecond: 1, burst: 1 });
  assertEquals(limiter.admit(at(0), "2001:db8::1"), true);
  assertEquals(limiter.admit(at(0), "2001:db8::ffff:2"), false);
  assertEquals(limiter.admit(at(0), "2001:db8:0:1::1"), true);
});

Deno.test("SourceLimiter forgets the source not seen for longest", () => {
  const limiter = new SourceLimiter({ ratePerSecond: 1, burst: 1, sourcesMax: 2 });
  for (const host of ["192.0.2.1", "192.0.2.2", "192.0.2.1"]) limiter.admit(at(0), host);
  assertEquals([limiter.size, limiter.evicted], [2, 0]);
  limiter.admit(at(0), "192.0.2.3");
  assertEquals([limiter.size, limiter.evicted], [2, 1]);
  assertEquals(limiter.admit(at(0), "192.0.2.1"), false);
  assertEquals(limiter.admit(at(0), "192.0.2.2"), true);
});

Deno.test("SourceLimiter remembers nobody whose bucket is full again", () => {
  const limiter = new SourceLimiter({ ratePerSecond: 10, burst: 20 });
  for (let i = 0; i < 1000; i++) limiter.admit(at(i * 10), `192.0.2.${i}`);
  // Each is full again 2 s later, and may stay for as long once more.
  assert(limiter.size >= 200 && limiter.size <= 400, `${limiter.size}`);
  for (let i = 0; i < 20; i++) assert(limiter.admit(at(20_000), "192.0.2.999"));
  assertEquals(limiter.admit(at(21_000), "198.51.100.1"), true);
  // Whoever owes something is not forgotten.
  for (let i = 0; i < 10; i++) assert(limiter.admit(at(21_000), "192.0.2.999"));
  assertEquals(limiter.admit(at(21_000), "192.0.2.999"), false);
  limiter.admit(at(30_000), "198.51.100.2");
  assertEquals([limiter.size, limiter.evicted], [1, 0]);
});

Deno.test("SourceLimiter survives a clock that stands still or steps back", () => {
  const limiter = new SourceLimiter({ ratePerSecond: 1000, burst: 1 });
  assertEquals(limiter.admit(at(100), "192.0.2.1"), true);
  assertEquals(limiter.admit(at(50), "192.0.2.1"), false);
  assertEquals(limiter.admit(at(101), "192.0.2.1"), true);
});

function bareUnknown(): Uint8Array {
  const value = new Uint8Array(4);
  return encodeStun({ ...REQUEST, attributes: [{ type: 3, value }, { type: 0x24, value }] });
}

function answered(payload: Uint8Array): StunMessage | undefined {
  const transmit = answerBinding({ source: { hostname: "192.0.2.1", port: 4000 }, payload });
  return transmit && decodeStun(transmit.payload);
}

function at(ms: number): Instant {
  return ms as Instant;
}
