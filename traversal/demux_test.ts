import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import { classify } from "./demux.ts";
import { decodeStun, encodeStun } from "./stun/codec.ts";
import { RFC_5769 } from "./stun/testing/rfc5769.ts";
import { fuzzRuns, mutate, seeded } from "./testing/fuzz.ts";

const ID = new Uint8Array(12);
const BINDING = encodeStun({ class: "request", method: 1, transactionId: ID, attributes: [] });

Deno.test("classify knows the four WireGuard messages by type and length", () => {
  const lengths = { 1: [148], 2: [92], 3: [64], 4: [32, 33, 48, 1452, 65507] };
  for (const [type, sizes] of Object.entries(lengths)) {
    for (const size of sizes) assertEquals(classify(wireguard(Number(type), size)), "wireguard");
  }
  const wrong = [[1, 147], [1, 149], [2, 91], [2, 148], [3, 63], [3, 92], [4, 31], [4, 4], [
    0,
    148,
  ]];
  for (const [type = 0, size = 0] of [...wrong, [5, 148], [63, 148]]) {
    assertEquals(classify(wireguard(type, size)), "other", `type ${type}, ${size} bytes`);
  }
  for (const at of [1, 2, 3]) {
    const bytes = wireguard(4, 64);
    bytes[at] = 1;
    assertEquals(classify(bytes), "other", `byte ${at} not zero`);
  }
});

Deno.test("classify knows STUN by its first bits, cookie and length", () => {
  for (const bytes of [BINDING, ...Object.values(RFC_5769)]) assertEquals(classify(bytes), "stun");
  for (const bit of [0x40, 0x80]) {
    const bytes = BINDING.slice();
    bytes[0] = bit;
    assertEquals(classify(bytes), bit === 0x40 ? "channelData" : "other");
  }
  for (const at of [2, 3, 4, 5, 6, 7]) {
    const bytes = BINDING.slice();
    bytes[at] = (bytes[at] ?? 0) ^ 4;
    assertEquals(classify(bytes), "other", `byte ${at}`);
  }
  assertEquals(classify(BINDING.subarray(0, 19)), "other");
  assertEquals(classify(Uint8Array.from([...BINDING, 0, 0, 0, 0])), "other");
  const odd = Uint8Array.from([...BINDING, 0, 0]);
  odd[3] = 2;
  assertEquals(classify(odd), "other");
});

Deno.test("classify calls 0x40 to 0x4F ChannelData and everything above other", () => {
  for (let first = 0x40; first <= 0xff; first++) {
    const expected = first <= 0x4f ? "channelData" : "other";
    assertEquals(classify(Uint8Array.of(first, 0, 0, 0)), expected);
  }
  assertEquals(classify(new Uint8Array()), "other");
});

Deno.test("what is a WireGuard message is never a STUN message too", () => {
  const tail = fc.uint8Array({ minLength: 0, maxLength: 300 });
  fc.assert(fc.property(fc.integer({ min: 1, max: 4 }), tail, (type, tail) => {
    // The worst case: a receiver index that is the magic cookie.
    const bytes = Uint8Array.from([type, 0, 0, 0, 0x21, 0x12, 0xa4, 0x42, ...tail]);
    if (classify(bytes) === "wireguard") assertEquals(decodeStun(bytes), undefined);
  }));
});

Deno.test("classify survives any bytes and sees whatever decodeStun accepts", () => {
  const rng = seeded(3);
  const samples = [BINDING, RFC_5769.request, wireguard(1, 148), wireguard(4, 96)];
  const seen = new Map<string, number>();
  for (let run = fuzzRuns(); run > 0; run--) {
    const bytes = mutate(rng, samples[run % samples.length] ?? BINDING);
    const kind = classify(bytes);
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
    if (decodeStun(bytes) !== undefined) assertEquals(kind, "stun");
  }
  for (const kind of ["stun", "wireguard", "other"]) assert((seen.get(kind) ?? 0) > 100, kind);
});

function wireguard(type: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size).fill(0xa5);
  bytes.set([type, 0, 0, 0]);
  return bytes;
}
