/**
 * A NAT in the words of RFC 4787: mapping x filtering x port allocation x expiry x hairpin, for UDP over IPv4.
 *
 * ```text
 *  mapping     which packets of one internal endpoint share an external port     section 4.1
 *  allocation  which port a new mapping gets                                     section 4.2
 *  expiry      how long a mapping lives, and whom a refresh needs                section 4.3
 *  filtering   which external endpoints may send to a mapping                    section 5
 *  hairpin     whether inside reaches inside by the external address             section 6
 * ```
 *
 * One external address for all: paired pooling (REQ-2) with a pool of one.
 *
 * @module
 */
import { after, type Instant, type SocketAddress } from "../../../core/mod.ts";
import type { SeededRng } from "../../../traversal/testing/fuzz.ts";
import type { Middlebox, Packet } from "./packet.ts";

/** On how much of the other end a behaviour depends. */
export type Dependence = "endpointIndependent" | "addressDependent" | "addressAndPortDependent";
/** How a new mapping gets its port: the internal one if it is free, the next one, or any. */
export type Allocation = "preserve" | "sequential" | "random";

/** What a NAT is like. */
export interface NatBehaviour {
  /** RFC 4787 section 4.1. */
  readonly mapping: Dependence;
  /** RFC 4787 section 5. */
  readonly filtering: Dependence;
  /** RFC 4787 section 4.2. */
  readonly allocation: Allocation;
  /** Life of a mapping, and of each entry of its filter, after the last packet that refreshes it, in milliseconds. */
  readonly timeoutMs: number;
  /** Which packets refresh: outbound ones must (REQ-6), inbound ones may. */
  readonly refresh: "outbound" | "both";
  /** RFC 4787 section 6; the source of a hairpinned packet is its external endpoint, and filtering applies. */
  readonly hairpin: boolean;
}

/** What a {@linkcode Nat} is made of. */
export interface NatOptions extends NatBehaviour {
  /** The external address. */
  readonly address: string;
  /** For random ports, and for where the sequence of a sequential NAT starts. */
  readonly rng: SeededRng;
  /** First and last external port. @default [1024, 65535] */
  readonly ports?: readonly [number, number];
}

/** One mapping. */
interface Mapping {
  readonly key: string;
  readonly internal: SocketAddress;
  readonly external: SocketAddress;
  until: Instant;
  /** Who may send to it, and until when; unused with endpoint-independent filtering. */
  readonly permitted: Map<string, Instant>;
}

/** Entries of one mapping's filter. The one that was added first goes. */
export const PERMITTED_MAX = 4096;
const PORTS = [1024, 65_535] as const;

/** A NAT with one external address. */
export class Nat implements Middlebox {
  readonly #behaviour: NatBehaviour;
  readonly #rng: SeededRng;
  readonly #first: number;
  readonly #last: number;
  readonly #byKey = new Map<string, Mapping>();
  readonly #byPort = new Map<number, Mapping>();
  #address: string;
  #next: number;
  #dropped = 0;

  /** A NAT without mappings. */
  constructor({ address, rng, ports = PORTS, ...behaviour }: NatOptions) {
    this.#behaviour = behaviour;
    this.#address = address;
    this.#rng = rng;
    [this.#first, this.#last] = ports;
    this.#next = this.#anyPort();
  }

  /** The external address. */
  get address(): string {
    return this.#address;
  }

  /** What it is like. */
  get behaviour(): NatBehaviour {
    return this.#behaviour;
  }

  /** Mappings, the expired ones that nobody has asked for since included. */
  get size(): number {
    return this.#byPort.size;
  }

  /** Packets dropped: filtered, without a mapping, or without a free port. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The external endpoint that a packet would leave from now; `undefined` without a mapping for it. */
  externalOf(now: Instant, source: SocketAddress, to: SocketAddress): SocketAddress | undefined {
    const mapping = this.#byKey.get(this.#keyOf(source, to));
    return mapping === undefined || mapping.until <= now ? undefined : mapping.external;
  }

  /** The internal endpoint that owns an external port. */
  ownerOf(now: Instant, port: number): SocketAddress | undefined {
    const mapping = this.#byPort.get(port);
    return mapping === undefined || mapping.until <= now ? undefined : mapping.internal;
  }

  /** Gets another external address, as a subscriber does; the mappings are gone. */
  moveTo(address: string): void {
    this.#address = address;
    this.reboot();
  }

  reboot(): void {
    this.#byKey.clear();
    this.#byPort.clear();
    this.#next = this.#anyPort();
  }

  outbound(now: Instant, packet: Packet): Packet | undefined {
    const { source, destination } = packet;
    const mapping = this.#mappingFor(now, source, destination);
    if (mapping === undefined) return this.#drop();
    const until = after(now, this.#behaviour.timeoutMs);
    mapping.until = until;
    if (this.#behaviour.filtering !== "endpointIndependent") {
      const { permitted } = mapping;
      const remote = scopeOf(this.#behaviour.filtering, destination);
      if (permitted.size >= PERMITTED_MAX && !permitted.has(remote)) {
        const [oldest] = permitted.keys();
        if (oldest !== undefined) permitted.delete(oldest);
      }
      permitted.set(remote, until);
    }
    return { ...packet, source: mapping.external };
  }

  inbound(now: Instant, packet: Packet): Packet | undefined {
    const { source, destination } = packet;
    if (destination.hostname !== this.#address) return this.#drop();
    const mapping = this.#byPort.get(destination.port);
    if (mapping === undefined || mapping.until <= now) return this.#drop();
    const { filtering, refresh, timeoutMs } = this.#behaviour;
    if (filtering !== "endpointIndependent") {
      const remote = scopeOf(filtering, source);
      if ((mapping.permitted.get(remote) ?? 0) <= now) return this.#drop();
      if (refresh === "both") mapping.permitted.set(remote, after(now, timeoutMs));
    }
    if (refresh === "both") mapping.until = after(now, timeoutMs);
    return { ...packet, destination: mapping.internal };
  }

  hairpin(now: Instant, packet: Packet): Packet | undefined {
    if (!this.#behaviour.hairpin) return this.#drop();
    const out = this.outbound(now, packet);
    return out && this.inbound(now, out);
  }

  #mappingFor(now: Instant, internal: SocketAddress, to: SocketAddress): Mapping | undefined {
    const key = this.#keyOf(internal, to);
    const known = this.#byKey.get(key);
    if (known !== undefined && known.until > now) return known;
    if (known !== undefined) this.#forget(known);
    const port = this.#allocate(now, internal.port);
    if (port === undefined) return undefined;
    const external = { hostname: this.#address, port };
    const mapping: Mapping = { key, internal, external, until: now, permitted: new Map() };
    this.#byKey.set(key, mapping);
    this.#byPort.set(port, mapping);
    return mapping;
  }

  #keyOf({ hostname, port }: SocketAddress, to: SocketAddress): string {
    const { mapping } = this.#behaviour;
    const internal = `${hostname} ${port}`;
    return mapping === "endpointIndependent" ? internal : `${internal} ${scopeOf(mapping, to)}`;
  }

  /** A free port for a new mapping; `undefined` if all are taken. */
  #allocate(now: Instant, wanted: number): number | undefined {
    const { allocation } = this.#behaviour;
    if (allocation === "preserve" && wanted >= this.#first && wanted <= this.#last) {
      if (this.#isFree(now, wanted)) return wanted;
    }
    let port = allocation === "sequential" ? this.#next : this.#anyPort();
    for (let tried = this.#first; tried <= this.#last; tried++) {
      const next = port === this.#last ? this.#first : port + 1;
      if (this.#isFree(now, port)) {
        this.#next = next;
        return port;
      }
      port = next;
    }
    return undefined;
  }

  #isFree(now: Instant, port: number): boolean {
    const mapping = this.#byPort.get(port);
    if (mapping !== undefined && mapping.until > now) return false;
    if (mapping !== undefined) this.#forget(mapping);
    return true;
  }

  #forget({ key, external }: Mapping): void {
    this.#byKey.delete(key);
    this.#byPort.delete(external.port);
  }

  #anyPort(): number {
    return this.#first + this.#rng.below(this.#last - this.#first + 1);
  }

  #drop(): undefined {
    this.#dropped++;
  }
}

/** The part of the other end that a behaviour looks at. */
function scopeOf(dependence: Dependence, { hostname, port }: SocketAddress): string {
  return dependence === "addressDependent" ? hostname : `${hostname} ${port}`;
}
