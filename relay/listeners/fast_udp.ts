/**
 * UDP by libc's sockets, on Linux: trains received and sent in one call each, by the loop of io/udp_loop.ts.
 *
 * @module
 */
import { assert, type Family, MorayError, type SocketAddress } from "../../core/mod.ts";
import { bindUdpSocket, Libc, UdpLoop, type UdpSocket } from "../../io/mod.ts";
import type { Counters } from "../core/counters.ts";
import type { Train } from "../core/flow.ts";
import { GatherSender } from "./gather_sender.ts";
import { type UdpFlow, UdpFlows, type UdpSockets, type UdpSocketsOptions } from "./udp_flow.ts";

/** Tokens of listeners in the epoll; those below are numbers of relayed addresses. */
const LISTENER_TOKEN = 0x8000_0000;
const RELAYED_MAX = 0x7fff_ffff;
/** What the kernel may hold for one relayed address. */
const RELAYED_BUFFER_BYTES = 1 << 20;

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
  readonly #loop: UdpLoop;
  readonly #sender: GatherSender;
  readonly #listeners: readonly Listener[];
  readonly #relayed = new Map<number, UdpSocket>();
  #last = 0;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(libc: Libc, options: UdpSocketsOptions, counters: Counters) {
    this.#libc = libc;
    this.#options = options;
    this.#sender = new GatherSender(libc, counters);
    this.#loop = new UdpLoop(libc, {
      socketOf: (token) => this.#socketOf(token),
      take: this.#take.bind(this),
      flush: () => this.#sender.flush(),
    });
    this.#listeners = this.#listen();
    this.finished = this.#loop.run();
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
    if (!this.#loop.add(socket, this.#last)) {
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
    this.#loop.close(socket);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#loop.stop();
    await this.finished.catch(() => {});
    for (const relayed of [...this.#relayed.keys()]) this.closeRelayed(relayed);
    for (const { socket } of this.#listeners) this.#libc.calls.close(socket.fd);
    this.#loop[Symbol.dispose]();
    this.#libc[Symbol.dispose]();
  }

  #listen(): readonly Listener[] {
    const listeners: Listener[] = [];
    try {
      for (const [i, address] of this.#options.listen.entries()) {
        const socket = bindUdpSocket(this.#libc, address);
        listeners.push({ socket, flows: new UdpFlows(i) });
        const isWatched = this.#loop.add(socket, LISTENER_TOKEN + i);
        assert(isWatched, "an epoll takes a listener");
      }
      return listeners;
    } catch (error) {
      for (const { socket } of listeners) this.#libc.calls.close(socket.fd);
      this.#loop[Symbol.dispose]();
      throw error;
    }
  }

  #socketOf(token: number): UdpSocket | undefined {
    if (token < LISTENER_TOKEN) return this.#relayed.get(token);
    return this.#listeners[token - LISTENER_TOKEN]?.socket;
  }

  /** What was received stays where it is until all of it is taken, so that sending may wait for more; anything else goes at once. */
  #sent(): void {
    if (!this.#loop.isReceiving) this.#sender.flush();
  }

  #take(source: SocketAddress, bytes: Uint8Array, segment: number, token: number): void {
    const { taker } = this.#options;
    if (token < LISTENER_TOKEN) return taker.onPeer(token, source, bytes, segment);
    const listener = this.#listeners[token - LISTENER_TOKEN];
    if (listener !== undefined) taker.onClient(listener.flows.find(source), bytes, segment);
  }
}
