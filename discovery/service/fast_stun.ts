/**
 * STUN ports of libc's sockets, on Linux: many requests taken and their answers sent in one call each, by the loop of io/udp_loop.ts.
 *
 * As a relay does it, and for the same reasons (docs/decisions/0020-relay-trains-in-one-thread.md).
 *
 * @module
 */
import { assert, type SocketAddress } from "../../core/mod.ts";
import { BatchCalls, BatchSender } from "../../io/batch_sender.ts";
import { Libc } from "../../io/libc.ts";
import { UdpLoop } from "../../io/udp_loop.ts";
import { bindUdpSocket, type UdpSocket } from "../../io/udp_socket.ts";
import {
  StunAnswers,
  type StunCounters,
  type StunPort,
  type StunPortOptions,
  type StunPorts,
} from "./stun_port.ts";

/** The fast kind. */
export class FastStun implements StunPorts {
  readonly name = "fast";
  readonly #libc: Libc;
  readonly #calls: BatchCalls;
  readonly #loop: UdpLoop;
  readonly #ports: FastPort[] = [];
  readonly #running: Promise<void>;
  #closing: Promise<void> | undefined;

  private constructor(libc: Libc, calls: BatchCalls) {
    this.#libc = libc;
    this.#calls = calls;
    this.#loop = new UdpLoop(libc, {
      socketOf: (token) => this.#openPort(token)?.socket,
      take: this.#take.bind(this),
      flush: () => this.#flush(),
    });
    this.#running = this.#loop.run();
    // Each port says it.
    this.#running.catch(() => {});
  }

  /** Throws `unsupported` with the reason where there is no such socket. */
  static open(): FastStun {
    const libc = Libc.open();
    let calls: BatchCalls | undefined;
    try {
      calls = new BatchCalls();
      return new FastStun(libc, calls);
    } catch (error) {
      calls?.[Symbol.dispose]();
      libc[Symbol.dispose]();
      throw error;
    }
  }

  open(listen: SocketAddress, options: StunPortOptions): StunPort {
    const socket = bindUdpSocket(this.#libc, listen);
    const port = new FastPort({
      ...options,
      socket,
      sender: new BatchSender(this.#libc, { socket, calls: this.#calls }),
      loop: this.#loop,
      running: this.#running,
    });
    const isWatched = this.#loop.add(socket, this.#ports.length);
    assert(isWatched, "an epoll takes a port");
    this.#ports.push(port);
    return port;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const port of this.#ports) port.close();
    this.#loop.stop();
    await this.#running.catch(() => {});
    this.#loop[Symbol.dispose]();
    this.#calls[Symbol.dispose]();
    this.#libc[Symbol.dispose]();
  }

  #openPort(token: number): FastPort | undefined {
    const port = this.#ports[token];
    return port?.closed === false ? port : undefined;
  }

  #take(source: SocketAddress, bytes: Uint8Array, segment: number, token: number): void {
    const port = this.#ports[token];
    for (let at = 0; at < bytes.length; at += segment) {
      port?.take(source, bytes.subarray(at, at + segment));
    }
  }

  /** All of them: an answer may leave by another port than its request came to. */
  #flush(): void {
    for (const port of this.#ports) port.flush();
  }
}

/** What a port needs of the others' beside its options. */
interface FastPortOptions extends StunPortOptions {
  /** Its socket, which it closes. */
  readonly socket: UdpSocket;
  /** Sends by it. */
  readonly sender: BatchSender;
  /** Receives from it. */
  readonly loop: UdpLoop;
  /** Ends when the loop does. */
  readonly running: Promise<void>;
}

class FastPort implements StunPort {
  readonly socket: UdpSocket;
  readonly finished: Promise<void>;
  readonly #options: FastPortOptions;
  readonly #answers: StunAnswers;
  readonly #ended = Promise.withResolvers<void>();
  /** Who asks, while an answer is made. */
  #asking: SocketAddress | undefined;
  #closed = false;

  constructor(options: FastPortOptions) {
    this.socket = options.socket;
    this.#options = options;
    this.#answers = new StunAnswers(options);
    this.finished = this.#ended.promise;
    this.finished.catch(() => {});
    options.running.catch(this.#ended.reject);
  }

  get address(): SocketAddress {
    return this.socket.address;
  }

  get counters(): StunCounters {
    const { sent, dropped } = this.#options.sender.counts;
    const { counters } = this.#answers;
    return {
      ...counters,
      stunAnswers: counters.stunAnswers + sent,
      stunSendDrops: counters.stunSendDrops + dropped,
    };
  }

  get closed(): boolean {
    return this.#closed;
  }

  take(source: SocketAddress, payload: Uint8Array): void {
    if (this.#closed) return;
    this.#asking = source;
    this.#answers.answer(this, source, payload);
    this.#asking = undefined;
  }

  send(answer: Uint8Array, to: SocketAddress): void {
    if (this.#closed) {
      this.#answers.counters.stunSendDrops++;
      return;
    }
    const { loop, sender } = this.#options;
    // Nearly all answers go back by the socket that was asked, to where its receiver has the name of.
    sender.add(answer, to, to === this.#asking ? loop.sourceName : undefined);
    if (!loop.isReceiving) sender.flush();
  }

  flush(): void {
    if (!this.#closed) this.#options.sender.flush();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.sender.drop();
    this.#options.loop.close(this.socket);
    this.#ended.resolve();
  }
}
