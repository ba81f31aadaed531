/**
 * The userspace network of a node as the main thread sees it: streams and listeners inside the mesh.
 *
 * The shapes follow `Deno.Conn` and `Deno.Listener`, so that what is written for one works on the other.
 *
 * @module
 */
import { MorayError, type SocketAddress } from "../core/mod.ts";

/** One end of a byte stream: a tunnel connection, or a `Deno.Conn`. */
export interface ByteStream {
  /** Reads at least one byte into `target`; `null` at the end of the stream. */
  read(target: Uint8Array): Promise<number | null>;
  /** Writes at least one byte and returns how many were taken. */
  write(source: Uint8Array): Promise<number>;
  /** Ends the sending direction; reading goes on. */
  closeWrite(): Promise<void>;
  /** Closes at once. Safe to call twice. */
  close(): void;
}

/** A TCP connection inside the mesh. */
export interface TunnelConn extends ByteStream, Disposable {
  /** Our end, an address of this node. */
  readonly local: SocketAddress;
  /** The other end. */
  readonly remote: SocketAddress;
  /**
   * As `read`, without a copy: lends the oldest bytes where they lie and resolves with how many of them `take` says it has
   * taken; `null` at the end of the stream. What is lent is shared memory, valid within the call only.
   */
  readWith(take: (bytes: Uint8Array) => number): Promise<number | null>;
  /**
   * As `write`, without a copy: lends free room and resolves with how many bytes `fill` says it has put at its start. What is
   * lent is shared memory, valid within the call only, and holds whatever was there before.
   */
  writeWith(fill: (room: Uint8Array) => number): Promise<number>;
  /** Resets the connection instead of closing it in order. */
  abort(): void;
}

/** Listens for TCP connections inside the mesh. */
export interface TunnelListener extends AsyncIterable<TunnelConn>, Disposable {
  /** The port listened on. */
  readonly port: number;
  /** The next connection. Rejects with `closed` once the listener has closed. */
  accept(): Promise<TunnelConn>;
  /** Stops listening. Connections already accepted stay. */
  close(): void;
}

/** What happens at a UDP port inside the mesh. Nothing of it may throw. */
export interface DatagramHandler {
  /** A datagram. It is part of a larger buffer that nobody writes to again: copy what is kept for long. */
  datagram(payload: Uint8Array<ArrayBuffer>, from: SocketAddress): void;
  /** The other end says that nobody has the port that something was sent to, or that it cannot be reached. */
  refused?(to: SocketAddress, reason: "refused" | "unreachable"): void;
  /** The port is gone, and not by `close`: the datapath refused it, or has ended. */
  closed?(error: MorayError): void;
}

/** A UDP port inside the mesh. */
export interface TunnelDatagrams extends Disposable {
  /** The port. */
  readonly port: number;
  /**
   * Sends a datagram to a mesh address; resolves once it is on its way, and waits while the tunnel takes nothing more. The payload must
   * not change until then.
   *
   * Rejects with `MorayError`: `unreachable` (no peer has this address), {@linkcode DatagramTooLong}, `limit` (too many wait) or
   * `closed`.
   */
  send(payload: Uint8Array, to: SocketAddress): Promise<void>;
  /** Closes the port. Safe to call twice. */
  close(): void;
}

/** A datagram is longer than the path to its address carries now. */
export class DatagramTooLong extends MorayError {
  /** The longest payload that it carries, in bytes. */
  readonly limitBytes: number;

  /** `to` is for the message. */
  constructor(length: number, to: string, limitBytes: number) {
    super(
      "limit",
      `Cannot send ${length} bytes to ${to}: its path carries datagrams of ${limitBytes} bytes`,
    );
    this.limitBytes = limitBytes;
  }
}

/** Options of {@linkcode Network.connect}. */
export interface ConnectOptions {
  /** Gives up when aborted; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Streams, datagrams and names inside the mesh. */
export interface Network {
  /**
   * Opens a TCP connection to a mesh address.
   *
   * Rejects with `MorayError`: `refused` (the peer answered with a reset), `timedOut`, `unreachable` (no peer
   * has this address), `limit` (too many streams) or `closed`.
   */
  connect(address: SocketAddress, options?: ConnectOptions): Promise<TunnelConn>;
  /** Listens on a TCP port of every mesh address of this node. Throws `portInUse` or `limit`. */
  listen(port: number): TunnelListener;
  /** Opens a UDP port of every mesh address of this node. Throws `usage`, `portInUse` or `limit`. */
  openDatagrams(port: number, handler: DatagramHandler): TunnelDatagrams;
  /**
   * Resolves a name inside the mesh to a literal: an IP literal itself, a node's name, or `<node>.<mesh>.internal`.
   * `undefined` when no node is called so.
   */
  resolve(name: string): string | undefined;
}
