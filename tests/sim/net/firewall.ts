/** Middleboxes that translate nothing: a stateful firewall, an open router, and one that lets no UDP through. @module */
import { after, type Instant, type SocketAddress } from "../../../core/mod.ts";
import type { Middlebox, Packet } from "./packet.ts";

/** Flows that a firewall remembers. The one that was seen first goes. */
export const FLOWS_MAX = 16_384;

/** Lets in what answers something: per flow, with address and port of both ends (RFC 6092 section 3.2, the strict mode). */
export class Firewall implements Middlebox {
  readonly address = undefined;
  readonly #timeoutMs: number;
  readonly #flows = new Map<string, Instant>();

  /** A firewall that has seen nothing. Flows live for `timeoutMs` after their last packet out. */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  /** Flows, expired ones included. */
  get size(): number {
    return this.#flows.size;
  }

  outbound(now: Instant, packet: Packet): Packet {
    const flow = flowOf(packet.source, packet.destination);
    if (this.#flows.size >= FLOWS_MAX && !this.#flows.has(flow)) {
      const [oldest] = this.#flows.keys();
      if (oldest !== undefined) this.#flows.delete(oldest);
    }
    this.#flows.set(flow, after(now, this.#timeoutMs));
    return packet;
  }

  inbound(now: Instant, packet: Packet): Packet | undefined {
    const until = this.#flows.get(flowOf(packet.destination, packet.source));
    return until !== undefined && until > now ? packet : undefined;
  }

  hairpin(): undefined {
    return undefined;
  }

  reboot(): void {
    this.#flows.clear();
  }
}

/** A router. */
export const OPEN: Middlebox = {
  address: undefined,
  outbound: (_now, packet) => packet,
  inbound: (_now, packet) => packet,
  hairpin: () => undefined,
  reboot: () => undefined,
};

/** Lets no UDP through, in front of whatever stands behind it: a network that passes only the web. */
export function withoutUdp({ address }: Middlebox): Middlebox {
  return {
    address,
    outbound: () => undefined,
    inbound: () => undefined,
    hairpin: () => undefined,
    reboot: () => undefined,
  };
}

function flowOf(inside: SocketAddress, outside: SocketAddress): string {
  return `${inside.hostname} ${inside.port} ${outside.hostname} ${outside.port}`;
}
