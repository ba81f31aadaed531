/** Byte streams in memory, with half-close, resets and back-pressure. @module */
import { MorayError, type SocketAddress } from "../../core/mod.ts";
import type { TunnelConn, TunnelListener } from "../network.ts";
import { ACCEPT_QUEUE_MAX } from "../tunnel_network.ts";

/** Bytes that one direction of a stream holds, on their way and arrived, before a writer waits. */
export const PIPE_BYTES_MAX = 65_536;

/** Takes something across, in order: `arrive` is called when it has come, or never if nothing passes any more. */
export type Carry = (arrive: () => void) => void;

/** Takes everything across at once. */
export const AT_ONCE: Carry = (arrive: () => void): void => arrive();

/** One direction: bytes that are written here are read there. */
export class Pipe {
  readonly #carry: Carry;
  readonly #onArrival: (bytes: number) => void;
  readonly #arrived: Uint8Array[] = [];
  /** Bytes on their way, and arrived. */
  #held = 0;
  /** Our end of writing, and its arrival. */
  #closing = false;
  #ended = false;
  #readError: MorayError | undefined;
  #writeError: MorayError | undefined;
  #drains = false;
  #changed = Promise.withResolvers<void>();

  /** An empty one; `onArrival` hears of bytes that have come. */
  constructor(carry: Carry, onArrival: (bytes: number) => void = () => {}) {
    this.#carry = carry;
    this.#onArrival = onArrival;
  }

  /** As {@linkcode TunnelConn.read}. */
  read(target: Uint8Array): Promise<number | null> {
    return this.readWith((bytes) => {
      const n = Math.min(target.length, bytes.length);
      target.set(bytes.subarray(0, n));
      return n;
    });
  }

  /** As {@linkcode TunnelConn.readWith}. */
  async readWith(take: (bytes: Uint8Array) => number): Promise<number | null> {
    for (;;) {
      const first = this.#arrived[0];
      const broken = this.#readError;
      if (broken !== undefined && (first === undefined || !this.#drains)) throw broken;
      if (first !== undefined) {
        const n = take(first);
        if (n >= first.length) this.#arrived.shift();
        else this.#arrived[0] = first.subarray(n);
        this.#held -= n;
        this.#wake();
        return n;
      }
      if (this.#ended) return null;
      await this.#changed.promise;
    }
  }

  /** As {@linkcode TunnelConn.write}. */
  async write(source: Uint8Array): Promise<number> {
    return await this.#write((room) => source.slice(0, room), source.length === 0);
  }

  /** As {@linkcode TunnelConn.writeWith}. */
  async writeWith(fill: (room: Uint8Array) => number): Promise<number> {
    return await this.#write((bytes) => {
      const room = new Uint8Array(bytes);
      return room.slice(0, fill(room));
    });
  }

  /** Waits for room, unless nothing is written, and sends what is taken for so many bytes at most. */
  async #write(take: (room: number) => Uint8Array, isEmpty = false): Promise<number> {
    for (;;) {
      if (this.#writeError !== undefined) throw this.#writeError;
      if (this.#closing) throw closed();
      const room = PIPE_BYTES_MAX - this.#held;
      if (room > 0 || isEmpty) {
        const bytes = take(room);
        const n = bytes.length;
        this.#held += n;
        this.#carry(() => {
          if (n > 0) this.#arrived.push(bytes);
          this.#onArrival(n);
          this.#wake();
        });
        return n;
      }
      await this.#changed.promise;
    }
  }

  /** Ends it after what was written. */
  end(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#carry(() => {
      this.#ended = true;
      this.#wake();
    });
  }

  /** Breaks it for who reads, who gets what has arrived before with `drains`. */
  failReads(error: MorayError, { drains = false }: { readonly drains?: boolean } = {}): void {
    if (this.#readError !== undefined) return;
    this.#readError = error;
    this.#drains = drains;
    this.#wake();
  }

  /** Breaks it for who writes. */
  failWrites(error: MorayError): void {
    this.#writeError ??= error;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** One end of a stream that is to be. */
export interface MemoryEnd {
  /** Where it is. */
  readonly address: SocketAddress;
  /** Takes what is said here to the other end. */
  readonly carry: Carry;
  /** Hears of bytes from here that have come to the other end. */
  readonly onArrival?: (bytes: number) => void;
  /** Called once, when this end is over. */
  readonly onClose?: (conn: MemoryConn) => void;
}

/** What a {@linkcode MemoryConn} is made of. */
interface MemoryConnOptions {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly incoming: Pipe;
  readonly outgoing: Pipe;
  readonly carry: Carry;
  readonly onClose?: (conn: MemoryConn) => void;
}

/** One end of a stream. */
export class MemoryConn implements TunnelConn {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly #options: MemoryConnOptions;
  #reset: (() => void) | undefined;
  #over = false;

  /** Use {@linkcode MemoryConn.pair}. */
  private constructor(options: MemoryConnOptions) {
    this.local = options.local;
    this.remote = options.remote;
    this.#options = options;
  }

  /** Makes both ends of a stream. */
  static pair(a: MemoryEnd, b: MemoryEnd): readonly [MemoryConn, MemoryConn] {
    const [there, back] = [new Pipe(a.carry, a.onArrival), new Pipe(b.carry, b.onArrival)];
    const [local, remote] = [a.address, b.address];
    const first = new MemoryConn({ ...a, local, remote, incoming: back, outgoing: there });
    const ends = { local: remote, remote: local, incoming: there, outgoing: back };
    const second = new MemoryConn({ ...b, ...ends });
    first.#reset = () => second.#broken();
    second.#reset = () => first.#broken();
    return [first, second];
  }

  read(target: Uint8Array): Promise<number | null> {
    return this.#options.incoming.read(target);
  }

  readWith(take: (bytes: Uint8Array) => number): Promise<number | null> {
    return this.#options.incoming.readWith(take);
  }

  write(source: Uint8Array): Promise<number> {
    return this.#options.outgoing.write(source);
  }

  writeWith(fill: (room: Uint8Array) => number): Promise<number> {
    return this.#options.outgoing.writeWith(fill);
  }

  closeWrite(): Promise<void> {
    this.#options.outgoing.end();
    return Promise.resolve();
  }

  close(): void {
    const { incoming, outgoing, carry } = this.#options;
    outgoing.end();
    incoming.failReads(closed());
    // What the other end still says finds nobody.
    if (!this.#over) carry(() => incoming.failWrites(reset()));
    this.#end();
  }

  abort(): void {
    this.fail(reset());
  }

  /** Breaks it for a reason; the other end hears of a reset. */
  fail(error: MorayError): void {
    const { incoming, outgoing, carry } = this.#options;
    incoming.failReads(error);
    outgoing.failWrites(error);
    if (!this.#over) carry(() => this.#reset?.());
    this.#end();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The other end has reset it. */
  #broken(): void {
    const { incoming, outgoing } = this.#options;
    incoming.failReads(reset(), { drains: true });
    outgoing.failWrites(reset());
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.onClose?.(this);
  }
}

/** Connections that wait to be accepted. */
export class MemoryListener implements TunnelListener {
  readonly port: number;
  readonly #onClose: () => void;
  readonly #queue: TunnelConn[] = [];
  readonly #waiting: PromiseWithResolvers<TunnelConn>[] = [];
  #closed = false;

  /** Listens on a port; `onClose` frees it. */
  constructor(port: number, onClose: () => void) {
    this.port = port;
    this.#onClose = onClose;
  }

  /** Adds a connection; one too many is reset, as a real listener's. */
  push(conn: TunnelConn): void {
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) waiter.resolve(conn);
    else if (this.#queue.length < ACCEPT_QUEUE_MAX) this.#queue.push(conn);
    else conn.abort();
  }

  accept(): Promise<TunnelConn> {
    if (this.#closed) return Promise.reject(closed());
    const conn = this.#queue.shift();
    if (conn !== undefined) return Promise.resolve(conn);
    if (this.#waiting.length > 0) {
      return Promise.reject(new MorayError("usage", "Another accept waits already"));
    }
    const waiter = Promise.withResolvers<TunnelConn>();
    this.#waiting.push(waiter);
    return waiter.promise;
  }

  close(): void {
    this.#closed = true;
    this.#onClose();
    for (const { reject } of this.#waiting.splice(0)) reject(closed());
    for (const conn of this.#queue.splice(0)) conn.abort();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<TunnelConn> {
    while (!this.#closed) yield await this.accept();
  }
}

/** The error of what was closed by its owner. */
export function closed(): MorayError {
  return new MorayError("closed", "Closed");
}

function reset(): MorayError {
  return new MorayError("closed", "Connection reset");
}
