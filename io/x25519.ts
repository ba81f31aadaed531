/** X25519 (RFC 7748) with keys that do not give themselves out. @module */
import { assert, KEY_BYTES } from "../core/mod.ts";

/** What stands before the 32 bytes of a private X25519 key in PKCS #8 (RFC 8410 section 7). */
const PKCS8_PREFIX = Uint8Array.of(
  ...[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22],
  ...[0x04, 0x20],
);
/** The base point of Curve25519 (RFC 7748 section 4.1). */
const BASE_POINT = Uint8Array.of(9, ...new Uint8Array(31));

/** Returns a private key of 32 bytes as an object that computes with it and does not give it out. */
export async function privateCryptoKey(privateKey: Uint8Array): Promise<CryptoKey> {
  assert(privateKey.length === KEY_BYTES, "a private key has 32 bytes");
  const pkcs8 = new Uint8Array(PKCS8_PREFIX.length + KEY_BYTES);
  pkcs8.set(PKCS8_PREFIX);
  pkcs8.set(privateKey, PKCS8_PREFIX.length);
  try {
    return await crypto.subtle.importKey("pkcs8", pkcs8, "X25519", false, ["deriveBits"]);
  } finally {
    pkcs8.fill(0);
  }
}

/** Returns the secret that the holder of a private key shares with the holder of a public one; `undefined` for a weak key. */
export async function agreeSecret(
  secret: CryptoKey,
  publicKey: Uint8Array,
): Promise<ArrayBuffer | undefined> {
  try {
    const theirs = Uint8Array.from(publicKey);
    const key = await crypto.subtle.importKey("raw", theirs, "X25519", false, []);
    return await crypto.subtle.deriveBits({ name: "X25519", public: key }, secret, 8 * KEY_BYTES);
  } catch {
    // A point of small order makes no secret.
    return undefined;
  }
}

/** Returns the public key of a private key of 32 bytes, as `wg pubkey` does. */
export async function publicKeyOf(privateKey: Uint8Array): Promise<Uint8Array> {
  const shared = await agreeSecret(await privateCryptoKey(privateKey), BASE_POINT);
  assert(shared !== undefined, "the base point is of large order");
  return new Uint8Array(shared);
}
