/** What a node proves itself with, and signs. @module */
import { type Identity, SigningKey } from "../discovery/mod.ts";
import { privateCryptoKey, systemRng } from "../io/mod.ts";
import type { KeyPair } from "./key_file.ts";

/** What proves and signs with a key. */
export async function identityOf({ privateKey, publicKey }: KeyPair): Promise<Identity> {
  const secret = await privateCryptoKey(privateKey);
  const signer = new SigningKey({ privateKey, randomBytes: (count) => systemRng.bytes(count) });
  return { publicKey, secret, signer };
}
