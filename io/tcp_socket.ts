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
import { assert, MorayError } from "../core/mod.ts";
import { DESCRIPTOR_MIN, DescriptorFinder, outwards } from "./descriptor_finder.ts";
import { Libc } from "./libc.ts";

const SOL_SOCKET = 1;
const SO_LINGER = 13;
const F_DUPFD_CLOEXEC = 1030;
const O_CLOEXEC = 0x80000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
/** EFD_NONBLOCK | EFD_CLOEXEC. */
const EVENTFD_FLAGS = 0x80800;

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
  readonly #finder: DescriptorFinder;
  readonly #value = new Int32Array(2);
  readonly #valueBytes = new Uint8Array(this.#value.buffer);
  readonly #noEvents = new Uint8Array(16);
  #lastEpoll = DESCRIPTOR_MIN;

  /** Throws `unsupported` with the reason where libc cannot be called. */
  constructor() {
    this.#libc = Libc.open();
    this.#finder = new DescriptorFinder(this.#libc);
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
    const theirs = this.#finder.find(conn);
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
