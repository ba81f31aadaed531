/**
 * A mesh in memory, for tests of what stands on {@linkcode Network}: bounded streams with half-close, resets, and
 * back-pressure, and the failures that a real mesh has.
 *
 * @module
 */
import { canonicalIp, MorayError, type SocketAddress } from "../../core/mod.ts";
import { AT_ONCE, MemoryConn, MemoryListener } from "../memory/memory_stream.ts";
import type { ConnectOptions, DatagramHandler, Network, TunnelConn } from "../network.ts";
import { DatagramTooLong, type TunnelDatagrams, type TunnelListener } from "../network.ts";

/** The longest payload of a datagram. */
export const DATAGRAM_BYTES_MAX = 1232;

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

  /** Carries a datagram, as {@linkcode TunnelDatagrams.send}. A silent address swallows it, a closed port answers. */
  async carry(payload: Uint8Array, from: SocketAddress, to: SocketAddress): Promise<void> {
    await Promise.resolve();
    const node = this.#nodes.get(to.hostname);
    if (node === undefined) {
      throw new MorayError("unreachable", `No peer has the address ${to.hostname}`);
    }
    if (payload.length > DATAGRAM_BYTES_MAX) {
      throw new DatagramTooLong(payload.length, to.hostname, DATAGRAM_BYTES_MAX);
    }
    if (this.#silent.has(to.hostname)) return;
    const handler = node.datagramPort(to.port);
    if (handler !== undefined) return handler.datagram(payload.slice(), from);
    this.#nodes.get(from.hostname)?.datagramPort(from.port)?.refused?.(to, "refused");
  }
}

/** One node's view of a {@linkcode MemoryMesh}. */
export class MemoryNetwork implements Network {
  readonly #mesh: MemoryMesh;
  readonly #address: string;
  readonly #listeners = new Map<number, MemoryListener>();
  readonly #datagrams = new Map<number, DatagramHandler>();
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

  openDatagrams(port: number, handler: DatagramHandler): TunnelDatagrams {
    if (this.#datagrams.has(port)) {
      throw new MorayError("portInUse", `Cannot open UDP mesh port ${port}: it is in use`);
    }
    this.#datagrams.set(port, handler);
    const from = { hostname: this.#address, port };
    const close = (): void => {
      if (this.#datagrams.get(port) === handler) this.#datagrams.delete(port);
    };
    return {
      port,
      send: (payload, to) => this.#mesh.carry(payload.slice(), from, to),
      close,
      [Symbol.dispose]: close,
    };
  }

  /** Who has a UDP port. */
  datagramPort(port: number): DatagramHandler | undefined {
    return this.#datagrams.get(port);
  }

  /** UDP ports that are open. */
  get datagramPorts(): number {
    return this.#datagrams.size;
  }

  resolve(name: string): string | undefined {
    return this.#mesh.resolve(name);
  }

  /** Accepts a connection for a listener and returns the caller's end. */
  take(from: SocketAddress, to: SocketAddress): TunnelConn {
    const listener = this.#listeners.get(to.port);
    if (listener === undefined) throw new MorayError("refused", "Connection refused");
    const [here, there] = MemoryConn.pair(
      { address: from, carry: AT_ONCE },
      { address: to, carry: AT_ONCE },
    );
    listener.push(there);
    return here;
  }
}
