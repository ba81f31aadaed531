import { equal as assertEquals } from "node:assert/strict";
import { calculateJwkThumbprint } from "jose";
import { keyThumbprint } from "./claims.ts";

Deno.test("keyThumbprint is that of the key's JWK", async () => {
  for (const fill of [0, 7, 255]) {
    const publicKey = new Uint8Array(32).fill(fill);
    const x = publicKey.toBase64({ alphabet: "base64url", omitPadding: true });
    const expected = await calculateJwkThumbprint({ kty: "OKP", crv: "X25519", x });
    assertEquals(keyThumbprint(publicKey), expected);
  }
});
