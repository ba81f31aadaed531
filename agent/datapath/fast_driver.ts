/**
 * The fast driver: libc's sockets by FFI, on Linux.
 *
 * One call takes in up to 16 super-packets of up to 64 KiB, each a train of equal datagrams that the kernel has joined
 * (UDP_GRO); one call sends a train (UDP_SEGMENT). Between, the Worker sleeps in `ppoll` on the socket and on the eventfd
 * that the main thread writes to. What is received may lie in the engine's memory at once
 * (docs/decisions/0004-received-in-place.md). Nothing is split on its way, except to where something is known not to fit
 * (docs/decisions/0006-df-and-the-error-queue.md).
 *
 * ```text
 *   struct msghdr           56 bytes: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48
 *   struct mmsghdr          64 bytes: msghdr, then the length received at 56
 *   struct sockaddr_in6     28 bytes: family 0, port 2 (big-endian), flow 4, address 8, scope 24
 *   struct cmsghdr          16 bytes: length 0, level 8, type 12; data follows
 * ```
 *
 * @module
 */
import {
  AddressCache,
  assert,
  type Family,
  familyOf,
  formatSocketAddress,
  type Instant,
  MorayError,
  parseIp,
  type SocketAddress,
} from "../../core/mod.ts";
import { ERRNO, Libc, systemClock } from "../../io/mod.ts";
import { ErrorQueue, type PathError } from "./error_queue.ts";
import type { Transport } from "./transport.ts";

const AF_INET6 = 10;
const AF_INET = 2;
/** SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC. */
const SOCKET_KIND = 2 | 0x800 | 0x80000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
const IP_MTU_DISCOVER = 10;
const IP_RECVERR = 11;
/** The kernel splits what does not fit the path as far as it knows that. */
const PMTUDISC_WANT = 1;
/** Nothing is split, here or on the way, and what the kernel has heard of the path does not hold sending back. */
const PMTUDISC_PROBE = 3;
const IPPROTO_IP = 0;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const POLLOUT = 4;
const POLLERR = 8;

const MMSGHDR = 64;
const SOCKADDR = 28;
const CONTROL = 64;
const CMSG = 24;
/** Super-packets taken in one call. */
const BATCH = 16;
/** No datagram and no train is longer. */
const SLOT_BYTES = 65_536;
/** What the kernel may hold for us; the default of 208 KiB is 90 packets. */
const BUFFER_BYTES = 7 << 20;
/** How long a full send buffer is waited for. */
const SEND_WAIT_MS = 5;
/** How often a call is made: once may be answered with an error of an earlier datagram, once with a full buffer. */
const ATTEMPTS = 3;
/** Batches taken before the engine gets its turn. */
const BATCHES_MAX = 4;
/** Addresses remembered in both forms; when full, all are forgotten. */
const NAMES_MAX = 4096;
/** File descriptors in one poll: socket, bell, and a few of others; whoever has many puts them behind an epoll. */
const WATCHED_MAX = 8;

/** How long a small path MTU is remembered, as Linux does: it may have been forged, or the path may have changed. */
const SMALL_MS = 600_000;
/** Bytes of IP and UDP headers in front of a datagram. */
const HEADER_BYTES = { 4: 28, 6: 48 } as const;

/** A destination: its socket address for libc, where that lies, and what fits on the way to it. */
interface Name {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: bigint;
  readonly family: Family;
  /** Largest datagram that is sent unsplit. */
  fits: number;
  /** Until when that holds. */
  fitsUntil: Instant;
}

/** Options of {@linkcode FastDriver.open}. */
export interface FastDriverOptions {
  /** UDP port; 0 lets the system choose. */
  readonly port: number;
  /** What the main thread rings; it stays the main thread's. */
  readonly eventFd: number;
  /** Takes datagrams of `segment` bytes each, the last maybe shorter, that lie one after another; borrowed for the call. */
  readonly onDatagrams: (source: SocketAddress, bytes: Uint8Array, segment: number) => void;
  /** Takes what the network says of datagrams sent before: hints, which may be forged. Absent: they are counted only. */
  readonly onPathError?: (error: PathError) => void;
}

/** UDP through libc. Everything blocks or returns at once; nothing is asynchronous. */
export class FastDriver implements Transport {
  readonly name = "fast";
  readonly busy = false;
  readonly #eventFd: number;
  readonly #libc: Libc;
  readonly #onDatagrams: FastDriverOptions["onDatagrams"];
  readonly #onPathError: FastDriverOptions["onPathError"];
  readonly #socket: number;
  readonly #family: typeof AF_INET | typeof AF_INET6;
  readonly #errors: ErrorQueue;
  readonly #address: SocketAddress;
  readonly #counters = new Map<string, number>();
  /** For receiving: headers with all that they point to. */
  readonly #headers = new Uint8Array(BATCH * MMSGHDR);
  readonly #headersView = new DataView(this.#headers.buffer);
  readonly #names = new Uint8Array(BATCH * SOCKADDR);
  readonly #namesView = new DataView(this.#names.buffer);
  readonly #controls = new Uint8Array(BATCH * CONTROL);
  readonly #controlsView = new DataView(this.#controls.buffer);
  readonly #vectors = new Uint8Array(BATCH * 16);
  #slots: readonly Uint8Array<ArrayBuffer>[] = [];
  #memory: (() => Uint8Array<ArrayBuffer>) | undefined;
  #onBatch = (): void => {};
  /** For sending. */
  readonly #out = new Uint8Array(56);
  readonly #outView = new DataView(this.#out.buffer);
  readonly #outVector = new Uint8Array(16);
  readonly #outVectorView = new DataView(this.#outVector.buffer);
  readonly #outControl = new Uint8Array(CMSG);
  readonly #outControlView = new DataView(this.#outControl.buffer);
  /** `struct pollfd` each: descriptor, events below, what happened in the upper half. */
  readonly #poll = new Int32Array(2 * WATCHED_MAX);
  readonly #watched: (() => void)[] = [];
  readonly #pollBytes = new Uint8Array(this.#poll.buffer);
  readonly #pollOut = new Int32Array(2);
  readonly #timeout = new BigInt64Array(2);
  readonly #timeoutBytes = new Uint8Array(this.#timeout.buffer);
  readonly #bell = new Uint8Array(8);
  readonly #destinations = new Map<string, Name>();
  #lastName: { readonly to: SocketAddress; readonly name: Name } | undefined;
  readonly #sources = new AddressCache();
  #sending = { buffer: new ArrayBuffer(0), at: 0n };
  /** Whether the path to the network can segment; the first EIO says no. */
  #segments = true;

  private constructor(libc: Libc, options: FastDriverOptions) {
    this.#libc = libc;
    this.#onDatagrams = options.onDatagrams;
    this.#onPathError = options.onPathError;
    [this.#socket, this.#family] = this.#bind(options.port);
    this.#address = this.#boundAddress();
    this.#errors = new ErrorQueue(libc, {
      socket: this.#socket,
      onError: (error) => this.#takeError(error),
      onOther: () => this.#count("errorIgnored"),
    });
    this.#eventFd = options.eventFd;
    const own = new Uint8Array(BATCH * SLOT_BYTES);
    this.#prepareReceive(own);
    this.#prepareSend();
    this.#poll.set([this.#socket, POLLIN, this.#eventFd, POLLIN]);
    this.#pollOut.set([this.#socket, POLLOUT]);
  }

  /** Binds the socket. Throws `unsupported` where FFI or an option is missing, `portInUse`, or `permission`. */
  static open(options: FastDriverOptions): FastDriver {
    const libc = Libc.open();
    try {
      return new FastDriver(libc, options);
    } catch (error) {
      libc[Symbol.dispose]();
      throw error;
    }
  }

  get port(): number {
    return this.#address.port;
  }

  get localEndpoints(): readonly string[] {
    return [formatSocketAddress(this.#address)];
  }

  counters(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counters);
  }

  /** Wakes up for input on another descriptor too: `onReady` is called by {@linkcode FastDriver.wait}, as long as it lasts. */
  watch(fd: number, onReady: () => void): void {
    assert(this.#watched.length < WATCHED_MAX - 2, "the poll set is large enough");
    this.#poll.set([fd, POLLIN], 4 + 2 * this.#watched.length);
    this.#watched.push(onReady);
  }

  /** Wakes up for a descriptor no longer. */
  unwatch(fd: number): void {
    for (let i = 0; i < this.#watched.length; i++) {
      // The kernel passes over negative descriptors.
      if (this.#poll[4 + 2 * i] === fd) this.#poll[4 + 2 * i] = -1;
    }
  }

  /**
   * Sleeps until a datagram, a bell, something watched, or `timeoutMs`. Returns whether the bell rang; it has been read by then, so that the
   * caller can answer it.
   */
  wait(timeoutMs: number): boolean {
    const us = Math.ceil(Math.max(0, timeoutMs) * 1000);
    this.#timeout[0] = BigInt(Math.floor(us / 1e6));
    this.#timeout[1] = BigInt(us % 1e6 * 1000);
    const count = 2 + this.#watched.length;
    const ready = this.#libc.calls.ppoll(this.#pollBytes, BigInt(count), this.#timeoutBytes, null);
    if (ready <= 0) return false;
    if (((this.#poll[1] ?? 0) >>> 16 & POLLERR) !== 0) this.#errors.take();
    for (const [i, onReady] of this.#watched.entries()) {
      if ((this.#poll[5 + 2 * i] ?? 0) >>> 16 !== 0) onReady();
    }
    if (((this.#poll[3] ?? 0) >>> 16) === 0) return false;
    this.#libc.calls.read(this.#eventFd, this.#bell, 8n);
    return true;
  }

  /**
   * Receives into memory of somebody else's, a megabyte, from now on. It is asked for before each batch, since it may move, and
   * `onBatch` is told after each, which may then take in what lies there: the next one overwrites it.
   */
  receiveInto(memory: () => Uint8Array<ArrayBuffer>, onBatch: () => void): void {
    this.#memory = memory;
    this.#onBatch = onBatch;
  }

  /** Hands what the socket holds to `onDatagrams`, a bounded part of it. Returns whether there may be more. */
  receive(): boolean {
    for (let batch = 0; batch < BATCHES_MAX; batch++) {
      const memory = this.#memory?.();
      if (memory !== undefined && memory.buffer !== this.#slots[0]?.buffer) {
        this.#prepareReceive(memory);
      }
      const count = this.#libc.calls.recvmmsg(
        this.#socket,
        this.#headers,
        BATCH,
        MSG_DONTWAIT,
        null,
      );
      if (count <= 0) {
        // Empty, or an error of an earlier send that surfaces here; either way the next poll tells.
        return false;
      }
      for (let i = 0; i < count; i++) this.#take(i);
      this.#onBatch();
      if (count < BATCH) return false;
    }
    return true;
  }

  send(bytes: Uint8Array, segment: number, to: SocketAddress): void {
    const name = this.#name(to);
    if (name === undefined) return;
    const source = bytes as Uint8Array<ArrayBuffer>;
    if (segment > name.fits && this.#sendSplit(source, segment, name)) return;
    if (this.#segments && bytes.length > segment) {
      if (this.#sendTrain(source, segment, name)) return;
    }
    for (let at = 0; at < bytes.length; at += segment) {
      this.#sendOne(source.subarray(at, at + segment), name);
    }
  }

  /** Closes the socket. */
  close(): void {
    this.#libc.calls.close(this.#socket);
    this.#libc[Symbol.dispose]();
  }

  #take(i: number): void {
    const header = i * MMSGHDR;
    const length = this.#headersView.getUint32(header + 56, true);
    const slot = this.#slots[i];
    if (slot !== undefined && length > 0) {
      const bytes = slot.subarray(0, length);
      this.#onDatagrams(this.#source(i), bytes, this.#segmentOf(i, length));
    }
    // The kernel has written what it used.
    this.#headersView.setUint32(header + 8, SOCKADDR, true);
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
    const at = i * SOCKADDR;
    const v6 = this.#family === AF_INET6;
    const port = this.#namesView.getUint16(at + 2);
    return this.#sources.find(this.#namesView, at + (v6 ? 8 : 4), { words: v6 ? 4 : 1, port });
  }

  #sendTrain(bytes: Uint8Array<ArrayBuffer>, segment: number, name: Name): boolean {
    this.#outView.setBigUint64(0, name.at, true);
    this.#outView.setUint32(8, name.bytes.length, true);
    this.#outVectorView.setBigUint64(0, this.#addressOf(bytes), true);
    this.#outVectorView.setBigUint64(8, BigInt(bytes.length), true);
    this.#outControlView.setUint16(16, segment, true);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.#libc.calls.sendmsg(this.#socket, this.#out, MSG_DONTWAIT) >= 0n) return true;
      const errno = this.#libc.errno();
      if (errno === ERRNO.EIO || errno === ERRNO.EINVAL) {
        // EIO: the device cannot compute the checksums. EINVAL: the train does not fit the path's MTU.
        if (errno === ERRNO.EIO) this.#segments = false;
        this.#count(errno === ERRNO.EIO ? "segmentationUnavailable" : "segmentationRefused");
        return false;
      }
      if (errno === ERRNO.EMSGSIZE && attempt > 0) return false;
      if (!this.#waitToSend(errno, attempt)) return true;
    }
    this.#count("sendBufferFull");
    return true;
  }

  #sendOne(bytes: Uint8Array<ArrayBuffer>, name: Name): void {
    const { sendto } = this.#libc.calls;
    const length = BigInt(bytes.length);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const sent = sendto(this.#socket, bytes, length, MSG_DONTWAIT, name.bytes, name.bytes.length);
      if (sent >= 0n) return;
      const errno = this.#libc.errno();
      if (errno === ERRNO.EMSGSIZE && attempt > 0 && bytes.length <= name.fits) {
        // More than our own link takes, which the error queue is about to say.
        this.#shrink(name, bytes.length - 1);
        this.#sendSplit(bytes, bytes.length, name);
        return;
      }
      if (!this.#waitToSend(errno, attempt)) return;
    }
    this.#count("sendBufferFull");
  }

  /**
   * Sends datagrams that the kernel may split on the way to where they do not fit: slow, but they arrive. Returns false if
   * the path has become unknown again, so that the whole is tried.
   */
  #sendSplit(bytes: Uint8Array<ArrayBuffer>, segment: number, name: Name): boolean {
    if (systemClock.now() >= name.fitsUntil) {
      name.fits = Infinity;
      return false;
    }
    this.#discoverMtu(name.family, PMTUDISC_WANT);
    for (let at = 0; at < bytes.length; at += segment) {
      this.#count("sentSplit");
      this.#sendOne(bytes.subarray(at, at + segment), name);
    }
    this.#discoverMtu(name.family, PMTUDISC_PROBE);
    return true;
  }

  #discoverMtu(family: Family, how: number): void {
    if (family === 6) this.#set(this.#socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, how);
    else this.#set(this.#socket, IPPROTO_IP, IP_MTU_DISCOVER, how);
  }

  #shrink(name: Name, fits: number): void {
    name.fits = fits;
    name.fitsUntil = systemClock.now() + SMALL_MS as Instant;
  }

  #takeError(error: PathError): void {
    this.#count(error.kind === "packetTooBig" ? error.kind : `unreachable:${error.what}`);
    if (error.kind === "packetTooBig") {
      const name = this.#destinations.get(keyOf(error.destination));
      if (name !== undefined) this.#shrink(name, error.mtu - HEADER_BYTES[name.family]);
    }
    this.#onPathError?.(error);
  }

  /** After a failed send: waits for room, or counts the error. Returns whether to try again. */
  #waitToSend(errno: number, attempt: number): boolean {
    if (errno === ERRNO.EINTR) return true;
    if (errno !== ERRNO.EAGAIN && errno !== ERRNO.ENOBUFS) {
      // With an error queue the kernel also answers a call with what became of an earlier datagram, once.
      if (attempt === 0) return true;
      this.#count(`sendFailed:${errno}`);
      return false;
    }
    this.#timeout[0] = 0n;
    this.#timeout[1] = BigInt(SEND_WAIT_MS * 1e6);
    const poll = new Uint8Array(this.#pollOut.buffer);
    this.#libc.calls.ppoll(poll, 1n, this.#timeoutBytes, null);
    // Errors that wait would end every sleep at once.
    if (((this.#pollOut[1] ?? 0) >>> 16 & POLLERR) !== 0) this.#errors.take();
    return true;
  }

  /** A destination as libc wants it; `undefined`, counted, where the socket cannot send to that family. */
  #name(to: SocketAddress): Name | undefined {
    // Mostly the same object as before: the engine keeps its addresses.
    if (this.#lastName?.to === to) return this.#lastName.name;
    const key = keyOf(to);
    let name = this.#destinations.get(key);
    if (name === undefined) {
      const bytes = sockaddr(this.#family, to);
      if (bytes === undefined) {
        this.#count("sendFailed:family");
        return undefined;
      }
      if (this.#destinations.size >= NAMES_MAX) this.#destinations.clear();
      const at = this.#libc.addressOf(bytes);
      const family = familyOf(to.hostname);
      name = { bytes, at, family, fits: Infinity, fitsUntil: 0 as Instant };
      this.#destinations.set(key, name);
    }
    this.#lastName = { to, name };
    return name;
  }

  /** Where bytes lie, mostly in the same memory as before. */
  #addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
    if (this.#sending.buffer !== bytes.buffer) {
      const { buffer } = bytes;
      this.#sending = { buffer, at: this.#libc.addressOf(new Uint8Array(buffer)) };
    }
    return this.#sending.at + BigInt(bytes.byteOffset);
  }

  #bind(port: number): readonly [number, typeof AF_INET | typeof AF_INET6] {
    for (const family of [AF_INET6, AF_INET] as const) {
      const socket = this.#libc.calls.socket(family, SOCKET_KIND, 0);
      if (socket < 0) continue;
      if (family === AF_INET6) this.#set(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
      const any = { hostname: family === AF_INET6 ? "::" : "0.0.0.0", port };
      const name = sockaddr(family, any) ?? new Uint8Array();
      if (this.#libc.calls.bind(socket, name, name.length) === 0) {
        this.#configure(socket);
        return [socket, family];
      }
      const errno = this.#libc.errno();
      this.#libc.calls.close(socket);
      if (errno === ERRNO.EADDRINUSE) {
        throw new MorayError(
          "portInUse",
          `Cannot bind UDP port ${port}: address is in use; choose another with --wg-port`,
        );
      }
      if (errno === ERRNO.EACCES) {
        throw new MorayError("permission", `Cannot bind UDP port ${port}: permission denied`);
      }
    }
    throw new MorayError("unsupported", "no UDP socket by FFI");
  }

  #configure(socket: number): void {
    // The forced sizes need CAP_NET_ADMIN; without it the system's maximum holds.
    if (!this.#set(socket, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)) {
      this.#set(socket, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
    }
    if (!this.#set(socket, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)) {
      this.#set(socket, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
    }
    // The IPv6 options say no on a socket for IPv4, and those for IPv4 hold for the mapped addresses.
    for (
      const [level, option, value] of [
        [IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE],
        [IPPROTO_IP, IP_RECVERR, 1],
        [IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE],
        [IPPROTO_IPV6, IPV6_RECVERR, 1],
      ] as const
    ) this.#set(socket, level, option, value);
    if (!this.#set(socket, SOL_UDP, UDP_GRO, 1)) {
      this.#libc.calls.close(socket);
      throw new MorayError("unsupported", "this kernel has no UDP_GRO");
    }
  }

  #set(socket: number, level: number, option: number, value: number): boolean {
    const bytes = new Uint8Array(Int32Array.of(value).buffer);
    return this.#libc.calls.setsockopt(socket, level, option, bytes, 4) === 0;
  }

  #boundAddress(): SocketAddress {
    const name = new Uint8Array(SOCKADDR);
    const length = new Uint8Array(Int32Array.of(SOCKADDR).buffer);
    this.#libc.calls.getsockname(this.#socket, name, length);
    const hostname = this.#family === AF_INET6 ? "::" : "0.0.0.0";
    return { hostname, port: new DataView(name.buffer).getUint16(2) };
  }

  #prepareReceive(memory: Uint8Array<ArrayBuffer>): void {
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
      this.#headersView.setBigUint64(header, (names ?? 0n) + n * BigInt(SOCKADDR), true);
      this.#headersView.setUint32(header + 8, SOCKADDR, true);
      this.#headersView.setBigUint64(header + 16, (vectorsAt ?? 0n) + n * 16n, true);
      this.#headersView.setBigUint64(header + 24, 1n, true);
      this.#headersView.setBigUint64(header + 32, (controls ?? 0n) + n * BigInt(CONTROL), true);
      this.#headersView.setBigUint64(header + 40, BigInt(CONTROL), true);
    }
  }

  #prepareSend(): void {
    this.#outView.setBigUint64(16, this.#libc.addressOf(this.#outVector), true);
    this.#outView.setBigUint64(24, 1n, true);
    this.#outView.setBigUint64(32, this.#libc.addressOf(this.#outControl), true);
    this.#outView.setBigUint64(40, BigInt(CMSG), true);
    this.#outControlView.setBigUint64(0, 18n, true);
    this.#outControlView.setInt32(8, SOL_UDP, true);
    this.#outControlView.setInt32(12, UDP_SEGMENT, true);
  }

  #count(name: string): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + 1);
  }
}

function keyOf({ hostname, port }: SocketAddress): string {
  return `${hostname} ${port}`;
}

/** A socket address; IPv4 is mapped on an IPv6 socket. `undefined` for an IPv6 address on an IPv4 socket. */
function sockaddr(
  family: typeof AF_INET | typeof AF_INET6,
  { hostname, port }: SocketAddress,
): Uint8Array<ArrayBuffer> | undefined {
  const ip = parseIp(hostname);
  if (ip === undefined || (family === AF_INET && ip.length === 16)) return undefined;
  const bytes = new Uint8Array(family === AF_INET6 ? SOCKADDR : 16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port);
  if (family === AF_INET) bytes.set(ip, 4);
  else if (ip.length === 16) bytes.set(ip, 8);
  else bytes.set([0xff, 0xff, ...ip], 18);
  return bytes;
}
