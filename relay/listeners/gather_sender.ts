/**
 * Sends trains of datagrams with a header in front of each, or without the header that each came with, and copies nothing: one call
 * hands up to 64 datagrams to the kernel in pieces, which it splits again (UDP_SEGMENT).
 *
 * ```text
 *   up      | head | data | head | data | head | data |        as it came from the client, one piece each:   data  data  data
 *   down    | data | data | data |                             as it came from the peer, two pieces each:    head data head data ...
 *
 *   struct msghdr           56 bytes: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48
 *   struct iovec            16 bytes: where 0, length 8
 *   struct cmsghdr          16 bytes: length 0, level 8, type 12; data follows
 * ```
 *
 * What the kernel does not take at once is dropped and counted: to wait for one receiver would stall all others.
 *
 * @module
 */
import { formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  encodeSocketAddress,
  ERRNO,
  type Libc,
  PMTUDISC,
  setMtuDiscovery,
  type UdpSocket,
} from "../../io/mod.ts";
import { CHANNEL_HEADER_BYTES, writeChannelHeader } from "../../traversal/mod.ts";
import type { Counters } from "../core/counters.ts";
import type { Train } from "../core/flow.ts";

const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const MSG_DONTWAIT = 0x40;
const CMSG = 24;
/** Datagrams in one call (UDP_MAX_SEGMENTS of Linux). */
const SEGMENTS_MAX = 64;
/** Bytes in one call: what a datagram of IPv4 or IPv6 can hold at most, less some room for headers. */
const CALL_BYTES_MAX = 65_000;
/** Addresses remembered as libc wants them; when full, all are forgotten. */
const NAMES_MAX = 4096;
const WORDS = 4;

/** Where a train goes. */
export interface Destination {
  /** By which socket. */
  readonly socket: UdpSocket;
  /** Where to. */
  readonly to: SocketAddress;
  /** The channel whose header goes in front of each datagram. Absent: none. */
  readonly channel?: number;
  /** Better lost than split on the way. @default false */
  readonly whole?: boolean;
}

interface Name {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: bigint;
}

/** Datagrams of one size to one destination that go out with the next flush. Their pieces lie in the vectors. */
interface Pending {
  readonly socket: UdpSocket;
  readonly name: Name;
  readonly channel: number | undefined;
  /** Size of each, its header included. */
  readonly size: number;
  /** How many. */
  count: number;
  /** Whether the last one is shorter, so that none may follow it. */
  closed: boolean;
}

/** Sends by any UDP socket. What is sent to one destination in a row goes out with one call, by {@linkcode GatherSender.flush}. */
export class GatherSender {
  readonly #libc: Libc;
  readonly #counters: Counters;
  readonly #header = new Uint8Array(56);
  readonly #view = new DataView(this.#header.buffer);
  /** `struct iovec`s as words: addresses have 47 bits, and a bigint for each would cost more than the call. */
  readonly #vectors = new Uint32Array(2 * SEGMENTS_MAX * WORDS);
  readonly #vectorsAt: bigint;
  readonly #control = new Uint8Array(CMSG);
  readonly #controlView = new DataView(this.#control.buffer);
  readonly #controlAt: bigint;
  /** The header of every datagram but the last, and the last one's. */
  readonly #heads = new Uint8Array(2 * CHANNEL_HEADER_BYTES);
  readonly #headsAt: number;
  readonly #names = new Map<string, Name>();
  #lastName: { readonly to: SocketAddress; readonly v6: boolean; readonly name: Name } | undefined;
  #base = { buffer: new ArrayBuffer(0), at: 0 };
  #pending: Pending | undefined;
  /** Whether the path to the network can segment; the first EIO says no. */
  #segments = true;

  /** A sender that knows no destination. */
  constructor(libc: Libc, counters: Counters) {
    this.#libc = libc;
    this.#counters = counters;
    this.#headsAt = Number(libc.addressOf(this.#heads));
    this.#controlAt = libc.addressOf(this.#control);
    this.#vectorsAt = libc.addressOf(new Uint8Array(this.#vectors.buffer));
    this.#controlView.setBigUint64(0, 18n, true);
    this.#controlView.setInt32(8, SOL_UDP, true);
    this.#controlView.setInt32(12, UDP_SEGMENT, true);
  }

  /** Takes a train, which has to stay where it lies until the next flush; what cannot be sent is dropped and counted. */
  send(destination: Destination, { bytes, segment, skip }: Train): void {
    const { socket, to, channel, whole = false } = destination;
    const name = this.#name(socket, to);
    if (name === undefined) return this.#counters.add("sendFailed:family");
    const from = this.#addressOf(bytes as Uint8Array<ArrayBuffer>);
    const head = channel === undefined ? 0 : CHANNEL_HEADER_BYTES;
    const size = Math.min(segment, bytes.length) - skip + head;
    if (whole) this.flush();
    for (let at = 0; at < bytes.length || at === 0; at += segment) {
      const length = Math.max(0, Math.min(segment, bytes.length - at) - skip);
      const pending = this.#room({ socket, name, channel, size }, length + head);
      this.#append(pending, from + at + skip, length);
    }
    if (whole) this.#flushWhole(socket);
  }

  /** Hands what waits to the kernel. */
  flush(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    this.#pending = undefined;
    const { socket: { fd }, name, size, count, channel } = pending;
    this.#view.setBigUint64(0, name.at, true);
    this.#view.setUint32(8, name.bytes.length, true);
    const each = channel === undefined ? 1 : 2;
    if (this.#segments || count === 1) {
      if (this.#call(fd, { first: 0, vectors: count * each, size, count })) return;
    }
    // One by one: the kernel splits what does not fit.
    for (let i = 0; i < count; i++) {
      this.#call(fd, { first: i * each, vectors: each, size, count: 1 });
    }
  }

  #flushWhole({ fd, v6 }: UdpSocket): void {
    setMtuDiscovery(this.#libc, fd, v6 ? 6 : 4, PMTUDISC.probe);
    this.flush();
    setMtuDiscovery(this.#libc, fd, v6 ? 6 : 4, PMTUDISC.dont);
  }

  /** What a datagram of `size` bytes may be added to. */
  #room(like: Omit<Pending, "count" | "closed">, size: number): Pending {
    const last = this.#pending;
    if (
      last !== undefined && !last.closed && last.socket === like.socket &&
      last.name === like.name && last.channel === like.channel && size <= last.size &&
      last.count < SEGMENTS_MAX && (last.count + 1) * last.size <= CALL_BYTES_MAX
    ) {
      return last;
    }
    this.flush();
    const pending: Pending = { ...like, size, count: 0, closed: false };
    this.#pending = pending;
    return pending;
  }

  /** Adds the pieces of one datagram. */
  #append(pending: Pending, from: number, length: number): void {
    const { channel, size, count } = pending;
    if (channel === undefined) {
      pending.closed = length < size;
      this.#setVector(count, from, length);
    } else {
      const isShort = CHANNEL_HEADER_BYTES + length < size;
      const at = isShort ? CHANNEL_HEADER_BYTES : 0;
      if (isShort || count === 0) writeChannelHeader(this.#heads, at, { channel, length });
      pending.closed = isShort;
      this.#setVector(2 * count, this.#headsAt + at, CHANNEL_HEADER_BYTES);
      this.#setVector(2 * count + 1, from, length);
    }
    pending.count++;
  }

  #setVector(index: number, address: number, length: number): void {
    const at = index * WORDS;
    this.#vectors[at] = address % 0x1_0000_0000;
    this.#vectors[at + 1] = address / 0x1_0000_0000;
    this.#vectors[at + 2] = length;
  }

  /** Makes the call. Returns false where the datagrams have to go one by one. */
  #call(
    fd: number,
    { first, vectors, size, count }: {
      readonly first: number;
      readonly vectors: number;
      readonly size: number;
      readonly count: number;
    },
  ): boolean {
    const isTrain = count > 1;
    this.#view.setBigUint64(16, this.#vectorsAt + BigInt(first * 16), true);
    this.#view.setUint32(24, vectors, true);
    this.#view.setBigUint64(32, isTrain ? this.#controlAt : 0n, true);
    this.#view.setUint32(40, isTrain ? CMSG : 0, true);
    if (isTrain) this.#controlView.setUint16(16, size, true);
    for (let attempt = 0; attempt < 2; attempt++) {
      if (this.#libc.calls.sendmsg(fd, this.#header, MSG_DONTWAIT) >= 0n) return true;
      const errno = this.#libc.errno();
      if (errno === ERRNO.EINTR) continue;
      if (isTrain && (errno === ERRNO.EIO || errno === ERRNO.EINVAL || errno === ERRNO.EMSGSIZE)) {
        // EIO: the device cannot compute the checksums. Otherwise the train does not fit the first link.
        if (errno === ERRNO.EIO) this.#segments = false;
        this.#counters.add(errno === ERRNO.EIO ? "segmentationUnavailable" : "segmentationRefused");
        return false;
      }
      const isFull = errno === ERRNO.EAGAIN || errno === ERRNO.ENOBUFS;
      this.#counters.add(isFull ? "sendBufferFull" : `sendFailed:${errno}`, count);
      return true;
    }
    return true;
  }

  /** A destination as libc wants it; `undefined` where the socket cannot send to that family. */
  #name({ family, v6 }: UdpSocket, to: SocketAddress): Name | undefined {
    if (this.#lastName?.to === to && this.#lastName.v6 === v6) return this.#lastName.name;
    const key = `${family} ${formatSocketAddress(to)}`;
    let name = this.#names.get(key);
    if (name === undefined) {
      const bytes = encodeSocketAddress(family, to);
      if (bytes === undefined) return undefined;
      if (this.#names.size >= NAMES_MAX) this.#names.clear();
      name = { bytes, at: this.#libc.addressOf(bytes) };
      this.#names.set(key, name);
    }
    this.#lastName = { to, v6, name };
    return name;
  }

  /** Where bytes lie, mostly in the same memory as before. */
  #addressOf(bytes: Uint8Array<ArrayBuffer>): number {
    const { buffer, byteOffset } = bytes;
    if (this.#base.buffer !== buffer) {
      this.#base = { buffer, at: Number(this.#libc.addressOf(new Uint8Array(buffer))) };
    }
    return this.#base.at + byteOffset;
  }
}
