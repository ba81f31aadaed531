/**
 * STUN messages as bytes (RFC 8489).
 *
 * ```text
 *  byte 0                 2                 4
 *  +--+------------------+-----------------+
 *  |00| message type     | length of what  |   The type's 14 bits interleave method and class:
 *  |  |                  | follows the     |   M11..M7 C1 M6 M5 M4 C0 M3..M0
 *  |  |                  | header, 4 | n   |   C1 C0: 00 request, 01 indication, 10 success, 11 error
 *  +--+------------------+-----------------+
 *  | magic cookie 0x2112A442               |   4
 *  +---------------------------------------+
 *  | transaction id, 12 bytes              |   8
 *  +---------------------------------------+
 *  | attributes ...                        |   20
 *
 *  an attribute:
 *  +---------------------+-----------------+
 *  | type: below 0x8000  | length of the   |   Padding to 4 bytes follows the value and is not counted
 *  | must be understood  | value           |   in the attribute's length; its content is ignored.
 *  +---------------------+-----------------+
 *  | value ...             | padding       |
 *
 *  the value of MAPPED-ADDRESS and the XOR-...-ADDRESS family:
 *  +--------+------------+-----------------+
 *  | 0      | family 1|2 | port            |   XOR: port with the first half of the cookie, address with
 *  +--------+------------+-----------------+   the cookie followed by the transaction id.
 *  | address, 4 or 16 bytes                |
 *
 *  the value of ERROR-CODE:
 *  +---------------------+---------+-------+
 *  | 0                   | class   | number|   code = class * 100 + number, class 3..6, number 0..99
 *  +---------------------+---------+-------+
 *  | reason phrase, UTF-8                  |
 *
 *  the value of FINGERPRINT, always the last attribute:
 *  | CRC-32 of all bytes before the attribute, XOR 0x5354554E |
 * ```
 *
 * Decoding never throws and copies nothing: values are views into the datagram, borrowed like it.
 *
 * @module
 */
import { formatIp, formatSocketAddress, parseIp, type SocketAddress } from "../../core/mod.ts";
import { crc32 } from "./crc32.ts";

/** The magic cookie at bytes 4 to 8 (RFC 8489 section 5). */
export const MAGIC_COOKIE = 0x2112A442;
/** Size of the STUN header. */
export const HEADER_BYTES = 20;
/** Size of a transaction id. */
export const TRANSACTION_ID_BYTES = 12;
/** Most attributes that a message may carry; a message with more is not decoded. */
export const ATTRIBUTES_MAX = 64;

/** The Binding method. */
export const METHOD_BINDING = 0x001;

/** MAPPED-ADDRESS: the reflexive address in clear, from servers of RFC 3489. */
export const MAPPED_ADDRESS = 0x0001;
/** CHANGE-REQUEST (RFC 5780). */
export const CHANGE_REQUEST = 0x0003;
/** USERNAME. */
export const USERNAME = 0x0006;
/** MESSAGE-INTEGRITY: HMAC-SHA1. Carried here as raw bytes. */
export const MESSAGE_INTEGRITY = 0x0008;
/** ERROR-CODE. */
export const ERROR_CODE = 0x0009;
/** UNKNOWN-ATTRIBUTES. */
export const UNKNOWN_ATTRIBUTES = 0x000A;
/** REALM. */
export const REALM = 0x0014;
/** NONCE. */
export const NONCE = 0x0015;
/** MESSAGE-INTEGRITY-SHA256. Carried here as raw bytes. */
export const MESSAGE_INTEGRITY_SHA256 = 0x001C;
/** PASSWORD-ALGORITHM. */
export const PASSWORD_ALGORITHM = 0x001D;
/** USERHASH. */
export const USERHASH = 0x001E;
/** XOR-MAPPED-ADDRESS: the reflexive address. */
export const XOR_MAPPED_ADDRESS = 0x0020;
/** PADDING: bytes that make a message longer (RFC 5780). */
export const PADDING = 0x0026;
/** RESPONSE-PORT: the port that the answer must go to (RFC 5780). */
export const RESPONSE_PORT = 0x0027;
/** SOFTWARE: who answers, for people. */
export const SOFTWARE = 0x8022;
/** PASSWORD-ALGORITHMS. */
export const PASSWORD_ALGORITHMS = 0x8002;
/** ALTERNATE-SERVER. */
export const ALTERNATE_SERVER = 0x8023;
/** FINGERPRINT. */
export const FINGERPRINT = 0x8028;
/** RESPONSE-ORIGIN (RFC 5780). */
export const RESPONSE_ORIGIN = 0x802B;
/** OTHER-ADDRESS (RFC 5780). */
export const OTHER_ADDRESS = 0x802C;

/** 300: another server should be asked, which ALTERNATE-SERVER names. */
export const ERROR_TRY_ALTERNATE = 300;
/** 400: the request is malformed. */
export const ERROR_BAD_REQUEST = 400;
/** 401: the request lacks valid credentials. */
export const ERROR_UNAUTHENTICATED = 401;
/** 420: the request has an attribute that must be understood and is not. */
export const ERROR_UNKNOWN_ATTRIBUTE = 420;

/** 438: the NONCE is too old; the answer has a new one. */
export const ERROR_STALE_NONCE = 438;

/** What a message is. */
export type StunClass = "request" | "indication" | "success" | "error";

/** One attribute as it is on the wire. */
export interface StunAttribute {
  /** 0 to 0xFFFF. Below 0x8000 the receiver must understand it. */
  readonly type: number;
  /** The value without padding. */
  readonly value: Uint8Array;
}

/** One STUN message. */
export interface StunMessage {
  /** Request, indication, success response or error response. */
  readonly class: StunClass;
  /** 0 to 0xFFF; {@linkcode METHOD_BINDING} is 1. */
  readonly method: number;
  /** {@linkcode TRANSACTION_ID_BYTES} bytes. */
  readonly transactionId: Uint8Array;
  /** In the order of the wire, FINGERPRINT included. */
  readonly attributes: readonly StunAttribute[];
}

/** An error response's reason. */
export interface StunError {
  /** 300 to 699. */
  readonly code: number;
  /** For people; untrusted text from the network. */
  readonly reason: string;
}

/** Options of {@linkcode encodeStun}. */
export interface EncodeStunOptions {
  /** Ends the message with FINGERPRINT. @default false */
  readonly fingerprint?: boolean;
}

const FINGERPRINT_XOR = 0x5354554E;
const FINGERPRINT_BYTES = 8;
/** By the value of the bits C1 C0. */
const CLASSES = ["request", "indication", "success", "error"] as const;
const FAMILY_IPV4 = 1;
const FAMILY_IPV6 = 2;
/** Longest reason phrase: 127 characters of at most 6 bytes, rounded to RFC 8489's 763 bytes. */
const REASON_BYTES_MAX = 763;

/** Attributes that must be understood, and that a user of RFC 8489 alone understands. */
export const RFC_8489_ATTRIBUTES: ReadonlySet<number> = new Set([
  MAPPED_ADDRESS,
  USERNAME,
  MESSAGE_INTEGRITY,
  ERROR_CODE,
  UNKNOWN_ATTRIBUTES,
  REALM,
  NONCE,
  MESSAGE_INTEGRITY_SHA256,
  PASSWORD_ALGORITHM,
  USERHASH,
  XOR_MAPPED_ADDRESS,
]);

/**
 * Decodes one datagram, or returns `undefined` for anything that is not exactly one STUN message of RFC 8489: first
 * two bits 00, the magic cookie, a length that is a multiple of 4 and ends the datagram, attributes inside it
 * (at most {@linkcode ATTRIBUTES_MAX}), and FINGERPRINT, if there is one, last and right.
 */
export function decodeStun(bytes: Uint8Array): StunMessage | undefined {
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint16(0);
  if (type > 0x3fff || view.getUint32(4) !== MAGIC_COOKIE) return undefined;
  if (view.getUint16(2) !== bytes.length - HEADER_BYTES) return undefined;
  const attributes: StunAttribute[] = [];
  for (let at = HEADER_BYTES; at < bytes.length;) {
    if (attributes.length === ATTRIBUTES_MAX) return undefined;
    const attributeType = view.getUint16(at);
    const length = view.getUint16(at + 2);
    const end = at + 4 + padded(length);
    if (end > bytes.length) return undefined;
    if (attributeType === FINGERPRINT) {
      if (length !== 4 || end !== bytes.length) return undefined;
      if (view.getUint32(at + 4) !== fingerprintOf(bytes, at)) return undefined;
    }
    attributes.push({ type: attributeType, value: bytes.subarray(at + 4, at + 4 + length) });
    at = end;
  }
  return {
    class: CLASSES[(type >> 7 & 2) | (type >> 4 & 1)] ?? "request",
    method: (type & 0x000f) | (type >> 1 & 0x0070) | (type >> 2 & 0x0f80),
    transactionId: bytes.subarray(8, HEADER_BYTES),
    attributes,
  };
}

/**
 * Encodes a message. FINGERPRINT attributes in the list are left out: the option appends the right one.
 *
 * Throws `RangeError` for a method, transaction id, attribute or message that the format cannot hold.
 */
export function encodeStun(
  message: StunMessage,
  { fingerprint = false }: EncodeStunOptions = {},
): Uint8Array<ArrayBuffer> {
  const { method, transactionId } = message;
  if (!Number.isInteger(method) || method < 0 || method > 0xfff) {
    throw new RangeError(`STUN method out of range: ${method}`);
  }
  if (transactionId.length !== TRANSACTION_ID_BYTES) {
    throw new RangeError(`STUN transaction id of ${transactionId.length} bytes`);
  }
  const attributes = message.attributes.filter(({ type }) => type !== FINGERPRINT);
  if (attributes.length + (fingerprint ? 1 : 0) > ATTRIBUTES_MAX) {
    throw new RangeError(`STUN message with ${attributes.length} attributes`);
  }
  const length = attributes.reduce((sum, { value }) => sum + 4 + padded(value.length), 0) +
    (fingerprint ? FINGERPRINT_BYTES : 0);
  if (length > 0xfffc) throw new RangeError(`STUN message of ${length} bytes`);
  const bytes = new Uint8Array(HEADER_BYTES + length);
  const view = new DataView(bytes.buffer);
  const classBits = CLASSES.indexOf(message.class);
  view.setUint16(
    0,
    (method & 0x000f) | (method & 0x0070) << 1 | (method & 0x0f80) << 2 |
      (classBits & 1) << 4 | (classBits & 2) << 7,
  );
  view.setUint16(2, length);
  view.setUint32(4, MAGIC_COOKIE);
  bytes.set(transactionId, 8);
  let at = HEADER_BYTES;
  for (const { type, value } of attributes) {
    if (!Number.isInteger(type) || type < 0 || type > 0xffff) {
      throw new RangeError(`STUN attribute type out of range: ${type}`);
    }
    view.setUint16(at, type);
    view.setUint16(at + 2, value.length);
    bytes.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  if (fingerprint) {
    view.setUint16(at, FINGERPRINT);
    view.setUint16(at + 2, 4);
    view.setUint32(at + 4, fingerprintOf(bytes, at));
  }
  return bytes;
}

/** Returns the value of the first attribute of a type; later ones of the same type are ignored, as RFC 8489 section 14 asks. */
export function findAttribute(message: StunMessage, type: number): Uint8Array | undefined {
  return message.attributes.find((attribute) => attribute.type === type)?.value;
}

/**
 * Returns the reflexive address: XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS where there is none. `undefined` if both are
 * missing, or the one that counts is malformed or has port 0.
 */
export function xorMappedAddress(message: StunMessage): SocketAddress | undefined {
  const xored = findAttribute(message, XOR_MAPPED_ADDRESS);
  const plain = findAttribute(message, MAPPED_ADDRESS);
  const address = xored !== undefined
    ? decodeXorAddress(xored, message.transactionId)
    : plain && decodeAddress(plain);
  return address === undefined || address.port === 0 ? undefined : address;
}

/** Decodes a value of the XOR-MAPPED-ADDRESS form. Port 0 is accepted: TURN's permissions carry no port. */
export function decodeXorAddress(
  value: Uint8Array,
  transactionId: Uint8Array,
): SocketAddress | undefined {
  return decodeAddress(xorAddress(value, transactionId));
}

/** Encodes a value of the XOR-MAPPED-ADDRESS form, or returns `undefined` if `address` is no IP literal with a port of 0 to 65535. */
export function encodeXorAddress(
  address: SocketAddress,
  transactionId: Uint8Array,
): Uint8Array<ArrayBuffer> | undefined {
  const value = encodeAddress(address);
  return value && xorAddress(value, transactionId);
}

/** Encodes a value of the MAPPED-ADDRESS form, or returns `undefined` where {@linkcode encodeXorAddress} does. */
export function encodeAddress(address: SocketAddress): Uint8Array<ArrayBuffer> | undefined {
  const parsed = parseIp(address.hostname);
  // Formatting turns an IPv4-mapped address into the IPv4 address that it is.
  const ip = parsed?.length === 16 ? parseIp(formatIp(parsed)) : parsed;
  const { port } = address;
  if (ip === undefined || !Number.isInteger(port) || port < 0 || port > 0xffff) return undefined;
  const value = new Uint8Array(4 + ip.length);
  value[1] = ip.length === 4 ? FAMILY_IPV4 : FAMILY_IPV6;
  value[2] = port >> 8;
  value[3] = port & 0xff;
  value.set(ip, 4);
  return value;
}

/** Returns an attribute of the XOR-MAPPED-ADDRESS form. Throws `RangeError` where {@linkcode encodeXorAddress} gives `undefined`. */
export function xorAddressAttribute(
  type: number,
  address: SocketAddress,
  transactionId: Uint8Array,
): StunAttribute {
  const value = encodeXorAddress(address, transactionId);
  if (value === undefined) throw new RangeError(`No address: ${formatSocketAddress(address)}`);
  return { type, value };
}

/** Returns the code and reason of ERROR-CODE, or `undefined` if it is missing or malformed. */
export function errorCode(message: StunMessage): StunError | undefined {
  const value = findAttribute(message, ERROR_CODE);
  if (value === undefined || value.length < 4) return undefined;
  const hundreds = (value[2] ?? 0) & 7;
  const number = value[3] ?? 0;
  if (hundreds < 3 || hundreds > 6 || number > 99) return undefined;
  const reason = new TextDecoder().decode(value.subarray(4, 4 + REASON_BYTES_MAX));
  return { code: hundreds * 100 + number, reason };
}

/** Returns an ERROR-CODE attribute. Throws `RangeError` for a code outside 300 to 699 or a reason over 763 bytes. */
export function errorAttribute(code: number, reason: string): StunAttribute {
  if (!Number.isInteger(code) || code < 300 || code > 699) {
    throw new RangeError(`STUN error code out of range: ${code}`);
  }
  const text = new TextEncoder().encode(reason);
  if (text.length > REASON_BYTES_MAX) throw new RangeError("STUN reason phrase too long");
  const value = new Uint8Array(4 + text.length);
  value[2] = Math.floor(code / 100);
  value[3] = code % 100;
  value.set(text, 4);
  return { type: ERROR_CODE, value };
}

/** Returns an UNKNOWN-ATTRIBUTES attribute that lists attribute types. */
export function unknownAttributesAttribute(types: readonly number[]): StunAttribute {
  return {
    type: UNKNOWN_ATTRIBUTES,
    value: Uint8Array.from(types.flatMap((type) => [type >> 8 & 0xff, type & 0xff])),
  };
}

/** Returns a SOFTWARE attribute. Throws `RangeError` for a text over 763 bytes. */
export function softwareAttribute(text: string): StunAttribute {
  const value = new TextEncoder().encode(text);
  if (value.length > REASON_BYTES_MAX) throw new RangeError("STUN software text too long");
  return { type: SOFTWARE, value };
}

/**
 * Returns the types, each once, of the attributes that must be understood (below 0x8000) and are not in `known`.
 *
 * @param known What this usage of STUN understands. Absent: what RFC 8489 itself defines.
 */
export function unknownRequired(
  message: StunMessage,
  known: ReadonlySet<number> = RFC_8489_ATTRIBUTES,
): readonly number[] {
  const types = new Set<number>();
  for (const { type } of message.attributes) {
    if (type < 0x8000 && !known.has(type)) types.add(type);
  }
  return [...types];
}

function padded(length: number): number {
  return length + 3 & ~3;
}

/** The value of a FINGERPRINT that starts at `at`. */
function fingerprintOf(bytes: Uint8Array, at: number): number {
  return (crc32(bytes, at) ^ FINGERPRINT_XOR) >>> 0;
}

/** Decodes a value of the MAPPED-ADDRESS form. Port 0 is accepted. */
export function decodeAddress(value: Uint8Array): SocketAddress | undefined {
  const family = value[1];
  if (family !== FAMILY_IPV4 && family !== FAMILY_IPV6) return undefined;
  if (value.length !== (family === FAMILY_IPV4 ? 8 : 20)) return undefined;
  return {
    hostname: formatIp(value.subarray(4)),
    port: (value[2] ?? 0) << 8 | (value[3] ?? 0),
  };
}

/** Its own inverse. Byte 0 and the family stay. */
function xorAddress(value: Uint8Array, transactionId: Uint8Array): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(value);
  for (let i = 2; i < result.length; i++) {
    // Ports and addresses both meet the cookie from its start; the transaction id follows it.
    const k = i < 4 ? i - 2 : i - 4;
    const key = k < 4 ? MAGIC_COOKIE >>> 24 - 8 * k : transactionId[k - 4] ?? 0;
    result[i] = (result[i] ?? 0) ^ key & 0xff;
  }
  return result;
}
