/** An eventfd: what one thread writes to, to wake another that sleeps in `poll`. @module */
import { Libc } from "./libc.ts";

/** EFD_NONBLOCK | EFD_CLOEXEC. */
const FLAGS = 0x800 | 0x80000;

/**
 * An eventfd of this process. Whoever opened it closes it, when nobody rings any more: another thread that closed it would
 * hand its number to the next socket, and a late ring would write into that.
 */
export class EventFd implements Disposable {
  /** The file descriptor, the same in every thread. */
  readonly fd: number;
  readonly #libc: Libc;
  readonly #one = new Uint8Array(BigUint64Array.of(1n).buffer);
  #open = true;

  /** Opens one. Throws `unsupported` with the reason where libc cannot be called. */
  constructor() {
    this.#libc = Libc.open();
    this.fd = this.#libc.calls.eventfd(0, FLAGS);
  }

  /** Wakes whoever polls it. Does nothing once closed. */
  ring(): void {
    if (this.#open) this.#libc.calls.write(this.fd, this.#one, 8n);
  }

  /** Closes it. Safe to call twice. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#libc.calls.close(this.fd);
    this.#libc[Symbol.dispose]();
  }
}
