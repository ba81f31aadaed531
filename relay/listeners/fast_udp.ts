/**
 * UDP by libc's sockets, on Linux: one epoll for all of them, trains received and sent in one call each.
 *
 * ```text
 *   asleep    ppoll on another thread of the runtime's; connections and timers of this thread go on
 *   awake     drain what is ready, a bounded part of each socket in turn, then wait up to a millisecond on this thread for more;
 *             every millisecond the rest of the program gets its turn
 * ```
 *
 * Waking up across threads costs some 30 µs, so it happens where there is time: a busy relay never sleeps.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { assert, type Family, MorayError, type SocketAddress } from "../../core/mod.ts";
import {
  bindUdpSocket,
  EPOLL,
  Epoll,
  EventFd,
  Libc,
  openLibrary,
  TrainReceiver,
  type UdpSocket,
} from "../../io/mod.ts";
import type { Counters } from "../core/counters.ts";
import type { Train } from "../core/flow.ts";
import { GatherSender } from "./gather_sender.ts";
import { type UdpFlow, UdpFlows, type UdpSockets, type UdpSocketsOptions } from "./udp_flow.ts";

const POLLIN = 1;
/** Tokens of listeners in the epoll; those below are numbers of relayed addresses. */
const LISTENER_TOKEN = 0x8000_0000;
const BELL_TOKEN = 0xffff_ffff;
const RELAYED_MAX = 0x7fff_ffff;
/** How long this thread waits for more before it sleeps. */
const LINGER_MS = 1;
/** How long it works before the rest of the program gets its turn. */
const TURN_MS = 1;
const SLEEP_MS = 60_000;
/** What the kernel may hold for one relayed address. */
const RELAYED_BUFFER_BYTES = 1 << 20;

const POLL_SYMBOLS = {
  ppoll: {
    parameters: ["buffer", "usize", "buffer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
} as const;

interface Listener {
  readonly socket: UdpSocket;
  readonly flows: UdpFlows;
}

/** The fast kind. */
export class FastUdp implements UdpSockets {
  readonly name = "fast";
  readonly canForbidSplitting = true;
  readonly finished: Promise<void>;
  readonly #options: UdpSocketsOptions;
  readonly #libc: Libc;
  readonly #poll: Deno.DynamicLibrary<typeof POLL_SYMBOLS>;
  readonly #epoll: Epoll;
  readonly #bell: EventFd;
  readonly #sender: GatherSender;
  readonly #receivers: Readonly<Record<Family, TrainReceiver>>;
  readonly #listeners: readonly Listener[];
  readonly #relayed = new Map<number, UdpSocket>();
  readonly #pollSet: Uint8Array<ArrayBuffer>;
  #last = 0;
  #isReceiving = false;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(libc: Libc, options: UdpSocketsOptions, counters: Counters) {
    const poll = openLibrary(POLL_SYMBOLS);
    if (poll === undefined) throw new MorayError("unsupported", "no ppoll by FFI");
    this.#libc = libc;
    this.#options = options;
    this.#poll = poll;
    this.#epoll = new Epoll(libc);
    this.#bell = new EventFd();
    this.#sender = new GatherSender(libc, counters);
    const take = this.#take.bind(this);
    this.#receivers = {
      4: new TrainReceiver(libc, false, take),
      6: new TrainReceiver(libc, true, take),
    };
    this.#listeners = this.#listen();
    this.#epoll.add(this.#bell.fd, BELL_TOKEN, EPOLL.IN);
    this.#pollSet = new Uint8Array(Int32Array.of(this.#epoll.fd, POLLIN).buffer);
    this.finished = this.#run();
    // Whoever does not ask must not be ended by the answer.
    this.finished.catch(() => {});
  }

  /** Binds the listeners. Throws `unsupported`, `portInUse`, `permission` or `usage`. */
  static open(options: UdpSocketsOptions, counters: Counters): FastUdp {
    const libc = Libc.open();
    try {
      return new FastUdp(libc, options, counters);
    } catch (error) {
      libc[Symbol.dispose]();
      throw error;
    }
  }

  get listening(): readonly SocketAddress[] {
    return this.#listeners.map(({ socket }) => socket.address);
  }

  sendMessage(flow: UdpFlow, message: Uint8Array): void {
    const socket = this.#listeners[flow.listener]?.socket;
    if (socket === undefined || this.#closed) return;
    this.#sender.send({ socket, to: flow.source }, {
      bytes: message,
      segment: message.length,
      skip: 0,
    });
    // Nobody keeps the message.
    this.#sender.flush();
  }

  sendChannelData(flow: UdpFlow, channel: number, train: Train): void {
    const socket = this.#listeners[flow.listener]?.socket;
    if (socket === undefined || this.#closed) return;
    this.#sender.send({ socket, to: flow.source, channel }, train);
    this.#sent();
  }

  sendToPeer(relayed: number, peer: SocketAddress, train: Train, whole: boolean): void {
    const socket = this.#relayed.get(relayed);
    if (socket === undefined) return;
    this.#sender.send({ socket, to: peer, whole }, train);
    this.#sent();
  }

  openRelayed(family: Family, port: number): number | undefined {
    if (this.#closed || this.#relayed.size >= RELAYED_MAX) return undefined;
    const hostname = this.#options.relayedIps[family];
    let socket: UdpSocket;
    try {
      socket = bindUdpSocket(this.#libc, { hostname, port }, { bufferBytes: RELAYED_BUFFER_BYTES });
    } catch (error) {
      if (error instanceof MorayError) return undefined;
      throw error;
    }
    do this.#last = this.#last % RELAYED_MAX + 1; while (this.#relayed.has(this.#last));
    if (!this.#epoll.add(socket.fd, this.#last, EPOLL.IN)) {
      this.#libc.calls.close(socket.fd);
      return undefined;
    }
    this.#relayed.set(this.#last, socket);
    return this.#last;
  }

  closeRelayed(relayed: number): void {
    const socket = this.#relayed.get(relayed);
    if (socket === undefined) return;
    this.#relayed.delete(relayed);
    this.#epoll.remove(socket.fd);
    this.#libc.calls.close(socket.fd);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#bell.ring();
    await this.finished.catch(() => {});
    for (const relayed of [...this.#relayed.keys()]) this.closeRelayed(relayed);
    for (const { socket } of this.#listeners) this.#libc.calls.close(socket.fd);
    this.#epoll[Symbol.dispose]();
    this.#bell[Symbol.dispose]();
    this.#poll.close();
    this.#libc[Symbol.dispose]();
  }

  #listen(): readonly Listener[] {
    const listeners: Listener[] = [];
    try {
      for (const [i, address] of this.#options.listen.entries()) {
        const socket = bindUdpSocket(this.#libc, address);
        listeners.push({ socket, flows: new UdpFlows(i) });
        const isWatched = this.#epoll.add(socket.fd, LISTENER_TOKEN + i, EPOLL.IN);
        assert(isWatched, "an epoll takes a listener");
      }
      return listeners;
    } catch (error) {
      for (const { socket } of listeners) this.#libc.calls.close(socket.fd);
      this.#epoll[Symbol.dispose]();
      this.#bell[Symbol.dispose]();
      this.#poll.close();
      throw error;
    }
  }

  async #run(): Promise<void> {
    // Nothing is taken before the constructor has returned.
    await othersTurn();
    const sleep = timespec(SLEEP_MS);
    while (!this.#closed) {
      await this.#poll.symbols.ppoll(this.#pollSet, 1n, sleep, null);
      await this.#work();
    }
  }

  /** Takes what there is until nothing comes for a while. */
  async #work(): Promise<void> {
    const linger = timespec(LINGER_MS);
    let turnEnds = performance.now() + TURN_MS;
    for (;;) {
      if (this.#closed) return;
      while (this.#epoll.take(this.#onReady));
      if (performance.now() >= turnEnds) {
        await othersTurn();
        turnEnds = performance.now() + TURN_MS;
        if (this.#closed) return;
      }
      if (this.#libc.calls.ppoll(this.#pollSet, 1n, linger, null) <= 0) return;
    }
  }

  /** One socket is ready: takes one batch, so that each gets its turn. */
  readonly #onReady = (token: number): void => {
    if (token === BELL_TOKEN) return;
    const listener = token >= LISTENER_TOKEN ? this.#listeners[token - LISTENER_TOKEN] : undefined;
    const socket = listener?.socket ?? this.#relayed.get(token);
    // Closed by what one before it has led to.
    if (socket === undefined) return;
    this.#isReceiving = true;
    this.#receivers[socket.v6 ? 6 : 4].receive(socket.fd, token);
    this.#isReceiving = false;
    this.#sender.flush();
  };

  /** What was received stays where it is until all of it is taken, so that sending may wait for more; anything else goes at once. */
  #sent(): void {
    if (!this.#isReceiving) this.#sender.flush();
  }

  #take(source: SocketAddress, bytes: Uint8Array, segment: number, token: number): void {
    const { taker } = this.#options;
    if (token < LISTENER_TOKEN) return taker.onPeer(token, source, bytes, segment);
    const listener = this.#listeners[token - LISTENER_TOKEN];
    if (listener !== undefined) taker.onClient(listener.flows.find(source), bytes, segment);
  }
}

/** Lets timers, connections and promises of this thread go on: 11 µs, where a timer of 0 ms takes 3 ms (measured). */
function othersTurn(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  return promise;
}

/** `struct timespec`. */
function timespec(ms: number): Uint8Array<ArrayBuffer> {
  const seconds = Math.floor(ms / 1000);
  const nanoseconds = Math.round((ms - seconds * 1000) * 1e6);
  return new Uint8Array(BigInt64Array.of(BigInt(seconds), BigInt(nanoseconds)).buffer);
}
