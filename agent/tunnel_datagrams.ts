/** The UDP ports of a node on the main thread: all of them go through one slot of the datapath Worker. @module */
import {
  assert,
  formatSocketAddress,
  messageOf,
  MorayError,
  type SocketAddress,
} from "../core/mod.ts";
import { type DatagramHandler, DatagramTooLong, type TunnelDatagrams } from "./network.ts";
import {
  DATAGRAM_KIND,
  type DatagramFrame,
  datagramFrameBytes,
  DatagramReader,
  DatagramWriter,
  type DatapathClient,
  encodeDatagramAddress,
  type StreamSlot,
} from "./shared/mod.ts";

/** UDP ports open at once. */
export const DATAGRAM_PORTS_MAX = 4096;
/** Addresses of which it is remembered how long a datagram may be; the one longest known is forgotten for one more. */
const ROUTES_MAX = 1024;
/** Datagrams that wait for room. One more is refused. */
const WAITING_MAX = 4096;
/** Part of the ring that must be free to wake who waits for room: for every datagram it would cost a thread switch each. */
const ROOM_WANTED = 1 / 4;

/** How an address is reached. */
interface Route {
  /** The address as a frame has it; its port is written for each datagram. */
  readonly address: Uint8Array;
  /** The longest payload that the path carried when it was last asked for. */
  readonly limit: number;
}

/** The shared slot, and what reads and writes its rings. */
interface Opened {
  readonly slot: StreamSlot;
  readonly reader: DatagramReader;
  readonly writer: DatagramWriter;
}

/** All UDP ports of a node. */
export class TunnelDatagramPorts {
  readonly #client: DatapathClient;
  readonly #ports = new Map<number, DatagramPort>();
  readonly #routes = new Map<string, Route>();
  readonly #waiting: (() => void)[] = [];
  #opened: Opened | undefined;
  #notSent = 0;

  /** None yet. */
  constructor(client: DatapathClient) {
    this.#client = client;
  }

  /** The slot that they share; `undefined` before the first is open. */
  get slot(): number | undefined {
    return this.#opened?.slot.index;
  }

  /** Datagrams taken from senders and lost on this node, since the path to their address had just changed. */
  get notSent(): number {
    return this.#notSent;
  }

  /** Opens a port; a refusal by the datapath reaches the handler and the senders. Throws `usage`, `portInUse` or `limit`. */
  open(port: number, handler: DatagramHandler): TunnelDatagrams {
    const refuse = (code: "usage" | "portInUse" | "limit", reason: string): MorayError =>
      new MorayError(code, `Cannot open UDP mesh port ${port}: ${reason}`);
    if (!Number.isInteger(port) || port < 1 || port > 65535) {
      throw refuse("usage", "not 1 to 65535");
    }
    if (this.#client.closedBy !== undefined) throw this.#client.closedBy;
    if (this.#ports.has(port)) throw refuse("portInUse", "it is in use");
    if (this.#ports.size >= DATAGRAM_PORTS_MAX) {
      throw refuse("limit", `${DATAGRAM_PORTS_MAX} ports are open`);
    }
    const opening = this.#client.send({ kind: "bindDatagrams", port }).then(({ slot }) => {
      this.#attach(slot);
    }, (error: MorayError) => {
      const message = `Cannot open UDP mesh port ${port}: ${messageOf(error)}`;
      throw new MorayError(error.code, message, error);
    });
    const opened = new DatagramPort(port, {
      handler,
      opening,
      send: (payload, to) => this.#send(port, payload, to),
      onClose: () => {
        this.#ports.delete(port);
        // A datapath that has ended has no ports any more.
        this.#client.send({ kind: "closeDatagrams", port }).catch(() => {});
      },
    });
    this.#ports.set(port, opened);
    return opened;
  }

  /** Takes in what the Worker has written, and lets those go on who wait for room. */
  handleDirty(): void {
    if (this.#opened === undefined) return;
    const { slot, reader } = this.#opened;
    do {
      reader.drain((frame) => this.#take(frame));
      slot.dataWait.arm(1);
      // Between the look and the wish the Worker may have written and seen no wish.
    } while (slot.toApp.length > 0);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** The datapath has ended. */
  closed(error: MorayError): void {
    for (const port of [...this.#ports.values()]) port.fail(error);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #attach(index: number): void {
    if (this.#opened !== undefined) return;
    const slot = this.#client.arena.slot(index);
    const [reader, writer] = [new DatagramReader(slot.toApp), new DatagramWriter(slot.toNet)];
    this.#opened = { slot, reader, writer };
    this.handleDirty();
  }

  #take({ kind, port, remote, payload }: DatagramFrame): void {
    if (kind === DATAGRAM_KIND.notSent) {
      this.#notSent++;
      this.#routes.delete(remote.hostname);
      return;
    }
    const open = this.#ports.get(port);
    if (kind === DATAGRAM_KIND.datagram) open?.handler.datagram(payload, remote);
    else {open?.handler.refused?.(
        remote,
        kind === DATAGRAM_KIND.refused ? "refused" : "unreachable",
      );}
  }

  /** Puts a datagram into the ring; `undefined` where it is there at once. */
  #send(port: number, payload: Uint8Array, to: SocketAddress): Promise<void> | undefined {
    const route = this.#routes.get(to.hostname);
    if (route === undefined || payload.length > route.limit) return this.#ask(port, payload, to);
    return this.#put(port, payload, to, route) ? undefined : this.#wait(port, payload, to);
  }

  #put(port: number, payload: Uint8Array, to: SocketAddress, { address }: Route): boolean {
    assert(this.#opened !== undefined, "who sends has an open port");
    const { slot, writer } = this.#opened;
    address[2] = to.port & 0xff;
    address[3] = to.port >> 8;
    if (!writer.push({ kind: DATAGRAM_KIND.datagram, port, address, payload })) return false;
    this.#client.arena.markForWorker(slot);
    this.#client.ringWorker();
    return true;
  }

  /** Asks the Worker how long a datagram may be: it is longer than what was known to pass, or the first. */
  async #ask(port: number, payload: Uint8Array, to: SocketAddress): Promise<void> {
    const name = formatSocketAddress(to);
    let limit: number;
    try {
      limit = await this.#client.send({ kind: "datagramLimit", remote: name });
    } catch (error) {
      if (!(error instanceof MorayError)) throw error;
      throw new MorayError(error.code, `Cannot send to ${name}: ${error.message}`, error);
    }
    const [oldest] = this.#routes.keys();
    if (oldest !== undefined && this.#routes.size >= ROUTES_MAX) this.#routes.delete(oldest);
    const route = { address: encodeDatagramAddress(to), limit };
    this.#routes.set(to.hostname, route);
    if (payload.length > limit) throw new DatagramTooLong(payload.length, name, limit);
    if (!this.#put(port, payload, to, route)) await this.#wait(port, payload, to);
  }

  async #wait(port: number, payload: Uint8Array, to: SocketAddress): Promise<void> {
    if (this.#waiting.length >= WAITING_MAX) {
      throw new MorayError("limit", `Cannot send to ${formatSocketAddress(to)}: too many wait`);
    }
    assert(this.#opened !== undefined, "who sends has an open port");
    const { slot } = this.#opened;
    const needed = datagramFrameBytes(payload.length);
    slot.roomWait.arm(Math.max(needed, slot.toNet.capacity * ROOM_WANTED));
    if (slot.toNet.room < needed) await new Promise<void>((wake) => this.#waiting.push(wake));
    if (this.#client.closedBy !== undefined) throw this.#client.closedBy;
    await this.#send(port, payload, to);
  }
}

/** One port. */
class DatagramPort implements TunnelDatagrams {
  readonly port: number;
  readonly handler: DatagramHandler;
  readonly #send: (payload: Uint8Array, to: SocketAddress) => Promise<void> | undefined;
  readonly #onClose: () => void;
  #opening: Promise<void> | undefined;
  #closed: MorayError | undefined;

  constructor(
    port: number,
    { handler, opening, send, onClose }: {
      readonly handler: DatagramHandler;
      readonly opening: Promise<void>;
      readonly send: (payload: Uint8Array, to: SocketAddress) => Promise<void> | undefined;
      readonly onClose: () => void;
    },
  ) {
    this.port = port;
    this.handler = handler;
    this.#send = send;
    this.#onClose = onClose;
    this.#opening = opening;
    opening.then(() => this.#opening = undefined, (error: MorayError) => this.fail(error));
  }

  /** Closes because of an error, which the handler and later senders get. */
  fail(error: MorayError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#onClose();
    this.handler.closed?.(error);
  }

  async send(payload: Uint8Array, to: SocketAddress): Promise<void> {
    if (this.#opening !== undefined) await this.#opening;
    if (this.#closed !== undefined) throw this.#closed;
    await this.#send(payload, to);
  }

  close(): void {
    if (this.#closed !== undefined) return;
    this.#closed = new MorayError("closed", `UDP mesh port ${this.port} is closed`);
    this.#onClose();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
