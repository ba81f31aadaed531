/**
 * The datagrams of a node's UDP ports in the two rings of one slot. A frame is what the engine makes of a datagram
 * (`wg/engine/src/udp.rs`), so that a batch of them crosses in one copy:
 *
 * ```text
 *  0 payload length u32   4 kind u16   6 our port u16
 *  8 the other end: family u16   10 port u16   12 address, 16 bytes (IPv4 in the first four)
 * 28 payload, then zeros up to a multiple of four                                     (little-endian)
 * ```
 *
 * @module
 */
import { AddressCache, assert, parseIp, type SocketAddress } from "../../core/mod.ts";
import { copyBytes } from "../../io/mod.ts";
import type { ByteRing, Spans } from "./byte_ring.ts";

/** What a frame is. */
export const DATAGRAM_KIND = {
  /** A datagram. */
  datagram: 0,
  /** To the main thread: the other end says that nobody has the port that a datagram of ours went to. */
  refused: 1,
  /** To the main thread: the other end says that a datagram of ours cannot be delivered. */
  unreachable: 2,
  /** To the main thread: a datagram of ours was not sent, since the path to its address has changed. */
  notSent: 3,
} as const;

/** Bytes in front of a payload. */
export const DATAGRAM_HEADER_BYTES = 28;
/** Bytes of an address in a frame, and where they begin. */
export const DATAGRAM_ADDRESS_BYTES = 20;
const ADDRESS_AT = 8;
const PADDING = new Uint8Array(3);

/** Bytes that a frame with a payload of `length` takes. */
export function datagramFrameBytes(length: number): number {
  return DATAGRAM_HEADER_BYTES + (length + 3 & ~3);
}

/** The bytes of an address in a frame. `hostname` must be a literal. */
export function encodeDatagramAddress({ hostname, port }: SocketAddress): Uint8Array<ArrayBuffer> {
  const ip = parseIp(hostname);
  assert(ip !== undefined, "an address is a literal");
  const bytes = new Uint8Array(DATAGRAM_ADDRESS_BYTES);
  bytes[0] = ip.length === 4 ? 4 : 6;
  bytes[2] = port & 0xff;
  bytes[3] = port >> 8;
  bytes.set(ip, 4);
  return bytes;
}

/** A frame as its reader sees it. */
export interface DatagramFrame {
  /** One of {@linkcode DATAGRAM_KIND}. */
  readonly kind: number;
  /** Our port. */
  readonly port: number;
  /** The other end. */
  readonly remote: SocketAddress;
  /** What was sent; nothing but for datagrams. Part of a larger buffer. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Writes frames into a ring; one per ring. */
export class DatagramWriter {
  readonly #ring: ByteRing;
  readonly #header = new Uint8Array(DATAGRAM_HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);

  /** The writer of this ring. */
  constructor(ring: ByteRing) {
    this.#ring = ring;
  }

  /** Appends a frame; `false` where it does not fit now, and then nothing is written. */
  push(
    { kind, port, address, payload }: {
      readonly kind: number;
      readonly port: number;
      /** As {@linkcode encodeDatagramAddress} makes it. */
      readonly address: Uint8Array;
      readonly payload: Uint8Array;
    },
  ): boolean {
    const size = datagramFrameBytes(payload.length);
    if (this.#ring.room < size) return false;
    this.#view.setUint32(0, payload.length, true);
    this.#view.setUint16(4, kind, true);
    this.#view.setUint16(6, port, true);
    this.#header.set(address, ADDRESS_AT);
    const room = this.#ring.writableSpans(size);
    put(room, 0, this.#header);
    put(room, DATAGRAM_HEADER_BYTES, payload);
    const end = DATAGRAM_HEADER_BYTES + payload.length;
    put(room, end, PADDING.subarray(0, size - end));
    // At once: whoever reads finds whole frames only.
    this.#ring.commit(size);
    return true;
  }
}

/** A frame where it lies in a ring. */
export interface DatagramPlace {
  /** Our port. */
  readonly port: number;
  /** The other end, as {@linkcode encodeDatagramAddress} makes it; overwritten by the next look. */
  readonly address: Uint8Array;
  /** The payload where it lies. */
  readonly parts: Spans;
  /** Bytes of the frame, to be consumed. */
  readonly size: number;
}

/** Looks at the frames of a ring in place; one per ring. */
export class DatagramLooker {
  readonly #ring: ByteRing;
  readonly #header = new Uint8Array(DATAGRAM_HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  readonly #address = this.#header.subarray(ADDRESS_AT);

  /** The reader of this ring. */
  constructor(ring: ByteRing) {
    this.#ring = ring;
  }

  /** The oldest frame. */
  look(): DatagramPlace | undefined {
    if (this.#ring.length === 0) return undefined;
    const [head, tail] = this.#ring.peek(DATAGRAM_HEADER_BYTES);
    this.#header.set(head);
    this.#header.set(tail, head.length);
    const bytes = this.#view.getUint32(0, true);
    const size = datagramFrameBytes(bytes);
    const parts = cut(this.#ring.peek(DATAGRAM_HEADER_BYTES + bytes), DATAGRAM_HEADER_BYTES);
    return { port: this.#view.getUint16(6, true), address: this.#address, parts, size };
  }
}

/** Reads frames out of a ring, as many as there are in one copy; one per ring. */
export class DatagramReader {
  readonly #ring: ByteRing;
  readonly #addresses = new AddressCache();

  /** The reader of this ring. */
  constructor(ring: ByteRing) {
    this.#ring = ring;
  }

  /** Takes all frames that there are, and hands them out in turn. Returns how many bytes that were. */
  drain(take: (frame: DatagramFrame) => void): number {
    const bytes = new Uint8Array(this.#ring.length);
    if (bytes.length === 0) return 0;
    this.#ring.read(bytes);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < bytes.length;) {
      const length = view.getUint32(at, true);
      const words = view.getUint16(at + ADDRESS_AT, true) === 6 ? 4 : 1;
      const port = view.getUint16(at + ADDRESS_AT + 2, true);
      const start = at + DATAGRAM_HEADER_BYTES;
      take({
        kind: view.getUint16(at + 4, true),
        port: view.getUint16(at + 6, true),
        remote: this.#addresses.find(view, at + ADDRESS_AT + 4, { words, port }),
        payload: bytes.subarray(start, start + length),
      });
      at += datagramFrameBytes(length);
    }
    return bytes.length;
  }
}

/** Copies bytes to a place in two spans. */
function put([head, tail]: Spans, at: number, bytes: Uint8Array): void {
  const first = Math.max(0, Math.min(bytes.length, head.length - at));
  if (first > 0) copyBytes(head.subarray(at), bytes.subarray(0, first));
  if (first < bytes.length) {
    copyBytes(tail.subarray(at + first - head.length), bytes.subarray(first));
  }
}

/** The spans without their first `count` bytes. */
function cut([head, tail]: Spans, count: number): Spans {
  return count <= head.length
    ? [head.subarray(count), tail]
    : [tail.subarray(count - head.length), head.subarray(0, 0)];
}
