/** Ed25519 (RFC 8032) keys from seeds that are kept elsewhere. @module */
import { assert, KEY_BYTES } from "../core/mod.ts";

/** What stands before the 32 bytes of a private Ed25519 key in PKCS #8 (RFC 8410 section 7). */
const PKCS8_PREFIX = Uint8Array.of(
  ...[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22],
  ...[0x04, 0x20],
);

/** A key pair. */
export interface Ed25519KeyPair {
  /** Signs, and does not give itself out. */
  readonly privateKey: CryptoKey;
  /** The public key, 32 bytes as base64url without padding: `x` of a JWK. */
  readonly x: string;
}

/** Returns the key pair of a seed of 32 bytes. */
export async function ed25519KeyPair(seed: Uint8Array): Promise<Ed25519KeyPair> {
  assert(seed.length === KEY_BYTES, "a seed has 32 bytes");
  const pkcs8 = new Uint8Array(PKCS8_PREFIX.length + KEY_BYTES);
  pkcs8.set(PKCS8_PREFIX);
  pkcs8.set(seed, PKCS8_PREFIX.length);
  try {
    const own = (extractable: boolean): Promise<CryptoKey> =>
      crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", extractable, ["sign"]);
    const { x } = await crypto.subtle.exportKey("jwk", await own(true));
    assert(x !== undefined, "an Ed25519 key has a public half");
    return { privateKey: await own(false), x };
  } finally {
    pkcs8.fill(0);
  }
}
