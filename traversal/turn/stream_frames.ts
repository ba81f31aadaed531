/**
 * Cuts the bytes of a TCP, TLS or WebSocket connection into the STUN and ChannelData messages that they carry (RFC 8656 section 12.5).
 *
 * ```text
 *   first two bits 00: STUN          20 bytes of header + the length in bytes 2..4, which is a multiple of 4
 *   first byte 0x40..0x4F (0x7F)     4 bytes + the length in bytes 2..4 + padding to a multiple of 4
 *   anything else                    the stream is out of step, and no later byte can be trusted
 * ```
 *
 * @module
 */
import { HEADER_BYTES, MAGIC_COOKIE } from "../stun/codec.ts";
import { CHANNEL_HEADER_BYTES } from "./channel_data.ts";

/** The longest message that the format can hold. */
export const FRAME_BYTES_MAX: number = 4 + 0x10000;
/** What has to be there before the size of a message is known: enough to see the magic cookie of STUN. */
const STUN_PREFIX_BYTES = 8;
const CHANNEL_PREFIX_BYTES = 4;

/** Options of {@linkcode StreamFrames}. */
export interface StreamFramesOptions {
  /** Longest message that is taken; a stream with a longer one is out of step. @default FRAME_BYTES_MAX */
  readonly frameBytesMax?: number;
  /**
   * Takes the channels of RFC 5766 too, 0x5000 to 0x7FFF, which clients still draw from: a server must not lose step with them.
   * @default false
   */
  readonly oldChannels?: boolean;
}

/** The messages of one stream. Holds at most one unfinished message. */
export class StreamFrames {
  readonly #frameBytesMax: number;
  readonly #firstMax: number;
  /** The beginning of a message; empty between messages. */
  #held = new Uint8Array(0);
  #heldBytes = 0;
  #broken = false;

  /** A stream from its first byte. */
  constructor(
    { frameBytesMax = FRAME_BYTES_MAX, oldChannels = false }: StreamFramesOptions = {},
  ) {
    this.#frameBytesMax = frameBytesMax;
    this.#firstMax = oldChannels ? 0x7f : 0x4f;
  }

  /** Whether the stream is out of step. It has to be closed. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Bytes of an unfinished message that are held. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Takes what has come, and hands over every message that it completes: without the padding of ChannelData, borrowed for the call.
   * Returns false once the stream is out of step; then nothing more is taken.
   */
  push(chunk: Uint8Array, take: (frame: Uint8Array) => void): boolean {
    let at = 0;
    while (!this.#broken && at < chunk.length) {
      if (this.#heldBytes > 0) {
        at = this.#complete(chunk, at, take);
        continue;
      }
      const rest = chunk.subarray(at);
      const size = this.#sizeOf(rest);
      if (size === undefined || size > rest.length) {
        if (!this.#broken) this.#hold(rest, size);
        break;
      }
      take(rest.subarray(0, frameEnd(rest, size)));
      at += size;
    }
    return !this.#broken;
  }

  /** Adds to the message that is held. Returns where the next one starts. */
  #complete(chunk: Uint8Array, from: number, take: (frame: Uint8Array) => void): number {
    let at = from;
    for (;;) {
      const held = this.#held.subarray(0, this.#heldBytes);
      const size = this.#sizeOf(held);
      if (this.#broken) return at;
      if (size !== undefined && held.length >= size) {
        this.#heldBytes = 0;
        take(held.subarray(0, frameEnd(held, size)));
        return at;
      }
      if (at >= chunk.length) return at;
      const wanted = size ?? prefixOf(held[0] ?? 0);
      const part = chunk.subarray(at, at + Math.max(1, wanted - held.length));
      this.#hold(part, wanted);
      at += part.length;
    }
  }

  #hold(part: Uint8Array, size: number = STUN_PREFIX_BYTES): void {
    const needed = Math.max(size, this.#heldBytes + part.length);
    if (this.#held.length < needed) {
      const larger = new Uint8Array(needed);
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(part, this.#heldBytes);
    this.#heldBytes += part.length;
  }

  /** The size of the message at the start of `bytes`, padding included; `undefined` while too little is there, or none can be. */
  #sizeOf(bytes: Uint8Array): number | undefined {
    const first = bytes[0] ?? 0;
    if (first > this.#firstMax) return this.#break();
    if (bytes.length < prefixOf(first)) return undefined;
    const length = (bytes[2] ?? 0) << 8 | (bytes[3] ?? 0);
    const size = first < 0x40 ? HEADER_BYTES + length : CHANNEL_HEADER_BYTES + (length + 3 & ~3);
    const isFrame = first >= 0x40 || ((length & 3) === 0 && hasCookie(bytes));
    return isFrame && size <= this.#frameBytesMax ? size : this.#break();
  }

  #break(): undefined {
    this.#broken = true;
    this.#heldBytes = 0;
    this.#held = new Uint8Array(0);
  }
}

/** How much of a message with this first byte tells its size. */
function prefixOf(first: number): number {
  return first < 0x40 ? STUN_PREFIX_BYTES : CHANNEL_PREFIX_BYTES;
}

/** Where a whole message of `size` bytes ends without its padding. */
function frameEnd(bytes: Uint8Array, size: number): number {
  if ((bytes[0] ?? 0) < 0x40) return size;
  return CHANNEL_HEADER_BYTES + ((bytes[2] ?? 0) << 8 | (bytes[3] ?? 0));
}

function hasCookie(bytes: Uint8Array): boolean {
  const cookie = (bytes[4] ?? 0) << 24 | (bytes[5] ?? 0) << 16 | (bytes[6] ?? 0) << 8 |
    (bytes[7] ?? 0);
  return cookie >>> 0 === MAGIC_COOKIE;
}
