import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import { formatHex } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import { decodePcp, encodePcpAnnounce, encodePcpMap, isAboutMapping, pcpReason } from "./pcp.ts";
import { pcpAnswer } from "./testing/gateway.ts";

const NONCE = Uint8Array.from({ length: 12 }, (_, i) => i + 1);
const REQUEST = {
  nonce: NONCE,
  client: "192.168.1.7",
  internalPort: 51820,
  suggestedPort: 40000,
  lifetime: 7200,
};

Deno.test("encodePcpMap lays a request out as figures 2 and 9 of RFC 6887", () => {
  const hex = formatHex(encodePcpMap(REQUEST));
  assertEquals(
    hex,
    "02010000" + // version, opcode, reserved
      "00001c20" + // 7200 s
      "00000000000000000000ffffc0a80107" + // client
      "0102030405060708090a0b0c" + // nonce
      "11000000" + // UDP, reserved
      "ca6c9c40" + // 51820, 40000
      "00000000000000000000ffff00000000", // any IPv4 address
  );
});

Deno.test("encodePcpMap writes IPv6 as it is, and any IPv6 address as zeros", () => {
  const bytes = encodePcpMap({ ...REQUEST, client: "2001:db8::7" });
  assertEquals(formatHex(bytes.subarray(8, 24)), "20010db8000000000000000000000007");
  assertEquals(formatHex(bytes.subarray(44)), "00".repeat(16));
});

Deno.test("encodePcpMap suggests the address that the mapping had", () => {
  const bytes = encodePcpMap({ ...REQUEST, suggestedAddress: "203.0.113.9" });
  assertEquals(formatHex(bytes.subarray(44)), "00000000000000000000ffffcb007109");
});

Deno.test("encodePcpAnnounce is a header alone", () => {
  const hex = formatHex(encodePcpAnnounce("192.168.1.7"));
  assertEquals(hex, "0200000000000000" + "00000000000000000000ffffc0a80107");
});

Deno.test("encodePcpMap refuses what has no place in a request", () => {
  throws(() => encodePcpMap({ ...REQUEST, nonce: new Uint8Array(8) }), RangeError);
  throws(() => encodePcpMap({ ...REQUEST, client: "gateway" }), RangeError);
});

Deno.test("decodePcp reads an answer to MAP as figures 3 and 10 of RFC 6887", () => {
  const answer = Uint8Array.from(
    ("0281000000000e10000003e8" + "00".repeat(12) + "0102030405060708090a0b0c" + "11000000" +
      "ca6c9c41" + "00000000000000000000ffffcb007109").match(/../g) ?? [],
    (byte) => parseInt(byte, 16),
  );
  assertEquals(decodePcp(answer), {
    version: 2,
    opcode: "map",
    result: 0,
    lifetime: 3600,
    epoch: 1000,
    mapping: {
      nonce: NONCE,
      internalPort: 51820,
      externalPort: 40001,
      externalAddress: "203.0.113.9",
    },
  });
});

Deno.test("decodePcp reads a refusal", () => {
  const answer = pcpAnswer(encodePcpMap(REQUEST), { result: 8, lifetime: 30, epoch: 7 });
  const response = decodePcp(answer);
  assertEquals([response?.result, response?.lifetime, response?.epoch], [8, 30, 7]);
  assertEquals(pcpReason(8), "the gateway has no resources left");
  assertEquals(pcpReason(99), "result code 99");
});

Deno.test("decodePcp reads an answer to ANNOUNCE, and one of another version", () => {
  const announce = pcpAnswer(encodePcpAnnounce("192.168.1.7"), { epoch: 9 });
  assertEquals(decodePcp(announce), {
    version: 2,
    opcode: "announce",
    result: 0,
    lifetime: 0,
    epoch: 9,
  });
  announce[0] = 1;
  assertEquals(decodePcp(announce)?.version, 1);
});

Deno.test("decodePcp takes nothing for an answer that is none", () => {
  const answer = pcpAnswer(encodePcpMap(REQUEST), { epoch: 1 });
  const tcp = Uint8Array.from(answer);
  tcp[36] = 6;
  const cases: Record<string, Uint8Array> = {
    "nothing": new Uint8Array(),
    "our own request": encodePcpMap(REQUEST),
    "NAT-PMP": Uint8Array.of(0, 0x81, 0, 0, 0, 0, 0, 1),
    "a header cut short": answer.subarray(0, 20),
    "a mapping cut short": answer.subarray(0, 56),
    "no multiple of four": new Uint8Array([...answer, 0]),
    "too long": new Uint8Array([...answer, ...new Uint8Array(1044)]),
    "TCP": tcp,
  };
  for (const [name, bytes] of Object.entries(cases)) {
    assertEquals(decodePcp(bytes), undefined, name);
  }
});

Deno.test("isAboutMapping wants our nonce and our port", () => {
  const of = (request: typeof REQUEST): boolean => {
    const response = decodePcp(pcpAnswer(encodePcpMap(request), { epoch: 1 }));
    return response !== undefined && isAboutMapping(response, REQUEST);
  };
  assertEquals(of(REQUEST), true);
  assertEquals(of({ ...REQUEST, nonce: new Uint8Array(12) }), false);
  assertEquals(of({ ...REQUEST, internalPort: 51821 }), false);
});

Deno.test("decodePcp survives any bytes", () => {
  const rng = seeded(6887);
  const seeds = [
    pcpAnswer(encodePcpMap(REQUEST), { epoch: 1 }),
    pcpAnswer(encodePcpAnnounce("::1"), { epoch: 1 }),
  ];
  for (let i = 0; i < fuzzRuns(); i++) {
    decodePcp(mutate(rng, seeds[i % seeds.length] ?? new Uint8Array()));
  }
});
