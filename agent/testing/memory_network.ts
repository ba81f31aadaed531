/**
 * A mesh in memory, for tests of what stands on {@linkcode Network}: bounded streams with half-close, resets, and
 * back-pressure, and the failures that a real mesh has.
 *
 * @module
 */
import { canonicalIp, MorayError, type SocketAddress } from "../../core/mod.ts";
import type { ConnectOptions, Network, TunnelConn, TunnelListener } from "../network.ts";

/** Bytes that one direction of a stream holds before a writer waits. */
const PIPE_BYTES_MAX = 65_536;

/** Nodes that reach each other. */
export class MemoryMesh {
  readonly #nodes = new Map<string, MemoryNetwork>();
  readonly #names = new Map<string, string>();
  readonly #silent = new Set<string>();

  /** Adds a node with a name and a mesh address, and returns its network. */
  node(name: string, address: string): MemoryNetwork {
    const node = new MemoryNetwork(this, address);
    this.#nodes.set(address, node);
    this.#names.set(name, address);
    return node;
  }

  /** Makes an address one that never answers, as a peer that is switched off. */
  silence(address: string): void {
    this.#silent.add(address);
  }

  /** The address behind a literal or a name. */
  resolve(name: string): string | undefined {
    return canonicalIp(name) ?? this.#names.get(name);
  }

  /** Connects `from` to `to`, as {@linkcode Network.connect}. */
  async connect(
    from: string,
    to: SocketAddress,
    { signal }: ConnectOptions = {},
  ): Promise<TunnelConn> {
    signal?.throwIfAborted();
    if (this.#silent.has(to.hostname)) {
      const { promise, reject } = Promise.withResolvers<never>();
      signal?.addEventListener("abort", () => reject(signal.reason));
      return await promise;
    }
    const node = this.#nodes.get(to.hostname);
    if (node === undefined) {
      throw new MorayError("unreachable", `No peer has the address ${to.hostname}`);
    }
    return node.take({ hostname: from, port: 40_000 }, to);
  }
}

/** One node's view of a {@linkcode MemoryMesh}. */
export class MemoryNetwork implements Network {
  readonly #mesh: MemoryMesh;
  readonly #address: string;
  readonly #listeners = new Map<number, MemoryListener>();
  /** Makes every `connect` fail with this. */
  failure: MorayError | undefined;

  /** Use {@linkcode MemoryMesh.node}. */
  constructor(mesh: MemoryMesh, address: string) {
    this.#mesh = mesh;
    this.#address = address;
  }

  connect(address: SocketAddress, options?: ConnectOptions): Promise<TunnelConn> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    return this.#mesh.connect(this.#address, address, options);
  }

  listen(port: number): TunnelListener {
    if (this.#listeners.has(port)) {
      throw new MorayError("portInUse", `Cannot listen on mesh port ${port}: it is in use`);
    }
    const listener = new MemoryListener(port, () => this.#listeners.delete(port));
    this.#listeners.set(port, listener);
    return listener;
  }

  resolve(name: string): string | undefined {
    return this.#mesh.resolve(name);
  }

  /** Accepts a connection for a listener and returns the caller's end. */
  take(from: SocketAddress, to: SocketAddress): TunnelConn {
    const listener = this.#listeners.get(to.port);
    if (listener === undefined) throw new MorayError("refused", "Connection refused");
    const [there, here] = [new Pipe(), new Pipe()];
    listener.push(new MemoryConn({ local: to, remote: from, incoming: there, outgoing: here }));
    return new MemoryConn({ local: from, remote: to, incoming: here, outgoing: there });
  }
}

class MemoryListener implements TunnelListener {
  readonly port: number;
  readonly #onClose: () => void;
  readonly #queue: TunnelConn[] = [];
  #waiting: PromiseWithResolvers<TunnelConn>[] = [];
  #closed = false;

  constructor(port: number, onClose: () => void) {
    this.port = port;
    this.#onClose = onClose;
  }

  push(conn: TunnelConn): void {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#queue.push(conn);
    else waiter.resolve(conn);
  }

  accept(): Promise<TunnelConn> {
    if (this.#closed) return Promise.reject(closed());
    const conn = this.#queue.shift();
    if (conn !== undefined) return Promise.resolve(conn);
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

/** The two pipes of one end. */
interface Ends {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly incoming: Pipe;
  readonly outgoing: Pipe;
}

class MemoryConn implements TunnelConn {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly #incoming: Pipe;
  readonly #outgoing: Pipe;

  constructor({ local, remote, incoming, outgoing }: Ends) {
    this.local = local;
    this.remote = remote;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  read(target: Uint8Array): Promise<number | null> {
    return this.#incoming.read(target);
  }

  readWith(take: (bytes: Uint8Array) => number): Promise<number | null> {
    return this.#incoming.readWith(take);
  }

  write(source: Uint8Array): Promise<number> {
    return this.#outgoing.write(source);
  }

  writeWith(fill: (room: Uint8Array) => number): Promise<number> {
    const room = new Uint8Array(PIPE_BYTES_MAX);
    return this.#outgoing.write(room.subarray(0, fill(room)));
  }

  closeWrite(): Promise<void> {
    this.#outgoing.end();
    return Promise.resolve();
  }

  close(): void {
    this.#outgoing.end();
    this.#incoming.fail(closed());
  }

  abort(): void {
    const reset = new MorayError("closed", "Connection reset");
    this.#outgoing.fail(reset);
    this.#incoming.fail(reset);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** One direction: a bounded queue of bytes. */
class Pipe {
  #bytes = new Uint8Array(0);
  #ended = false;
  #error: MorayError | undefined;
  #changed = Promise.withResolvers<void>();

  read(target: Uint8Array): Promise<number | null> {
    return this.readWith((bytes) => {
      const n = Math.min(target.length, bytes.length);
      target.set(bytes.subarray(0, n));
      return n;
    });
  }

  async readWith(take: (bytes: Uint8Array) => number): Promise<number | null> {
    while (this.#bytes.length === 0 && !this.#ended && this.#error === undefined) {
      await this.#changed.promise;
    }
    if (this.#error !== undefined) throw this.#error;
    if (this.#bytes.length === 0) return null;
    const n = take(this.#bytes);
    this.#bytes = this.#bytes.slice(n);
    this.#wake();
    return n;
  }

  async write(source: Uint8Array): Promise<number> {
    while (
      this.#bytes.length >= PIPE_BYTES_MAX && this.#error === undefined && !this.#ended
    ) await this.#changed.promise;
    if (this.#error !== undefined) throw this.#error;
    if (this.#ended) throw closed();
    const n = Math.min(source.length, PIPE_BYTES_MAX - this.#bytes.length);
    const joined = new Uint8Array(this.#bytes.length + n);
    joined.set(this.#bytes);
    joined.set(source.subarray(0, n), this.#bytes.length);
    this.#bytes = joined;
    this.#wake();
    return n;
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  fail(error: MorayError): void {
    this.#error ??= error;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

function closed(): MorayError {
  return new MorayError("closed", "Closed");
}
