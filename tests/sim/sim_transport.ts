/** The datapath's sockets in the simulated network: the node's own port, and extra local ends on ports of their own. @module */
import { formatSocketAddress, type SocketAddress } from "../../core/mod.ts";
import { LOCALS_MAX, nextLocal, type Transport } from "../../agent/datapath/transport.ts";
import type { Host } from "./net/host.ts";
import type { IcmpError, Packet } from "./net/packet.ts";

/** Takes what arrives. */
export interface TransportOwner {
  /** A datagram, and the local end that it came to. */
  datagram(packet: Packet, local: number): void;
  /** A datagram is about to leave. */
  sent(bytes: Uint8Array, to: SocketAddress): void;
  /** What the network says of a datagram sent before. */
  icmp(error: IcmpError): void;
}

/** Sockets of one run of a node's program. */
export class SimTransport implements Transport {
  readonly name = "sim";
  readonly port: number;
  readonly busy = false;
  readonly #host: Host;
  readonly #owner: TransportOwner;
  readonly #ports = new Map<number, number>();
  #lastLocal = 0;
  #unsent = 0;

  /** Binds the node's port. Throws if it is taken. */
  constructor(host: Host, owner: TransportOwner, port: number) {
    this.#host = host;
    this.#owner = owner;
    this.port = port;
    const socket = {
      datagram: (packet: Packet): void => owner.datagram(packet, 0),
      icmp: (error: IcmpError): void => owner.icmp(error),
    };
    if (host.open(socket, port) === undefined) throw new RangeError(`Port ${port} is taken`);
    this.#ports.set(0, port);
  }

  get localEndpoints(): readonly string[] {
    return [formatSocketAddress({ hostname: "0.0.0.0", port: this.port })];
  }

  /** Extra local ends that are open. */
  get locals(): number {
    return this.#ports.size - 1;
  }

  send(bytes: Uint8Array, segment: number, to: SocketAddress, local = 0): void {
    const port = this.#ports.get(local);
    if (port === undefined) {
      this.#unsent++;
      return;
    }
    for (let at = 0; at < bytes.length; at += segment) {
      const datagram = bytes.slice(at, at + segment);
      this.#owner.sent(datagram, to);
      this.#host.send(port, to, datagram);
    }
  }

  openLocal(): number | undefined {
    if (this.locals >= LOCALS_MAX) return undefined;
    const local = nextLocal(this.#lastLocal, this.#ports);
    this.#lastLocal = local;
    const port = this.#host.open({
      datagram: (packet) => this.#owner.datagram(packet, local),
    });
    if (port === undefined) return undefined;
    this.#ports.set(local, port);
    return local;
  }

  closeLocal(local: number): void {
    const port = this.#ports.get(local);
    if (port === undefined || local === 0) return;
    this.#host.close(port);
    this.#ports.delete(local);
  }

  localPort(local: number): number | undefined {
    return this.#ports.get(local);
  }

  counters(): Readonly<Record<string, number>> {
    return this.#unsent === 0 ? {} : { localsGone: this.#unsent };
  }

  /** Closes every socket. */
  close(): void {
    for (const port of this.#ports.values()) this.#host.close(port);
    this.#ports.clear();
  }
}
