/**
 * A byte queue in shared memory between one writing and one reading thread.
 *
 * ```text
 * offset      0           64          128
 *             | head, u32 | tail, u32 | capacity bytes of data ...
 * ```
 *
 * `head` counts every byte ever written and `tail` every byte ever read, both modulo 2^32; a byte lives at its
 * count modulo the capacity. Only the writer stores `head` and only the reader stores `tail`, each in its own cache
 * line, so the two threads never contend for a store.
 *
 * @module
 */
import { assert } from "../../core/mod.ts";
import { copyBytes } from "../../io/mod.ts";

/** Bytes in front of a ring's data: the two counters. */
export const RING_HEADER_BYTES = 128;

/** Index of `head` among the 32-bit words of the header. */
const HEAD = 0;
/** Index of `tail`: in another cache line than `head`. */
const TAIL = 16;

const NOTHING = new Uint8Array(0);

/** One or two consecutive views of a ring; the second is empty unless the bytes wrap around its end. */
export type Spans = readonly [Uint8Array, Uint8Array];

/** Where a {@linkcode ByteRing} lies. */
export interface ByteRingPlace {
  /** Start of the ring's header in the buffer, a multiple of 4. */
  readonly byteOffset: number;
  /** Bytes of data behind the header: a power of two, at most 2^30. */
  readonly capacity: number;
}

/**
 * A single-producer, single-consumer byte ring. Both threads construct one over the same place.
 *
 * The writer calls `room`, `write`, `writableSpans` and `commit`; the reader calls `length`, `read`, `peek` and
 * `consume`. `length` and `room` may be stale for the other side's last step, always to the safe side.
 */
export class ByteRing {
  /** Bytes that fit in all. */
  readonly capacity: number;
  readonly #counters: Int32Array;
  readonly #data: Uint8Array;
  readonly #mask: number;

  /** Attaches to a ring. A place of zero bytes is an empty ring. */
  constructor(buffer: SharedArrayBuffer, { byteOffset, capacity }: ByteRingPlace) {
    assert(
      capacity > 0 && capacity <= 2 ** 30 && (capacity & (capacity - 1)) === 0,
      `ring capacity ${capacity} is a power of two`,
    );
    this.capacity = capacity;
    this.#mask = capacity - 1;
    this.#counters = new Int32Array(buffer, byteOffset, RING_HEADER_BYTES / 4);
    this.#data = new Uint8Array(buffer, byteOffset + RING_HEADER_BYTES, capacity);
  }

  /** Bytes written and not yet consumed. */
  get length(): number {
    return (Atomics.load(this.#counters, HEAD) - Atomics.load(this.#counters, TAIL)) >>> 0;
  }

  /** Bytes that can be written now. */
  get room(): number {
    return this.capacity - this.length;
  }

  /** Writer: copies as much of `source` as fits and returns how many bytes that was. */
  write(source: Uint8Array): number {
    const count = Math.min(source.length, this.room);
    if (count === 0) return 0;
    const at = Atomics.load(this.#counters, HEAD) & this.#mask;
    const first = Math.min(count, this.capacity - at);
    copyBytes(this.#data.subarray(at, at + first), source.subarray(0, first));
    if (first < count) copyBytes(this.#data, source.subarray(first, count));
    this.commit(count);
    return count;
  }

  /** Reader: copies as much as there is into `target`, consumes it, and returns how many bytes that was. */
  read(target: Uint8Array): number {
    const count = Math.min(target.length, this.length);
    if (count === 0) return 0;
    const at = Atomics.load(this.#counters, TAIL) & this.#mask;
    const first = Math.min(count, this.capacity - at);
    copyBytes(target, this.#data.subarray(at, at + first));
    if (first < count) copyBytes(target.subarray(first), this.#data.subarray(0, count - first));
    this.consume(count);
    return count;
  }

  /** Reader: views of the oldest bytes, at most `max`. Valid until {@linkcode ByteRing.consume}. */
  peek(max: number = this.capacity): Spans {
    return this.#spans(Atomics.load(this.#counters, TAIL), Math.min(max, this.length));
  }

  /** Reader: drops the oldest `count` bytes; there must be as many. */
  consume(count: number): void {
    assert(count <= this.length, "a ring's reader consumes no more than there is");
    Atomics.add(this.#counters, TAIL, count);
  }

  /** Writer: views of the free space, at most `max`. What is put there counts after {@linkcode ByteRing.commit}. */
  writableSpans(max: number = this.capacity): Spans {
    return this.#spans(Atomics.load(this.#counters, HEAD), Math.min(max, this.room));
  }

  /** Writer: publishes the first `count` bytes of the free space. */
  commit(count: number): void {
    assert(count <= this.room, "a ring's writer commits no more than fits");
    Atomics.add(this.#counters, HEAD, count);
  }

  /** Empties the ring. Only while neither side uses it. */
  reset(): void {
    Atomics.store(this.#counters, HEAD, 0);
    Atomics.store(this.#counters, TAIL, 0);
  }

  #spans(counter: number, count: number): Spans {
    const at = counter & this.#mask;
    const first = Math.min(count, this.capacity - at);
    return [
      this.#data.subarray(at, at + first),
      first === count ? NOTHING : this.#data.subarray(0, count - first),
    ];
  }
}
