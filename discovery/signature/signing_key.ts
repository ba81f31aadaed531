/** A WireGuard private key that signs and does not give itself out. @module */
import { assert, KEY_BYTES } from "../../core/mod.ts";
import type { SigningScalar } from "./sign.ts";

/** What signs in the name of a node. */
export interface Signer {
  /** Returns the signature of a message by the node's WireGuard key: XEdDSA, 64 bytes. */
  sign(message: Uint8Array): Promise<Uint8Array<ArrayBuffer>>;
}

/** Options of {@linkcode SigningKey}. */
export interface SigningKeyOptions {
  /** The node's private key, 32 bytes; copied. */
  readonly privateKey: Uint8Array;
  /** Makes that many random bytes: 64 for each signature. */
  readonly randomBytes: (count: number) => Uint8Array;
}

/**
 * Signs with a WireGuard private key.
 *
 * The key is in private fields: neither `console.log` nor JSON nor a structured clone shows it. What signs is loaded, and the
 * key's point computed, at the first signature.
 */
export class SigningKey implements Signer {
  readonly #privateKey: Uint8Array;
  readonly #randomBytes: (count: number) => Uint8Array;
  #scalar: SigningScalar | undefined;

  /** A signer for one key. */
  constructor({ privateKey, randomBytes }: SigningKeyOptions) {
    assert(privateKey.length === KEY_BYTES, "a private key has 32 bytes");
    this.#privateKey = Uint8Array.from(privateKey);
    this.#randomBytes = randomBytes;
  }

  /** Returns the signature of a message. */
  async sign(message: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    const { sign, signingScalar, SIGNATURE_RANDOM_BYTES } = await import("./sign.ts");
    this.#scalar ??= signingScalar(this.#privateKey);
    return sign(this.#scalar, message, this.#randomBytes(SIGNATURE_RANDOM_BYTES));
  }
}
