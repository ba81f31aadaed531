/**
 * The one block of shared memory between a node's main thread and its datapath Worker.
 *
 * ```text
 * | doorbells | dirty bits for the worker | dirty bits for main | commands | events | slot 0 | slot 1 | ...
 *   2 x 64 B    128 B                       128 B                 4 MiB      1 MiB    1 MiB, later ones 256 KiB
 * ```
 *
 * The system commits memory page by page as it is touched: a new arena costs nothing (measured at 258 MiB: 0 MiB resident
 * after 22 us). A page once touched stays, so the worker takes the lowest free slot.
 *
 * @module
 */
import { assert } from "../../core/mod.ts";
import { FrameRing, frameRingBytes } from "./frame_ring.ts";
import { slotOffset, StreamSlot } from "./stream_slot.ts";

/** Streams that a node can have open at once. With none free, the worker answers `limit`. */
export const STREAM_SLOTS_MAX = 1024;
/** Data bytes of the command ring: the longest command adds a peer with 16,384 address blocks. */
export const COMMAND_RING_BYTES = 4 * 1024 * 1024;
/** Data bytes of the event ring. */
export const EVENT_RING_BYTES = 1024 * 1024;

/** Words of a dirty bitmap. */
const DIRTY_WORDS = STREAM_SLOTS_MAX / 32;

const WORKER_BELL_AT = 0;
const MAIN_BELL_AT = 64;
const WORKER_DIRTY_AT = 128;
const MAIN_DIRTY_AT = WORKER_DIRTY_AT + DIRTY_WORDS * 4;
const COMMANDS_AT = MAIN_DIRTY_AT + DIRTY_WORDS * 4;
const EVENTS_AT = COMMANDS_AT + frameRingBytes(COMMAND_RING_BYTES);
const SLOTS_AT = EVENTS_AT + frameRingBytes(EVENT_RING_BYTES);
const ARENA_BYTES = SLOTS_AT + slotOffset(STREAM_SLOTS_MAX);

/**
 * The shared memory, as either side sees it.
 *
 * How a side tells the other of something, in this order: write it (bytes, flags, a frame), mark the slot dirty,
 * ring, and wake the other if ringing says so. How a side listens, in this order: take the wake-up itself (the
 * message, or read the eventfd empty), answer the bell, **then** drain frames and dirty slots. Answering first
 * means that what is written after the look finds the bell silent and wakes again; a bell answered after the drain,
 * or an eventfd read after the answer, would swallow the wake-up for what came in between.
 */
export class SharedArena {
  /** What to hand to the other thread for {@linkcode SharedArena.attach}. */
  readonly buffer: SharedArrayBuffer;
  /** Commands, main thread to worker. */
  readonly commands: FrameRing;
  /** Events, worker to main thread. */
  readonly events: FrameRing;
  readonly #workerBell: Int32Array;
  readonly #mainBell: Int32Array;
  readonly #workerDirty: Int32Array;
  readonly #mainDirty: Int32Array;
  readonly #slots: (StreamSlot | undefined)[] = [];

  private constructor(buffer: SharedArrayBuffer) {
    assert(buffer.byteLength === ARENA_BYTES, "the arena has its size");
    this.buffer = buffer;
    this.#workerBell = new Int32Array(buffer, WORKER_BELL_AT, 1);
    this.#mainBell = new Int32Array(buffer, MAIN_BELL_AT, 1);
    this.#workerDirty = new Int32Array(buffer, WORKER_DIRTY_AT, DIRTY_WORDS);
    this.#mainDirty = new Int32Array(buffer, MAIN_DIRTY_AT, DIRTY_WORDS);
    this.commands = new FrameRing(buffer, {
      byteOffset: COMMANDS_AT,
      capacity: COMMAND_RING_BYTES,
    });
    this.events = new FrameRing(buffer, { byteOffset: EVENTS_AT, capacity: EVENT_RING_BYTES });
  }

  /** Makes a new, empty arena. */
  static create(): SharedArena {
    return new SharedArena(new SharedArrayBuffer(ARENA_BYTES));
  }

  /** Attaches to the arena that the other thread made. */
  static attach(buffer: SharedArrayBuffer): SharedArena {
    return new SharedArena(buffer);
  }

  /** The slot with this number; always the same object. */
  slot(index: number): StreamSlot {
    const known = this.#slots[index];
    if (known !== undefined) return known;
    assert(
      Number.isInteger(index) && index >= 0 && index < STREAM_SLOTS_MAX,
      `there is no stream slot ${index}`,
    );
    const slot = new StreamSlot(this.buffer, { index, byteOffset: SLOTS_AT + slotOffset(index) });
    this.#slots[index] = slot;
    return slot;
  }

  /** Worker: makes a slot a new one, before it is announced or after RELEASED. */
  resetSlot(index: number): void {
    this.slot(index).reset();
  }

  /** Main thread: the worker must look at this slot. */
  markForWorker(slot: StreamSlot): void {
    mark(this.#workerDirty, slot.index);
  }

  /** Worker: the main thread must look at this slot. */
  markForMain(slot: StreamSlot): void {
    mark(this.#mainDirty, slot.index);
  }

  /**
   * Worker: calls `execute` with each command, oldest first, and before that `look` with every slot marked since the last time: one
   * that was released before the command is free for it.
   */
  takeCommands(look: (slot: StreamSlot) => void, execute: (command: unknown) => void): void {
    for (let command; (command = this.commands.popJson()) !== undefined;) {
      this.takeDirtyForWorker(look);
      execute(command);
    }
  }

  /** Worker: calls `look` with every slot marked since the last time. */
  takeDirtyForWorker(look: (slot: StreamSlot) => void): void {
    this.#takeDirty(this.#workerDirty, look);
  }

  /** Main thread: calls `look` with every slot marked since the last time. */
  takeDirtyForMain(look: (slot: StreamSlot) => void): void {
    this.#takeDirty(this.#mainDirty, look);
  }

  /** Worker, after writing to `toApp`: marks the slot if the main thread sleeps for data. Returns whether it did. */
  wroteToApp(slot: StreamSlot): boolean {
    const due = slot.dataWait.due(slot.toApp.length);
    if (due) this.markForMain(slot);
    return due;
  }

  /** Worker, after consuming from `toNet`: marks the slot if the main thread sleeps for room. Returns whether it did. */
  tookFromToNet(slot: StreamSlot): boolean {
    const due = slot.roomWait.due(slot.toNet.room);
    if (due) this.markForMain(slot);
    return due;
  }

  /** Main thread, after consuming from `toApp`: marks the slot if the worker sleeps for room. Returns whether it did. */
  tookFromToApp(slot: StreamSlot): boolean {
    const due = slot.windowWait.due(slot.toApp.room);
    if (due) this.markForWorker(slot);
    return due;
  }

  /** Main thread: rings for the worker. `true` if the caller must wake it: it has no wake-up under way. */
  ringWorker(): boolean {
    return Atomics.exchange(this.#workerBell, 0, 1) === 0;
  }

  /** Worker: answers the bell. Before draining, never after. */
  answerWorkerBell(): void {
    Atomics.store(this.#workerBell, 0, 0);
  }

  /** Worker: rings for the main thread. `true` if the caller must wake it: it has no wake-up under way. */
  ringMain(): boolean {
    return Atomics.exchange(this.#mainBell, 0, 1) === 0;
  }

  /** Main thread: answers the bell. Before draining, never after. */
  answerMainBell(): void {
    Atomics.store(this.#mainBell, 0, 0);
  }

  /**
   * Main thread, after draining: resolves once the bell is rung and {@linkcode SharedArena.notifyMain} called. `undefined` if
   * it has been rung since it was last answered: then there is more to drain.
   */
  waitForMainBell(): Promise<unknown> | undefined {
    const rung = Atomics.waitAsync(this.#mainBell, 0, 0);
    return rung.async ? rung.value : undefined;
  }

  /**
   * Main thread, before draining: answers the bell, and resolves as {@linkcode SharedArena.waitForMainBell} does, however often
   * it is rung meanwhile.
   */
  answerAndWait(): Promise<unknown> {
    for (;;) {
      this.answerMainBell();
      const rung = this.waitForMainBell();
      // Rung between the two: what that tells of is about to be drained.
      if (rung !== undefined) return rung;
    }
  }

  /** Any thread: wakes a main thread that waits for {@linkcode SharedArena.waitForMainBell}. */
  notifyMain(): void {
    Atomics.notify(this.#mainBell, 0);
  }

  /**
   * Worker: blocks its thread until the bell is rung and {@linkcode SharedArena.notifyWorker} called, at most
   * `timeoutMs`. Returns at once if the bell has been rung since it was last answered. For a worker that waits on
   * nothing else.
   */
  waitForBell(timeoutMs: number): void {
    Atomics.wait(this.#workerBell, 0, 0, timeoutMs);
  }

  /** Main thread: wakes a worker that blocks in {@linkcode SharedArena.waitForBell}. */
  notifyWorker(): void {
    Atomics.notify(this.#workerBell, 0);
  }

  #takeDirty(words: Int32Array, look: (slot: StreamSlot) => void): void {
    for (let word = 0; word < DIRTY_WORDS; word++) {
      // A load is cheaper than an exchange, and most words are clean.
      if (Atomics.load(words, word) === 0) continue;
      let bits = Atomics.exchange(words, word, 0);
      while (bits !== 0) {
        const bit = 31 - Math.clz32(bits);
        bits &= ~(1 << bit);
        look(this.slot(word * 32 + bit));
      }
    }
  }
}

function mark(words: Int32Array, index: number): void {
  Atomics.or(words, index >>> 5, 1 << (index & 31));
}
