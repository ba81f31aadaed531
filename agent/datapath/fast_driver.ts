/**
 * The fast driver: libc's sockets by FFI, on Linux.
 *
 * One call takes in many trains of datagrams (`io/train_receiver.ts`), one call sends a train (`train_sender.ts`). Between, the Worker
 * sleeps in `ppoll` on the socket and on the eventfd that the main thread writes to. What is received may lie in the engine's
 * memory at once (docs/decisions/0004-received-in-place.md).
 *
 * @module
 */
import { assert, formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  Libc,
  openUdpSocket,
  TrainReceiver,
  type TrainTaker,
  type UdpSocket,
} from "../../io/mod.ts";
import { ErrorQueue, type PathError } from "./error_queue.ts";
import { LocalSockets } from "./local_sockets.ts";
import { TrainSender } from "./train_sender.ts";
import type { Transport } from "./transport.ts";

const POLLIN = 1;
const POLLERR = 8;
/** Batches taken before the engine gets its turn. */
const BATCHES_MAX = 4;
/** File descriptors in one poll: socket, bell, and a few of others; whoever has many puts them behind an epoll. */
const WATCHED_MAX = 8;

/** Options of {@linkcode FastDriver.open}. */
export interface FastDriverOptions {
  /** UDP port; 0 lets the system choose. */
  readonly port: number;
  /** What the main thread rings; it stays the main thread's. */
  readonly eventFd: number;
  /** Takes what was received. */
  readonly onDatagrams: TrainTaker;
  /** Takes what the network says of datagrams sent before: hints, which may be forged. Absent: they are counted only. */
  readonly onPathError?: (error: PathError) => void;
}

/** UDP through libc. Everything blocks or returns at once; nothing is asynchronous. */
export class FastDriver implements Transport {
  readonly name = "fast";
  readonly busy = false;
  readonly #eventFd: number;
  readonly #libc: Libc;
  readonly #onPathError: FastDriverOptions["onPathError"];
  readonly #socket: UdpSocket;
  readonly #receiver: TrainReceiver;
  readonly #sender: TrainSender;
  readonly #errors: ErrorQueue;
  readonly #counters = new Map<string, number>();
  /** Made with the first extra local end. */
  #locals: LocalSockets | undefined;
  #localsReady = false;
  /** `struct pollfd` each: descriptor, events below, what happened in the upper half. */
  readonly #poll = new Int32Array(2 * WATCHED_MAX);
  readonly #watched: (() => void)[] = [];
  readonly #pollBytes = new Uint8Array(this.#poll.buffer);
  readonly #timeout = new BigInt64Array(2);
  readonly #timeoutBytes = new Uint8Array(this.#timeout.buffer);
  readonly #bell = new Uint8Array(8);
  /** The last {@linkcode FastDriver.wait} has seen something on the socket. */
  #readable = false;

  private constructor(libc: Libc, options: FastDriverOptions) {
    this.#libc = libc;
    this.#onPathError = options.onPathError;
    this.#socket = openUdpSocket(libc, options.port);
    const { family, v6 } = this.#socket;
    this.#receiver = new TrainReceiver(libc, v6, options.onDatagrams);
    this.#errors = new ErrorQueue(libc, {
      onError: (error) => this.#takeError(error),
      onOther: () => this.#count("errorIgnored"),
    });
    this.#sender = new TrainSender(libc, {
      family,
      count: (name) => this.#count(name),
      onErrors: (fd) => this.#errors.take(fd),
    });
    this.#eventFd = options.eventFd;
    this.#poll.set([this.#socket.fd, POLLIN, this.#eventFd, POLLIN]);
  }

  /** Binds the socket. Throws `unsupported` where FFI or an option is missing, `portInUse`, or `permission`. */
  static open(options: FastDriverOptions): FastDriver {
    const libc = Libc.open();
    try {
      return new FastDriver(libc, options);
    } catch (error) {
      libc[Symbol.dispose]();
      throw error;
    }
  }

  get port(): number {
    return this.#socket.address.port;
  }

  get localEndpoints(): readonly string[] {
    return [formatSocketAddress(this.#socket.address)];
  }

  counters(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counters);
  }

  openLocal(): number | undefined {
    const local = (this.#locals ??= this.#openLocals()).open();
    if (local === undefined) this.#count("localsRefused");
    return local;
  }

  closeLocal(local: number): void {
    this.#locals?.close(local);
  }

  localPort(local: number): number | undefined {
    return local === 0 ? this.port : this.#locals?.portOf(local);
  }

  /** Wakes up for input on another descriptor too: `onReady` is called by {@linkcode FastDriver.wait}, as long as it lasts. */
  watch(fd: number, onReady: () => void): void {
    assert(this.#watched.length < WATCHED_MAX - 2, "the poll set is large enough");
    this.#poll.set([fd, POLLIN], 4 + 2 * this.#watched.length);
    this.#watched.push(onReady);
  }

  /** Wakes up for a descriptor no longer. */
  unwatch(fd: number): void {
    for (let i = 0; i < this.#watched.length; i++) {
      // The kernel passes over negative descriptors.
      if (this.#poll[4 + 2 * i] === fd) this.#poll[4 + 2 * i] = -1;
    }
  }

  /**
   * Sleeps until a datagram, a bell, something watched, or `timeoutMs`. Returns whether the bell rang; it has been read by then, so that the
   * caller can answer it.
   */
  wait(timeoutMs: number): boolean {
    const us = Math.ceil(Math.max(0, timeoutMs) * 1000);
    this.#timeout[0] = BigInt(Math.floor(us / 1e6));
    this.#timeout[1] = BigInt(us % 1e6 * 1000);
    const watched = this.#watched;
    const count = BigInt(2 + watched.length);
    const ready = this.#libc.calls.ppoll(this.#pollBytes, count, this.#timeoutBytes, null);
    const poll = this.#poll;
    const onSocket = ready <= 0 ? 0 : (poll[1] ?? 0) >>> 16;
    this.#readable = onSocket !== 0;
    if (ready <= 0) return false;
    if ((onSocket & POLLERR) !== 0) this.#errors.take(this.#socket.fd);
    for (let i = 0; i < watched.length; i++) {
      if ((poll[5 + 2 * i] ?? 0) >>> 16 !== 0) watched[i]?.();
    }
    if (((poll[3] ?? 0) >>> 16) === 0) return false;
    this.#libc.calls.read(this.#eventFd, this.#bell, 8n);
    return true;
  }

  /**
   * Receives into memory of somebody else's, a megabyte, from now on. It is asked for before each batch, since it may move, and
   * `onBatch` is told after each, which may then take in what lies there: the next one overwrites it.
   */
  receiveInto(memory: () => Uint8Array<ArrayBuffer>, onBatch: () => void): void {
    this.#receiver.receiveInto(memory, onBatch);
  }

  /**
   * Hands what the sockets hold to `onDatagrams`, a bounded part of it; nothing if the last {@linkcode FastDriver.wait} has
   * seen nothing there. Returns whether there may be more.
   */
  receive(): boolean {
    const more = this.#readable && this.#receiveFrom(this.#socket.fd, 0);
    if (!this.#localsReady || this.#locals === undefined) return more;
    this.#localsReady = false;
    return this.#locals.take() || more;
  }

  send(
    bytes: Uint8Array,
    segment: number,
    to: SocketAddress,
    local = 0,
    whole = false,
  ): void {
    const fd = local === 0 ? this.#socket.fd : this.#locals?.fdOf(local);
    if (fd === undefined) return this.#count("sendFailed:local");
    this.#sender.send(fd, bytes, segment, to, whole);
  }

  /** Closes the sockets. */
  close(): void {
    this.#locals?.[Symbol.dispose]();
    this.#libc.calls.close(this.#socket.fd);
    this.#libc[Symbol.dispose]();
  }

  #openLocals(): LocalSockets {
    const locals = new LocalSockets(this.#libc, {
      family: this.#socket.family,
      onReadable: (fd, local) => void this.#receiveFrom(fd, local),
      onErrors: (fd) => this.#errors.take(fd),
    });
    this.watch(locals.fd, () => {
      this.#localsReady = true;
    });
    return locals;
  }

  #receiveFrom(fd: number, local: number): boolean {
    for (let batch = 0; batch < BATCHES_MAX; batch++) {
      if (!this.#receiver.receive(fd, local)) return false;
    }
    return true;
  }

  #takeError(error: PathError): void {
    this.#count(error.kind === "packetTooBig" ? error.kind : `unreachable:${error.what}`);
    if (error.kind === "packetTooBig") this.#sender.shrink(error.destination, error.mtu);
    this.#onPathError?.(error);
  }

  #count(name: string): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + 1);
  }
}
