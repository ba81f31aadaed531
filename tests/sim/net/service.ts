/**
 * Servers on the Internet that speak UDP: STUN now, relays as soon as there is one. A server is its pure part behind a
 * socket.
 *
 * @module
 */
import type { Datagram, Instant, SocketAddress } from "../../../core/mod.ts";
import { answerBinding } from "../../../traversal/mod.ts";
import { Host } from "./host.ts";
import type { Network, Wire } from "./network.ts";
import type { Packet } from "./packet.ts";

/** A datagram that a server sends, and from which of its addresses. */
export interface Answer {
  /** One of its own addresses. */
  readonly source: SocketAddress;
  /** The receiver. */
  readonly destination: SocketAddress;
  /** The UDP payload. */
  readonly payload: Uint8Array;
}

/** What a server makes of a datagram that came to `local`. */
export type Serve = (
  now: Instant,
  datagram: Datagram,
  local: SocketAddress,
) => readonly Answer[];

/** What a {@linkcode Service} is made of. */
export interface ServiceOptions {
  /** Its name in the world. */
  readonly name: string;
  /** Time and order. */
  readonly wire: Wire;
  /** Where it is attached. */
  readonly network: Network;
  /** Its addresses. */
  readonly addresses: readonly string[];
  /** Its ports, on each address. */
  readonly ports: readonly number[];
  /** What it does. */
  readonly serve: Serve;
}

/** A server. */
export class Service {
  /** Whether it is down: it answers nothing, like a host that is off. */
  down = false;
  readonly #host: Host;
  readonly #wire: Wire;
  readonly #network: Network;
  readonly #serve: Serve;

  /** A server that runs. */
  constructor({ name, wire, network, addresses, ports, serve }: ServiceOptions) {
    this.#host = new Host(name, wire);
    this.#wire = wire;
    this.#network = network;
    this.#serve = serve;
    this.#host.plug({ name: "eth0", network, addresses });
    for (const port of ports) this.#host.open({ datagram: (packet) => this.#take(packet) }, port);
  }

  #take({ source, destination, bytes }: Packet): void {
    if (this.down) return;
    const answers = this.#serve(this.#wire.now(), { source, payload: bytes }, destination);
    for (const { source, destination, payload } of answers) {
      const sender = this.#host;
      this.#network.send({ source, destination, bytes: payload, sender, aim: destination });
    }
  }
}

/** What a STUN server does: the binding server of the project, answering from where it was asked. */
export function serveStun(_now: Instant, datagram: Datagram, local: SocketAddress): Answer[] {
  const answer = answerBinding(datagram);
  return answer === undefined ? [] : [{ source: local, ...answer }];
}
