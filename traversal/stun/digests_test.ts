import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { formatHex } from "../../core/mod.ts";
import { seeded } from "../testing/fuzz.ts";
import { md5 } from "./md5.ts";
import { hmacSha256, sha256 } from "./sha256.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

Deno.test("md5 gives the digests of RFC 1321", () => {
  const digests = {
    "": "d41d8cd98f00b204e9800998ecf8427e",
    "a": "0cc175b9c0f1b6a831c399e269772661",
    "abc": "900150983cd24fb0d6963f7d28e17f72",
    "message digest": "f96b697d7cb7938d525a2f31aaf161d0",
    "abcdefghijklmnopqrstuvwxyz": "c3fcd3d76192e4007dfb496cca67e13b",
    "12345678901234567890123456789012345678901234567890123456789012345678901234567890":
      "57edf4a22be3c955ac49da2e2107b67a",
  };
  for (const [message, digest] of Object.entries(digests)) {
    assertEquals(formatHex(md5(text(message))), digest);
  }
});

Deno.test("sha256 gives the digests of RFC 6234", () => {
  const digests = {
    "abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq":
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
  };
  for (const [message, digest] of Object.entries(digests)) {
    assertEquals(formatHex(sha256(text(message))), digest);
  }
});

Deno.test("md5, sha256 and hmacSha256 agree with the system's for every length around the block's, in any parts", () => {
  const rng = seeded(6234);
  for (let length = 0; length < 200; length++) {
    const message = rng.bytes(length);
    const cut = rng.below(length + 1);
    const parts = [message.subarray(0, cut), message.subarray(cut)];
    assertEquals(formatHex(md5(...parts)), createHash("md5").update(message).digest("hex"));
    assertEquals(formatHex(sha256(...parts)), createHash("sha256").update(message).digest("hex"));
    const key = rng.bytes(length);
    const expected = createHmac("sha256", key).update(message).digest("hex");
    assertEquals(formatHex(hmacSha256(key, ...parts)), expected);
  }
});
