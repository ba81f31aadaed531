/** UDP by Deno's own sockets: works everywhere, one datagram at a time. @module */
import {
  canonicalIp,
  type Family,
  formatSocketAddress,
  messageOf,
  type SocketAddress,
} from "../../core/mod.ts";
import { fromSystem } from "../../io/mod.ts";
import { CHANNEL_HEADER_BYTES, writeChannelHeader } from "../../traversal/mod.ts";
import type { Counters } from "../core/counters.ts";
import type { Train } from "../core/flow.ts";
import { type UdpFlow, UdpFlows, type UdpSockets, type UdpSocketsOptions } from "./udp_flow.ts";

const DATAGRAM_BYTES_MAX = 65_536;
/** Sends under way at once from one socket; further datagrams are dropped and counted. */
const SENDS_MAX = 256;
/** Receive errors in a row after which a socket counts as broken: some systems report an earlier datagram's ICMP error there. */
const ERRORS_MAX = 100;
/** Source addresses remembered per socket, so that the same source is the same object; when full, all are forgotten. */
const SOURCES_MAX = 4096;

/** One socket. */
class PortableSocket {
  readonly address: SocketAddress;
  readonly finished: Promise<void>;
  readonly #socket: Deno.DatagramConn;
  readonly #counters: Counters;
  readonly #sources = new Map<string, SocketAddress>();
  #sending = 0;
  #closed = false;

  constructor(
    listen: SocketAddress,
    counters: Counters,
    take: (source: SocketAddress, bytes: Uint8Array) => void,
  ) {
    this.#counters = counters;
    this.#socket = Deno.listenDatagram({ transport: "udp", ...listen });
    const { addr } = this.#socket;
    this.address = { ...listen, port: addr.transport === "udp" ? addr.port : listen.port };
    this.finished = this.#receive(take);
    this.finished.catch(() => {});
  }

  send(bytes: Uint8Array, to: SocketAddress): void {
    if (this.#closed) return;
    if (this.#sending >= SENDS_MAX) return this.#counters.add("sendBufferFull");
    this.#sending++;
    this.#socket.send(bytes, { transport: "udp", ...to }).then(
      () => void this.#sending--,
      () => {
        this.#sending--;
        this.#counters.add("sendFailed");
      },
    );
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  async #receive(take: (source: SocketAddress, bytes: Uint8Array) => void): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
    let errors = 0;
    while (!this.#closed) {
      try {
        const [bytes, source] = await this.#socket.receive(buffer);
        errors = 0;
        if (source.transport === "udp" && bytes.length > 0) take(this.#source(source), bytes);
      } catch (error) {
        if (this.#closed) return;
        if (++errors < ERRORS_MAX) continue;
        this.close();
        throw fromSystem(error, `receive on ${formatSocketAddress(this.address)}`);
      }
    }
  }

  #source({ hostname, port }: Deno.NetAddr): SocketAddress {
    const key = `${hostname} ${port}`;
    const known = this.#sources.get(key);
    if (known !== undefined) return known;
    if (this.#sources.size >= SOURCES_MAX) this.#sources.clear();
    const source = { hostname: canonicalIp(hostname) ?? hostname, port };
    this.#sources.set(key, source);
    return source;
  }
}

/** The portable kind. */
export class PortableUdp implements UdpSockets {
  readonly name: string;
  readonly canForbidSplitting = false;
  readonly finished: Promise<void>;
  readonly #options: UdpSocketsOptions;
  readonly #counters: Counters;
  readonly #listeners: readonly PortableSocket[];
  readonly #relayed = new Map<number, PortableSocket>();
  #last = 0;
  #closed = false;

  private constructor(options: UdpSocketsOptions, counters: Counters, reason: string | undefined) {
    this.name = reason === undefined ? "portable" : `portable (${reason})`;
    this.#options = options;
    this.#counters = counters;
    this.#listeners = this.#listen();
    this.finished = Promise.all(this.#listeners.map(({ finished }) => finished)).then(() => {});
    this.finished.catch(() => {});
  }

  /** Binds the listeners. `reason`: why it is not the fast kind. Throws `portInUse`, `permission` or `usage`. */
  static open(options: UdpSocketsOptions, counters: Counters, reason?: string): PortableUdp {
    return new PortableUdp(options, counters, reason);
  }

  get listening(): readonly SocketAddress[] {
    return this.#listeners.map(({ address }) => address);
  }

  sendMessage(flow: UdpFlow, message: Uint8Array): void {
    this.#listeners[flow.listener]?.send(message.slice(), flow.source);
  }

  sendChannelData(flow: UdpFlow, channel: number, { bytes, segment, skip }: Train): void {
    for (let at = 0; at < bytes.length; at += segment) {
      const data = bytes.subarray(at + skip, at + segment);
      const message = new Uint8Array(CHANNEL_HEADER_BYTES + data.length);
      writeChannelHeader(message, 0, { channel, length: data.length });
      message.set(data, CHANNEL_HEADER_BYTES);
      this.#listeners[flow.listener]?.send(message, flow.source);
    }
  }

  sendToPeer(relayed: number, peer: SocketAddress, { bytes, segment, skip }: Train): void {
    const socket = this.#relayed.get(relayed);
    for (let at = 0; at < bytes.length || at === 0; at += segment) {
      socket?.send(bytes.slice(at + skip, at + segment), peer);
    }
  }

  openRelayed(family: Family, port: number): number | undefined {
    if (this.#closed) return undefined;
    const number = ++this.#last;
    const { relayedIps, taker } = this.#options;
    try {
      const socket = new PortableSocket(
        { hostname: relayedIps[family], port },
        this.#counters,
        (source, bytes) => taker.onPeer(number, source, bytes, bytes.length),
      );
      this.#relayed.set(number, socket);
      return number;
    } catch (error) {
      // The port is taken, or the system gives no more: another port, or the limit.
      this.#counters.add(`openFailed:${error instanceof Error ? error.name : messageOf(error)}`);
      return undefined;
    }
  }

  closeRelayed(relayed: number): void {
    this.#relayed.get(relayed)?.close();
    this.#relayed.delete(relayed);
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const socket of [...this.#listeners, ...this.#relayed.values()]) socket.close();
    this.#relayed.clear();
    return this.finished.catch(() => {});
  }

  #listen(): readonly PortableSocket[] {
    const listeners: PortableSocket[] = [];
    const { listen, taker } = this.#options;
    try {
      for (const [i, address] of listen.entries()) {
        const flows = new UdpFlows(i);
        listeners.push(
          new PortableSocket(address, this.#counters, (source, bytes) => {
            taker.onClient(flows.find(source), bytes, bytes.length);
          }),
        );
      }
      return listeners;
    } catch (error) {
      for (const listener of listeners) listener.close();
      throw fromSystem(
        error,
        `bind UDP ${formatSocketAddress(listen[listeners.length] ?? UNKNOWN)}`,
      );
    }
  }
}

const UNKNOWN: SocketAddress = { hostname: "0.0.0.0", port: 0 };
