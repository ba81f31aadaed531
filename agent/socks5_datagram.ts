/**
 * The datagrams of a SOCKS5 association as bytes (RFC 1928 section 7).
 *
 * ```text
 *   00 00  FRAG  ATYP  ADDRESS  PORT[2]  DATA
 *          FRAG  00 for a whole datagram, else a fragment
 *          ATYP  01 4 bytes, 03 length and name[1..255], 04 16 bytes
 * ```
 *
 * @module
 */
import { formatIp, parseIp, type SocketAddress } from "../core/mod.ts";
import { decodeName } from "./socks5.ts";

/** What a client's datagram is. */
export type Socks5Datagram =
  | {
    readonly kind: "datagram";
    /** Where to: a canonical literal, or a name of printable ASCII. */
    readonly host: string;
    /** 1 to 65535. */
    readonly port: number;
    /** What is sent; part of the datagram. */
    readonly payload: Uint8Array;
  }
  /** A part of one, which servers need not support (RFC 1928 section 7). */
  | { readonly kind: "fragment" }
  | { readonly kind: "malformed" };

const MALFORMED: Socks5Datagram = { kind: "malformed" };

/** Decodes a client's datagram. Any bytes lead to a value. */
export function decodeSocks5Datagram(bytes: Uint8Array): Socks5Datagram {
  const [reserved, alsoReserved, fragment, type, first] = bytes;
  if (reserved !== 0 || alsoReserved !== 0 || fragment === undefined) return MALFORMED;
  if (fragment !== 0) return { kind: "fragment" };
  const start = type === 0x03 ? 5 : 4;
  const length = type === 0x01 ? 4 : type === 0x04 ? 16 : type === 0x03 ? first ?? 0 : 0;
  const end = start + length + 2;
  if (length === 0 || bytes.length < end) return MALFORMED;
  const address = bytes.subarray(start, start + length);
  const host = type === 0x03 ? decodeName(address) : formatIp(address);
  const port = (bytes[end - 2] ?? 0) << 8 | (bytes[end - 1] ?? 0);
  if (host === undefined || port === 0) return MALFORMED;
  return { kind: "datagram", host, port, payload: bytes.subarray(end) };
}

/** Encodes a datagram for the client, which came from a mesh address. */
export function encodeSocks5Datagram(
  { hostname, port }: SocketAddress,
  payload: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const ip = parseIp(hostname) ?? new Uint8Array(4);
  const bytes = new Uint8Array(4 + ip.length + 2 + payload.length);
  bytes[3] = ip.length === 4 ? 0x01 : 0x04;
  bytes.set(ip, 4);
  bytes.set([port >> 8, port & 0xff], 4 + ip.length);
  bytes.set(payload, 6 + ip.length);
  return bytes;
}
