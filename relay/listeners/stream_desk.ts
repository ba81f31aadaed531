/**
 * Clients that speak over streams: TCP, TLS, WebSockets. Each has a bounded queue, so that one that does not read costs only itself.
 *
 * ```text
 *   carrier --bytes--> StreamFrames --messages--> core
 *   carrier <--chunks-- queue, 256 KiB <--------- core        full: datagrams are dropped, as a network would
 * ```
 *
 * A client without an allocation is half-open: it has ten seconds to get one, and where there are too many, the oldest goes.
 *
 * @module
 */
import { after, type Instant, type SocketAddress } from "../../core/mod.ts";
import { CHANNEL_HEADER_BYTES, StreamFrames, writeChannelHeader } from "../../traversal/mod.ts";
import type { Counters } from "../core/counters.ts";
import type { Flow, RelayProtocol, Train } from "../core/flow.ts";

/** How long a client may take to get an allocation, TLS and HTTP included. */
export const HALF_OPEN_MS = 10_000;
/** How long a client that has given its allocation back may stay: another one, or its own end of the connection, comes at once. */
export const RELEASED_MS = 500;
/** Half-open clients at once; for one more, the oldest is closed. */
export const HALF_OPEN_MAX = 1024;
/** Half-open clients of one address; for one more, its own oldest is closed. */
export const HALF_OPEN_PER_SOURCE_MAX = 512;
/** Bytes that wait for one client. Beyond, datagrams to it are dropped. */
export const QUEUE_BYTES_MAX = 256 << 10;
/** Room above that for answers, which nobody would send again. */
const ANSWERS_BYTES_MAX = 64 << 10;
/** How long a client may take in nothing while something waits for it. */
export const STALLED_MS = 30_000;
/** Bytes handed over at once where more than {@linkcode BACKLOG_BYTES} wait. */
const CHUNK_BYTES = 64 << 10;
/** With less than this waiting, each message goes by itself: coturn's client takes one message from each TLS record and forgets the rest. */
const BACKLOG_BYTES = 16 << 10;

/** What carries the bytes of one client. */
export interface StreamCarrier {
  /** Sends bytes, borrowed until the promise settles. Rejects once the connection is broken. */
  send(bytes: Uint8Array): Promise<void>;
  /** Closes the connection; called once. */
  close(): void;
}

/** What a desk needs of the relay's core. */
export interface StreamCore {
  /** Takes a message. */
  handleClient(now: Instant, flow: Flow, bytes: Uint8Array, segment: number): void;
  /** A stream has ended. */
  handleEnd(now: Instant, flow: Flow): void;
  /** Whether a client has an allocation. */
  hasAllocation(now: Instant, flow: Flow): boolean;
}

/** Options of {@linkcode StreamDesk}. */
export interface StreamDeskOptions {
  /** The relay. */
  readonly core: StreamCore;
  /** Counts. */
  readonly counters: Counters;
  /** The clock. */
  readonly now: () => Instant;
}

/** One client. */
export class StreamClient implements Flow {
  readonly key: string;
  readonly protocol: RelayProtocol;
  readonly source: SocketAddress;
  /** When it counts as half-open for too long; `undefined` once it has an allocation. */
  dueAt: Instant | undefined;
  /** Since when the present chunk waits to be sent. */
  sendingSince: Instant | undefined;
  readonly #desk: StreamDesk;
  readonly #carrier: StreamCarrier;
  readonly #frames = new StreamFrames({ oldChannels: true });
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #closed = false;

  /** Use {@linkcode StreamDesk.admit}. */
  constructor(desk: StreamDesk, carrier: StreamCarrier, flow: Flow) {
    this.#desk = desk;
    this.#carrier = carrier;
    this.key = flow.key;
    this.protocol = flow.protocol;
    this.source = flow.source;
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Takes what has come. Returns false, and closes, once the stream is out of step. */
  receive(bytes: Uint8Array): boolean {
    if (this.#closed) return false;
    const inStep = this.#frames.push(bytes, (message) => {
      if (!this.#closed) this.#desk.handle(this, message);
    });
    if (!inStep) {
      this.#desk.counters.add("streamsOutOfStep");
      this.close();
    }
    return !this.#closed;
  }

  /** Queues a STUN message. */
  sendMessage(message: Uint8Array): void {
    this.#enqueue(message.slice(), QUEUE_BYTES_MAX + ANSWERS_BYTES_MAX);
  }

  /** Queues datagrams, each behind a ChannelData header and padded. */
  sendChannelData(channel: number, { bytes, segment, skip }: Train): void {
    for (let at = 0; at < bytes.length; at += segment) {
      const data = bytes.subarray(at + skip, at + segment);
      const message = new Uint8Array(CHANNEL_HEADER_BYTES + (data.length + 3 & ~3));
      writeChannelHeader(message, 0, { channel, length: data.length });
      message.set(data, CHANNEL_HEADER_BYTES);
      this.#enqueue(message, QUEUE_BYTES_MAX);
    }
  }

  /** Ends it, with its allocation. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#desk.forget(this);
    this.#carrier.close();
  }

  #enqueue(message: Uint8Array, most: number): void {
    if (this.#closed) return;
    if (this.#queuedBytes + message.length > most) {
      return this.#desk.counters.add("streamQueueFull");
    }
    this.#queue.push(message);
    this.#queuedBytes += message.length;
    if (this.sendingSince === undefined) void this.#flush();
  }

  async #flush(): Promise<void> {
    while (this.#queue.length > 0 && !this.#closed) {
      this.sendingSince = this.#desk.now();
      const chunk = this.#nextChunk();
      try {
        await this.#carrier.send(chunk);
      } catch {
        this.close();
      }
      this.#queuedBytes = Math.max(0, this.#queuedBytes - chunk.length);
    }
    this.sendingSince = undefined;
  }

  #nextChunk(): Uint8Array {
    const most = this.#queuedBytes < BACKLOG_BYTES ? 0 : CHUNK_BYTES;
    let [count, size] = [0, 0];
    for (const { length } of this.#queue) {
      if (count > 0 && size + length > most) break;
      size += length;
      count++;
    }
    const chunk = new Uint8Array(size);
    let at = 0;
    for (const message of this.#queue.splice(0, count)) {
      chunk.set(message, at);
      at += message.length;
    }
    return chunk;
  }
}

/** All of them. */
export class StreamDesk {
  /** Counts. */
  readonly counters: Counters;
  /** The clock. */
  readonly now: () => Instant;
  readonly #core: StreamCore;
  readonly #clients = new Set<StreamClient>();
  /** In the order of arrival. */
  readonly #halfOpen = new Set<StreamClient>();
  readonly #perSource = new Map<string, number>();
  #last = 0;

  /** Without clients. */
  constructor({ core, counters, now }: StreamDeskOptions) {
    this.#core = core;
    this.counters = counters;
    this.now = now;
  }

  /** Clients now. */
  get size(): number {
    return this.#clients.size;
  }

  /** Those without an allocation. */
  get halfOpen(): number {
    return this.#halfOpen.size;
  }

  /** Takes a connection, half-open as yet. */
  admit(protocol: RelayProtocol, source: SocketAddress, carrier: StreamCarrier): StreamClient {
    this.#makeRoom(source.hostname);
    const key = `${protocol} ${++this.#last}`;
    const client = new StreamClient(this, carrier, { key, protocol, source });
    this.#clients.add(client);
    this.#setHalfOpen(client, HALF_OPEN_MS);
    return client;
  }

  /** Hands a message of a client to the relay. */
  handle(client: StreamClient, message: Uint8Array): void {
    const now = this.now();
    this.#core.handleClient(now, client, message, message.length);
    if (client.closed) return;
    const hasAllocation = this.#core.hasAllocation(now, client);
    if (hasAllocation && client.dueAt !== undefined) this.#setOpen(client);
    if (!hasAllocation && client.dueAt === undefined) this.#setHalfOpen(client, RELEASED_MS);
  }

  /** A client has closed. */
  forget(client: StreamClient): void {
    this.#setOpen(client);
    this.#clients.delete(client);
    this.#core.handleEnd(this.now(), client);
  }

  /** Closes those that took too long. */
  sweep(now: Instant): void {
    for (const client of [...this.#halfOpen]) {
      if (client.dueAt === undefined || now < client.dueAt) continue;
      this.counters.add("streamsTooSlow");
      client.close();
    }
    for (const client of [...this.#clients]) {
      if (client.sendingSince === undefined || now < client.sendingSince + STALLED_MS) continue;
      this.counters.add("streamsStalled");
      client.close();
    }
  }

  /** Closes all. */
  close(): void {
    for (const client of [...this.#clients]) client.close();
  }

  #makeRoom(hostname: string): void {
    const own = (this.#perSource.get(hostname) ?? 0) >= HALF_OPEN_PER_SOURCE_MAX;
    if (!own && this.#halfOpen.size < HALF_OPEN_MAX) return;
    for (const client of this.#halfOpen) {
      if (own && client.source.hostname !== hostname) continue;
      this.counters.add("streamsEvicted");
      return client.close();
    }
  }

  #setHalfOpen(client: StreamClient, ms: number): void {
    client.dueAt = after(this.now(), ms);
    this.#halfOpen.add(client);
    const { hostname } = client.source;
    this.#perSource.set(hostname, (this.#perSource.get(hostname) ?? 0) + 1);
  }

  #setOpen(client: StreamClient): void {
    client.dueAt = undefined;
    if (!this.#halfOpen.delete(client)) return;
    const { hostname } = client.source;
    const left = (this.#perSource.get(hostname) ?? 1) - 1;
    if (left === 0) this.#perSource.delete(hostname);
    else this.#perSource.set(hostname, left);
  }
}
