/**
 * The answers to Binding requests for whoever answers very many: the same bytes as {@linkcode answerBinding} gives, written
 * into one buffer, for the requests that nearly everybody sends.
 *
 * ```text
 *   header                    20   success, the request's transaction id
 *   XOR-MAPPED-ADDRESS   12 or 24   the source
 *   FINGERPRINT                8
 * ```
 *
 * @module
 */
import { formatIp, parseIp, type SocketAddress } from "../../core/mod.ts";
import { answerBinding } from "./binding_server.ts";
import { FINGERPRINT, HEADER_BYTES, MAGIC_COOKIE, XOR_MAPPED_ADDRESS } from "./codec.ts";
import { crc32 } from "./crc32.ts";

const REQUEST = 0x0001;
const SUCCESS = 0x0101;
const FINGERPRINT_XOR = 0x5354554E;
const FINGERPRINT_BYTES = 8;
/** Offset of the address in the answer: after the header, the attribute's head, family and port. */
const ADDRESS_AT = HEADER_BYTES + 8;
/** Below this, an attribute must be understood, and somebody has to say whether it is. */
const OPTIONAL_FROM = 0x8000;
/** Sources whose address is remembered as bytes; when full, all are forgotten. */
const SOURCES_MAX = 4096;

/** Answers Binding requests. */
export class BindingAnswers {
  readonly #bytes = new Uint8Array(ADDRESS_AT + 16 + FINGERPRINT_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  /** By host name. */
  readonly #sources = new Map<string, Uint8Array>();

  /**
   * Returns the answer that {@linkcode answerBinding} gives without a text for SOFTWARE, or `undefined` for what gets
   * silence. The bytes are borrowed until the next call.
   */
  answer(source: SocketAddress, request: Uint8Array): Uint8Array | undefined {
    return isPlain(request)
      ? this.answerPlain(source, request)
      : answerBinding({ source, payload: request })?.payload;
  }

  /** As {@linkcode BindingAnswers.answer}; `undefined` too for a request that needs a closer look. */
  answerPlain(source: SocketAddress, request: Uint8Array): Uint8Array | undefined {
    if (!isPlain(request)) return undefined;
    const ip = this.#addressOf(source.hostname);
    const { port } = source;
    if (ip === undefined || !Number.isInteger(port) || port < 1 || port > 0xffff) return undefined;
    const [bytes, view] = [this.#bytes, this.#view];
    const end = ADDRESS_AT + ip.length;
    view.setUint16(0, SUCCESS);
    view.setUint16(2, end + FINGERPRINT_BYTES - HEADER_BYTES);
    // The cookie and the transaction id.
    for (let i = 4; i < HEADER_BYTES; i++) bytes[i] = request[i] ?? 0;
    view.setUint16(HEADER_BYTES, XOR_MAPPED_ADDRESS);
    view.setUint16(HEADER_BYTES + 2, 4 + ip.length);
    view.setUint16(HEADER_BYTES + 4, ip.length === 4 ? 1 : 2);
    view.setUint16(HEADER_BYTES + 6, port ^ MAGIC_COOKIE >>> 16);
    // The key is the cookie followed by the transaction id, as they lie in the header.
    for (let i = 0; i < ip.length; i++) bytes[ADDRESS_AT + i] = (ip[i] ?? 0) ^ (bytes[4 + i] ?? 0);
    view.setUint16(end, FINGERPRINT);
    view.setUint16(end + 2, 4);
    view.setUint32(end + 4, crc32(bytes, end) ^ FINGERPRINT_XOR);
    return bytes.subarray(0, end + FINGERPRINT_BYTES);
  }

  #addressOf(hostname: string): Uint8Array | undefined {
    const known = this.#sources.get(hostname);
    if (known !== undefined) return known;
    const parsed = parseIp(hostname);
    // Formatting turns an IPv4-mapped address into the IPv4 address that it is.
    const ip = parsed?.length === 16 ? parseIp(formatIp(parsed)) : parsed;
    if (ip === undefined) return undefined;
    if (this.#sources.size >= SOURCES_MAX) this.#sources.clear();
    this.#sources.set(hostname, ip);
    return ip;
  }
}

/** Whether a datagram is a Binding request whose attributes may all be ignored. */
function isPlain(bytes: Uint8Array): boolean {
  const { length } = bytes;
  if (length < HEADER_BYTES || length % 4 !== 0) return false;
  if (uint16(bytes, 0) !== REQUEST || uint16(bytes, 2) !== length - HEADER_BYTES) return false;
  if (uint16(bytes, 4) !== MAGIC_COOKIE >>> 16 || uint16(bytes, 6) !== (MAGIC_COOKIE & 0xffff)) {
    return false;
  }
  // Those with many attributes, or with a fingerprint to check, are rare and take the long way.
  return length === HEADER_BYTES || hasOneOptional(bytes);
}

/** Whether the one attribute of a message need not be understood, and is no FINGERPRINT. */
function hasOneOptional(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_BYTES + 4) return false;
  const type = uint16(bytes, HEADER_BYTES);
  const end = HEADER_BYTES + 4 + (uint16(bytes, HEADER_BYTES + 2) + 3 & ~3);
  return end === bytes.length && type >= OPTIONAL_FROM && type !== FINGERPRINT;
}

function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0);
}
