/** Binding transactions over real sockets: what a node sees of Discovery's STUN. @module */
import type { Instant, SocketAddress } from "../../core/mod.ts";
import {
  type BindingOutcome,
  BindingTransaction,
  type BindingTransactionOptions,
} from "../../traversal/mod.ts";

const rng = { bytes: (length: number) => crypto.getRandomValues(new Uint8Array(length)) };

/** A UDP socket of a node, or of somebody else. */
export class StunSocket implements Disposable {
  readonly #socket: Deno.DatagramConn;
  #closed = false;
  readonly #queue: { source: SocketAddress; payload: Uint8Array }[] = [];
  #wake: (() => void) | undefined;

  constructor(hostname = "127.0.0.1") {
    this.#socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    void this.#receive();
  }

  get address(): SocketAddress {
    const { hostname, port } = this.#socket.addr as Deno.NetAddr;
    return { hostname, port };
  }

  /** Sends bytes as they are. */
  async send(payload: Uint8Array, to: SocketAddress): Promise<void> {
    await this.#socket.send(payload, { transport: "udp", ...to });
  }

  /** The next datagram; `undefined` if none comes within so many milliseconds. */
  async next(
    withinMs: number,
  ): Promise<{ source: SocketAddress; payload: Uint8Array } | undefined> {
    if (this.#queue.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, withinMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#queue.shift();
  }

  /** Runs a transaction. `onRequest` is called with its bytes before they are sent. */
  async transact(
    options: Omit<BindingTransactionOptions, "rng">,
    onRequest: (request: Uint8Array) => Promise<void> = () => Promise.resolve(),
  ): Promise<BindingOutcome> {
    const now = (): Instant => performance.now() as Instant;
    const transaction = new BindingTransaction(now(), { attempts: 2, ...options, rng });
    for (;;) {
      transaction.handleTimeout(now());
      const request = transaction.pollTransmit();
      if (request !== undefined) {
        await onRequest(request.payload);
        await this.send(request.payload, request.destination);
      }
      const dueAt = transaction.pollTimeout();
      const datagram = dueAt && await this.next(Math.max(0, dueAt - now()));
      if (datagram !== undefined) transaction.handleInput(now(), datagram);
      const outcome = transaction.pollEvent();
      if (outcome !== undefined) return outcome;
    }
  }

  async #receive(): Promise<void> {
    while (!this.#closed) {
      try {
        const [payload, from] = await this.#socket.receive();
        const { hostname, port } = from as Deno.NetAddr;
        this.#queue.push({ source: { hostname, port }, payload });
        this.#wake?.();
      } catch (error) {
        if (!this.#closed) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#socket.close();
  }
}
