/** A WebSocket as a byte stream: each binary message is some of its bytes. @module */
import type { ByteStream } from "./network.ts";

/** Options of {@linkcode WebSocketBytes.open}. */
export interface WebSocketBytesOptions {
  /** Subprotocol that the server must agree to. */
  readonly protocol: string;
  /** Gives up when aborted. */
  readonly signal?: AbortSignal;
}

/** A WebSocket whose messages carry a byte stream. The proxy that `HTTPS_PROXY` names is used (Deno does that). */
export class WebSocketBytes implements ByteStream {
  readonly #socket: WebSocketStream;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array | string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array | string>;
  /** What of the last message has not been read. */
  #rest = new Uint8Array(0);
  #closing = false;

  private constructor(socket: WebSocketStream, connection: WebSocketConnection) {
    this.#socket = socket;
    this.#reader = connection.readable.getReader();
    this.#writer = connection.writable.getWriter();
  }

  /** Connects. Rejects with what Deno rejects with, and where the server does not agree to the subprotocol. */
  static async open(
    url: string,
    { protocol, signal }: WebSocketBytesOptions,
  ): Promise<WebSocketBytes> {
    signal?.throwIfAborted();
    const attempt = new AbortController();
    const socket = new WebSocketStream(url, { protocols: [protocol], signal: attempt.signal });
    // How it ends is told by `opened` and by reading; nobody has to await this.
    socket.closed.catch(() => {});
    const onAbort = (): void => {
      try {
        attempt.abort(signal?.reason);
      } catch {
        // Deno 2.8.3 throws in here where the attempt has failed already.
      }
    };
    signal?.addEventListener("abort", onAbort);
    const connection = await socket.opened
      .finally(() => signal?.removeEventListener("abort", onAbort));
    const bytes = new WebSocketBytes(socket, connection);
    if (connection.protocol === protocol) return bytes;
    bytes.close();
    await bytes.gone();
    throw new TypeError(`the server does not speak ${protocol}`);
  }

  async read(target: Uint8Array): Promise<number | null> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#reader.read();
      if (done) return null;
      if (typeof value === "string") throw new TypeError("a text message among bytes");
      this.#rest = value as Uint8Array<ArrayBuffer>;
    }
    const count = Math.min(target.length, this.#rest.length);
    target.set(this.#rest.subarray(0, count));
    this.#rest = this.#rest.subarray(count);
    return count;
  }

  async write(source: Uint8Array): Promise<number> {
    // A copy: what is lent may be shared memory, and is overwritten after the call.
    await this.#writer.write(source.slice());
    return source.length;
  }

  /** Closes both directions: a WebSocket has no end of one. */
  async closeWrite(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    await this.#writer.close();
  }

  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    try {
      this.#socket.close();
    } catch {
      // Closed already.
    }
  }

  /** Resolves when the connection is gone, whoever closed it. Never rejects. */
  async gone(): Promise<void> {
    await this.#socket.closed.catch(() => {});
    // Deno sets a timer of 0 ms when it has sent its close; the one set here fires after it.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
