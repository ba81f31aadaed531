/**
 * Networks in a tree: the Internet at the root, carriers and sites below it, hosts anywhere.
 *
 * ```text
 *                 internet --- services
 *                /        \
 *          uplink          uplink
 *         [box]             [box]           a box per family: NAT, firewall, router, or none: no such family
 *        carrier             site --- hosts
 *       uplink  uplink
 *       [box]    [box]
 *       site     site
 * ```
 *
 * A packet goes up until a network knows its destination, then down. A box acts where its network meets the uplink.
 *
 * @module
 */
import { after, type Family, familyOf, type Instant } from "../../../core/mod.ts";
import type { Direction, Link } from "./link.ts";
import { Nat } from "./nat.ts";
import { type IcmpError, type Middlebox, type Packet, packetBytes } from "./packet.ts";

/** What is attached to a network under an address of its own. */
export interface Station {
  /** Takes a packet for one of its addresses. */
  receive(packet: Packet): void;
}

/** What a network needs of its world. */
export interface Wire {
  /** The present. */
  now(): Instant;
  /** Has something happen later. */
  at(instant: Instant, happening: () => void): void;
  /** Counts what a network has dropped. */
  dropped(why: DropReason): void;
}

/** Why a packet went nowhere. */
export type DropReason = "noRoute" | "noFamily" | "box" | "link" | "tooBig" | "hairpin";

/** Where a network hangs. */
export interface NetworkOptions {
  /** For traces. */
  readonly name: string;
  /** Time and order. */
  readonly wire: Wire;
  /** The network above, and the link to it. Absent: the root. */
  readonly above?: { readonly network: Network; readonly link: Link };
  /** What stands between this network and the one above, by family. A family that is absent is not forwarded. */
  readonly boxes?: { readonly [family in Family]?: Middlebox };
}

/** Delay between two stations of one network. */
const LOCAL_MS = 0.2;
/** How long a host or a router takes to say that it did not want a packet. */
const ICMP_MS = 1;
/** Routers that a packet may cross: more means that networks route in a circle. */
const HOPS_MAX = 16;

/** A network: an address space with stations, and networks below. */
export class Network implements Station {
  /** For traces. */
  readonly name: string;
  /** The network above, and the link to it; `undefined` for the root. */
  readonly above: { readonly network: Network; readonly link: Link } | undefined;
  /** What stands between this network and the one above, by family. */
  readonly boxes: { readonly [family in Family]?: Middlebox };
  /** Sees every packet that is routed here, as it looks here. */
  tap: ((packet: Packet) => void) | undefined;
  readonly #wire: Wire;
  readonly #stations = new Map<string, Station>();

  /** A network without stations; its boxes' addresses are known to the network above. */
  constructor({ name, wire, above, boxes = {} }: NetworkOptions) {
    this.name = name;
    this.above = above;
    this.boxes = boxes;
    this.#wire = wire;
    for (const box of [boxes[4], boxes[6]]) {
      if (box?.address !== undefined) above?.network.attach(box.address, this);
    }
  }

  /** Gives an address to a station; networks above learn of it where nothing translates it. */
  attach(address: string, station: Station): void {
    this.#stations.set(address, station);
    if (this.#isVisible(address)) this.above?.network.attach(address, this);
  }

  /** Takes an address back. */
  detach(address: string): void {
    this.#stations.delete(address);
    if (this.#isVisible(address)) this.above?.network.detach(address);
  }

  /** Gives the box another address, as carriers do; what it has translated is over. */
  readdress(address: string): void {
    const box = this.boxes[4];
    if (!(box instanceof Nat)) throw new TypeError(`${this.name} has no NAT`);
    this.above?.network.detach(box.address);
    box.moveTo(address);
    this.above?.network.attach(address, this);
  }

  /** Sends a packet from a station of this network. */
  send(packet: Packet): void {
    this.#forward(packet, HOPS_MAX);
  }

  receive(packet: Packet): void {
    this.#descend(packet);
  }

  /** Routes a packet that is in this network. */
  #forward(packet: Packet, hops: number): void {
    this.tap?.(packet);
    const { destination } = packet;
    const box = this.boxes[familyOf(destination.hostname)];
    if (box?.address === destination.hostname) {
      const returned = box.hairpin(this.#wire.now(), packet);
      if (returned === undefined) return this.#wire.dropped("hairpin");
      return this.#forward(returned, hops - 1);
    }
    const station = this.#stations.get(destination.hostname);
    if (station !== undefined) return this.#later(LOCAL_MS, () => station.receive(packet));
    if (this.above === undefined || hops <= 0) return this.#wire.dropped("noRoute");
    if (box === undefined) return this.#wire.dropped("noFamily");
    const out = box.outbound(this.#wire.now(), packet);
    if (out === undefined) return this.#wire.dropped("box");
    const { network } = this.above;
    this.#cross("up", out, () => network.#forward(out, hops - 1));
  }

  /** Takes a packet from the network above. */
  #descend(packet: Packet): void {
    this.#cross("down", packet, () => {
      const box = this.boxes[familyOf(packet.destination.hostname)];
      const inside = box?.inbound(this.#wire.now(), packet);
      if (inside === undefined) return this.#wire.dropped("box");
      const station = this.#stations.get(inside.destination.hostname);
      if (station === undefined) return this.#wire.dropped("noRoute");
      station.receive(inside);
    });
  }

  /** Carries a packet over the uplink. */
  #cross(direction: Direction, packet: Packet, arrive: () => void): void {
    const { link } = this.above ?? {};
    if (link === undefined) return arrive();
    const transit = link.carry(this.#wire.now(), direction, packetBytes(packet));
    if (transit === "tooBig") {
      const { mtu, icmp } = link.quality;
      this.#wire.dropped("tooBig");
      if (icmp) complain(this.#wire, packet, { kind: "tooBig", destination: packet.aim, mtu });
      return;
    }
    if (transit.length === 0) this.#wire.dropped("link");
    for (const at of transit) this.#wire.at(at, arrive);
  }

  #later(ms: number, happening: () => void): void {
    this.#wire.at(after(this.#wire.now(), ms), happening);
  }

  /** Whether the network above can route an address of ours: no box of its family translates. */
  #isVisible(address: string): boolean {
    const box = this.boxes[familyOf(address)];
    return box !== undefined && box.address === undefined;
  }
}

/** Has the sender of a packet told what became of it. */
export function complain(wire: Wire, { sender }: Packet, error: IcmpError): void {
  wire.at(after(wire.now(), ICMP_MS), () => sender.icmp(error));
}
