/**
 * Listens for streams: TCP, TLS, and HTTP that becomes a WebSocket.
 *
 * ```text
 *   listenTcp          TURN
 *   listenTls          TURN, or an HTTP request for a WebSocket: told apart by the first byte
 *   listenWebsocket    an HTTP request for a WebSocket
 * ```
 *
 * @module
 */
import { canonicalIp, concat, formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import { type ConnectionEnder, fromSystem } from "../../io/mod.ts";
import type { RelayProtocol } from "../core/flow.ts";
import { answerUpgrade, HEAD_BYTES_MAX, headEnd } from "../core/upgrade_request.ts";
import { encodeFrame, WebSocketFrames } from "../core/web_socket_frames.ts";
import type { TlsPem } from "../tls_files.ts";
import type { StreamCarrier, StreamClient, StreamDesk } from "./stream_desk.ts";

/** Read at once from a connection that has much to say. */
const READ_BYTES_MAX = 16 << 10;
/** Read at once at first: thousands of connections that say nothing must cost little. */
const READ_BYTES_MIN = 1 << 10;
/** After a failed `accept`, as where the process has no descriptor left. */
const ACCEPT_RETRY_MS = 100;
/** Accepts that fail in a row before the listener counts as broken. */
const ACCEPT_ERRORS_MAX = 600;
/** TURN (RFC 7443), and HTTP for WebSockets. */
const ALPN = ["stun.turn", "http/1.1"] as const;
/** What an HTTP request begins with: no TURN stream does, since no channel is bound at its start. */
const LETTER_G = 0x47;

/** What a listener is for. */
export type StreamKind = "tcp" | "tls" | "websocket";

/** Options of {@linkcode StreamListener}. */
export interface StreamListenerOptions {
  /** Where. Port 0 lets the system choose. */
  readonly listen: SocketAddress;
  /** What it speaks. */
  readonly kind: StreamKind;
  /** Certificate chain and private key as PEM, for `tls`. */
  readonly tls?: TlsPem;
  /** The clients. */
  readonly desk: StreamDesk;
  /** Ends connections. Absent: they end when their other end says so. */
  readonly ender: ConnectionEnder | undefined;
}

/** One listener. */
export class StreamListener {
  /** What it speaks. */
  readonly kind: StreamKind;
  /** Where it listens, with the port that the system chose. */
  readonly address: SocketAddress;
  /** Resolves once it is closed; rejects if it broke. */
  readonly finished: Promise<void>;
  readonly #listener: Deno.Listener;
  readonly #desk: StreamDesk;
  readonly #ender: ConnectionEnder | undefined;
  /** The desk bounds them. */
  readonly #reading = new Set<Promise<void>>();
  #closed = false;

  /** Opens the port. Throws `portInUse`, `permission` or `usage`. */
  constructor({ listen, kind, tls, desk, ender }: StreamListenerOptions) {
    this.kind = kind;
    this.#ender = ender;
    this.#desk = desk;
    try {
      this.#listener = tls === undefined
        ? Deno.listen({ transport: "tcp", ...listen })
        : Deno.listenTls({ transport: "tcp", ...listen, ...tls, alpnProtocols: [...ALPN] });
    } catch (error) {
      throw fromSystem(error, `listen on TCP ${formatSocketAddress(listen)}`);
    }
    const { addr } = this.#listener;
    this.address = { ...listen, port: "port" in addr ? addr.port : listen.port };
    this.finished = this.#accept();
    this.finished.catch(() => {});
  }

  /** Takes no more connections. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
  }

  /** Resolves once every connection has ended, for which the desk has to close them. */
  async ended(): Promise<void> {
    await Promise.all(this.#reading);
  }

  async #accept(): Promise<void> {
    let errors = 0;
    while (!this.#closed) {
      try {
        const conn = await this.#listener.accept();
        errors = 0;
        this.#serve(conn);
      } catch (error) {
        if (this.#closed) return;
        this.#desk.counters.add("acceptFailed");
        if (++errors >= ACCEPT_ERRORS_MAX) {
          this.close();
          throw fromSystem(error, `accept on TCP ${formatSocketAddress(this.address)}`);
        }
        await new Promise((wake) => setTimeout(wake, ACCEPT_RETRY_MS));
      }
    }
  }

  #serve(conn: Deno.Conn): void {
    const { remoteAddr } = conn;
    if (!("hostname" in remoteAddr)) return conn.close();
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
    const source = {
      hostname: canonicalIp(remoteAddr.hostname) ?? remoteAddr.hostname,
      port: remoteAddr.port,
    };
    const served = new ServedConnection(conn, this.kind, this.#ender?.shutdownOf(conn));
    const client = this.#desk.admit(this.kind, source, served);
    const reading = served.read(client).finally(() => this.#reading.delete(reading));
    this.#reading.add(reading);
  }
}

/** One accepted connection. */
class ServedConnection implements StreamCarrier {
  readonly #conn: Deno.Conn;
  readonly #kind: RelayProtocol;
  /** Set once it is a WebSocket. */
  #frames: WebSocketFrames | undefined;
  /** Settles when all that was handed over is written: frames must not be written into one another. */
  #writing: Promise<void> = Promise.resolve();
  #isPongWaiting = false;
  readonly #shutdown: (() => void) | undefined;
  #open = true;
  #isClosed = false;

  constructor(conn: Deno.Conn, kind: RelayProtocol, shutdown: (() => void) | undefined) {
    this.#conn = conn;
    this.#kind = kind;
    this.#shutdown = shutdown;
  }

  async send(bytes: Uint8Array): Promise<void> {
    await this.#write(this.#frames === undefined ? bytes : encodeFrame("binary", bytes));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    // The read that is under way ends, and with it the connection.
    if (this.#shutdown !== undefined && !this.#isClosed) return this.#shutdown();
    // At least the other end is told, which then ends the read.
    this.#conn.closeWrite().catch(() => {}).finally(() => this.#end());
  }

  #end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#conn.close();
  }

  /** Reads until the end; whatever ends it, the client is closed. */
  async read(client: StreamClient): Promise<void> {
    let buffer = new Uint8Array(READ_BYTES_MIN);
    try {
      const count = await this.#conn.read(buffer);
      let read = count === null ? undefined : buffer.subarray(0, count);
      const isHttp = this.#kind === "websocket" || (this.#kind === "tls" && buffer[0] === LETTER_G);
      if (isHttp && read !== undefined) read = await this.#upgrade(read);
      while (read !== undefined && this.#open) {
        if (!this.#take(client, read)) break;
        const isFull = read.length === buffer.length;
        if (isFull && buffer.length < READ_BYTES_MAX) buffer = new Uint8Array(READ_BYTES_MAX);
        const count = await this.#conn.read(buffer);
        read = count === null ? undefined : buffer.subarray(0, count);
      }
    } catch {
      // Reset by the client, or closed by us.
    }
    client.close();
    this.#open = false;
    this.#end();
  }

  #take(client: StreamClient, bytes: Uint8Array): boolean {
    if (this.#frames === undefined) return client.receive(bytes);
    return this.#frames.push(bytes, {
      onData: (data) => void client.receive(data),
      onPing: (payload) => this.#pong(payload),
      onClose: () => client.close(),
    });
  }

  /** Reads the request, which begins with `first`, and answers it. Returns what lies behind it; `undefined` where no WebSocket follows. */
  async #upgrade(first: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | undefined> {
    let head = first;
    let end = headEnd(head);
    while (end === undefined) {
      if (head.length >= HEAD_BYTES_MAX) return undefined;
      const more = new Uint8Array(Math.min(READ_BYTES_MIN, HEAD_BYTES_MAX - head.length));
      const count = await this.#conn.read(more);
      if (count === null) return undefined;
      head = concat(head, more.subarray(0, count));
      end = headEnd(head);
    }
    const { isUpgraded, bytes } = answerUpgrade(head.subarray(0, end));
    await this.#write(bytes);
    if (!isUpgraded) return undefined;
    this.#frames = new WebSocketFrames();
    return head.subarray(end);
  }

  /** Answers a ping; those that come while an answer waits get none (RFC 6455 section 5.5.3). */
  #pong(payload: Uint8Array): void {
    if (this.#isPongWaiting) return;
    this.#isPongWaiting = true;
    const done = (): void => {
      this.#isPongWaiting = false;
    };
    // A connection that is broken is found out by who reads it.
    this.#write(encodeFrame("pong", payload)).then(done, done);
  }

  #write(bytes: Uint8Array): Promise<void> {
    const written = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    });
    this.#writing = written;
    // Whoever waits for it hears of an error.
    written.catch(() => {});
    return written;
  }
}
