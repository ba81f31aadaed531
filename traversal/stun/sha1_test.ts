import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { formatHex } from "../../core/mod.ts";
import { seeded } from "../testing/fuzz.ts";
import { hmacSha1, sameDigest, sha1 } from "./sha1.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

Deno.test("sha1 gives the digests of RFC 3174", () => {
  const digests: [Uint8Array, string][] = [
    [text("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d"],
    [
      text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
      "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
    ],
    [text("a".repeat(1_000_000)), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"],
    [text("01234567".repeat(80)), "dea356a2cddd90c7a7ecedc5ebb563934f460452"],
    [new Uint8Array(0), "da39a3ee5e6b4b0d3255bfef95601890afd80709"],
  ];
  for (const [message, digest] of digests) assertEquals(formatHex(sha1(message)), digest);
});

Deno.test("hmacSha1 gives the digests of RFC 2202", () => {
  const digests: [Uint8Array, Uint8Array, string][] = [
    [new Uint8Array(20).fill(0x0b), text("Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00"],
    [
      text("Jefe"),
      text("what do ya want for nothing?"),
      "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    ],
    [
      new Uint8Array(80).fill(0xaa),
      text("Test Using Larger Than Block-Size Key - Hash Key First"),
      "aa4ae5e15272d00e95705637ce8a3b55ed402112",
    ],
  ];
  for (const [key, message, digest] of digests) {
    assertEquals(formatHex(hmacSha1(key, message)), digest);
  }
});

Deno.test("sha1 and hmacSha1 agree with the system's for every length around the block's, in any parts", () => {
  const rng = seeded(3174);
  for (let length = 0; length < 200; length++) {
    const message = rng.bytes(length);
    const cut = rng.below(length + 1);
    const parts = [message.subarray(0, cut), message.subarray(cut)];
    assertEquals(formatHex(sha1(...parts)), createHash("sha1").update(message).digest("hex"));
    const key = rng.bytes(length);
    const expected = createHmac("sha1", key).update(message).digest("hex");
    assertEquals(formatHex(hmacSha1(key, ...parts)), expected);
  }
});

Deno.test("sameDigest sees any difference", () => {
  const digest = sha1(text("abc"));
  assertEquals(sameDigest(digest, sha1(text("abc"))), true);
  for (let bit = 0; bit < 160; bit++) {
    const other = digest.slice();
    other[bit >> 3] = (other[bit >> 3] ?? 0) ^ 1 << (bit & 7);
    assertEquals(sameDigest(digest, other), false);
  }
  assertEquals(sameDigest(digest, digest.subarray(1)), false);
});
