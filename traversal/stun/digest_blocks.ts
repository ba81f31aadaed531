/**
 * What MD5, SHA-1 and SHA-256 have in common: blocks of 64 bytes, the padding of a message to whole blocks, and HMAC (RFC 2104).
 *
 * @module
 */

/** Bytes that each of the three works on at once. */
export const BLOCK_BYTES = 64;
/** Where the length of the message stands in the last block. */
const LENGTH_AT = 56;

/** Returns `parts` one after another, a one bit, zeros, and the length in bits at the end of the last block. */
export function padMessage(
  parts: readonly Uint8Array[],
  littleEndian = false,
): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const blocks = Math.floor((length + 8) / BLOCK_BYTES) + 1;
  const message = new Uint8Array(blocks * BLOCK_BYTES);
  let at = 0;
  for (const part of parts) {
    message.set(part, at);
    at += part.length;
  }
  message[at] = 0x80;
  const view = new DataView(message.buffer);
  const lengthAt = (blocks - 1) * BLOCK_BYTES + LENGTH_AT;
  const [high, low] = [Math.floor(length / 0x2000_0000), length << 3];
  view.setUint32(lengthAt, littleEndian ? low : high, littleEndian);
  view.setUint32(lengthAt + 4, littleEndian ? high : low, littleEndian);
  return message;
}

/** HMAC of `parts` one after another by a digest that works on blocks of {@linkcode BLOCK_BYTES}. */
export function hmac(
  digest: (...parts: readonly Uint8Array[]) => Uint8Array<ArrayBuffer>,
  key: Uint8Array,
  parts: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const short = key.length > BLOCK_BYTES ? digest(key) : key;
  const pad = (byte: number): Uint8Array => {
    const padded = new Uint8Array(BLOCK_BYTES).fill(byte);
    short.forEach((value, i) => padded[i] = value ^ byte);
    return padded;
  };
  return digest(pad(0x5c), digest(pad(0x36), ...parts));
}
