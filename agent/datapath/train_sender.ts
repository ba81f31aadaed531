/**
 * Sends trains of datagrams: one call sends up to 64 KiB that the kernel or the network card splits (UDP_SEGMENT). To where
 * something is known not to fit, datagrams go one by one (docs/decisions/0006-df-and-the-error-queue.md).
 *
 * ```text
 *   struct msghdr           56 bytes: name 0, namelen 8, iov 16, iovlen 24, control 32, controllen 40, flags 48
 *   struct cmsghdr          16 bytes: length 0, level 8, type 12; data follows
 * ```
 *
 * @module
 */
import { type Family, familyOf, type Instant, type SocketAddress } from "../../core/mod.ts";
import {
  encodeSocketAddress,
  ERRNO,
  type Libc,
  PMTUDISC,
  setMtuDiscovery,
  type SocketFamily,
  systemClock,
} from "../../io/mod.ts";

const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const MSG_DONTWAIT = 0x40;
const POLLOUT = 4;
const POLLERR = 8;
const CMSG = 24;
/** How long a full send buffer is waited for. */
const SEND_WAIT_MS = 5;
/** How often a call is made: once may be answered with an error of an earlier datagram, once with a full buffer. */
const ATTEMPTS = 3;
/** Addresses remembered in both forms; when full, all are forgotten. */
const NAMES_MAX = 4096;
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

/** Options of {@linkcode TrainSender}. */
export interface TrainSenderOptions {
  /** Family of the sockets. */
  readonly family: SocketFamily;
  /** Counts what was dropped, or sent otherwise. */
  readonly count: (name: string) => void;
  /** The error queue of a socket holds something. */
  readonly onErrors: (fd: number) => void;
}

/** Sends by sockets of one family. */
export class TrainSender {
  readonly #libc: Libc;
  readonly #options: TrainSenderOptions;
  readonly #out = new Uint8Array(56);
  readonly #outView = new DataView(this.#out.buffer);
  readonly #outVector = new Uint8Array(16);
  readonly #outVectorView = new DataView(this.#outVector.buffer);
  readonly #outControl = new Uint8Array(CMSG);
  readonly #outControlView = new DataView(this.#outControl.buffer);
  readonly #pollOut = new Int32Array(2);
  readonly #timeout = new BigInt64Array(2);
  readonly #timeoutBytes = new Uint8Array(this.#timeout.buffer);
  readonly #destinations = new Map<string, Name>();
  #lastName: { readonly to: SocketAddress; readonly name: Name } | undefined;
  #sending = { buffer: new ArrayBuffer(0), at: 0n };
  /** Whether the path to the network can segment; the first EIO says no. */
  #segments = true;

  /** A sender that knows no destination. */
  constructor(libc: Libc, options: TrainSenderOptions) {
    this.#libc = libc;
    this.#options = options;
    this.#prepare();
  }

  /** Sends datagrams as `Transport.send` says, by the socket `fd`. */
  send(
    fd: number,
    bytes: Uint8Array,
    segment: number,
    to: SocketAddress,
    whole: boolean,
  ): void {
    const name = this.#name(to);
    if (name === undefined) return;
    const source = bytes as Uint8Array<ArrayBuffer>;
    if (segment > name.fits && !whole && this.#sendSplit(fd, source, segment, name)) return;
    if (this.#segments && bytes.length > segment) {
      if (this.#sendTrain(fd, source, segment, name)) return;
    }
    for (let at = 0; at < bytes.length; at += segment) {
      this.#sendOne(fd, source.subarray(at, at + segment), name, whole);
    }
  }

  /** Remembers that IP packets of more than `mtu` bytes do not fit the way to a destination. */
  shrink(destination: SocketAddress, mtu: number): void {
    const name = this.#destinations.get(keyOf(destination));
    if (name !== undefined) this.#shrink(name, mtu - HEADER_BYTES[name.family]);
  }

  #sendTrain(
    fd: number,
    bytes: Uint8Array<ArrayBuffer>,
    segment: number,
    name: Name,
  ): boolean {
    this.#outView.setBigUint64(0, name.at, true);
    this.#outView.setUint32(8, name.bytes.length, true);
    this.#outVectorView.setBigUint64(0, this.#addressOf(bytes), true);
    this.#outVectorView.setBigUint64(8, BigInt(bytes.length), true);
    this.#outControlView.setUint16(16, segment, true);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.#libc.calls.sendmsg(fd, this.#out, MSG_DONTWAIT) >= 0n) return true;
      const errno = this.#libc.errno();
      if (errno === ERRNO.EIO || errno === ERRNO.EINVAL) {
        // EIO: the device cannot compute the checksums. EINVAL: the train does not fit the path's MTU.
        if (errno === ERRNO.EIO) this.#segments = false;
        this.#count(errno === ERRNO.EIO ? "segmentationUnavailable" : "segmentationRefused");
        return false;
      }
      if (errno === ERRNO.EMSGSIZE && attempt > 0) return false;
      if (!this.#waitToSend(fd, errno, attempt)) return true;
    }
    this.#count("sendBufferFull");
    return true;
  }

  #sendOne(fd: number, bytes: Uint8Array<ArrayBuffer>, name: Name, whole = false): void {
    const { sendto } = this.#libc.calls;
    const length = BigInt(bytes.length);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const sent = sendto(fd, bytes, length, MSG_DONTWAIT, name.bytes, name.bytes.length);
      if (sent >= 0n) return;
      const errno = this.#libc.errno();
      if (errno === ERRNO.EMSGSIZE && attempt > 0 && whole) return this.#count("wholeTooBig");
      if (errno === ERRNO.EMSGSIZE && attempt > 0 && bytes.length <= name.fits) {
        // More than our own link takes, which the error queue is about to say.
        this.#shrink(name, bytes.length - 1);
        this.#sendSplit(fd, bytes, bytes.length, name);
        return;
      }
      if (!this.#waitToSend(fd, errno, attempt)) return;
    }
    this.#count("sendBufferFull");
  }

  /**
   * Sends datagrams that the kernel may split on the way to where they do not fit: slow, but they arrive. Returns false if
   * the path has become unknown again, so that the whole is tried.
   */
  #sendSplit(
    fd: number,
    bytes: Uint8Array<ArrayBuffer>,
    segment: number,
    name: Name,
  ): boolean {
    if (systemClock.now() >= name.fitsUntil) {
      name.fits = Infinity;
      return false;
    }
    setMtuDiscovery(this.#libc, fd, name.family, PMTUDISC.want);
    for (let at = 0; at < bytes.length; at += segment) {
      this.#count("sentSplit");
      this.#sendOne(fd, bytes.subarray(at, at + segment), name);
    }
    setMtuDiscovery(this.#libc, fd, name.family, PMTUDISC.probe);
    return true;
  }

  #shrink(name: Name, fits: number): void {
    name.fits = fits;
    name.fitsUntil = systemClock.now() + SMALL_MS as Instant;
  }

  /** After a failed send: waits for room, or counts the error. Returns whether to try again. */
  #waitToSend(fd: number, errno: number, attempt: number): boolean {
    if (errno === ERRNO.EINTR) return true;
    if (errno !== ERRNO.EAGAIN && errno !== ERRNO.ENOBUFS) {
      // With an error queue the kernel also answers a call with what became of an earlier datagram, once.
      if (attempt === 0) return true;
      this.#count(`sendFailed:${errno}`);
      return false;
    }
    this.#timeout[0] = 0n;
    this.#timeout[1] = BigInt(SEND_WAIT_MS * 1e6);
    this.#pollOut[0] = fd;
    this.#pollOut[1] = POLLOUT;
    const poll = new Uint8Array(this.#pollOut.buffer);
    this.#libc.calls.ppoll(poll, 1n, this.#timeoutBytes, null);
    // Errors that wait would end every sleep at once.
    if (((this.#pollOut[1] ?? 0) >>> 16 & POLLERR) !== 0) this.#options.onErrors(fd);
    return true;
  }

  /** A destination as libc wants it; `undefined`, counted, where the socket cannot send to that family. */
  #name(to: SocketAddress): Name | undefined {
    // Mostly the same object as before: the engine keeps its addresses.
    if (this.#lastName?.to === to) return this.#lastName.name;
    const key = keyOf(to);
    let name = this.#destinations.get(key);
    if (name === undefined) {
      const bytes = encodeSocketAddress(this.#options.family, to);
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

  #prepare(): void {
    this.#outView.setBigUint64(16, this.#libc.addressOf(this.#outVector), true);
    this.#outView.setBigUint64(24, 1n, true);
    this.#outView.setBigUint64(32, this.#libc.addressOf(this.#outControl), true);
    this.#outView.setBigUint64(40, BigInt(CMSG), true);
    this.#outControlView.setBigUint64(0, 18n, true);
    this.#outControlView.setInt32(8, SOL_UDP, true);
    this.#outControlView.setInt32(12, UDP_SEGMENT, true);
  }

  #count(name: string): void {
    this.#options.count(name);
  }
}

function keyOf({ hostname, port }: SocketAddress): string {
  return `${hostname} ${port}`;
}
