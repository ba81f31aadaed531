/**
 * Everything that a node does with STUN: asks servers and peers for its own addresses, and answers the members of its mesh.
 *
 * ```text
 *   named servers ----+                              +---- members ask, on the WireGuard socket
 *   connected peers --+--> Gatherer     MemberStun <-+
 *                             |
 *                  candidates, NAT ------> Discovery, path agents
 * ```
 *
 * @module
 */
import {
  formatSocketAddress,
  type Instant,
  parseSocketAddress,
  type Rng,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  type Candidate,
  Gatherer,
  MemberStun,
  type NatFacts,
  type ProbeServer,
  type StunCredentials,
  type StunServerStatus,
} from "../../traversal/mod.ts";
import type { SetMemberCommand, StunServerInfo } from "../shared/mod.ts";
import type { Transport } from "./transport.ts";

/** What a desk is made of. */
export interface StunDeskOptions {
  /** The sockets. */
  readonly transport: Pick<Transport, "send">;
  /** Entropy for transactions. */
  readonly rng: Rng;
  /** This node's own interface addresses. */
  readonly hostAddresses: readonly string[];
}

/** What has changed. */
export interface StunChanges {
  /** The candidates, or the verdict on the NAT. */
  readonly candidates: boolean;
  /** No server answers. */
  readonly silent: boolean;
}

/** STUN of one node. */
export class StunDesk {
  readonly #transport: Pick<Transport, "send">;
  readonly #gatherer: Gatherer;
  readonly #members = new MemberStun();
  /** What signs our requests to each peer, by its key. */
  readonly #asks = new Map<string, StunCredentials>();
  /** Where connected peers are, by key, in the order in which they came. */
  readonly #connected = new Map<string, SocketAddress>();
  #unmatched = 0;

  /** Starts without servers and peers. */
  constructor(now: Instant, { transport, rng, hostAddresses }: StunDeskOptions) {
    this.#transport = transport;
    this.#gatherer = new Gatherer(now, { servers: [], rng, hostAddresses });
  }

  /** The server-reflexive candidates now, best first. */
  get candidates(): readonly Candidate[] {
    return this.#gatherer.candidates;
  }

  /** The verdict on the NAT now. */
  get nat(): NatFacts {
    return this.#gatherer.nat;
  }

  /** Whether UDP seems blocked: every server has failed, and none has told an address. */
  get udpBlocked(): boolean {
    return this.#gatherer.udpBlocked;
  }

  /** How each server and peer does that is asked. */
  get status(): readonly StunServerStatus[] {
    return this.#gatherer.status;
  }

  /** Replaces the named servers. Texts that are no address are left out. */
  setServers(now: Instant, servers: readonly StunServerInfo[]): void {
    const addresses = servers.map(({ address }) => parseSocketAddress(address));
    this.#gatherer.setServers(now, addresses.filter((address) => address !== undefined));
  }

  /** Replaces what a member of the mesh asks with, and is asked with. */
  setMember(now: Instant, { publicKey, asks, answers }: SetMemberCommand): void {
    if (!this.#members.set(publicKey, answers)) return;
    this.#asks.set(publicKey, asks);
    this.#askPeers(now);
  }

  /** Forgets a peer. */
  removePeer(now: Instant, publicKey: string): void {
    this.#members.delete(publicKey);
    this.#asks.delete(publicKey);
    this.peerLost(now, publicKey);
  }

  /** Takes note that a peer is reached directly at an address. */
  peerAt(now: Instant, publicKey: string, remote: SocketAddress): void {
    this.#connected.set(publicKey, remote);
    this.#askPeers(now);
  }

  /** Takes note that a peer is not reached directly any more. */
  peerLost(now: Instant, publicKey: string): void {
    if (this.#connected.delete(publicKey)) this.#askPeers(now);
  }

  /** The network is another: nothing that was known counts any more. */
  linkChanged(now: Instant, hostAddresses: readonly string[]): void {
    this.#gatherer.setHostAddresses(hostAddresses);
    this.#gatherer.regather(now);
  }

  /** Asks every server again: the NAT may have forgotten this node. */
  regather(now: Instant): void {
    this.#gatherer.regather(now);
  }

  /** Takes a STUN message from the node's socket. */
  handleInput(now: Instant, source: SocketAddress, payload: Uint8Array): void {
    const datagram = { source, payload };
    // Only requests begin with two zero bits and class 00 here: 00 01 is a Binding request.
    if (payload[0] === 0 && payload[1] === 1) {
      const answer = this.#members.answer(now, datagram);
      if (answer !== undefined) this.#send(answer.destination, answer.payload);
    } else if (!this.#gatherer.handleInput(now, datagram)) this.#unmatched++;
  }

  /** Does what is due, sends what is to be sent, and says what has changed. */
  step(now: Instant): StunChanges {
    const dueAt = this.#gatherer.pollTimeout();
    if (dueAt !== undefined && now >= dueAt) this.#gatherer.handleTimeout(now);
    for (let out; (out = this.#gatherer.pollTransmit()) !== undefined;) {
      this.#send(out.destination, out.payload);
    }
    let [candidates, silent] = [false, false];
    for (let event; (event = this.#gatherer.pollEvent()) !== undefined;) {
      if (event.kind === "unanswered") silent = true;
      else candidates = true;
    }
    return { candidates, silent };
  }

  /** When the next {@linkcode StunDesk.step} is due. */
  pollTimeout(): Instant | undefined {
    return this.#gatherer.pollTimeout();
  }

  /** Counters by name; only what is not zero. */
  counters(): Readonly<Record<string, number>> {
    const all = { stunUnmatched: this.#unmatched, ...this.#members.counters };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0));
  }

  /** Asks the peers that are connected and can be asked; the gatherer takes the first ones. */
  #askPeers(now: Instant): void {
    const servers = new Map<string, Required<ProbeServer>>();
    for (const [publicKey, address] of this.#connected) {
      const credentials = this.#asks.get(publicKey);
      if (credentials === undefined) continue;
      servers.set(formatSocketAddress(address), { address, credentials });
    }
    this.#gatherer.setPeerServers(now, [...servers.values()]);
  }

  #send(destination: SocketAddress, payload: Uint8Array): void {
    this.#transport.send(payload, payload.length, destination);
  }
}
