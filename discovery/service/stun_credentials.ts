/**
 * Short-term credentials for this server's STUN listeners: handed out over HTTP, checked without a table.
 *
 * ```text
 *   username   <end in unix seconds>:<16 random bytes, hex>
 *   password   HMAC-SHA256(secret, username), base64
 * ```
 *
 * The secret is made at the start: credentials of an earlier life get 401, and their holder asks for new ones.
 *
 * @module
 */
import { createHmac } from "node:crypto";
import { formatHex } from "../../core/mod.ts";
import type { StunCredentials } from "../../traversal/mod.ts";

/** Life of credentials: a node's NAT is examined when its link changes, which may be rare. */
const LIFE_MS = 86_400_000;
/** Random bytes in a username. */
const NONCE_BYTES = 16;
const USERNAME = /^(\d{10,12}):[0-9a-f]{32}$/;

/** Makes and checks credentials. */
export class StunCredentialIssuer {
  readonly #secret: Uint8Array;

  /** `secret`: at least 32 random bytes. */
  constructor(secret: Uint8Array) {
    if (secret.length < 32) throw new RangeError(`Secret of ${secret.length} bytes`);
    this.#secret = secret;
  }

  /** Makes credentials. `now` is unix milliseconds, `nonce` 16 random bytes. */
  issue(now: number, nonce: Uint8Array): StunCredentials {
    if (nonce.length !== NONCE_BYTES) throw new RangeError(`Nonce of ${nonce.length} bytes`);
    const username = `${Math.floor((now + LIFE_MS) / 1000)}:${formatHex(nonce)}`;
    return { username, password: this.#password(username) };
  }

  /** The password of a user; `undefined` where the name is none of ours, or has ended. */
  passwordOf(username: string, now: number): string | undefined {
    const end = USERNAME.exec(username)?.[1];
    if (end === undefined || Number(end) * 1000 <= now) return undefined;
    return this.#password(username);
  }

  #password(username: string): string {
    return createHmac("sha256", this.#secret).update(username).digest("base64");
  }
}
