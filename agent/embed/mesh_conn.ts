/** A TCP connection inside the mesh as a `Deno.TcpConn`. @module */
import { formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import type { TunnelConn } from "../network.ts";
import { writeAll } from "../splice.ts";
import { denoError } from "./deno_error.ts";

/** Size of the chunks of {@linkcode MeshConn.readable}. */
const CHUNK_BYTES = 65_536;

/**
 * A TCP connection inside the mesh.
 *
 * It does what a `Deno.TcpConn` does, with the same errors: reads and writes that come while others wait are done in their
 * order; `Deno.errors.ConnectionReset` once the peer has reset it, after what had arrived was read; `Deno.errors.BrokenPipe` for
 * a write after {@linkcode MeshConn.closeWrite}; `Deno.errors.BadResource` after {@linkcode MeshConn.close}, and
 * `Deno.errors.Interrupted` for what waited then. Unlike Deno's, `close` may be called twice.
 */
export class MeshConn implements Deno.TcpConn {
  /** Our end: an address of this node. */
  readonly localAddr: Deno.NetAddr;
  /** The other end: the peer's address in the mesh. */
  readonly remoteAddr: Deno.NetAddr;
  readonly #stream: TunnelConn;
  readonly #reads = new Turns();
  readonly #writes = new Turns();
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | undefined;
  #readEnded = false;
  #writeEnded = false;
  #closed = false;

  /** Takes a connection over; nobody else may read or write it. */
  constructor(stream: TunnelConn) {
    this.#stream = stream;
    this.localAddr = netAddr(stream.local);
    this.remoteAddr = netAddr(stream.remote);
  }

  /** Reads at least one byte into `target` and resolves with how many; `null` at the end of the stream. */
  async read(target: Uint8Array): Promise<number | null> {
    return await this.#during(() => this.#reads.take(() => this.#stream.read(target)));
  }

  /** Takes at least one byte of `source` and resolves with how many: fewer where the peer reads slowly. */
  async write(source: Uint8Array): Promise<number> {
    this.#checkWritable();
    return await this.#during(() => this.#writes.take(() => this.#stream.write(source)));
  }

  /** Ends our direction after what has been written; reading goes on. */
  async closeWrite(): Promise<void> {
    this.#checkWritable();
    await this.#during(() => this.#writes.take(() => this.#stream.closeWrite()));
    this.#writeEnded = true;
  }

  /** Closes the connection. What has been written is still sent. */
  close(): void {
    this.#closed = true;
    this.#stream.close();
  }

  /** Resets the connection: the peer sees an error instead of an end, and what has been written may be lost. */
  abort(): void {
    this.#closed = true;
    this.#stream.abort();
  }

  /** As {@linkcode MeshConn.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * What arrives. Its end closes the connection unless {@linkcode MeshConn.writable} is in use, whose end does so then; cancelling it
   * closes the connection at once.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: CHUNK_BYTES,
      pull: async (controller) => {
        const request = controller.byobRequest;
        if (request?.view === undefined || request.view === null) return;
        const { buffer, byteOffset, byteLength } = request.view;
        const count = await this.read(new Uint8Array(buffer, byteOffset, byteLength));
        if (count === null) {
          controller.close();
          this.#streamEnded("read");
        }
        request.respond(count ?? 0);
      },
      cancel: () => this.close(),
    });
  }

  /**
   * What is sent. Closing it closes the connection unless {@linkcode MeshConn.readable} is in use, whose end does so then; aborting it
   * resets the connection.
   */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#writable ??= new WritableStream({
      write: (chunk) => writeAll(this, chunk),
      close: async () => {
        await this.closeWrite();
        this.#streamEnded("write");
      },
      abort: () => this.abort(),
    });
  }

  /** Does nothing: small writes are sent at once as it is. */
  setNoDelay(_noDelay?: boolean): void {}

  /** Does nothing: the tunnel beneath knows whether the peer lives. */
  setKeepAlive(_keepAlive?: boolean): void {}

  /** Does nothing: a node keeps its program alive until it is stopped. */
  ref(): void {}

  /** Does nothing, as {@linkcode MeshConn.ref}. */
  unref(): void {}

  /** Runs an operation, with the errors that Deno would throw. */
  async #during<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#closed) throw this.#badResource();
    let value: T;
    try {
      value = await operation();
    } catch (error) {
      throw this.#closed ? this.#interrupted() : denoError(error);
    }
    // A read that we have closed ends as at the end of the stream, which this is not.
    if (this.#closed && value === null) throw this.#interrupted();
    return value;
  }

  #checkWritable(): void {
    if (this.#closed) throw this.#badResource();
    if (this.#writeEnded) {
      throw new Deno.errors.BrokenPipe(`${this.#name()} is closed for writing`);
    }
  }

  #badResource(): Error {
    return new Deno.errors.BadResource(`${this.#name()} is closed`);
  }

  #interrupted(): Error {
    return new Deno.errors.Interrupted(`${this.#name()} was closed meanwhile`);
  }

  #name(): string {
    return `The connection with ${formatSocketAddress(this.#stream.remote)}`;
  }

  /** Who uses streams may never think of closing the connection: what has no stream left that could end is closed. */
  #streamEnded(direction: "read" | "write"): void {
    if (direction === "read") this.#readEnded = true;
    const other = direction === "read" ? this.#writable : this.#readable;
    const otherEnded = direction === "read" ? this.#writeEnded : this.#readEnded;
    if (other === undefined || otherEnded) this.close();
  }
}

/** Lets one operation run at a time, in the order in which they came. */
class Turns {
  #last: Promise<unknown> | undefined;

  take<T>(operation: () => Promise<T>): Promise<T> {
    const before = this.#last;
    const turn = before === undefined ? operation() : before.then(operation);
    const settled = turn.catch(() => {}).then(() => {
      if (this.#last === settled) this.#last = undefined;
    });
    this.#last = settled;
    return turn;
  }
}

function netAddr({ hostname, port }: SocketAddress): Deno.NetAddr {
  return { transport: "tcp", hostname, port };
}
