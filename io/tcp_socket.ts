/**
 * Kernel TCP connections taken out of Deno's hands, so that another thread can read and write them.
 *
 * Deno 2.8 has no way to do that. `dup` and `close` alone are not it: closing a `Deno.TcpConn` shuts its socket down for
 * writing, whoever else holds it (tokio's write half does so when it is dropped). So the descriptor beneath the
 * `Deno.TcpConn` is replaced by one that stands for nothing before Deno closes it:
 *
 * ```text
 *   find     the descriptor whose getsockname and getpeername are the connection's addresses
 *   dup      it, close-on-exec: this is the one that is handed out
 *   forget   it in the event loop's epoll, which would go on to wake the main thread for every arrival
 *   replace  it by an eventfd (dup3) and let the epoll know of that, so that Deno can sign it off
 *   close    the Deno.TcpConn
 * ```
 *
 * Every step before "forget" can be undone; where one fails, the connection stays Deno's.
 *
 * @module
 */
import { assert, canonicalIp, formatIp, MorayError } from "../core/mod.ts";
import { Libc } from "./libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_LINGER = 13;
const SOCK_STREAM = 1;
const F_DUPFD_CLOEXEC = 1030;
const O_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
/** EFD_NONBLOCK | EFD_CLOEXEC. */
const EVENTFD_FLAGS = 0x80800;
const SOCKADDR_BYTES = 28;
/** Descriptors looked at for a connection. The system gives the lowest free one, so few processes get beyond. */
const DESCRIPTORS_MAX = 4096;
/** Standard input, output and error are no connection and no epoll of ours. */
const DESCRIPTOR_MIN = 3;

/** A TCP connection of the kernel that is nobody else's. */
export class TcpSocket {
  /** The descriptor, the same in every thread, until `close` or `reset`. */
  readonly fd: number;
  readonly #close: (reset: boolean) => void;
  #open = true;

  /** Use {@linkcode TcpSockets.take}. */
  constructor(fd: number, close: (reset: boolean) => void) {
    this.fd = fd;
    this.#close = close;
  }

  /** Closes it; what was written is still sent. Safe to call twice. */
  close(): void {
    this.#end(false);
  }

  /** Closes it with a reset: the other end is told that this was no end. Safe to call twice, and after `close`. */
  reset(): void {
    this.#end(true);
  }

  #end(reset: boolean): void {
    if (!this.#open) return;
    this.#open = false;
    this.#close(reset);
  }
}

/** Takes connections from Deno. */
export class TcpSockets implements Disposable {
  readonly #libc: Libc;
  /** What stands in for a connection that was taken. */
  readonly #placeholder: number;
  readonly #open = new Set<TcpSocket>();
  readonly #name = new Uint8Array(SOCKADDR_BYTES);
  readonly #nameView = new DataView(this.#name.buffer);
  readonly #length = new Uint32Array(1);
  readonly #lengthBytes = new Uint8Array(this.#length.buffer);
  readonly #value = new Int32Array(2);
  readonly #valueBytes = new Uint8Array(this.#value.buffer);
  readonly #noEvents = new Uint8Array(16);
  /** Where the last connection was found: the next one is often there again. */
  #lastFound = DESCRIPTOR_MIN;
  #lastEpoll = DESCRIPTOR_MIN;

  /** Throws `unsupported` with the reason where libc cannot be called. */
  constructor() {
    this.#libc = Libc.open();
    this.#placeholder = this.#libc.calls.eventfd(0, EVENTFD_FLAGS);
    if (this.#placeholder >= 0) return;
    this.#libc[Symbol.dispose]();
    throw new MorayError("unsupported", "no eventfd");
  }

  /** Connections that were taken and not yet closed. */
  get size(): number {
    return this.#open.size;
  }

  /**
   * Takes a connection from Deno, which has closed its `Deno.TcpConn` by then. `undefined`, with nothing changed, for what
   * is not a plain TCP connection, and where the descriptor cannot be found or had. Nothing may be reading or writing it.
   */
  take(conn: Deno.Conn): TcpSocket | undefined {
    if (!isTcpConn(conn)) return undefined;
    const { calls } = this.#libc;
    const theirs = this.#find(conn);
    if (theirs === undefined) return undefined;
    const fd = calls.fcntl(theirs, F_DUPFD_CLOEXEC, DESCRIPTOR_MIN);
    if (fd < 0) return undefined;
    const epoll = this.#forget(theirs);
    if (epoll === undefined) {
      calls.close(fd);
      return undefined;
    }
    const replaced = calls.dup3(this.#placeholder, theirs, O_CLOEXEC);
    assert(replaced === theirs, "an open descriptor can be replaced");
    // Interested in nothing: Deno's own call to leave the epoll must find it there.
    calls.epoll_ctl(epoll, EPOLL_CTL_ADD, theirs, this.#noEvents);
    conn.close();
    const socket = new TcpSocket(fd, (reset) => {
      this.#open.delete(socket);
      if (reset) this.#lingerNot(fd);
      calls.close(fd);
    });
    this.#open.add(socket);
    return socket;
  }

  /** Resets what is still open. Nothing can be taken afterwards. */
  [Symbol.dispose](): void {
    for (const socket of [...this.#open]) socket.reset();
    this.#libc.calls.close(this.#placeholder);
    this.#libc[Symbol.dispose]();
  }

  #find({ localAddr, remoteAddr }: Deno.TcpConn): number | undefined {
    const { getsockname, getpeername } = this.#libc.calls;
    for (const fd of outwards(this.#lastFound)) {
      this.#length[0] = SOCKADDR_BYTES;
      if (getsockname(fd, this.#name, this.#lengthBytes) !== 0 || !this.#isNamed(localAddr)) {
        continue;
      }
      this.#length[0] = SOCKADDR_BYTES;
      if (getpeername(fd, this.#name, this.#lengthBytes) !== 0 || !this.#isNamed(remoteAddr)) {
        continue;
      }
      if (!this.#isStream(fd)) continue;
      this.#lastFound = fd;
      return fd;
    }
    return undefined;
  }

  /** Takes a descriptor out of the epoll that watches it, and returns that. */
  #forget(fd: number): number | undefined {
    for (const epoll of outwards(this.#lastEpoll)) {
      // What is no epoll, or does not watch it, refuses.
      if (this.#libc.calls.epoll_ctl(epoll, EPOLL_CTL_DEL, fd, this.#noEvents) !== 0) continue;
      this.#lastEpoll = epoll;
      return epoll;
    }
    return undefined;
  }

  /** Whether the name that libc has just told is this address. */
  #isNamed({ hostname, port }: Deno.NetAddr): boolean {
    if (this.#nameView.getUint16(2) !== port) return false;
    const family = this.#nameView.getUint16(0, true);
    if (family !== AF_INET && family !== AF_INET6) return false;
    const ip = family === AF_INET ? this.#name.subarray(4, 8) : this.#name.subarray(8, 24);
    return formatIp(ip) === canonicalIp(hostname);
  }

  #isStream(fd: number): boolean {
    this.#length[0] = 4;
    const { getsockopt } = this.#libc.calls;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, this.#valueBytes, this.#lengthBytes) === 0 &&
      this.#value[0] === SOCK_STREAM;
  }

  /** `struct linger`: on, zero seconds; closing then resets. */
  #lingerNot(fd: number): void {
    this.#value.set([1, 0]);
    this.#libc.calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, this.#valueBytes, 8);
  }
}

/** Whether this is Deno's own plain TCP connection: TLS has its addresses too, and more beneath. */
function isTcpConn(conn: Deno.Conn): conn is Deno.TcpConn {
  return "setNoDelay" in conn && !("handshake" in conn) &&
    conn.localAddr.transport === "tcp" && conn.remoteAddr.transport === "tcp";
}

/** Every descriptor that is looked at, those near `start` first. */
function* outwards(start: number): Generator<number, void> {
  for (let distance = 0; distance < DESCRIPTORS_MAX; distance++) {
    if (start + distance < DESCRIPTORS_MAX) yield start + distance;
    if (distance > 0 && start - distance >= DESCRIPTOR_MIN) yield start - distance;
  }
}
