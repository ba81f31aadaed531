/**
 * STUN ports of libc's sockets, on Linux: one epoll for all of them, many datagrams taken in one call.
 *
 * ```text
 *   asleep    ppoll on another thread of the runtime's; requests over HTTP and timers of this thread go on
 *   awake     drain what is ready, a bounded part of each port in turn, then wait up to a millisecond on this thread for more;
 *             every millisecond the rest of the program gets its turn
 * ```
 *
 * As a relay does it, and for the same reasons (docs/decisions/0020-relay-trains-in-one-thread.md).
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { assert, type Family, MorayError, type SocketAddress } from "../../core/mod.ts";
import { EPOLL, Epoll } from "../../io/epoll.ts";
import { EventFd } from "../../io/event_fd.ts";
import { Libc, openLibrary } from "../../io/libc.ts";
import { TrainReceiver } from "../../io/train_receiver.ts";
import { bindUdpSocket, encodeSocketAddress, type UdpSocket } from "../../io/udp_socket.ts";
import {
  StunAnswers,
  type StunCounters,
  type StunPort,
  type StunPortOptions,
  type StunPorts,
} from "./stun_port.ts";

const POLLIN = 1;
const MSG_DONTWAIT = 0x40;
/** The bell's token; those of ports are their numbers. */
const BELL_TOKEN = 0xffff_ffff;
/** How long this thread waits for more before it sleeps. */
const LINGER_MS = 1;
/** How long it works before the rest of the program gets its turn. */
const TURN_MS = 1;
const SLEEP_MS = 60_000;
/** Destinations whose socket address is remembered, by host; when full, all are forgotten. */
const NAMES_MAX = 4096;

const POLL_SYMBOLS = {
  ppoll: {
    parameters: ["buffer", "usize", "buffer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
} as const;

/** The fast kind. */
export class FastStun implements StunPorts {
  readonly name = "fast";
  readonly #libc: Libc;
  readonly #poll: Deno.DynamicLibrary<typeof POLL_SYMBOLS>;
  readonly #epoll: Epoll;
  readonly #bell: EventFd;
  readonly #receivers: Readonly<Record<Family, TrainReceiver>>;
  readonly #ports: FastPort[] = [];
  readonly #pollSet: Uint8Array<ArrayBuffer>;
  readonly #running: Promise<void>;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(libc: Libc, poll: Deno.DynamicLibrary<typeof POLL_SYMBOLS>) {
    this.#libc = libc;
    this.#poll = poll;
    this.#epoll = new Epoll(libc);
    this.#bell = new EventFd();
    const take = this.#take.bind(this);
    this.#receivers = {
      4: new TrainReceiver(libc, false, take),
      6: new TrainReceiver(libc, true, take),
    };
    this.#epoll.add(this.#bell.fd, BELL_TOKEN, EPOLL.IN);
    this.#pollSet = new Uint8Array(Int32Array.of(this.#epoll.fd, POLLIN).buffer);
    this.#running = this.#run();
    // Each port says it.
    this.#running.catch(() => {});
  }

  /** Throws `unsupported` with the reason where there is no such socket. */
  static open(): FastStun {
    const libc = Libc.open();
    const poll = openLibrary(POLL_SYMBOLS);
    try {
      if (poll === undefined) throw new MorayError("unsupported", "no ppoll by FFI");
      return new FastStun(libc, poll);
    } catch (error) {
      poll?.close();
      libc[Symbol.dispose]();
      throw error;
    }
  }

  open(listen: SocketAddress, options: StunPortOptions): StunPort {
    const socket = bindUdpSocket(this.#libc, listen);
    const port = new FastPort(this.#libc, socket, {
      ...options,
      running: this.#running,
      closes: (fd) => {
        this.#epoll.remove(fd);
        this.#libc.calls.close(fd);
      },
    });
    const isWatched = this.#epoll.add(socket.fd, this.#ports.length, EPOLL.IN);
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
    this.#closed = true;
    this.#bell.ring();
    await this.#running.catch(() => {});
    this.#epoll[Symbol.dispose]();
    this.#bell[Symbol.dispose]();
    this.#poll.close();
    this.#libc[Symbol.dispose]();
  }

  async #run(): Promise<void> {
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
    const port = token === BELL_TOKEN ? undefined : this.#ports[token];
    if (port === undefined || port.closed) return;
    this.#receivers[port.socket.v6 ? 6 : 4].receive(port.socket.fd, token);
  };

  #take(source: SocketAddress, bytes: Uint8Array, segment: number, token: number): void {
    const port = this.#ports[token];
    for (let at = 0; at < bytes.length; at += segment) {
      port?.take(source, bytes.subarray(at, at + segment));
    }
  }
}

/** What a port needs of the others' beside its options. */
interface FastPortOptions extends StunPortOptions {
  /** Ends when the loop does. */
  readonly running: Promise<void>;
  /** Closes a descriptor. */
  readonly closes: (fd: number) => void;
}

class FastPort implements StunPort {
  readonly socket: UdpSocket;
  readonly finished: Promise<void>;
  readonly #libc: Libc;
  readonly #options: FastPortOptions;
  readonly #answers: StunAnswers;
  readonly #ended = Promise.withResolvers<void>();
  /** Socket addresses by host; the port is written anew each time. */
  readonly #names = new Map<string, Uint8Array<ArrayBuffer>>();
  #closed = false;

  constructor(libc: Libc, socket: UdpSocket, options: FastPortOptions) {
    this.#libc = libc;
    this.socket = socket;
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
    return this.#answers.counters;
  }

  get closed(): boolean {
    return this.#closed;
  }

  take(source: SocketAddress, payload: Uint8Array): void {
    if (!this.#closed) this.#answers.answer(this, source, payload);
  }

  send(answer: Uint8Array, to: SocketAddress): void {
    const name = this.#closed ? undefined : this.#nameOf(to);
    if (name === undefined || !this.#sendTo(answer, name)) this.#answers.counters.stunSendDrops++;
    else this.#answers.counters.stunAnswers++;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.closes(this.socket.fd);
    this.#ended.resolve();
  }

  /** Twice: the first call may be answered with an ICMP error for an earlier answer. */
  #sendTo(answer: Uint8Array, name: Uint8Array<ArrayBuffer>): boolean {
    // Answers lie in buffers of their own, never in shared memory.
    const bytes = answer as Uint8Array<ArrayBuffer>;
    for (let i = 0; i < 2; i++) {
      const sent = this.#libc.calls.sendto(
        this.socket.fd,
        bytes,
        BigInt(bytes.length),
        MSG_DONTWAIT,
        name,
        name.length,
      );
      if (sent >= 0n) return true;
    }
    return false;
  }

  #nameOf({ hostname, port }: SocketAddress): Uint8Array<ArrayBuffer> | undefined {
    let name = this.#names.get(hostname);
    if (name === undefined) {
      name = encodeSocketAddress(this.socket.family, { hostname, port });
      if (name === undefined) return undefined;
      if (this.#names.size >= NAMES_MAX) this.#names.clear();
      this.#names.set(hostname, name);
    }
    name[2] = port >> 8;
    name[3] = port & 0xff;
    return name;
  }
}

/** Lets timers, connections and promises of this thread go on. */
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
