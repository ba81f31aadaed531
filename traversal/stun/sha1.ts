/**
 * SHA-1 (RFC 3174) and HMAC-SHA1 (RFC 2104), for MESSAGE-INTEGRITY.
 *
 * Written out because the runtime's own is asynchronous (`crypto.subtle`) or costs each thread some tens of milliseconds to
 * load (`node:crypto`), and a node signs a hundred bytes twice a minute. What is known against SHA-1 are collisions, which an
 * HMAC does not mind.
 *
 * @module
 */
import { BLOCK_BYTES, hmac, padMessage } from "./digest_blocks.ts";

/** Bytes of a digest. */
export const SHA1_BYTES = 20;
/** The digest of `parts` one after another. */
export function sha1(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const message = padMessage(parts);
  const view = new DataView(message.buffer);
  const state = Uint32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  const words = new Uint32Array(80);
  for (let block = 0; block < message.length; block += BLOCK_BYTES) {
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(block + 4 * i);
    mix(state, words);
  }
  const digest = new Uint8Array(SHA1_BYTES);
  const out = new DataView(digest.buffer);
  state.forEach((word, i) => out.setUint32(4 * i, word));
  return digest;
}

/** HMAC-SHA1 of `parts` one after another. */
export function hmacSha1(
  key: Uint8Array,
  ...parts: readonly Uint8Array[]
): Uint8Array<ArrayBuffer> {
  return hmac(sha1, key, parts);
}

/** Whether two digests are the same, in a time that does not tell where they differ. */
export function sameDigest(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}

/** Works one block of 16 words into the state. */
function mix(state: Uint32Array, w: Uint32Array): void {
  for (let t = 16; t < 80; t++) {
    w[t] = rotate((w[t - 3] ?? 0) ^ (w[t - 8] ?? 0) ^ (w[t - 14] ?? 0) ^ (w[t - 16] ?? 0), 1);
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0] = state;
  for (let t = 0; t < 80; t++) {
    const [f, k] = t < 20
      ? [b & c | ~b & d, 0x5a827999]
      : t < 40
      ? [b ^ c ^ d, 0x6ed9eba1]
      : t < 60
      ? [b & c | b & d | c & d, 0x8f1bbcdc]
      : [b ^ c ^ d, 0xca62c1d6];
    const next = rotate(a, 5) + f + e + k + (w[t] ?? 0) >>> 0;
    e = d;
    d = c;
    c = rotate(b, 30);
    b = a;
    a = next;
  }
  for (const [i, word] of [a, b, c, d, e].entries()) state[i] = (state[i] ?? 0) + word;
}

function rotate(word: number, bits: number): number {
  return (word << bits | word >>> 32 - bits) >>> 0;
}
