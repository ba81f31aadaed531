/**
 * Sends many datagrams, each to an address of its own, by one call (`sendmmsg`). What goes to one address in a row goes better as a
 * train (UDP_SEGMENT), which is what the datapath and the relay do.
 *
 * ```text
 *   struct mmsghdr          64 bytes: msghdr, as train_receiver.ts draws it, then the length sent at 56
 *   bytes                   | datagram | datagram | datagram | ...      copied, so whoever adds one may write the next over it
 * ```
 *
 * What the kernel does not take at once is dropped: to wait for one receiver would stall all others.
 *
 * @module
 */
import { MorayError, type SocketAddress } from "../core/mod.ts";
import { type Libc, openLibrary } from "./libc.ts";
import { encodeSocketAddress, SOCKADDR_BYTES, type UdpSocket } from "./udp_socket.ts";

const MSG_DONTWAIT = 0x40;
const MMSGHDR = 64;
const IOVEC = 16;
/** Datagrams in one call; more make room by a call of their own. */
const BATCH = 64;
/** Bytes in one call; no datagram is longer. */
const BATCH_BYTES_MAX = 65_536;
const SEND_SYMBOLS = {
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
} as const;

/** What became of datagrams. */
export interface BatchCounts {
  /** Datagrams that the kernel took. */
  sent: number;
  /** Datagrams that it did not take, or that its socket cannot send to their address. */
  dropped: number;
}

/** The calls of {@linkcode BatchSender}, for all senders of one owner: only who sends in batches binds them. */
export class BatchCalls implements Disposable {
  /** `man 2 sendmmsg`. */
  readonly sendmmsg: (
    fd: number,
    headers: Uint8Array<ArrayBuffer>,
    count: number,
    flags: number,
  ) => number;
  readonly #library: Deno.DynamicLibrary<typeof SEND_SYMBOLS>;

  /** Throws `unsupported` where there is none. */
  constructor() {
    const library = openLibrary(SEND_SYMBOLS);
    if (library === undefined) throw new MorayError("unsupported", "no sendmmsg by FFI");
    this.#library = library;
    this.sendmmsg = library.symbols.sendmmsg;
  }

  /** Lets go of them. */
  [Symbol.dispose](): void {
    this.#library.close();
  }
}

/** Sends by one socket. */
export class BatchSender {
  /** What became of everything so far, but for what waits. */
  readonly counts: Readonly<BatchCounts>;
  readonly #counts: BatchCounts = { sent: 0, dropped: 0 };
  readonly #socket: UdpSocket;
  readonly #calls: BatchCalls;
  readonly #headers = new Uint8Array(BATCH * MMSGHDR);
  readonly #headersView = new DataView(this.#headers.buffer);
  readonly #vectors = new Uint8Array(BATCH * IOVEC);
  readonly #vectorsView = new DataView(this.#vectors.buffer);
  readonly #names = new Uint8Array(BATCH * SOCKADDR_BYTES);
  readonly #bytes = new Uint8Array(BATCH_BYTES_MAX);
  /** A number: addresses have 47 bits. */
  readonly #bytesAt: number;
  #count = 0;
  #length = 0;

  /** A sender with nothing to send. The socket and the calls stay the caller's. */
  constructor(libc: Libc, { socket, calls }: { socket: UdpSocket; calls: BatchCalls }) {
    this.#socket = socket;
    this.#calls = calls;
    this.counts = this.#counts;
    this.#bytesAt = Number(libc.addressOf(this.#bytes));
    const [namesAt, vectorsAt] = [libc.addressOf(this.#names), libc.addressOf(this.#vectors)];
    for (let i = 0; i < BATCH; i++) {
      const [header, n] = [i * MMSGHDR, BigInt(i)];
      this.#headersView.setBigUint64(header, namesAt + n * BigInt(SOCKADDR_BYTES), true);
      this.#headersView.setUint32(header + 8, socket.v6 ? SOCKADDR_BYTES : 16, true);
      this.#headersView.setBigUint64(header + 16, vectorsAt + n * BigInt(IOVEC), true);
      this.#headersView.setBigUint64(header + 24, 1n, true);
    }
  }

  /**
   * Takes a datagram, borrowed for the call, which goes out with the next {@linkcode BatchSender.flush} at the latest. `name` is the
   * address as libc wants it, if that is known, as `UdpLoop.sourceName` is.
   */
  add(datagram: Uint8Array, to: SocketAddress, name = this.#nameOf(to)): void {
    const { length } = datagram;
    if (name === undefined || length > BATCH_BYTES_MAX) {
      this.#counts.dropped++;
      return;
    }
    if (this.#count === BATCH || this.#length + length > BATCH_BYTES_MAX) this.flush();
    this.#names.set(name, this.#count * SOCKADDR_BYTES);
    this.#bytes.set(datagram, this.#length);
    const vector = this.#count * IOVEC;
    const from = this.#bytesAt + this.#length;
    this.#vectorsView.setUint32(vector, from % 0x1_0000_0000, true);
    this.#vectorsView.setUint32(vector + 4, from / 0x1_0000_0000, true);
    this.#vectorsView.setUint32(vector + 8, length, true);
    this.#length += length;
    this.#count++;
  }

  /** Hands what waits to the kernel, or drops it. */
  flush(): void {
    const count = this.#count;
    let at = 0;
    let failures = 0;
    while (at < count) {
      const headers = at === 0 ? this.#headers : this.#headers.subarray(at * MMSGHDR);
      const sent = this.#calls.sendmmsg(this.#socket.fd, headers, count - at, MSG_DONTWAIT);
      if (sent > 0) {
        at += sent;
        failures = 0;
        this.#counts.sent += sent;
      } else if (++failures === 2) {
        // Twice: the first call may be answered with an ICMP error for an earlier datagram.
        at++;
        failures = 0;
        this.#counts.dropped++;
      }
    }
    this.#count = 0;
    this.#length = 0;
  }

  /** Drops what waits: its socket is closed. */
  drop(): void {
    this.#counts.dropped += this.#count;
    this.#count = 0;
    this.#length = 0;
  }

  #nameOf(to: SocketAddress): Uint8Array<ArrayBuffer> | undefined {
    return encodeSocketAddress(this.#socket.family, to);
  }
}
