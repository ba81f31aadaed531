/** The system's entropy. @module */
import type { Rng } from "../core/mod.ts";

/** Most bytes that one call of `crypto.getRandomValues` gives. */
const DRAW_BYTES_MAX = 65_536;

/** Random bytes fit for keys. */
export const systemRng: Rng = {
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += DRAW_BYTES_MAX) {
      crypto.getRandomValues(bytes.subarray(at, at + DRAW_BYTES_MAX));
    }
    return bytes;
  },
};
