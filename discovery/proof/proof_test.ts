import {
  deepStrictEqual as assertEquals,
  notDeepStrictEqual,
  ok as assert,
} from "node:assert/strict";
import fc from "fast-check";
import { formatBase64, formatHex } from "../../core/mod.ts";
import { identityOf } from "../testing/identity.ts";
import { formatProof, macFits, parseProof, type Proof, proofKey, proofMac } from "./proof.ts";

const REQUEST = {
  method: "RegisterAgent",
  contentType: "application/json",
  body: new TextEncoder().encode('{"meshId":"reef"}'),
};
const AT = { issuedAtMs: 1_700_000_000_000, nonce: formatBase64(new Uint8Array(16).fill(7)) };

Deno.test("proofKey is the same on both sides, and another for every other pair", async () => {
  const [node, server, other] = await Promise.all([identityOf(1), identityOf(2), identityOf(3)]);
  const keys = { node: node.publicKey, server: server.publicKey };
  const mine = await proofKey(node.secret, { ...keys, other: "server" });
  assertEquals(mine, await proofKey(server.secret, { ...keys, other: "node" }));
  const elsewhere = { node: node.publicKey, server: other.publicKey };
  notDeepStrictEqual(mine, await proofKey(node.secret, { ...elsewhere, other: "server" }));
  const weak = { node: node.publicKey, server: new Uint8Array(32) };
  assertEquals(await proofKey(node.secret, { ...weak, other: "server" }), undefined);
});

Deno.test("proofMac is HMAC-SHA256 over the lines that the module names", () => {
  const mac = proofMac(new Uint8Array(32).fill(9), REQUEST, AT);
  // By Python's hmac and hashlib.
  assertEquals(formatHex(mac), "ac3c87014300a69cced46602690f37490ec27ebd47b48b9bbb07ceb08ddb6d73");
});

Deno.test("a proof does not fit another method, content type, body, time or nonce", () => {
  const key = new Uint8Array(32).fill(9);
  const proof: Proof = {
    ...AT,
    keyId: "00".repeat(8),
    publicKey: "",
    mac: proofMac(key, REQUEST, AT),
  };
  assert(macFits(key, REQUEST, proof));
  assert(!macFits(key, { ...REQUEST, method: "DeregisterAgent" }, proof));
  assert(!macFits(key, { ...REQUEST, contentType: "application/proto" }, proof));
  assert(!macFits(key, { ...REQUEST, body: REQUEST.body.subarray(1) }, proof));
  assert(!macFits(key, REQUEST, { ...proof, issuedAtMs: AT.issuedAtMs + 1 }));
  assert(!macFits(key, REQUEST, { ...proof, nonce: formatBase64(new Uint8Array(16)) }));
  assert(!macFits(new Uint8Array(32).fill(8), REQUEST, proof));
});

Deno.test("parseProof takes what formatProof makes, and throws on nothing", () => {
  const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
    fc.uint8Array({ minLength: length, maxLength: length });
  fc.assert(
    fc.property(bytes(8), bytes(32), fc.nat(), bytes(16), bytes(32), (id, key, at, nonce, mac) => {
      const proof = {
        keyId: formatHex(id),
        publicKey: formatBase64(key),
        issuedAtMs: at,
        nonce: formatBase64(nonce),
        mac: Uint8Array.from(mac),
      };
      const text = formatProof(proof);
      assertEquals(parseProof(text), proof);
      for (
        const wrong of [` ${text}`, `${text} `, text.replace("1 ", "2 "), text.slice(1), `${text}x`]
      ) {
        assertEquals(parseProof(wrong), undefined);
      }
    }),
    { numRuns: 100 },
  );
  fc.assert(fc.property(fc.string(), (text) => parseProof(text) === undefined));
});
