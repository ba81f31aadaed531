/** Nodes for tests that hold their keys. @module */
import { formatBase64 } from "../../core/mod.ts";
import { privateCryptoKey, publicKeyOf } from "../../io/x25519.ts";
import type { Identity } from "../client/prover.ts";

/** An identity whose private key's bytes are all `seed`, and its public key in base64. */
export async function identityOf(seed: number): Promise<Identity & { readonly text: string }> {
  const privateKey = new Uint8Array(32).fill(seed);
  const publicKey = await publicKeyOf(privateKey);
  const secret = await privateCryptoKey(privateKey);
  return { publicKey, secret, text: formatBase64(publicKey) };
}
