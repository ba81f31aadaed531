/** CRC-32 as FINGERPRINT uses it (ITU-T V.42, reflected polynomial 0xEDB88320). @module */

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? crc >>> 1 ^ 0xEDB88320 : crc >>> 1;
  return crc;
});

/** Returns the CRC-32 of the first `length` bytes as an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array, length: number = bytes.length): number {
  let crc = 0xFFFFFFFF;
  for (let i = 0; i < length; i++) {
    crc = crc >>> 8 ^ (TABLE[(crc ^ (bytes[i] ?? 0)) & 0xff] ?? 0);
  }
  return ~crc >>> 0;
}
