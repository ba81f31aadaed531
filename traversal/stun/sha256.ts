/**
 * SHA-256 (RFC 6234) and HMAC-SHA256, for MESSAGE-INTEGRITY-SHA256, USERHASH and the keys of long-term credentials.
 *
 * Written out for the reasons that `sha1.ts` gives.
 *
 * @module
 */
import { BLOCK_BYTES, hmac, padMessage } from "./digest_blocks.ts";

/** Bytes of a digest. */
export const SHA256_BYTES = 32;

/** The first 32 bits of the fractions of the cube roots of the first 64 primes. */
const ROUNDS = rootFractions(64, 1 / 3);
/** The same of the square roots of the first 8. */
const START = rootFractions(8, 1 / 2);

/** The digest of `parts` one after another. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const message = padMessage(parts);
  const view = new DataView(message.buffer);
  const state = START.slice();
  const words = new Uint32Array(64);
  for (let block = 0; block < message.length; block += BLOCK_BYTES) {
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(block + 4 * i);
    mix(state, words);
  }
  const digest = new Uint8Array(SHA256_BYTES);
  const out = new DataView(digest.buffer);
  state.forEach((word, i) => out.setUint32(4 * i, word));
  return digest;
}

/** HMAC-SHA256 of `parts` one after another. */
export function hmacSha256(
  key: Uint8Array,
  ...parts: readonly Uint8Array[]
): Uint8Array<ArrayBuffer> {
  return hmac(sha256, key, parts);
}

/** Works one block of 16 words into the state. */
function mix(state: Uint32Array, w: Uint32Array): void {
  for (let t = 16; t < 64; t++) {
    const [x, y] = [w[t - 15] ?? 0, w[t - 2] ?? 0];
    const s0 = rotate(x, 7) ^ rotate(x, 18) ^ x >>> 3;
    const s1 = rotate(y, 17) ^ rotate(y, 19) ^ y >>> 10;
    w[t] = (w[t - 16] ?? 0) + s0 + (w[t - 7] ?? 0) + s1;
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let t = 0; t < 64; t++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const first = h + s1 + (e & f ^ ~e & g) + (ROUNDS[t] ?? 0) + (w[t] ?? 0) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const second = s0 + (a & b ^ a & c ^ b & c) | 0;
    h = g;
    g = f;
    f = e;
    e = d + first | 0;
    d = c;
    c = b;
    b = a;
    a = first + second | 0;
  }
  for (const [i, word] of [a, b, c, d, e, f, g, h].entries()) state[i] = (state[i] ?? 0) + word;
}

function rotate(word: number, bits: number): number {
  return word >>> bits | word << 32 - bits;
}

function rootFractions(count: number, power: number): Uint32Array<ArrayBuffer> {
  const fractions = new Uint32Array(count);
  let found = 0;
  for (let n = 2; found < count; n++) {
    let prime = true;
    for (let divisor = 2; divisor * divisor <= n; divisor++) prime &&= n % divisor !== 0;
    if (!prime) continue;
    const root = n ** power;
    fractions[found++] = (root - Math.floor(root)) * 2 ** 32;
  }
  return fractions;
}
