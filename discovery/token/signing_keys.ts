/**
 * The keys that tokens are signed with: one for each stretch of time, made ahead of it.
 *
 * ```text
 *   time     |----- n-1 -----|------ n ------|----- n+1 -----|
 *   now                          ^
 *   signs                        n
 *   key set   n-1, n, n+1
 * ```
 *
 * A key is published for a whole stretch before it signs, and for one after: whoever holds a key set no older than a stretch
 * knows it. All replicas find the same keys in the store, whichever made them.
 *
 * @module
 */
import type { JWK } from "jose";
import { assert } from "../../core/mod.ts";
import { ed25519KeyPair } from "../../io/ed25519.ts";
import type { Store } from "../store/store.ts";
import { TOKEN_ALGORITHM } from "./claims.ts";

/** How long one key signs. */
export const TOKEN_KEY_MS: number = 7 * 86_400_000;

/** Where the keys are in the store's secrets; their numbers follow, so that names are in order of time. */
const NAME = "token key ";
const NUMBER_DIGITS = 12;

/** A key that signs. */
export interface TokenKey {
  /** Its id, `kid` of the tokens. */
  readonly id: string;
  /** Signs. */
  readonly privateKey: CryptoKey;
  /** The public half. */
  readonly jwk: JWK;
}

/** Options of {@linkcode TokenKeys}. */
export interface TokenKeysOptions {
  /** Where the keys are kept. */
  readonly store: Store;
  /** Now, unix milliseconds: the clock that replicas share. */
  readonly now: () => number;
  /** 32 random bytes: the seed of a key, if it is to be made here. */
  readonly freshSeed: () => Uint8Array<ArrayBuffer>;
}

/** The keys of one stretch of time. */
interface Stretch {
  /** Its number. */
  readonly number: number;
  /** The last, the present and the next key. */
  readonly keys: Promise<readonly TokenKey[]>;
}

/** Knows the keys of the present. */
export class TokenKeys {
  readonly #options: TokenKeysOptions;
  #present: Stretch | undefined;

  /** Keys in a store. */
  constructor(options: TokenKeysOptions) {
    this.#options = options;
  }

  /** The key that signs now. Rejects as the store does. */
  async signing(): Promise<TokenKey> {
    const [, key] = await this.#keys();
    assert(key !== undefined, "there is a present key");
    return key;
  }

  /** The public halves of every key that a token may be verified with, and of the next one. Rejects as the store does. */
  async published(): Promise<readonly JWK[]> {
    return (await this.#keys()).map(({ jwk }) => jwk);
  }

  async #keys(): Promise<readonly TokenKey[]> {
    const number = Math.max(1, Math.floor(this.#options.now() / TOKEN_KEY_MS));
    if (this.#present?.number !== number) this.#present = { number, keys: this.#load(number) };
    const { keys } = this.#present;
    try {
      return await keys;
    } catch (error) {
      // The next one asks again.
      if (this.#present?.keys === keys) this.#present = undefined;
      throw error;
    }
  }

  async #load(number: number): Promise<readonly TokenKey[]> {
    const { store, freshSeed } = this.#options;
    const numbers = [number - 1, number, number + 1];
    const keys = await Promise.all(numbers.map(async (one) => {
      const seed = await store.secret(nameOf(one), freshSeed());
      try {
        return await tokenKey(seed);
      } finally {
        seed.fill(0);
      }
    }));
    // What signs no longer, and verifies nothing any more, must not be found by whoever reads the database later.
    await store.forgetSecrets({ from: nameOf(0), before: nameOf(number - 1) });
    return keys;
  }
}

async function tokenKey(seed: Uint8Array): Promise<TokenKey> {
  const { calculateJwkThumbprint } = await import("jose" as string) as typeof import("jose");
  const { privateKey, x } = await ed25519KeyPair(seed);
  const jwk = { kty: "OKP", crv: "Ed25519", x };
  const id = await calculateJwkThumbprint(jwk);
  return { id, privateKey, jwk: { ...jwk, kid: id, use: "sig", alg: TOKEN_ALGORITHM } };
}

function nameOf(number: number): string {
  return NAME + String(number).padStart(NUMBER_DIGITS, "0");
}
