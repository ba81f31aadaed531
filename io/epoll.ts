/**
 * One epoll for many descriptors, edge-triggered where nothing else is asked for: told once of each change, so that nothing has to be
 * armed again.
 *
 * ```text
 *   struct epoll_event, x86-64: 12 bytes, events 0, data 4; elsewhere: 16 bytes, events 0, data 8
 * ```
 *
 * @module
 */
import { MorayError } from "../core/mod.ts";
import type { Libc } from "./libc.ts";

/** Bits of an event (`man 2 epoll_ctl`). */
export const EPOLL = {
  IN: 0x001,
  OUT: 0x004,
  ERR: 0x008,
  HUP: 0x010,
  RDHUP: 0x2000,
} as const;

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CLOEXEC = 0x80000;
const EPOLLET = 0x8000_0000;
/** What {@linkcode Epoll.add} watches for: room, bytes and the end, each told once. */
const CHANGES = (EPOLL.IN | EPOLL.OUT | EPOLL.RDHUP | EPOLLET) >>> 0;
const PACKED = Deno.build.arch === "x86_64";
const EVENT_BYTES = PACKED ? 12 : 16;
const DATA_AT = PACKED ? 4 : 8;
/** Events taken in one call. */
const BATCH = 64;

/** An epoll of this process. */
export class Epoll implements Disposable {
  /** The epoll itself as a descriptor: readable while there are events. */
  readonly fd: number;
  readonly #libc: Libc;
  readonly #events = new Uint8Array(BATCH * EVENT_BYTES);
  readonly #view = new DataView(this.#events.buffer);
  readonly #change = new Uint8Array(EVENT_BYTES);
  readonly #changeView = new DataView(this.#change.buffer);

  /** Makes one; throws `unsupported` where there is none. The library stays the caller's. */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.fd = libc.calls.epoll_create1(EPOLL_CLOEXEC);
    if (this.fd < 0) throw new MorayError("unsupported", `no epoll: errno ${libc.errno()}`);
  }

  /**
   * Watches a descriptor for room, bytes and its end, and tells its present state first; or for other `events`, which are told
   * as long as they last. Events carry `token`, 32 bits. False when the system refuses.
   */
  add(fd: number, token: number, events: number = CHANGES): boolean {
    this.#changeView.setUint32(0, events, true);
    this.#changeView.setUint32(DATA_AT, token, true);
    return this.#libc.calls.epoll_ctl(this.fd, EPOLL_CTL_ADD, fd, this.#change) === 0;
  }

  /** Watches a descriptor no more. */
  remove(fd: number): void {
    this.#libc.calls.epoll_ctl(this.fd, EPOLL_CTL_DEL, fd, this.#change);
  }

  /** Calls `take` with what has changed, without waiting. Returns whether there may be more. */
  take(take: (token: number, events: number) => void): boolean {
    const count = this.#libc.calls.epoll_wait(this.fd, this.#events, BATCH, 0);
    for (let i = 0; i < count; i++) {
      const at = i * EVENT_BYTES;
      take(this.#view.getUint32(at + DATA_AT, true), this.#view.getUint32(at, true));
    }
    return count === BATCH;
  }

  /** Closes it; what it watched stays open. */
  [Symbol.dispose](): void {
    this.#libc.calls.close(this.fd);
  }
}
