/**
 * Somebody on the Internet who sees every packet there, sends what he likes from where he likes, and can read nothing.
 *
 * He replays what he saw, from his own address and from the sender's, and forges STUN answers and WireGuard messages.
 *
 * @module
 */
import { after, type SocketAddress } from "../../core/mod.ts";
import {
  classify,
  encodeStun,
  METHOD_BINDING,
  XOR_MAPPED_ADDRESS,
  xorAddressAttribute,
} from "../../traversal/mod.ts";
import { Host } from "./net/host.ts";
import type { Network, Wire } from "./net/network.ts";
import type { Packet } from "./net/packet.ts";
import { STUN_SERVERS } from "./net/topology.ts";
import type { Chance } from "./random.ts";

/** His name among senders. */
export const ATTACKER = "mallory";
const ADDRESS = "198.18.0.66";
/** Packets that he keeps, the oldest first to go. */
const SEEN_MAX = 128;
/** A packet is replayed no sooner than this: by then it has arrived, unless the network has lost it. */
const REPLAY_AFTER_MS = 2000;
/** Lengths of WireGuard's handshake messages and of a keepalive, by type. */
const LENGTHS = [148, 92, 64, 32] as const;

/** The attacker. */
export class Attacker {
  /** What he has sent. */
  sent = 0;
  readonly #host: Host;
  readonly #wire: Wire;
  readonly #network: Network;
  readonly #chance: Chance;
  /** Whether he may replay from his own address what the network may have lost. */
  readonly #delivers: boolean;
  readonly #seen: { readonly packet: Packet; readonly at: number }[] = [];
  #until = 0;

  /** An attacker who sees nothing yet. */
  constructor(network: Network, wire: Wire, { chance, delivers }: {
    readonly chance: Chance;
    readonly delivers: boolean;
  }) {
    this.#host = new Host(ATTACKER, wire);
    this.#host.plug({ name: "eth0", network, addresses: [ADDRESS] });
    this.#wire = wire;
    this.#network = network;
    this.#chance = chance;
    this.#delivers = delivers;
  }

  /** Shows him a packet. */
  see(packet: Packet): void {
    if (packet.sender === this.#host || classify(packet.bytes) !== "wireguard") return;
    if (this.#seen.length === SEEN_MAX) this.#seen.shift();
    this.#seen.push({ packet, at: this.#wire.now() });
  }

  /** Has him attack for `ms`. */
  attack(ms: number): void {
    const idle = this.#until <= this.#wire.now();
    this.#until = Math.max(this.#until, this.#wire.now() + ms);
    if (idle) this.#strike();
  }

  /** Has him stop. */
  stop(): void {
    this.#until = 0;
  }

  #strike(): void {
    const now = this.#wire.now();
    if (now >= this.#until) return;
    this.#wire.at(after(now, this.#chance.between(20, 500)), () => this.#strike());
    const old = this.#seen.filter(({ at }) => now - at >= REPLAY_AFTER_MS);
    if (old.length === 0) return;
    const { packet: { source, destination, bytes } } = this.#chance.pick(old);
    const own: SocketAddress = { hostname: ADDRESS, port: 1024 + this.#chance.below(60_000) };
    const from = this.#chance.chance(0.5) ? own : source;
    switch (this.#chance.below(4)) {
      case 0:
        return this.#send(this.#delivers ? from : source, destination, bytes);
      case 1:
        return this.#send(this.#chance.pick(STUN_SERVERS), destination, this.#stunAnswer(own));
      case 2:
        return this.#send(from, destination, this.#wireGuard());
      default:
        return this.#send(from, destination, this.#tampered(bytes));
    }
  }

  #send(source: SocketAddress, destination: SocketAddress, bytes: Uint8Array): void {
    if (source.hostname.includes(":") !== destination.hostname.includes(":")) return;
    this.sent++;
    const sender = this.#host;
    this.#network.send({ source, destination, bytes, sender, aim: destination });
  }

  /** An answer to a request whose transaction he does not know. */
  #stunAnswer(mapped: SocketAddress): Uint8Array {
    const transactionId = this.#chance.bytes(12);
    const address = xorAddressAttribute(XOR_MAPPED_ADDRESS, mapped, transactionId);
    return encodeStun({
      class: "success",
      method: METHOD_BINDING,
      transactionId,
      attributes: [address],
    }, { fingerprint: true });
  }

  /** A message that only looks like one. */
  #wireGuard(): Uint8Array {
    const type = this.#chance.below(LENGTHS.length);
    const bytes = this.#chance.bytes(LENGTHS[type] ?? 148);
    bytes.set([type + 1, 0, 0, 0]);
    return bytes;
  }

  #tampered(bytes: Uint8Array): Uint8Array {
    const copy = bytes.slice();
    const at = 4 + this.#chance.below(copy.length - 4);
    copy[at] = (copy[at] ?? 0) ^ 1 << this.#chance.below(8);
    return copy;
  }
}
