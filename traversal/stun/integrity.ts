/**
 * MESSAGE-INTEGRITY with short-term credentials (RFC 8489 sections 9.1 and 14.5).
 *
 * ```text
 *   header | attributes ...                     | MESSAGE-INTEGRITY, HMAC-SHA1 | FINGERPRINT
 *   \______ what the HMAC covers, the header's __/
 *           length counted to the end of MESSAGE-INTEGRITY
 * ```
 *
 * What follows MESSAGE-INTEGRITY was not signed: {@linkcode verifyStun} leaves it out.
 *
 * @module
 */
import {
  encodeStun,
  type EncodeStunOptions,
  HEADER_BYTES,
  MESSAGE_INTEGRITY,
  type StunMessage,
} from "./codec.ts";
import { hmacSha1, sameDigest, SHA1_BYTES } from "./sha1.ts";

/** Short-term credentials. Both are printable ASCII, which SASLprep leaves as it is. */
export interface StunCredentials {
  /** What USERNAME says, at most 508 characters. */
  readonly username: string;
  /** The key of the HMAC. A secret: in no log, error or status. */
  readonly password: string;
}

/** Encodes a message that ends with MESSAGE-INTEGRITY by `password`, and FINGERPRINT if asked for. Throws as `encodeStun`. */
export function signStun(
  message: StunMessage,
  password: string,
  options: EncodeStunOptions = {},
): Uint8Array<ArrayBuffer> {
  const unsigned = message.attributes.filter(({ type }) => type !== MESSAGE_INTEGRITY);
  const value = new Uint8Array(SHA1_BYTES);
  const attributes = [...unsigned, { type: MESSAGE_INTEGRITY, value }];
  const bytes = encodeStun({ ...message, attributes });
  const covered = bytes.subarray(0, bytes.length - SHA1_BYTES - 4);
  value.set(hmacSha1(keyOf(password), covered));
  return encodeStun({ ...message, attributes }, options);
}

/**
 * Returns a decoded message with only the attributes that its MESSAGE-INTEGRITY covers, or `undefined` if that is missing
 * or wrong. `bytes` are those that `message` was decoded from.
 */
export function verifyStun(
  bytes: Uint8Array,
  message: StunMessage,
  password: string,
): StunMessage | undefined {
  const index = message.attributes.findIndex(({ type }) => type === MESSAGE_INTEGRITY);
  const mac = message.attributes[index]?.value;
  if (mac?.length !== SHA1_BYTES) return undefined;
  const end = mac.byteOffset - bytes.byteOffset - 4;
  const header = bytes.slice(0, HEADER_BYTES);
  new DataView(header.buffer).setUint16(2, end + 4 + SHA1_BYTES - HEADER_BYTES);
  const expected = hmacSha1(keyOf(password), header, bytes.subarray(HEADER_BYTES, end));
  if (!sameDigest(expected, mac)) return undefined;
  return { ...message, attributes: message.attributes.slice(0, index) };
}

function keyOf(password: string): Uint8Array {
  return new TextEncoder().encode(password);
}
