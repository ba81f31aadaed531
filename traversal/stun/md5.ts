/**
 * MD5 (RFC 1321), for nothing but the keys of long-term credentials, where the protocol leaves no choice: most TURN servers
 * offer no other. The password behind is random and lives for hours, so what is known against MD5 does not help a thief.
 *
 * Written out for the reasons that `sha1.ts` gives.
 *
 * @module
 */
import { BLOCK_BYTES, padMessage } from "./digest_blocks.ts";

/** Bytes of a digest. */
export const MD5_BYTES = 16;

/** By round of 16 steps: how far each of four steps rotates. */
const ROTATIONS = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]] as const;
const SINES = Uint32Array.from({ length: 64 }, (_, i) => Math.abs(Math.sin(i + 1)) * 2 ** 32);

/** The digest of `parts` one after another. */
export function md5(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const message = padMessage(parts, true);
  const view = new DataView(message.buffer);
  const state = Uint32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  const words = new Uint32Array(16);
  for (let block = 0; block < message.length; block += BLOCK_BYTES) {
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(block + 4 * i, true);
    mix(state, words);
  }
  const digest = new Uint8Array(MD5_BYTES);
  const out = new DataView(digest.buffer);
  state.forEach((word, i) => out.setUint32(4 * i, word, true));
  return digest;
}

/** Works one block of 16 words into the state. */
function mix(state: Uint32Array, words: Uint32Array): void {
  let [a = 0, b = 0, c = 0, d = 0] = state;
  for (let t = 0; t < 64; t++) {
    const round = t >> 4;
    const [f, k] = round === 0
      ? [b & c | ~b & d, t]
      : round === 1
      ? [d & b | ~d & c, 5 * t + 1]
      : round === 2
      ? [b ^ c ^ d, 3 * t + 5]
      : [c ^ (b | ~d), 7 * t];
    const sum = a + f + (SINES[t] ?? 0) + (words[k & 15] ?? 0) | 0;
    const bits = ROTATIONS[round]?.[t & 3] ?? 0;
    a = d;
    d = c;
    c = b;
    b = b + (sum << bits | sum >>> 32 - bits) | 0;
  }
  for (const [i, word] of [a, b, c, d].entries()) state[i] = (state[i] ?? 0) + word;
}
