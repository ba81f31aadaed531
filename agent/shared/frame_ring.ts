/**
 * Whole messages in shared memory between one writing and one reading thread.
 *
 * ```text
 * | u32 length | payload ... | padding to a multiple of 4 | u32 length | ...
 * ```
 *
 * The padding keeps every length word in one piece at the end of the ring. Frames are wiped as they are read: a
 * command may carry a preshared key.
 *
 * @module
 */
import { assert } from "../../core/mod.ts";
import { ByteRing, type ByteRingPlace, RING_HEADER_BYTES } from "./byte_ring.ts";

/** Bytes in front of a frame ring's byte ring: the word by which a sleeping writer asks for room. */
const PREFIX_BYTES = 64;
/** Bytes of a frame's length word. */
const LENGTH_BYTES = 4;

/** Bytes that a frame ring of `capacity` takes in all. */
export function frameRingBytes(capacity: number): number {
  return PREFIX_BYTES + RING_HEADER_BYTES + capacity;
}

/** A single-producer, single-consumer ring of frames. Both threads construct one over the same place. */
export class FrameRing {
  /** Largest payload of a frame: a quarter of the capacity, so that a few always fit. */
  readonly frameBytesMax: number;
  readonly #ring: ByteRing;
  readonly #lengths: DataView;
  readonly #roomWanted: Int32Array;
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder();

  /** Attaches to a ring. A place of zero bytes is an empty ring. */
  constructor(buffer: SharedArrayBuffer, { byteOffset, capacity }: ByteRingPlace) {
    this.frameBytesMax = capacity / 4;
    this.#roomWanted = new Int32Array(buffer, byteOffset, 1);
    this.#ring = new ByteRing(buffer, { byteOffset: byteOffset + PREFIX_BYTES, capacity });
    this.#lengths = new DataView(new ArrayBuffer(LENGTH_BYTES));
  }

  /** Whether there is nothing to pop. */
  get empty(): boolean {
    return this.#ring.length === 0;
  }

  /**
   * Writer: appends a frame; `false` if it does not fit now, and then nothing is written.
   *
   * Throws a `RangeError` for a payload over {@linkcode FrameRing.frameBytesMax}.
   */
  push(payload: Uint8Array): boolean {
    if (payload.length > this.frameBytesMax) {
      throw new RangeError(
        `A frame of ${payload.length} bytes is over the limit of ${this.frameBytesMax}`,
      );
    }
    const size = paddedSize(payload.length);
    if (this.#ring.room < size) return false;
    const [head, tail] = this.#ring.writableSpans(size);
    const word = new DataView(head.buffer, head.byteOffset, LENGTH_BYTES);
    word.setUint32(0, payload.length, true);
    const first = Math.min(payload.length, head.length - LENGTH_BYTES);
    head.set(payload.subarray(0, first), LENGTH_BYTES);
    tail.set(payload.subarray(first));
    this.#ring.commit(size);
    return true;
  }

  /** Reader: takes the oldest frame as a copy; `undefined` if there is none. */
  pop(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#ring.length === 0) return undefined;
    const [word] = this.#ring.peek(LENGTH_BYTES);
    new Uint8Array(this.#lengths.buffer).set(word);
    const length = this.#lengths.getUint32(0, true);
    const size = paddedSize(length);
    assert(
      length <= this.frameBytesMax && size <= this.#ring.length,
      "a frame ring holds whole frames",
    );
    const [head, tail] = this.#ring.peek(size);
    const payload = new Uint8Array(length);
    const first = Math.min(length, head.length - LENGTH_BYTES);
    payload.set(head.subarray(LENGTH_BYTES, LENGTH_BYTES + first));
    payload.set(tail.subarray(0, length - first), first);
    head.fill(0);
    tail.fill(0);
    this.#ring.consume(size);
    return payload;
  }

  /** Writer: {@linkcode FrameRing.push} of a value's JSON text. */
  pushJson(value: unknown): boolean {
    return this.push(this.#encoder.encode(JSON.stringify(value)));
  }

  /** Reader: the value of the oldest frame, as pushed by {@linkcode FrameRing.pushJson}; `undefined` if there is none. */
  popJson(): unknown {
    const payload = this.pop();
    return payload === undefined ? undefined : JSON.parse(this.#decoder.decode(payload));
  }

  /**
   * Writer, after a push that found the ring full: asks to be woken when frames have been read. Push once more
   * after this call and before sleeping, since the reader may have emptied the ring in between.
   */
  wantRoom(): void {
    Atomics.store(this.#roomWanted, 0, 1);
  }

  /** Reader, after popping: whether the writer must be woken because it asked for room. Clears the request. */
  takeRoomWanted(): boolean {
    return Atomics.exchange(this.#roomWanted, 0, 0) === 1;
  }
}

function paddedSize(length: number): number {
  return (LENGTH_BYTES + length + 3) & ~3;
}
