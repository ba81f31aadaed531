/** A UDP datagram on its way. @module */
import { familyOf, type Instant, type SocketAddress } from "../../../core/mod.ts";

/** A datagram in the IP packet around it. */
export interface Packet {
  /** The sender, as the network where the packet is sees it. */
  readonly source: SocketAddress;
  /** The receiver, likewise. */
  readonly destination: SocketAddress;
  /** The UDP payload; nobody writes to it. */
  readonly bytes: Uint8Array;
  /** Who made it. No part of the packet, but what checks and ICMP errors go by. */
  readonly sender: Sender;
  /** Where the sender sent it, whatever has been translated since. For ICMP errors, which NATs translate back. */
  readonly aim: SocketAddress;
  /** For a relay's packet to its client: the peer that the relay has it from, as the client is told. */
  readonly relayedFrom?: SocketAddress;
}

/** Who makes packets. */
export interface Sender {
  /** Its name in the world; unique. */
  readonly name: string;
  /** Takes an ICMP error about a packet that it had sent to `destination`. */
  icmp(error: IcmpError): void;
}

/** What a router says of a packet that it does not forward, or a host of one that nobody wants. */
export type IcmpError =
  | { readonly kind: "tooBig"; readonly destination: SocketAddress; readonly mtu: number }
  | { readonly kind: "portUnreachable"; readonly destination: SocketAddress };

/** Bytes of the IP packet: IP and UDP headers without options. */
export function packetBytes({ destination, bytes }: Packet): number {
  return (familyOf(destination.hostname) === 4 ? 28 : 48) + bytes.length;
}

/** What stands between a network and the one above it, for one family. */
export interface Middlebox {
  /** Takes a packet on its way up; `undefined` drops it. */
  outbound(now: Instant, packet: Packet): Packet | undefined;
  /** Takes a packet on its way down; `undefined` drops it. */
  inbound(now: Instant, packet: Packet): Packet | undefined;
  /** The address that the network above knows it by; `undefined` where hosts have addresses of the network above. */
  readonly address: string | undefined;
  /** Takes a packet from inside to the box's own address, and returns it on its way down again; `undefined` drops it. */
  hairpin(now: Instant, packet: Packet): Packet | undefined;
  /** Forgets everything, as a reboot does. */
  reboot(): void;
}
