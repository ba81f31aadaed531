/**
 * The loop of a server of libc's UDP sockets, on Linux: one epoll for all of them, many datagrams taken in one call.
 *
 * ```text
 *   asleep    ppoll on another thread of the runtime's; connections and timers of this thread go on
 *   awake     drain what is ready, a bounded part of each socket in turn, then wait up to a millisecond on this thread for more;
 *             every millisecond the rest of the program gets its turn
 * ```
 *
 * Waking up across threads costs some 30 µs, so it happens where there is time: a busy server never sleeps.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { type Family, MorayError } from "../core/mod.ts";
import { EPOLL, Epoll } from "./epoll.ts";
import { EventFd } from "./event_fd.ts";
import { type Libc, openLibrary } from "./libc.ts";
import { TrainReceiver, type TrainTaker } from "./train_receiver.ts";
import type { UdpSocket } from "./udp_socket.ts";

const POLLIN = 1;
const BELL_TOKEN = 0xffff_ffff;
/** How long this thread waits for more before it sleeps. */
const LINGER_MS = 1;
/** How long it works before the rest of the program gets its turn. */
const TURN_MS = 1;
const SLEEP_MS = 60_000;

const POLL_SYMBOLS = {
  ppoll: {
    parameters: ["buffer", "usize", "buffer", "pointer"],
    result: "i32",
    nonblocking: true,
  },
} as const;

/** What a {@linkcode UdpLoop} serves. */
export interface UdpLoopOptions {
  /** The socket of a token; `undefined` once it is closed. */
  readonly socketOf: (token: number) => UdpSocket | undefined;
  /** Takes what a socket has received; `local` is its token. */
  readonly take: TrainTaker;
  /** Sends what waits: what a socket had has been taken, and is about to be overwritten. */
  readonly flush: () => void;
}

/** Receives from many sockets on this thread. */
export class UdpLoop implements Disposable {
  readonly #libc: Libc;
  readonly #options: UdpLoopOptions;
  readonly #poll: Deno.DynamicLibrary<typeof POLL_SYMBOLS>;
  readonly #epoll: Epoll;
  readonly #bell: EventFd;
  readonly #receivers: Readonly<Record<Family, TrainReceiver>>;
  readonly #pollSet: Uint8Array<ArrayBuffer>;
  /** The one whose datagrams are being taken. */
  #receiving: TrainReceiver | undefined;
  #stopped = false;

  /** A loop that watches nothing. Throws `unsupported` with the reason. The library stays the caller's. */
  constructor(libc: Libc, options: UdpLoopOptions) {
    const poll = openLibrary(POLL_SYMBOLS);
    if (poll === undefined) throw new MorayError("unsupported", "no ppoll by FFI");
    this.#libc = libc;
    this.#options = options;
    this.#poll = poll;
    try {
      this.#epoll = new Epoll(libc);
    } catch (error) {
      poll.close();
      throw error;
    }
    this.#bell = new EventFd();
    this.#receivers = {
      4: new TrainReceiver(libc, false, options.take),
      6: new TrainReceiver(libc, true, options.take),
    };
    this.#epoll.add(this.#bell.fd, BELL_TOKEN, EPOLL.IN);
    this.#pollSet = new Uint8Array(Int32Array.of(this.#epoll.fd, POLLIN).buffer);
  }

  /** Whether what was received is being taken, so that sending may wait for {@linkcode UdpLoopOptions.flush}. */
  get isReceiving(): boolean {
    return this.#receiving !== undefined;
  }

  /** The source of what is being taken, as libc wants it; borrowed as the bytes are. */
  get sourceName(): Uint8Array<ArrayBuffer> | undefined {
    return this.#receiving?.sourceName;
  }

  /** Watches a socket, under a token below 0xffff_ffff. False when the system refuses. */
  add(socket: UdpSocket, token: number): boolean {
    return this.#epoll.add(socket.fd, token, EPOLL.IN);
  }

  /** Watches a socket no more, and closes it. */
  close({ fd }: UdpSocket): void {
    this.#epoll.remove(fd);
    this.#libc.calls.close(fd);
  }

  /** Receives until {@linkcode UdpLoop.stop}; nothing before the caller has returned. Rejects with what a taker throws. */
  async run(): Promise<void> {
    const sleep = timespec(SLEEP_MS);
    while (!this.#stopped) {
      await this.#poll.symbols.ppoll(this.#pollSet, 1n, sleep, null);
      await this.#work();
    }
  }

  /** Lets {@linkcode UdpLoop.run} end soon. */
  stop(): void {
    this.#stopped = true;
    this.#bell.ring();
  }

  /** Lets go of everything but the sockets; not before {@linkcode UdpLoop.run} has ended. */
  [Symbol.dispose](): void {
    this.#epoll[Symbol.dispose]();
    this.#bell[Symbol.dispose]();
    this.#poll.close();
  }

  /** Takes what there is until nothing comes for a while. */
  async #work(): Promise<void> {
    const linger = timespec(LINGER_MS);
    let turnEnds = performance.now() + TURN_MS;
    for (;;) {
      if (this.#stopped) return;
      while (this.#epoll.take(this.#onReady));
      if (performance.now() >= turnEnds) {
        await othersTurn();
        turnEnds = performance.now() + TURN_MS;
        if (this.#stopped) return;
      }
      if (this.#libc.calls.ppoll(this.#pollSet, 1n, linger, null) <= 0) return;
    }
  }

  /** One socket is ready: takes one batch, so that each gets its turn. */
  readonly #onReady = (token: number): void => {
    // None too where what one before it has led to has closed it.
    const socket = token === BELL_TOKEN ? undefined : this.#options.socketOf(token);
    if (socket === undefined) return;
    this.#receiving = this.#receivers[socket.v6 ? 6 : 4];
    this.#receiving.receive(socket.fd, token);
    this.#receiving = undefined;
    this.#options.flush();
  };
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
