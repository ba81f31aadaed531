/**
 * The userspace network of a node on the main thread: connections, listeners and UDP ports over the datapath Worker's slots.
 *
 * @module
 */
import {
  formatSocketAddress,
  MorayError,
  parseSocketAddress,
  type SocketAddress,
} from "../core/mod.ts";
import type {
  ConnectOptions,
  DatagramHandler,
  Network,
  TunnelConn,
  TunnelDatagrams,
  TunnelListener,
} from "./network.ts";
import {
  ABORT,
  type AcceptedEvent,
  type DatapathClient,
  RELEASED,
  SlotStream,
  type StreamSlot,
} from "./shared/mod.ts";
import { TunnelDatagramPorts } from "./tunnel_datagrams.ts";

export { DatapathClient, type DatapathClientOptions, type NodeEvent } from "./shared/mod.ts";

/**
 * Connections that wait in a listener for `accept`. One more is reset and counted. Nearly as many as a node can have: they come in
 * one batch when many connect at once, and who accepts them runs after it.
 */
export const ACCEPT_QUEUE_MAX = 1000;
/** Ports listened on at once. */
export const LISTENERS_MAX = 256;

/** The ends of a stream that is none of the mesh. */
const NOWHERE: SocketAddress = { hostname: "::", port: 0 };

/** What a {@linkcode TunnelNetwork} is made of. */
export interface TunnelNetworkOptions {
  /** The datapath. Its streams are attached to this network. */
  readonly client: DatapathClient;
  /** As `Network.resolve`. */
  readonly resolve: (name: string) => string | undefined;
  /** Connections that wait in a listener. @default ACCEPT_QUEUE_MAX */
  readonly acceptQueueMax?: number;
}

/** Connections dropped and refused since the start. */
export interface TunnelNetworkCounters {
  /** Connections reset because as many waited as may. */
  readonly acceptQueueOverflows: number;
  /** Connections reset because nobody listened any more. */
  readonly acceptsUnclaimed: number;
  /** Commands refused because too many waited. */
  readonly commandsRefused: number;
  /** Datagrams lost on this node, since the path to their address had just changed. */
  readonly datagramsNotSent: number;
}

/** The mesh as seen from the main thread. */
export class TunnelNetwork implements Network {
  readonly #client: DatapathClient;
  readonly #resolve: (name: string) => string | undefined;
  readonly #streams = new Map<number, SlotStream>();
  readonly #listeners = new Map<number, QueueListener>();
  readonly #datagrams: TunnelDatagramPorts;
  readonly #acceptQueueMax: number;
  #acceptQueueOverflows = 0;
  #acceptsUnclaimed = 0;

  /** The network of a datapath. It ends with the datapath. */
  constructor({ client, resolve, acceptQueueMax = ACCEPT_QUEUE_MAX }: TunnelNetworkOptions) {
    this.#client = client;
    this.#acceptQueueMax = acceptQueueMax;
    this.#resolve = resolve;
    this.#datagrams = new TunnelDatagramPorts(client);
    client.attachStreams({
      accepted: (event) => this.#accepted(event),
      dirty: (slot) => {
        if (slot.index === this.#datagrams.slot) this.#datagrams.handleDirty();
        else this.#streams.get(slot.index)?.handleDirty();
      },
      closed: (error) => this.#closed(error),
    });
  }

  /** What was dropped, and why. */
  get counters(): TunnelNetworkCounters {
    return {
      acceptQueueOverflows: this.#acceptQueueOverflows,
      acceptsUnclaimed: this.#acceptsUnclaimed,
      commandsRefused: this.#client.commandsRefused,
      datagramsNotSent: this.#datagrams.notSent,
    };
  }

  /** Takes a slot that carries no stream inside the mesh; its other end is the Worker itself. */
  adopt(slot: number): SlotStream {
    return this.#adopt(slot, { local: NOWHERE, remote: NOWHERE });
  }

  /** Streams that hold a slot. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** Opens a TCP connection to a mesh address; see `Network.connect`. */
  async connect(address: SocketAddress, { signal }: ConnectOptions = {}): Promise<TunnelConn> {
    signal?.throwIfAborted();
    const opening = this.#open(address);
    const opened = opening.then(async (stream) => {
      await stream.established();
      return stream;
    });
    try {
      return await unlessAborted(opened, signal);
    } catch (error) {
      // The slot is given back whenever it turns up, which may be after an abort.
      opening.then((stream) => stream.abort(), () => {});
      throw error;
    }
  }

  /** Listens on a TCP port of every mesh address; a refusal by the datapath reaches `accept`. */
  listen(port: number): TunnelListener {
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw new MorayError("usage", `Cannot listen on mesh port ${port}: not 1 to 65535`);
    }
    if (this.#client.closedBy !== undefined) throw this.#client.closedBy;
    if (this.#listeners.has(port)) {
      throw new MorayError("portInUse", `Cannot listen on mesh port ${port}: it is in use`);
    }
    if (this.#listeners.size >= LISTENERS_MAX) {
      throw new MorayError(
        "limit",
        `Cannot listen on mesh port ${port}: ${LISTENERS_MAX} ports are listened on`,
      );
    }
    const listener = new QueueListener(port, this.#acceptQueueMax, () => {
      this.#listeners.delete(port);
      // A datapath that has ended listens no more anyway.
      this.#client.send({ kind: "unlisten", port }).catch(() => {});
    });
    this.#listeners.set(port, listener);
    this.#client.send({ kind: "listen", port }).catch((error: MorayError) => {
      const message = `Cannot listen on mesh port ${port}: ${error.message}`;
      listener.fail(new MorayError(error.code, message, error));
    });
    return listener;
  }

  /** Opens a UDP port of every mesh address; a refusal by the datapath reaches the handler. */
  openDatagrams(port: number, handler: DatagramHandler): TunnelDatagrams {
    return this.#datagrams.open(port, handler);
  }

  /** Resolves a name inside the mesh to a literal; `undefined` when no node is called so. */
  resolve(name: string): string | undefined {
    return this.#resolve(name);
  }

  async #open(remote: SocketAddress): Promise<SlotStream> {
    const name = formatSocketAddress(remote);
    try {
      const { slot, local } = await this.#client.send({ kind: "connectStream", remote: name });
      return this.#adopt(slot, { local: parseOrThrow(local), remote });
    } catch (error) {
      if (!(error instanceof MorayError)) throw error;
      throw new MorayError(error.code, `Cannot connect to ${name}: ${error.message}`, error);
    }
  }

  #adopt(index: number, ends: { local: SocketAddress; remote: SocketAddress }): SlotStream {
    const stream = new SlotStream({
      client: this.#client,
      slot: this.#client.arena.slot(index),
      ...ends,
      onReleased: (slot): void => void this.#streams.delete(slot.index),
    });
    this.#streams.set(index, stream);
    return stream;
  }

  #accepted({ port, slot, remote, local }: AcceptedEvent): void {
    const listener = this.#listeners.get(port);
    const ends = { remote: parseSocketAddress(remote), local: parseSocketAddress(local) };
    if (listener === undefined || ends.remote === undefined || ends.local === undefined) {
      this.#acceptsUnclaimed++;
      return this.#refuse(this.#client.arena.slot(slot));
    }
    if (listener.full) {
      this.#acceptQueueOverflows++;
      return this.#refuse(this.#client.arena.slot(slot));
    }
    listener.offer(this.#adopt(slot, { remote: ends.remote, local: ends.local }));
  }

  #refuse(slot: StreamSlot): void {
    slot.setMainFlags(ABORT | RELEASED);
    this.#client.arena.markForWorker(slot);
    this.#client.ringWorker();
  }

  #closed(error: MorayError): void {
    for (const listener of [...this.#listeners.values()]) listener.fail(error);
    for (const stream of [...this.#streams.values()]) stream.handleDirty();
    this.#datagrams.closed(error);
  }
}

/** A port's queue of connections. */
class QueueListener implements TunnelListener {
  readonly port: number;
  readonly #queueMax: number;
  readonly #onClose: () => void;
  readonly #queue: SlotStream[] = [];
  #waiter: PromiseWithResolvers<TunnelConn> | undefined;
  #closed: MorayError | undefined;

  constructor(port: number, queueMax: number, onClose: () => void) {
    this.port = port;
    this.#queueMax = queueMax;
    this.#onClose = onClose;
  }

  /** Whether one more connection must be refused. */
  get full(): boolean {
    return this.#queue.length >= this.#queueMax;
  }

  /** Hands over a connection. */
  offer(stream: SlotStream): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) this.#queue.push(stream);
    else waiter.resolve(stream);
  }

  /** Closes because of an error, which `accept` rejects with. */
  fail(error: MorayError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#onClose();
    for (const stream of this.#queue.splice(0)) stream.abort();
    this.#waiter?.reject(error);
    this.#waiter = undefined;
  }

  accept(): Promise<TunnelConn> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (this.#waiter !== undefined) {
      const message = `Mesh port ${this.port} is being accepted on already`;
      return Promise.reject(new MorayError("usage", message));
    }
    const stream = this.#queue.shift();
    if (stream !== undefined) return Promise.resolve(stream);
    this.#waiter = Promise.withResolvers<TunnelConn>();
    return this.#waiter.promise;
  }

  close(): void {
    this.fail(new MorayError("closed", `The listener on mesh port ${this.port} is closed`));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Ends when the listener is closed; throws if the datapath refused the port. */
  async *[Symbol.asyncIterator](): AsyncIterator<TunnelConn> {
    for (;;) {
      try {
        yield await this.accept();
      } catch (error) {
        if (error === this.#closed && this.#closed?.code === "closed") return;
        throw error;
      }
    }
  }
}

/** Settles as `promise` does, unless `signal` aborts first: then rejects with its reason. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  return Promise.race([promise, aborted])
    .finally(() => signal.removeEventListener("abort", onAbort));
}

function parseOrThrow(text: string): SocketAddress {
  const address = parseSocketAddress(text);
  if (address === undefined) throw new MorayError("internal", `not an address: ${text}`);
  return address;
}
