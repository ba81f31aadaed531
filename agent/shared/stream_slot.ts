/**
 * One stream in shared memory: two byte rings and a header of flags.
 *
 * ```text
 * word  0  worker's flags: ESTABLISHED, EOF, FAILED, and from bit 8 the failure's number
 *       1  main thread's flags: FIN, ABORT, RELEASED
 *       2  WAITING_FOR_DATA         main sleeps until toApp holds this many bytes
 *       3  WAITING_FOR_ROOM         main sleeps until toNet has this much room
 *       4  WORKER_WAITING_FOR_ROOM  the worker sleeps until toApp has this much room
 * byte 64  toApp, then toNet
 * ```
 *
 * Flags are levels, not events: whoever is woken looks at all of them, so a mark of "dirty" that comes twice, or late
 * for the slot's next stream, costs a look and no more.
 *
 * A slot's life: the worker resets and fills it, announces it by a reply or by `accepted`, both use it, the main
 * thread sets RELEASED as its last touch, the worker closes the connection in order and may then reset the slot.
 *
 * @module
 */
import { ByteRing, RING_HEADER_BYTES } from "./byte_ring.ts";

/**
 * Slots with large rings, the lowest, which are taken first: a ring of 128 KiB is filled and emptied by a thread switch
 * each, one of 512 KiB costs a bulk stream 40 % less CPU time (1.14 and 0.70 s for 1 Gbit, both ends and threads together). A
 * page once touched stays resident, so not every stream can have one.
 */
export const LARGE_SLOTS = 64;
const LARGE_RING_BYTES = 512 * 1024;
const SMALL_RING_BYTES = 128 * 1024;
/** Bytes of a slot's header. */
export const SLOT_HEADER_BYTES = 64;

/** Data bytes of each of a stream's two rings. */
export function ringBytes(slot: number): number {
  return slot < LARGE_SLOTS ? LARGE_RING_BYTES : SMALL_RING_BYTES;
}

/** Bytes from the first slot to this one. */
export function slotOffset(slot: number): number {
  const headers = slot * (SLOT_HEADER_BYTES + 2 * RING_HEADER_BYTES);
  const large = Math.min(slot, LARGE_SLOTS);
  return headers + 2 * (large * LARGE_RING_BYTES + (slot - large) * SMALL_RING_BYTES);
}

const WORKER_FLAGS = 0;
const MAIN_FLAGS = 1;
const WAITING_FOR_DATA = 2;
const WAITING_FOR_ROOM = 3;
const WORKER_WAITING_FOR_ROOM = 4;
const HEADER_WORDS = SLOT_HEADER_BYTES / 4;

/** Set by the worker: the TCP handshake is complete. */
export const ESTABLISHED = 1;
/** Set by the worker: the peer has sent FIN, and every byte before it is in `toApp`. */
export const EOF = 2;
/** Set by the worker: the connection is dead; the number says why. Bytes already in `toApp` may still be read. */
export const FAILED = 4;

/** Set by the main thread: after what is in `toNet`, send FIN. Nothing is written to `toNet` afterwards. */
export const FIN = 1;
/**
 * Set by the main thread: reset the connection and drop what is in the rings. RELEASED comes with it, or after the reply
 * to `spliceStream` where the Worker has the slot.
 */
export const ABORT = 2;
/** Set by the main thread as its last touch of the slot. Without ABORT: send what is in `toNet`, then FIN. */
export const RELEASED = 4;

/** Why a stream failed, by its number in the header. */
export const STREAM_FAILURES = {
  /** The peer answered the SYN with a reset. */
  refused: 1,
  /** The peer reset an established connection. */
  reset: 2,
  /** No answer in time, from the handshake or from a connection gone silent. */
  timedOut: 3,
  /** No peer has this address, or it cannot be reached. */
  unreachable: 4,
  /** A limit of the engine. */
  limit: 5,
  /** The datapath has stopped, or its peer was removed. */
  closed: 6,
  /** The policy does not allow it: the peer's, or ours. */
  prohibited: 7,
} as const;

/** Why a stream failed. */
export type StreamFailure = keyof typeof STREAM_FAILURES;

const FAILURE_NAMES = new Map<number, StreamFailure>(
  Object.entries(STREAM_FAILURES).map(([name, number]) => [number, name as StreamFailure]),
);
const FAILURE_SHIFT = 8;

/** Returns the failure in a value of {@linkcode StreamSlot.workerFlags}; `undefined` if the stream has not failed. */
export function failureOf(workerFlags: number): StreamFailure | undefined {
  if ((workerFlags & FAILED) === 0) return undefined;
  return FAILURE_NAMES.get(workerFlags >>> FAILURE_SHIFT) ?? "closed";
}

/**
 * A side's note in shared memory that it sleeps until a ring holds, or has room for, some bytes.
 *
 * The order that loses no wake-up: the sleeper arms, **then** looks at the ring once more, and sleeps only if it is
 * still not as wished; the other side moves its bytes, **then** calls `due`. As all of these are sequentially
 * consistent, at least one of the two sees the other's step.
 */
export class WaitMark {
  readonly #words: Int32Array;
  readonly #index: number;

  /** The mark in word `index` of a slot's header. */
  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  /** Sleeper: wishes for `wanted` bytes, at least 1 and at most the ring's capacity, or the wish never comes true. */
  arm(wanted: number): void {
    Atomics.store(this.#words, this.#index, wanted);
  }

  /** Sleeper: no longer waits. */
  disarm(): void {
    Atomics.store(this.#words, this.#index, 0);
  }

  /**
   * Other side, after moving bytes: whether `available` bytes wake the sleeper. Answers `true` once per `arm`.
   *
   * `available` may be out of date by then: the sleeper may have taken the bytes and wished anew. So whoever is woken looks
   * again, and wishes again if there is nothing.
   */
  due(available: number): boolean {
    const wanted = Atomics.load(this.#words, this.#index);
    if (wanted === 0 || available < wanted) return false;
    // Only this side takes a wish away without the sleeper, so nothing is lost if the sleeper re-arms meanwhile:
    // it looks at the ring again after arming.
    return Atomics.exchange(this.#words, this.#index, 0) !== 0;
  }
}

/** One stream as either side sees it. */
export class StreamSlot {
  /** Number of the slot, 0 to `STREAM_SLOTS_MAX - 1`. */
  readonly index: number;
  /** Bytes from the network: written by the worker, read by the main thread. */
  readonly toApp: ByteRing;
  /** Bytes for the network: written by the main thread, read by the worker. */
  readonly toNet: ByteRing;
  /** WAITING_FOR_DATA: the main thread waits for bytes in `toApp`. */
  readonly dataWait: WaitMark;
  /** WAITING_FOR_ROOM: the main thread waits for room in `toNet`. */
  readonly roomWait: WaitMark;
  /** WORKER_WAITING_FOR_ROOM: the worker waits for room in `toApp`. */
  readonly windowWait: WaitMark;
  readonly #words: Int32Array;

  /** Attaches to slot `index`, whose header starts at `byteOffset`. */
  constructor(buffer: SharedArrayBuffer, { index, byteOffset }: SlotPlace) {
    this.index = index;
    this.#words = new Int32Array(buffer, byteOffset, HEADER_WORDS);
    const toAppAt = byteOffset + SLOT_HEADER_BYTES;
    const capacity = ringBytes(index);
    const toNetAt = toAppAt + RING_HEADER_BYTES + capacity;
    this.toApp = new ByteRing(buffer, { byteOffset: toAppAt, capacity });
    this.toNet = new ByteRing(buffer, { byteOffset: toNetAt, capacity });
    this.dataWait = new WaitMark(this.#words, WAITING_FOR_DATA);
    this.roomWait = new WaitMark(this.#words, WAITING_FOR_ROOM);
    this.windowWait = new WaitMark(this.#words, WORKER_WAITING_FOR_ROOM);
  }

  /**
   * ESTABLISHED, EOF and FAILED with its number, in one consistent value.
   *
   * A reader loads this **before** `toApp`: an empty ring means the end only if EOF was set before the look.
   */
  get workerFlags(): number {
    return Atomics.load(this.#words, WORKER_FLAGS);
  }

  /**
   * FIN, ABORT and RELEASED. The worker loads this **before** `toNet`: an empty ring means that everything has been
   * taken only if FIN was set before the look.
   */
  get mainFlags(): number {
    return Atomics.load(this.#words, MAIN_FLAGS);
  }

  /** Worker: sets ESTABLISHED or EOF. Mark the slot dirty for the main thread afterwards. */
  setWorkerFlags(flags: typeof ESTABLISHED | typeof EOF): void {
    Atomics.or(this.#words, WORKER_FLAGS, flags);
  }

  /** Worker: sets FAILED; only the first failure counts. Mark the slot dirty for the main thread afterwards. */
  setFailed(failure: StreamFailure): void {
    if ((this.workerFlags & FAILED) !== 0) return;
    const value = FAILED | (STREAM_FAILURES[failure] << FAILURE_SHIFT);
    Atomics.or(this.#words, WORKER_FLAGS, value);
  }

  /** Main thread: sets FIN, ABORT or RELEASED. Mark the slot dirty for the worker afterwards. */
  setMainFlags(flags: number): void {
    Atomics.or(this.#words, MAIN_FLAGS, flags);
  }

  /** Worker: makes the slot a new one, before it is announced or after RELEASED. */
  reset(): void {
    for (let index = 0; index < HEADER_WORDS; index++) Atomics.store(this.#words, index, 0);
    this.toApp.reset();
    this.toNet.reset();
  }
}

/** Where a {@linkcode StreamSlot} lies. */
export interface SlotPlace {
  /** Number of the slot. */
  readonly index: number;
  /** Start of its header in the buffer. */
  readonly byteOffset: number;
}
