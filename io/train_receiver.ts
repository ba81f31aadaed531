/**
 * Receives trains: one call takes in up to 16 super-packets of up to 64 KiB, each a train of equal datagrams that the kernel has
 * joined (UDP_GRO).
 *
 * ```text
 *   struct msghdr           56 bytes: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48
 *   struct mmsghdr          64 bytes: msghdr, then the length received at 56
 *   struct cmsghdr          16 bytes: length 0, level 8, type 12; data follows
 * ```
 *
 * @module
 */
import { AddressCache, assert, type SocketAddress } from "../core/mod.ts";
import type { Libc } from "./libc.ts";
import { SOCKADDR_BYTES } from "./udp_socket.ts";

const SOL_UDP = 17;
const UDP_GRO = 104;
const MSG_DONTWAIT = 0x40;
const MMSGHDR = 64;
const CONTROL = 64;
/** Super-packets taken in one call. */
const BATCH = 16;
/** No datagram and no train is longer. */
const SLOT_BYTES = 65_536;

/** Takes datagrams of `segment` bytes each, the last maybe shorter, that lie one after another; borrowed for the call. */
export type TrainTaker = (
  source: SocketAddress,
  bytes: Uint8Array,
  segment: number,
  local: number,
) => void;

/** Receives from sockets of one family into the same memory. */
export class TrainReceiver {
  readonly #libc: Libc;
  readonly #v6: boolean;
  readonly #onDatagrams: TrainTaker;
  /** Headers with all that they point to. */
  readonly #headers = new Uint8Array(BATCH * MMSGHDR);
  readonly #headersView = new DataView(this.#headers.buffer);
  readonly #names = new Uint8Array(BATCH * SOCKADDR_BYTES);
  readonly #namesView = new DataView(this.#names.buffer);
  /** Each as libc wants it, to send to. */
  readonly #nameSlots: readonly Uint8Array<ArrayBuffer>[];
  readonly #controls = new Uint8Array(BATCH * CONTROL);
  readonly #controlsView = new DataView(this.#controls.buffer);
  readonly #vectors = new Uint8Array(BATCH * 16);
  readonly #sources = new AddressCache();
  #slots: readonly Uint8Array<ArrayBuffer>[] = [];
  #memory: (() => Uint8Array<ArrayBuffer>) | undefined;
  #onBatch = (): void => {};
  #taking = 0;

  /** A receiver with memory of its own. */
  constructor(libc: Libc, v6: boolean, onDatagrams: TrainTaker) {
    this.#libc = libc;
    this.#v6 = v6;
    this.#onDatagrams = onDatagrams;
    const nameBytes = v6 ? SOCKADDR_BYTES : 16;
    this.#nameSlots = Array.from(
      { length: BATCH },
      (_, i) => this.#names.subarray(i * SOCKADDR_BYTES, i * SOCKADDR_BYTES + nameBytes),
    );
    this.#prepare(new Uint8Array(BATCH * SLOT_BYTES));
  }

  /** The source of what is being taken, as the kernel says it and takes it; borrowed as the bytes are. */
  get sourceName(): Uint8Array<ArrayBuffer> | undefined {
    return this.#nameSlots[this.#taking];
  }

  /** Receives into memory of somebody else's from now on; see `FastDriver.receiveInto`. */
  receiveInto(memory: () => Uint8Array<ArrayBuffer>, onBatch: () => void): void {
    this.#memory = memory;
    this.#onBatch = onBatch;
  }

  /** Hands what a socket holds to the taker, at most one batch. Returns whether there may be more. */
  receive(fd: number, local: number): boolean {
    const memory = this.#memory?.();
    if (memory !== undefined && memory.buffer !== this.#slots[0]?.buffer) this.#prepare(memory);
    const count = this.#libc.calls.recvmmsg(fd, this.#headers, BATCH, MSG_DONTWAIT, null);
    // Empty, or an error of an earlier send that surfaces here; either way the next poll tells.
    if (count <= 0) return false;
    for (let i = 0; i < count; i++) this.#take(i, local);
    this.#onBatch();
    return count === BATCH;
  }

  #take(i: number, local: number): void {
    const header = i * MMSGHDR;
    const length = this.#headersView.getUint32(header + 56, true);
    const slot = this.#slots[i];
    if (slot !== undefined && length > 0) {
      const bytes = slot.subarray(0, length);
      this.#taking = i;
      this.#onDatagrams(this.#source(i), bytes, this.#segmentOf(i, length), local);
    }
    // The kernel has written what it used.
    this.#headersView.setUint32(header + 8, SOCKADDR_BYTES, true);
    this.#headersView.setBigUint64(header + 40, BigInt(CONTROL), true);
  }

  /** Size of the datagrams that the kernel has joined; the whole length where it joined none. */
  #segmentOf(i: number, length: number): number {
    if (this.#headersView.getUint32(i * MMSGHDR + 40, true) < 20) return length;
    const at = i * CONTROL;
    const isGro = this.#controlsView.getInt32(at + 8, true) === SOL_UDP &&
      this.#controlsView.getInt32(at + 12, true) === UDP_GRO;
    const segment = isGro ? this.#controlsView.getInt32(at + 16, true) : 0;
    return segment > 0 ? segment : length;
  }

  #source(i: number): SocketAddress {
    const at = i * SOCKADDR_BYTES;
    const v6 = this.#v6;
    const port = this.#namesView.getUint16(at + 2);
    return this.#sources.find(this.#namesView, at + (v6 ? 8 : 4), { words: v6 ? 4 : 1, port });
  }

  #prepare(memory: Uint8Array<ArrayBuffer>): void {
    assert(memory.length >= BATCH * SLOT_BYTES, "there is room for a batch");
    this.#slots = Array.from(
      { length: BATCH },
      (_, i) => memory.subarray(i * SLOT_BYTES, (i + 1) * SLOT_BYTES),
    );
    const vectors = new DataView(this.#vectors.buffer);
    const [names, controls, vectorsAt] = [this.#names, this.#controls, this.#vectors]
      .map((bytes) => this.#libc.addressOf(bytes));
    for (const [i, slot] of this.#slots.entries()) {
      const [header, n] = [i * MMSGHDR, BigInt(i)];
      vectors.setBigUint64(i * 16, this.#libc.addressOf(slot), true);
      vectors.setBigUint64(i * 16 + 8, BigInt(SLOT_BYTES), true);
      this.#headersView.setBigUint64(header, (names ?? 0n) + n * BigInt(SOCKADDR_BYTES), true);
      this.#headersView.setUint32(header + 8, SOCKADDR_BYTES, true);
      this.#headersView.setBigUint64(header + 16, (vectorsAt ?? 0n) + n * 16n, true);
      this.#headersView.setBigUint64(header + 24, 1n, true);
      this.#headersView.setBigUint64(header + 32, (controls ?? 0n) + n * BigInt(CONTROL), true);
      this.#headersView.setBigUint64(header + 40, BigInt(CONTROL), true);
    }
  }
}
