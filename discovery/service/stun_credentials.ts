/**
 * Short-term credentials for Discovery's STUN listeners: handed out over HTTP, checked without a table.
 *
 * ```text
 *   username   <end in unix seconds>:<16 random bytes, base64>                          anybody's
 *              <end in unix seconds>:<16 random bytes and the hidden holder, base64>    a node's: its answers have receipts
 *   password   HMAC-SHA256(secret, username), base64
 *   holder     the first 16 bytes of SHA-256 of mesh and key, hidden by HMAC-SHA256(secret, the random bytes):
 *              who listens on the way cannot tell a node again by it
 * ```
 *
 * The secret is in the store: credentials of one replica are good at the others.
 *
 * @module
 */
import { createHash, createHmac } from "node:crypto";
import { formatBase64, parseBase64 } from "../../core/mod.ts";
import type { StunCredentials } from "../../traversal/mod.ts";
import type { NodeKey } from "../store/store.ts";

/** Life of credentials: a node's NAT is examined when its link changes, which may be rare. */
const LIFE_MS = 86_400_000;
/** Random bytes in a username. */
const NONCE_BYTES = 16;
/** Bytes that name a holder. */
export const HOLDER_BYTES = 16;
const USERNAME = /^(\d{10,12}):([A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{43}=)$/;

/** Names a node towards STUN: no two nodes, and no two meshes of one key, have the same. */
export function stunHolder({ meshId, publicKey }: NodeKey): Uint8Array {
  const digest = createHash("sha256").update(`moray stun 1\n${meshId}\n${publicKey}`).digest();
  return new Uint8Array(digest.subarray(0, HOLDER_BYTES));
}

/** Makes and checks credentials. */
export class StunCredentialIssuer {
  readonly #passwords: Uint8Array;
  readonly #masks: Uint8Array;

  /** `secret`: at least 32 random bytes. */
  constructor(secret: Uint8Array) {
    if (secret.length < 32) throw new RangeError(`Secret of ${secret.length} bytes`);
    this.#passwords = hmac(secret, "moray stun password 1");
    this.#masks = hmac(secret, "moray stun holder 1");
  }

  /** Makes credentials, for a node or for anybody. `now` is unix milliseconds, `nonce` 16 random bytes. */
  issue(now: number, nonce: Uint8Array, node?: NodeKey): StunCredentials {
    if (nonce.length !== NONCE_BYTES) throw new RangeError(`Nonce of ${nonce.length} bytes`);
    const holder = node === undefined ? [] : this.#hide(stunHolder(node), nonce);
    const chance = formatBase64(Uint8Array.of(...nonce, ...holder));
    const username = `${Math.floor((now + LIFE_MS) / 1000)}:${chance}`;
    return { username, password: this.#password(username) };
  }

  /** The password of a user; `undefined` where the name is none of ours, or has ended. */
  passwordOf(username: string, now: number): string | undefined {
    const end = USERNAME.exec(username)?.[1];
    if (end === undefined || Number(end) * 1000 <= now) return undefined;
    return this.#password(username);
  }

  /** Whom a user's credentials were made for, as {@linkcode stunHolder} names it; `undefined` for nobody in particular. */
  holderOf(username: string): Uint8Array | undefined {
    const chance = parseBase64(USERNAME.exec(username)?.[2] ?? "");
    if (chance?.length !== NONCE_BYTES + HOLDER_BYTES) return undefined;
    return this.#hide(chance.subarray(NONCE_BYTES), chance.subarray(0, NONCE_BYTES));
  }

  #password(username: string): string {
    return createHmac("sha256", this.#passwords).update(username).digest("base64");
  }

  /** Hides a name, or shows it again. */
  #hide(holder: Uint8Array, nonce: Uint8Array): Uint8Array {
    const mask = createHmac("sha256", this.#masks).update(nonce).digest();
    return holder.map((byte, i) => byte ^ (mask[i] ?? 0));
  }
}

function hmac(key: Uint8Array, text: string): Uint8Array {
  return createHmac("sha256", key).update(text).digest();
}
