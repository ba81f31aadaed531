/**
 * Ends TCP connections of Deno's at once.
 *
 * Deno 2.8.3 leaves a connection open that is closed while it is read: the read never settles, and the other end hears nothing (found
 * out with both ends on loopback). What does end it is the descriptor beneath: shut down both ways, the read ends, and then `close` works.
 *
 * @module
 */
import { MorayError } from "../core/mod.ts";
import { DescriptorFinder } from "./descriptor_finder.ts";
import { Libc } from "./libc.ts";

const SHUT_RDWR = 2;

/** Knows the descriptors of connections. */
export class ConnectionEnder implements Disposable {
  readonly #libc: Libc;
  readonly #finder: DescriptorFinder;

  private constructor(libc: Libc) {
    this.#libc = libc;
    this.#finder = new DescriptorFinder(libc);
  }

  /** Opens one; `undefined` where libc cannot be called, and connections end when their other end says so. */
  static open(): ConnectionEnder | undefined {
    try {
      return new ConnectionEnder(Libc.open());
    } catch (error) {
      if (error instanceof MorayError && error.code === "unsupported") return undefined;
      throw error;
    }
  }

  /**
   * Returns what shuts a connection down both ways, to be called before it is closed and never after; `undefined` where its descriptor is
   * not found. Best asked for as soon as the connection is there: it is searched for near the one before.
   */
  shutdownOf(conn: Deno.Conn): (() => void) | undefined {
    const fd = this.#finder.find(conn);
    return fd === undefined ? undefined : () => void this.#libc.calls.shutdown(fd, SHUT_RDWR);
  }

  /** Lets go of libc; nothing may be shut down afterwards. */
  [Symbol.dispose](): void {
    this.#libc[Symbol.dispose]();
  }
}
