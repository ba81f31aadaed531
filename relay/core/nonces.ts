/**
 * Nonces that the server need not remember.
 *
 * ```text
 *   12 characters of base64: | second of issue, 3 bytes | HMAC-SHA1 of second, address and port, first 6 bytes |
 *   before them, where the answer may be long enough: what the server can do (RFC 8489 section 9.2)
 * ```
 *
 * A nonce is good for one source: whoever sends one back has received it there, and one that was overheard is of no use elsewhere.
 *
 * @module
 */
import { formatBase64, type Instant, parseBase64, type SocketAddress } from "../../core/mod.ts";
import { formatNonceFeatures, hmacSha1, sameDigest } from "../../traversal/mod.ts";

/** Life of a nonce. RFC 8656 section 5 wants at most an hour. */
export const NONCE_SECONDS = 600;
const SECOND_BYTES = 3;
const SECONDS_MASK = 0xff_ffff;
const MAC_BYTES = 6;
const CHARACTERS = 12;

/** What stands before a nonce whose server lets clients choose how the key is made. */
export const NONCE_FEATURES: string = formatNonceFeatures({
  passwordAlgorithms: true,
  usernameAnonymity: false,
});

/** Issues nonces and knows its own again. */
export class Nonces {
  readonly #key: Uint8Array;

  /** `key`: random bytes, at least 20, that nobody else knows. */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /**
   * A nonce for a source; with `features`, one that begins with {@linkcode NONCE_FEATURES}. `notBefore`: no nonce of an earlier second is good;
   * it may be the next second.
   */
  issue(now: Instant, source: SocketAddress, { features, notBefore = 0 }: {
    readonly features: boolean;
    readonly notBefore?: number;
  }): string {
    const second = Math.max(notBefore, Math.floor(now / 1000)) & SECONDS_MASK;
    const bytes = new Uint8Array(SECOND_BYTES + MAC_BYTES);
    writeSecond(bytes, second);
    bytes.set(this.#mac(second, source), SECOND_BYTES);
    return (features ? NONCE_FEATURES : "") + formatBase64(bytes);
  }

  /** Whether a nonce was issued for this source, in the second `notBefore` or later, and has not expired. */
  isValid(now: Instant, source: SocketAddress, nonce: string, notBefore = 0): boolean {
    const text = nonce.startsWith(NONCE_FEATURES) ? nonce.slice(NONCE_FEATURES.length) : nonce;
    const bytes = text.length === CHARACTERS ? parseBase64(text) : undefined;
    if (bytes?.length !== SECOND_BYTES + MAC_BYTES) return false;
    const second = (bytes[0] ?? 0) << 16 | (bytes[1] ?? 0) << 8 | (bytes[2] ?? 0);
    // One that is a second ahead is one that was asked for in the second in which the one before was given up.
    const ahead = second - Math.floor(now / 1000) - 1 & SECONDS_MASK;
    const age = ahead === 0 ? -1 : Math.floor(now / 1000) - second & SECONDS_MASK;
    return age <= NONCE_SECONDS && Math.floor(now / 1000) - age >= notBefore &&
      sameDigest(this.#mac(second, source), bytes.subarray(SECOND_BYTES));
  }

  #mac(second: number, { hostname, port }: SocketAddress): Uint8Array {
    const text = new TextEncoder().encode(`${second} ${hostname} ${port}`);
    return hmacSha1(this.#key, text).subarray(0, MAC_BYTES);
  }
}

function writeSecond(bytes: Uint8Array, second: number): void {
  bytes[0] = second >> 16;
  bytes[1] = second >> 8;
  bytes[2] = second;
}
