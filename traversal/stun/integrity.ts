/**
 * MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 sections 9, 14.5 and 14.6).
 *
 * ```text
 *   header | attributes ...                     | MESSAGE-INTEGRITY, the HMAC  | FINGERPRINT
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
  MESSAGE_INTEGRITY_SHA256,
  type StunMessage,
} from "./codec.ts";
import { hmacSha1, sameDigest, SHA1_BYTES } from "./sha1.ts";
import { hmacSha256, SHA256_BYTES } from "./sha256.ts";

/** Short-term credentials. Both are printable ASCII, which SASLprep leaves as it is. */
export interface StunCredentials {
  /** What USERNAME says, at most 508 characters. */
  readonly username: string;
  /** The key of the HMAC. A secret: in no log, error or status. */
  readonly password: string;
}

/** Which attribute signs: MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256. */
export type Integrity = "sha1" | "sha256";

/** Options of {@linkcode verifyStun}. */
export interface VerifyStunOptions {
  /** The attribute that must be there. @default "sha1" */
  readonly integrity?: Integrity;
}

/** Options of {@linkcode signStun}. */
export interface SignStunOptions extends EncodeStunOptions, VerifyStunOptions {}

const FORMS = {
  sha1: { type: MESSAGE_INTEGRITY, bytes: SHA1_BYTES, hmac: hmacSha1 },
  sha256: { type: MESSAGE_INTEGRITY_SHA256, bytes: SHA256_BYTES, hmac: hmacSha256 },
} as const;

/**
 * Encodes a message that ends with MESSAGE-INTEGRITY by `key`, and FINGERPRINT if asked for. A text is a short-term password; bytes
 * are what `longTermKey` gives. Throws as `encodeStun`.
 */
export function signStun(
  message: StunMessage,
  key: string | Uint8Array,
  options: SignStunOptions = {},
): Uint8Array<ArrayBuffer> {
  const { type: own, bytes: size, hmac } = FORMS[options.integrity ?? "sha1"];
  const unsigned = message.attributes.filter(({ type }) =>
    type !== MESSAGE_INTEGRITY && type !== MESSAGE_INTEGRITY_SHA256
  );
  const value = new Uint8Array(size);
  const attributes = [...unsigned, { type: own, value }];
  const bytes = encodeStun({ ...message, attributes });
  const covered = bytes.subarray(0, bytes.length - size - 4);
  value.set(hmac(keyOf(key), covered));
  return encodeStun({ ...message, attributes }, options);
}

/**
 * Returns a decoded message with only the attributes that its MESSAGE-INTEGRITY covers, or `undefined` if that is missing
 * or wrong. `bytes` are those that `message` was decoded from; MESSAGE-INTEGRITY-SHA256 cut short counts as wrong.
 */
export function verifyStun(
  bytes: Uint8Array,
  message: StunMessage,
  key: string | Uint8Array,
  { integrity = "sha1" }: VerifyStunOptions = {},
): StunMessage | undefined {
  const { type: own, bytes: size, hmac } = FORMS[integrity];
  const index = message.attributes.findIndex(({ type }) => type === own);
  const mac = message.attributes[index]?.value;
  if (mac?.length !== size) return undefined;
  const end = mac.byteOffset - bytes.byteOffset - 4;
  const header = bytes.slice(0, HEADER_BYTES);
  new DataView(header.buffer).setUint16(2, end + 4 + size - HEADER_BYTES);
  const expected = hmac(keyOf(key), header, bytes.subarray(HEADER_BYTES, end));
  if (!sameDigest(expected, mac)) return undefined;
  return { ...message, attributes: message.attributes.slice(0, index) };
}

function keyOf(key: string | Uint8Array): Uint8Array {
  return typeof key === "string" ? new TextEncoder().encode(key) : key;
}
