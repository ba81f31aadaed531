/** A host: network cards with addresses, UDP sockets on ports, and what its kernel does for them. @module */
import { type Family, familyOf, type SocketAddress } from "../../../core/mod.ts";
import type { InterfaceAddress } from "../../../traversal/mod.ts";
import { complain, type Network, type Wire } from "./network.ts";
import type { IcmpError, Packet, Sender } from "./packet.ts";

/** A network card. */
export interface Card {
  /** As the system calls it. */
  readonly name: string;
  /** What it is plugged into. */
  readonly network: Network;
  /** Its addresses. */
  readonly addresses: readonly string[];
}

/** Takes what arrives at a socket, or the ICMP errors for what it has sent. */
export interface SocketOwner {
  /** A datagram. */
  datagram(packet: Packet): void;
  /** An error about a datagram sent before. */
  icmp?(error: IcmpError): void;
}

/** Where ports for sockets without a wish begin (Linux: net.ipv4.ip_local_port_range). */
const EPHEMERAL_FIRST = 32_768;
const EPHEMERAL_LAST = 60_999;
/** What public addresses of hosts begin with: each is of its site's own prefix, though all are written in one. */
const PUBLIC = "192.0.2.";

/** A host with any number of cards. */
export class Host implements Sender {
  readonly name: string;
  readonly #wire: Wire;
  readonly #sockets = new Map<number, SocketOwner>();
  #cards: Card[] = [];
  #nextPort = EPHEMERAL_FIRST;
  /** Packets that had nowhere to go. */
  unroutable = 0;

  /** A host without a card. */
  constructor(name: string, wire: Wire) {
    this.name = name;
    this.#wire = wire;
  }

  /** The addresses of all cards, as the system lists them. */
  get interfaces(): readonly InterfaceAddress[] {
    return this.#cards.flatMap(({ name, addresses }) =>
      addresses.map((address) => ({ name, address }))
    );
  }

  /** The cards. */
  get cards(): readonly Card[] {
    return this.#cards;
  }

  /** Open sockets. */
  get sockets(): number {
    return this.#sockets.size;
  }

  /** Plugs a card in; the first one that can is used where several could. */
  plug(card: Card): void {
    this.#cards.push(card);
    for (const address of card.addresses) card.network.attach(address, this);
  }

  /** Pulls a card out. */
  unplug(name: string): void {
    for (const card of this.#cards) {
      if (card.name !== name) continue;
      for (const address of card.addresses) card.network.detach(address);
    }
    this.#cards = this.#cards.filter((card) => card.name !== name);
  }

  /** Binds a socket to a port of all addresses, or to a free one; `undefined` if it is taken. */
  open(owner: SocketOwner, port: number = this.#freePort()): number | undefined {
    if (this.#sockets.has(port)) return undefined;
    this.#sockets.set(port, owner);
    return port;
  }

  /** Closes the socket on a port. */
  close(port: number): void {
    this.#sockets.delete(port);
  }

  /**
   * Sends a datagram from a port: by the card whose own network the destination is in, otherwise by the first one that can. What has
   * no route is dropped, as the kernel would refuse it.
   */
  send(port: number, to: SocketAddress, bytes: Uint8Array): void {
    const route = this.#routeTo(to.hostname);
    if (route === undefined) {
      this.unroutable++;
      return;
    }
    const { network, hostname } = route;
    const source = { hostname, port };
    network.send({ source, destination: to, bytes, sender: this, aim: to });
  }

  receive(packet: Packet): void {
    const socket = this.#sockets.get(packet.destination.port);
    if (socket !== undefined) return socket.datagram(packet);
    complain(this.#wire, packet, { kind: "portUnreachable", destination: packet.aim });
  }

  icmp(error: IcmpError): void {
    for (const socket of this.#sockets.values()) socket.icmp?.(error);
  }

  /** Whether a card has an address of a family. */
  has(family: Family): boolean {
    return this.interfaces.some(({ address }) => familyOf(address) === family);
  }

  #routeTo(hostname: string): { readonly network: Network; readonly hostname: string } | undefined {
    const family = familyOf(hostname);
    let first: { readonly network: Network; readonly hostname: string } | undefined;
    for (const { network, addresses } of this.#cards) {
      const own = addresses.find((address) => familyOf(address) === family);
      if (own === undefined) continue;
      if (this.#cards.length > 1 && subnetOf(own) === subnetOf(hostname)) {
        return { network, hostname: own };
      }
      first ??= { network, hostname: own };
    }
    return first;
  }

  #freePort(): number {
    for (let tried = EPHEMERAL_FIRST; tried <= EPHEMERAL_LAST; tried++) {
      const port = this.#nextPort;
      this.#nextPort = port === EPHEMERAL_LAST ? EPHEMERAL_FIRST : port + 1;
      if (!this.#sockets.has(port)) return port;
    }
    throw new RangeError(`${this.name} has no free port`);
  }
}

/** The network of an address: its /24, or its /64, which hosts write in the same way. */
function subnetOf(address: string): string {
  if (address.startsWith(PUBLIC)) return address;
  return address.slice(0, Math.max(address.lastIndexOf("."), address.indexOf("::")));
}
