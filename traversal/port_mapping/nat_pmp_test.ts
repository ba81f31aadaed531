import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { formatHex } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import { decodeNatPmp, encodeNatPmpAddress, encodeNatPmpMap, natPmpReason } from "./nat_pmp.ts";

const ADDRESS = Uint8Array.of(0, 128, 0, 0, 0, 0, 3, 232, 203, 0, 113, 9);
const MAP = Uint8Array.of(0, 129, 0, 0, 0, 0, 3, 232, 0xca, 0x6c, 0x9c, 0x41, 0, 0, 0x0e, 0x10);

Deno.test("encodeNatPmpAddress is two zeros (RFC 6886 section 3.2)", () => {
  assertEquals(formatHex(encodeNatPmpAddress()), "0000");
});

Deno.test("encodeNatPmpMap lays a request out as RFC 6886 section 3.3", () => {
  const request = { internalPort: 51820, suggestedPort: 40000, lifetime: 7200 };
  assertEquals(formatHex(encodeNatPmpMap(request)), "00010000" + "ca6c9c40" + "00001c20");
});

Deno.test("decodeNatPmp reads the external address", () => {
  assertEquals(decodeNatPmp(ADDRESS), { kind: "address", epoch: 1000, address: "203.0.113.9" });
});

Deno.test("decodeNatPmp reads a mapping", () => {
  assertEquals(decodeNatPmp(MAP), {
    kind: "map",
    epoch: 1000,
    internalPort: 51820,
    externalPort: 40001,
    lifetime: 3600,
  });
});

Deno.test("decodeNatPmp reads a refusal of any length, and of what we never asked", () => {
  const refusal = Uint8Array.of(0, 129, 0, 3, 0, 0, 0, 1);
  assertEquals(decodeNatPmp(refusal), { kind: "refused", opcode: 1, result: 3 });
  const short = Uint8Array.of(0, 1, 0, 1);
  assertEquals(decodeNatPmp(short), { kind: "refused", opcode: 1, result: 1 });
  assertEquals(natPmpReason(3), "the gateway's network has failed");
  assertEquals(natPmpReason(70), "result code 70");
});

Deno.test("decodeNatPmp takes nothing for an answer that is none", () => {
  const cases: Record<string, Uint8Array> = {
    "nothing": new Uint8Array(),
    "PCP": Uint8Array.from([2, ...MAP.subarray(1)]),
    "our own request": encodeNatPmpAddress(),
    "an address cut short": ADDRESS.subarray(0, 11),
    "a mapping cut short": MAP.subarray(0, 15),
    "TCP": Uint8Array.from([0, 130, ...MAP.subarray(2)]),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    assertEquals(decodeNatPmp(bytes), undefined, name);
  }
});

Deno.test("decodeNatPmp survives any bytes", () => {
  const rng = seeded(6886);
  for (let i = 0; i < fuzzRuns(); i++) decodeNatPmp(mutate(rng, i % 2 === 0 ? ADDRESS : MAP));
});
