/** A node whose network is memory: what `Node` stands on, without a socket. @module */
import {
  canonicalIp,
  formatBase64,
  KEY_BYTES,
  MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import type { SeededRng } from "../../traversal/testing/fuzz.ts";
import { meshIpv6Of } from "../addressing.ts";
import { fullNameOf } from "../names.ts";
import {
  type ConnectOptions,
  type DatagramHandler,
  DatagramTooLong,
  type Network,
  type TunnelConn,
  type TunnelDatagrams,
  type TunnelListener,
} from "../network.ts";
import type { NetcheckReport } from "../netcheck/report.ts";
import type { RunningNode } from "../options.ts";
import type { NodeStatus, PathChange, PathStatus, PeerStatus, PingReply } from "../status.ts";
import type { MemoryLink } from "./memory_link.ts";
import { AT_ONCE, closed, MemoryConn, MemoryListener } from "./memory_stream.ts";
import type { VirtualTime } from "./virtual_time.ts";

/** How long a connection is tried, in virtual time. */
const CONNECT_MS = 30_000;
/** Ports that connections come from (RFC 6335 section 6). */
const DYNAMIC_PORT_MIN = 49_152;
const DYNAMIC_PORTS = 65_536 - DYNAMIC_PORT_MIN;
/** Virtual time 0, for the times in a status. */
const EPOCH_MS = Date.UTC(2026, 0, 1);
/** The tunnel's MTU, as nodes begin with it. */
const MTU = 1280;
/** What of it a datagram may fill: IPv6 and UDP have headers. */
const DATAGRAM_BYTES_MAX = MTU - 48;

/** The other nodes, as a node sees them. */
export interface MemoryMesh {
  /** Mesh id. */
  readonly id: string;
  /** The clock of all. */
  readonly time: VirtualTime;
  /** Every node that runs. */
  readonly members: ReadonlySet<MemoryNode>;
  /** The way between two. */
  link(a: MemoryNode, b: MemoryNode): MemoryLink;
  /** A node has ended. */
  left(node: MemoryNode): void;
}

/** What a {@linkcode MemoryNode} is made of. */
export interface MemoryNodeOptions {
  /** Its name. */
  readonly name: string;
  /** Its IPv4 address in the mesh. */
  readonly meshIpv4: string;
  /** Where it is. */
  readonly mesh: MemoryMesh;
  /** For its key. */
  readonly rng: SeededRng;
}

/** A node in memory. */
export class MemoryNode implements RunningNode, Network {
  readonly listening: readonly string[] = [];
  readonly finished: Promise<void>;
  /** Its name. */
  readonly name: string;
  /** Its public key, base64. */
  readonly publicKey: string;
  /** Its IPv4 address in the mesh. */
  readonly meshIpv4: string;
  /** Its IPv6 address in the mesh. */
  readonly meshIpv6: string;
  readonly #mesh: MemoryMesh;
  readonly #ended = Promise.withResolvers<void>();
  readonly #listeners = new Map<number, MemoryListener>();
  readonly #datagrams = new Map<number, DatagramHandler>();
  readonly #conns = new Set<MemoryConn>();
  /** What ends those who wait for an answer. */
  readonly #waiting = new Set<() => void>();
  readonly #subscribers: ((change: PathChange) => void)[] = [];
  /** Bytes that have come to each peer from here. */
  readonly #sent = new Map<MemoryNode, number>();
  #port = 0;
  #stopped = false;

  /** A node that listens nowhere yet. */
  constructor({ name, meshIpv4, mesh, rng }: MemoryNodeOptions) {
    const key = rng.bytes(KEY_BYTES);
    this.name = name;
    this.publicKey = formatBase64(key);
    this.meshIpv4 = meshIpv4;
    this.meshIpv6 = meshIpv6Of(mesh.id, key);
    this.#mesh = mesh;
    this.finished = this.#ended.promise;
  }

  get network(): Network {
    return this;
  }

  connect(address: SocketAddress, { signal }: ConnectOptions = {}): Promise<TunnelConn> {
    if (this.#stopped) return Promise.reject(closed());
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    const { hostname, port } = address;
    const peer = [...this.#mesh.members].find((node) => node.#owns(hostname));
    if (peer === undefined) {
      return Promise.reject(new MorayError("unreachable", `No peer has the address ${hostname}`));
    }
    const { promise, resolve, reject } = Promise.withResolvers<TunnelConn>();
    const own = peer === this;
    const link = own ? undefined : this.#mesh.link(this, peer);
    const [there, back] = [link?.carrier() ?? AT_ONCE, link?.carrier() ?? AT_ONCE];
    let waiting = true;
    const settle = (how: () => void): void => {
      if (!waiting) return;
      waiting = false;
      forget();
      this.#waiting.delete(onStop);
      signal?.removeEventListener("abort", onAbort);
      how();
    };
    const onAbort = (): void => settle(() => reject(signal?.reason));
    const onStop = (): void => settle(() => reject(closed()));
    this.#waiting.add(onStop);
    const forget = this.#mesh.time.in(CONNECT_MS, () => {
      const what = `${peer.name} port ${port} does not answer`;
      settle(() => reject(new MorayError("timedOut", what)));
    });
    signal?.addEventListener("abort", onAbort, { once: true });
    const local = { hostname: this.#addressLike(hostname), port: this.#nextPort() };
    there(() => {
      const conns = peer.#accept({ local, port, there, back, from: this });
      back(() => {
        if (conns === undefined) {
          settle(() => reject(new MorayError("refused", `${peer.name} refused port ${port}`)));
        } else if (waiting && !this.#stopped) {
          settle(() => resolve(conns));
        } else {
          conns.abort();
          settle(() => reject(closed()));
        }
      });
    });
    return promise;
  }

  listen(port: number): TunnelListener {
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw new MorayError("usage", `Cannot listen on mesh port ${port}: not 1 to 65535`);
    }
    if (this.#stopped) throw closed();
    if (this.#listeners.has(port)) {
      throw new MorayError("portInUse", `Cannot listen on mesh port ${port}: it is in use`);
    }
    const listener = new MemoryListener(port, () => this.#listeners.delete(port));
    this.#listeners.set(port, listener);
    return listener;
  }

  openDatagrams(port: number, handler: DatagramHandler): TunnelDatagrams {
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw new MorayError("usage", `Cannot open UDP mesh port ${port}: not 1 to 65535`);
    }
    if (this.#stopped) throw closed();
    if (this.#datagrams.has(port)) {
      throw new MorayError("portInUse", `Cannot open UDP mesh port ${port}: it is in use`);
    }
    this.#datagrams.set(port, handler);
    const close = (): void => {
      if (this.#datagrams.get(port) === handler) this.#datagrams.delete(port);
    };
    return {
      port,
      // deno-lint-ignore require-await -- what it throws must be a rejection
      send: async (payload, to) => this.#sendDatagram(payload, { port, to, handler }),
      close,
      [Symbol.dispose]: close,
    };
  }

  resolve(text: string): string | undefined {
    const literal = canonicalIp(text);
    if (literal !== undefined) return literal;
    const name = text.toLowerCase().replace(/\.$/, "");
    return [...this.#mesh.members].find((node) =>
      name === node.name || name === fullNameOf(node.name, this.#mesh.id)
    )?.meshIpv6;
  }

  subscribe(listener: (change: PathChange) => void): void {
    this.#subscribers.push(listener);
  }

  /** The path to a peer has changed. */
  pathChanged(peer: MemoryNode): void {
    const { name, publicKey } = peer;
    const { kind, remote } = this.#pathTo(peer);
    for (const listener of this.#subscribers) listener({ name, publicKey, kind, remote });
  }

  netcheck(): Promise<NetcheckReport> {
    return Promise.reject(
      new MorayError("unsupported", "A mesh in memory has no network to check"),
    );
  }

  ping(
    peer: string,
    { sequence, timeoutMs }: { readonly sequence: number; readonly timeoutMs: number },
  ): Promise<PingReply> {
    const address = this.resolve(peer);
    const node = [...this.#mesh.members].find((it) => address !== undefined && it.#owns(address));
    if (node === undefined || node === this) {
      return Promise.reject(new MorayError("unreachable", `No peer is called ${peer}`));
    }
    const { time } = this.#mesh;
    const link = this.#mesh.link(this, node);
    const { promise, resolve, reject } = Promise.withResolvers<PingReply>();
    const from = time.now;
    const onStop = (): void => {
      forget();
      reject(closed());
    };
    this.#waiting.add(onStop);
    const told = (rttMs: number | null): void => {
      forget();
      this.#waiting.delete(onStop);
      const path = this.#pathTo(node);
      resolve({ sequence, rttMs, path, reason: path.kind === "none" ? "the link is cut" : null });
    };
    const forget = time.in(timeoutMs, () => told(null));
    link.datagram(() => link.datagram(() => told(time.now - from)));
    return promise;
  }

  status(): Promise<NodeStatus> {
    const others = [...this.#mesh.members].filter((node) => node !== this);
    return Promise.resolve({
      node: {
        name: this.name,
        publicKey: this.publicKey,
        meshIpv4: this.meshIpv4,
        meshIpv6: this.meshIpv6,
        nat: { mapping: "none", filtering: "none", hint: "NAT_NONE" },
        endpoints: [],
        candidates: [],
        datapath: "memory",
        cipher: "none",
        tun: null,
      },
      discovery: null,
      peers: others.map((node) => this.#peerStatus(node)),
      counters: {},
    });
  }

  stop(): Promise<void> {
    if (this.#stopped) return this.finished;
    this.#stopped = true;
    for (const listener of [...this.#listeners.values()]) listener.close();
    for (const [port, handler] of [...this.#datagrams]) {
      this.#datagrams.delete(port);
      handler.closed?.(closed());
    }
    for (const end of [...this.#waiting]) end();
    this.#waiting.clear();
    for (const conn of [...this.#conns]) {
      conn.fail(new MorayError("closed", "The node has stopped"));
    }
    this.#mesh.left(this);
    this.#ended.resolve();
    return this.finished;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Takes a connection for a listener and returns the caller's end; `undefined` if nobody listens. */
  #accept(
    { local, port, there, back, from }: {
      readonly local: SocketAddress;
      readonly port: number;
      readonly there: (arrive: () => void) => void;
      readonly back: (arrive: () => void) => void;
      readonly from: MemoryNode;
    },
  ): TunnelConn | undefined {
    const listener = this.#listeners.get(port);
    if (listener === undefined) return undefined;
    const remote = { hostname: this.#addressLike(local.hostname), port };
    const [here, far] = MemoryConn.pair(
      {
        address: local,
        carry: there,
        onArrival: (bytes) => from.#count(this, bytes),
        onClose: (conn) => from.#conns.delete(conn),
      },
      {
        address: remote,
        carry: back,
        onArrival: (bytes) => this.#count(from, bytes),
        onClose: (conn) => this.#conns.delete(conn),
      },
    );
    from.#conns.add(here);
    this.#conns.add(far);
    listener.push(far);
    return here;
  }

  #sendDatagram(
    payload: Uint8Array,
    { port, to, handler }: {
      readonly port: number;
      readonly to: SocketAddress;
      readonly handler: DatagramHandler;
    },
  ): void {
    if (this.#datagrams.get(port) !== handler) throw closed();
    const peer = [...this.#mesh.members].find((node) => node.#owns(to.hostname));
    if (peer === undefined) {
      throw new MorayError("unreachable", `No peer has the address ${to.hostname}`);
    }
    if (payload.length > DATAGRAM_BYTES_MAX) {
      throw new DatagramTooLong(payload.length, to.hostname, DATAGRAM_BYTES_MAX);
    }
    const bytes = new Uint8Array(payload);
    const from = { hostname: this.#addressLike(to.hostname), port };
    const arrive = (): void => {
      const taker = peer.#datagrams.get(to.port);
      if (taker !== undefined) {
        if (peer !== this) this.#count(peer, bytes.length);
        return taker.datagram(bytes, from);
      }
      const refuse = (): void => this.#datagrams.get(port)?.refused?.(to, "refused");
      if (peer === this) refuse();
      else this.#mesh.link(this, peer).datagram(refuse);
    };
    if (peer === this) this.#mesh.time.in(0, arrive);
    else this.#mesh.link(this, peer).datagram(arrive);
  }

  /** Bytes from here have come to a peer. */
  #count(peer: MemoryNode, bytes: number): void {
    this.#sent.set(peer, (this.#sent.get(peer) ?? 0) + bytes);
  }

  #owns(address: string): boolean {
    return address === this.meshIpv4 || address === this.meshIpv6;
  }

  /** The own address of the family of another. */
  #addressLike(address: string): string {
    return address.includes(":") ? this.meshIpv6 : this.meshIpv4;
  }

  #nextPort(): number {
    return DYNAMIC_PORT_MIN + this.#port++ % DYNAMIC_PORTS;
  }

  #pathTo(peer: MemoryNode): PathStatus {
    const link = this.#mesh.link(this, peer);
    if (link.isCut || !this.#mesh.members.has(peer)) {
      return { kind: "none", remote: null, relay: null, rttMs: null, mtu: null };
    }
    const rttMs = 2 * link.quality.delayMs;
    return { kind: "direct", remote: `${peer.meshIpv4}:51820`, relay: null, rttMs, mtu: MTU };
  }

  #peerStatus(peer: MemoryNode): PeerStatus {
    const path = this.#pathTo(peer);
    const at = new Date(EPOCH_MS + this.#mesh.time.now).toISOString();
    return {
      name: peer.name,
      publicKey: peer.publicKey,
      meshIpv4: peer.meshIpv4,
      meshIpv6: peer.meshIpv6,
      path,
      reason: path.kind === "none" ? "the link is cut" : null,
      lastHandshakeAt: path.kind === "none" ? null : at,
      rxBytes: peer.#sent.get(this) ?? 0,
      txBytes: this.#sent.get(peer) ?? 0,
      candidates: [],
      paths: [],
    };
  }
}
