/** Nodes for tests that hold their keys. @module */
import { formatBase64 } from "../../core/mod.ts";
import { privateCryptoKey, publicKeyOf } from "../../io/x25519.ts";
import type { Identity } from "../client/prover.ts";
import { SigningKey } from "../signature/signing_key.ts";

/** An identity with a random key. */
export function freshIdentity(): Promise<Identity & { readonly text: string }> {
  return identityFrom(crypto.getRandomValues(new Uint8Array(32)));
}

/** An identity whose private key's bytes are all `seed`, and its public key in base64. */
export function identityOf(seed: number): Promise<Identity & { readonly text: string }> {
  return identityFrom(new Uint8Array(32).fill(seed));
}

async function identityFrom(
  privateKey: Uint8Array<ArrayBuffer>,
): Promise<Identity & { readonly text: string }> {
  const publicKey = await publicKeyOf(privateKey);
  const secret = await privateCryptoKey(privateKey);
  const randomBytes = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count));
  const signer = new SigningKey({ privateKey, randomBytes });
  return { publicKey, secret, signer, text: formatBase64(publicKey) };
}
