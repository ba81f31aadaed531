/** Byte helpers: comparison, joining, and the text forms of keys. @module */

/** Returns whether `a` and `b` hold the same bytes. Not constant time: never for secrets. */
export function equals(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

/** Returns the parts one after another in a new array. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Formats bytes as lower-case hexadecimal. */
export function formatHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Formats bytes as standard base64 with padding (RFC 4648 section 4). */
export function formatBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/** Parses standard base64 with padding; `undefined` for anything that does not format back to itself. */
export function parseBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    // Bits are left over that belong to no byte.
    return undefined;
  }
}

/** Length of a WireGuard key in bytes (Curve25519). */
export const KEY_BYTES = 32;

/** Parses a WireGuard key in its text form, 44 characters of base64; `undefined` for anything else. */
export function parseKey(text: string): Uint8Array<ArrayBuffer> | undefined {
  const bytes = parseBase64(text);
  return bytes?.length === KEY_BYTES ? bytes : undefined;
}
