/**
 * STUN credentials between two nodes of a mesh, from what only these two can compute: the X25519 of their WireGuard keys.
 *
 * ```text
 *   HKDF-SHA256(X25519(own private, peer's public), salt = "moray member stun 1 " mesh, info = asker's key, answerer's key)
 *     -> 18 bytes: USERNAME   30 bytes: password, both base64
 * ```
 *
 * Each direction has its own, so that a request cannot be sent back to its sender as one of the peer's.
 *
 * @module
 */
import { concat, formatBase64, parseKey } from "../core/mod.ts";
import { agreeSecret, privateCryptoKey } from "../io/mod.ts";
import type { StunCredentials } from "../traversal/mod.ts";

/** What two nodes ask each other with. */
export interface MemberCredentials {
  /** Signs this node's requests to the peer. */
  readonly asks: StunCredentials;
  /** Signs the peer's requests to this node. */
  readonly answers: StunCredentials;
}

const USERNAME_BYTES = 18;
const PASSWORD_BYTES = 30;
const SALT = "moray member stun 1 ";

/** One node's side of all its pairs. */
export class MemberKeys {
  readonly #secret: CryptoKey;
  readonly #publicKey: Uint8Array;
  readonly #salt: Uint8Array<ArrayBuffer>;

  private constructor(secret: CryptoKey, publicKey: Uint8Array, mesh: string) {
    this.#secret = secret;
    this.#publicKey = publicKey;
    this.#salt = new TextEncoder().encode(SALT + mesh);
  }

  /** Takes the node's keys; the private one becomes an object that does not give it out. */
  static async open(
    { privateKey, publicKey, mesh }: {
      readonly privateKey: Uint8Array;
      readonly publicKey: Uint8Array;
      readonly mesh: string;
    },
  ): Promise<MemberKeys> {
    return new MemberKeys(await privateCryptoKey(privateKey), publicKey, mesh);
  }

  /** The credentials with a peer, by its public key in base64; `undefined` for what is no key, or a weak one. */
  async with(peer: string): Promise<MemberCredentials | undefined> {
    const theirs = parseKey(peer);
    if (theirs === undefined) return undefined;
    const shared = await agreeSecret(this.#secret, theirs);
    if (shared === undefined) return undefined;
    const pair = await crypto.subtle.importKey("raw", shared, "HKDF", false, ["deriveBits"]);
    const [asks, answers] = await Promise.all([
      this.#derive(pair, concat(this.#publicKey, theirs)),
      this.#derive(pair, concat(theirs, this.#publicKey)),
    ]);
    return { asks, answers };
  }

  async #derive(pair: CryptoKey, info: Uint8Array<ArrayBuffer>): Promise<StunCredentials> {
    const algorithm = { name: "HKDF", hash: "SHA-256", salt: this.#salt, info };
    const length = 8 * (USERNAME_BYTES + PASSWORD_BYTES);
    const bytes = new Uint8Array(await crypto.subtle.deriveBits(algorithm, pair, length));
    return {
      username: formatBase64(bytes.subarray(0, USERNAME_BYTES)),
      password: formatBase64(bytes.subarray(USERNAME_BYTES)),
    };
  }
}
