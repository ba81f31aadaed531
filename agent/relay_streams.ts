/**
 * Connections to relays for the datapath Worker, which has no event loop to wait for them: TCP, TLS and WebSocket, each joined to a slot of
 * the arena.
 *
 * @module
 */
import { messageOf, parseSocketAddress } from "../core/mod.ts";
import type { ByteStream } from "./network.ts";
import type { Log } from "./options.ts";
import type {
  DatapathClient,
  RelayConnectEvent,
  RelayTransportInfo,
  SlotStream,
} from "./shared/mod.ts";
import { connectByProxy, proxyFor } from "./proxy_connect.ts";
import { abortStream, splice } from "./splice.ts";
import { WebSocketBytes } from "./web_socket_bytes.ts";

/** Connections at once; one more is refused. The Worker has at most four relays with eight transports each. */
export const RELAY_STREAMS_MAX = 32;

/** The subprotocol of a relay's WebSocket. */
const SUBPROTOCOL = "turn";
/** How long a connection may take. */
const CONNECT_MS = 10_000;
/** How long the ends of all connections may take. */
const STOP_MS = 500;

/** Options of {@linkcode RelayStreams}. */
export interface RelayStreamsOptions {
  /** The datapath. */
  readonly client: DatapathClient;
  /** Takes a slot of the arena as a stream. */
  readonly adopt: (slot: number) => SlotStream;
  /** Hears what becomes of connections. */
  readonly log: Log;
}

/** The connections to relays of one node. Each ends with its slot, at the latest with the datapath. */
export class RelayStreams {
  readonly #options: RelayStreamsOptions;
  readonly #open = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  /** None yet. */
  constructor(options: RelayStreamsOptions) {
    this.#options = options;
  }

  /** Opens a connection and joins it to its slot until either ends. Never throws. */
  connect({ slot, transport }: RelayConnectEvent): void {
    const stream = this.#options.adopt(slot);
    if (this.#open.size >= RELAY_STREAMS_MAX) {
      this.#fail(slot, stream, "too many connections");
      return;
    }
    const carried = this.#carry(slot, stream, transport).finally(() => this.#open.delete(carried));
    this.#open.add(carried);
  }

  /** Gives up what still connects and waits, at most half a second, until every connection is gone. For after the datapath's end. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, STOP_MS);
    await Promise.race([Promise.all(this.#open), promise]);
    clearTimeout(timer);
  }

  async #carry(slot: number, stream: SlotStream, transport: RelayTransportInfo): Promise<void> {
    const { log } = this.#options;
    const late = AbortSignal.timeout(CONNECT_MS);
    const signal = AbortSignal.any([late, this.#stopping.signal]);
    try {
      const conn = await unlessAborted(open(transport, signal), signal);
      log("debug", `relay: connected by ${transport.kind}`);
      // Not the stream itself, which would be handed to the Worker: its other end is there already.
      const { end, error } = await splice(conn, bytesOf(stream));
      log("debug", `relay: ${transport.kind} ${end}`);
      this.#fail(slot, stream, error === undefined ? "the connection has ended" : messageOf(error));
      if (conn instanceof WebSocketBytes) await conn.gone();
    } catch (error) {
      const reason = late.aborted ? "no connection within 10 s" : messageOf(error);
      log("debug", `relay: no connection by ${transport.kind}: ${reason}`);
      this.#fail(slot, stream, reason);
    }
  }

  /** Says why, then gives the slot back: in this order, or the Worker would not know. */
  #fail(slot: number, stream: SlotStream, reason: string): void {
    this.#options.client.send({ kind: "relayFailed", slot, reason })
      .catch(() => {})
      .finally(() => stream.abort());
  }
}

/** Connects to a relay. */
async function open(transport: RelayTransportInfo, signal: AbortSignal): Promise<ByteStream> {
  if (transport.kind === "websocket") {
    return await WebSocketBytes.open(transport.url, { protocol: SUBPROTOCOL, signal });
  }
  const address = parseSocketAddress(transport.address);
  if (address === undefined) throw new TypeError("its address is none");
  const { serverName = address.hostname } = transport;
  // What is not TLS, proxies mostly refuse.
  const proxy = transport.kind === "tls"
    ? proxyFor(serverName, (name) => Deno.env.get(name))
    : undefined;
  const conn = proxy === undefined
    ? await Deno.connect({ ...address, signal })
    : await connectByProxy(proxy, { hostname: serverName, port: address.port }, signal);
  conn.setNoDelay();
  if (transport.kind !== "tls") return conn;
  const tls = await Deno.startTls(conn, { hostname: serverName });
  try {
    await tls.handshake();
    return tls;
  } catch (error) {
    abortStream(tls);
    throw error;
  }
}

function bytesOf(stream: SlotStream): ByteStream {
  return {
    read: (target) => stream.read(target),
    write: (source) => stream.write(source),
    closeWrite: () => stream.closeWrite(),
    close: () => {},
  };
}

/** Resolves as `work`, or rejects when aborted; a connection that comes too late is closed. */
async function unlessAborted(work: Promise<ByteStream>, signal: AbortSignal): Promise<ByteStream> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, promise]);
  } catch (error) {
    work.then(abortStream, () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
