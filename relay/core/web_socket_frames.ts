/**
 * The frames of a WebSocket at the server's end (RFC 6455 section 5).
 *
 * ```text
 *   byte 0    | FIN | 0 0 0 | opcode, 4 bits |      0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong
 *   byte 1    | MASK | length, 7 bits |             126: 16 bits follow, 127: 64 bits follow
 *             | mask, 4 bytes, from clients |
 *             | payload, XORed with the mask ... |
 * ```
 *
 * The payloads of binary frames are one stream of bytes with framing of its own, so that no message is ever put together here.
 *
 * @module
 */

const OPCODE = { continuation: 0, binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** Longest payload of a control frame. */
const CONTROL_BYTES_MAX = 125;
const HEADER_BYTES_MAX = 14;
const MASK_BYTES = 4;
const FIN = 0x80;
const MASKED = 0x80;

/** Takes what frames carry. What it gets is borrowed for the call. */
export interface FrameTaker {
  /** Bytes of the stream. */
  onData(bytes: Uint8Array): void;
  /** A ping, which wants its payload back. */
  onPing(payload: Uint8Array): void;
  /** The client closes. */
  onClose(): void;
}

/** The beginning of the frame that is being read. */
interface Frame {
  readonly opcode: number;
  readonly mask: Uint8Array;
  readonly length: number;
}

/** Cuts the bytes of one connection into frames. Holds no more than a header, or the payload of a control frame. */
export class WebSocketFrames {
  readonly #header = new Uint8Array(HEADER_BYTES_MAX);
  readonly #control = new Uint8Array(CONTROL_BYTES_MAX);
  #headerBytes = 0;
  #frame: Frame | undefined;
  #at = 0;
  /** Whether a message of several frames is under way. */
  #continues = false;
  #broken = false;

  /** Whether the client broke the protocol. The connection has to be closed. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Takes what has come; unmasks it in place. Returns false once the client broke the protocol. */
  push(chunk: Uint8Array, taker: FrameTaker): boolean {
    let at = 0;
    while (!this.#broken && at < chunk.length) {
      const frame = this.#frame;
      if (frame === undefined) {
        this.#header[this.#headerBytes++] = chunk[at++] ?? 0;
        this.#readHeader(taker);
        continue;
      }
      const part = chunk.subarray(at, at + frame.length - this.#at);
      this.#takePart(frame, part, taker);
      at += part.length;
    }
    return !this.#broken;
  }

  #takePart(frame: Frame, part: Uint8Array, taker: FrameTaker): void {
    for (let i = 0; i < part.length; i++) {
      part[i] = (part[i] ?? 0) ^ (frame.mask[this.#at + i & 3] ?? 0);
    }
    if (frame.opcode < OPCODE.close) taker.onData(part);
    else this.#control.set(part, this.#at);
    this.#at += part.length;
    if (this.#at === frame.length) this.#finish(frame, taker);
  }

  #finish({ opcode, length }: Frame, taker: FrameTaker): void {
    this.#frame = undefined;
    this.#headerBytes = 0;
    this.#at = 0;
    if (opcode === OPCODE.ping) taker.onPing(this.#control.subarray(0, length));
    if (opcode === OPCODE.close) taker.onClose();
  }

  #readHeader(taker: FrameTaker): void {
    const [first = 0, second = 0] = this.#header;
    const opcode = first & 0x0f;
    if (this.#headerBytes === 1 && !this.#isAllowed(first)) this.#broken = true;
    if (this.#headerBytes < 2 || this.#broken) return;
    const short = second & 0x7f;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    const isControl = opcode >= OPCODE.close;
    if ((second & MASKED) === 0 || (isControl && short > CONTROL_BYTES_MAX)) {
      this.#broken = true;
      return;
    }
    if (this.#headerBytes < 2 + extended + MASK_BYTES) return;
    let length = extended === 0 ? short : 0;
    for (let i = 0; i < extended; i++) length = length * 256 + (this.#header[2 + i] ?? 0);
    if (!Number.isSafeInteger(length)) {
      this.#broken = true;
      return;
    }
    if (!isControl) this.#continues = (first & FIN) === 0;
    const mask = this.#header.slice(2 + extended, 2 + extended + MASK_BYTES);
    this.#frame = { opcode, mask, length };
    if (length === 0) this.#finish(this.#frame, taker);
  }

  /** Whether a frame may begin so: binary, in several frames or in one, and control frames between these. */
  #isAllowed(first: number): boolean {
    const opcode = first & 0x0f;
    if ((first & 0x70) !== 0) return false;
    if (opcode === OPCODE.continuation) return this.#continues;
    if (opcode === OPCODE.binary) return !this.#continues;
    const isControl = opcode === OPCODE.close || opcode === OPCODE.ping || opcode === OPCODE.pong;
    return isControl && (first & FIN) !== 0;
  }
}

/** Encodes a frame as a server sends it. */
export function encodeFrame(
  kind: "binary" | "pong" | "close",
  payload: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 0x10000 ? 2 : 8;
  const frame = new Uint8Array(2 + extended + length);
  frame[0] = FIN | OPCODE[kind];
  frame[1] = extended === 0 ? length : extended === 2 ? 126 : 127;
  const view = new DataView(frame.buffer);
  if (extended === 2) view.setUint16(2, length);
  if (extended === 8) view.setBigUint64(2, BigInt(length));
  frame.set(payload, 2 + extended);
  return frame;
}
