/**
 * Everything that a node does with relays: its allocations are local ends like its sockets, with numbers from
 * {@linkcode RELAY_LOCAL_MIN} on.
 *
 * ```text
 *   path agents, engine --send(local 0xf000)--> RelayDesk --ChannelData, Send indication--> socket or stream --> relay
 *                       <--deliver(peer, local)----|  <--ChannelData, Data indication-------------------------
 *                                                  |
 *                        candidates of the kind relayed, permissions for every address of every peer
 * ```
 *
 * @module
 */
import {
  earlier,
  type Instant,
  parseSocketAddress,
  type Rng,
  sameAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  type Candidate,
  CHANNEL_HEADER_BYTES,
  KEEPALIVE_DEFAULT_MS,
  reachesFrom,
  type RelayEnd,
  RELAYS_MAX,
} from "../../traversal/mod.ts";
import type {
  RelayConnectEvent,
  RelayInfo,
  RelayStatus,
  RelayTransportInfo,
  SharedArena,
  StreamSlot,
} from "../shared/mod.ts";
import { type RelayCarrier, StreamCarrier, UdpCarrier } from "./relay_carrier.ts";
import { type Attempt, RelayRace, type RelayRaceHost } from "./relay_race.ts";
import { RelayedTransport } from "./relayed_transport.ts";
import { SendCap } from "./send_cap.ts";
import { RELAY_LOCAL_MIN, type Transport } from "./transport.ts";

/** Addresses of one peer for which permissions are asked. */
const ADDRESSES_PER_PEER = 16;

/** Takes datagrams of `segment` bytes each, the last maybe shorter, from a peer at the other end of a relay; borrowed for the call. */
export type RelayedTaker = (
  peer: SocketAddress,
  bytes: Uint8Array,
  segment: number,
  local: number,
) => void;

/** What a desk is made of. */
export interface RelayDeskOptions {
  /** The sockets. */
  readonly transport: Transport;
  /** Entropy. */
  readonly rng: Rng;
  /** The present instant, as the datapath has it. */
  readonly now: () => Instant;
  /** The memory shared with the main thread. */
  readonly arena: SharedArena;
  /** Gives a slot; see `StreamTable.lend`. */
  readonly lend: (onDirty: (slot: StreamSlot) => void) => StreamSlot | undefined;
  /** The main thread has to be rung. */
  readonly ring: () => void;
  /** Asks the main thread for a connection. */
  readonly connect: (event: RelayConnectEvent) => void;
  /** Takes what comes through relays. */
  readonly deliver: RelayedTaker;
  /** What came by a stream was delivered: it must be taken in before the sockets are read again. */
  readonly delivered: () => void;
}

/** What has changed since the last step. */
export interface RelayChanges {
  /** The relays' state. */
  readonly relays: boolean;
  /** The relayed addresses, or the local ends. */
  readonly locals: boolean;
}

/** The relays of one node. */
export class RelayDesk {
  /** The sockets and the allocations as one transport. */
  readonly transport: Transport;
  readonly #options: RelayDeskOptions;
  readonly #udp: UdpCarrier;
  readonly #byLocal = new Map<number, RelayRace>();
  /** The addresses of each peer's candidates, by its key. */
  readonly #peers = new Map<string, readonly string[]>();
  readonly #counters = new Map<string, number>();
  readonly #caps = new Map<number, SendCap>();
  /** Streams by slot, for the reason of their end. */
  readonly #streams = new Map<number, StreamCarrier>();
  #races: readonly RelayRace[] = [];
  /** Whoever may get something from the address that was last looked for. */
  #last: { readonly source: SocketAddress; readonly attempts: readonly Attempt[] } | undefined;
  /** Whether there is a way to where something was last sent. */
  #way:
    | { readonly local: number; readonly to: SocketAddress; readonly exists: boolean }
    | undefined;
  #relaysChanged = false;
  #localsChanged = false;
  #peersChanged = false;
  #ends: readonly RelayEnd[] = [];
  #nextLocal = RELAY_LOCAL_MIN;
  #keepaliveMs = KEEPALIVE_DEFAULT_MS;

  /** A desk without relays. */
  constructor(options: RelayDeskOptions) {
    this.#options = options;
    this.#udp = new UdpCarrier(options.transport);
    this.transport = new RelayedTransport(options.transport, (...run) => this.send(...run));
  }

  /** The local ends that carry now. */
  get ends(): readonly RelayEnd[] {
    return this.#ends;
  }

  /** The relayed addresses of this node where peers may begin to send: those of relays that are about to end only where there are no others. */
  get candidates(): readonly Candidate[] {
    const staying = this.#ends.filter(({ draining }) => !draining);
    return (staying.length > 0 ? staying : this.#ends).flatMap(({ relayed }) =>
      relayed.map((address): Candidate => ({ kind: "relayed", address }))
    );
  }

  /** How each relay does, in the order of `setRelays`. */
  get status(): readonly RelayStatus[] {
    return this.#races.map(({ status }) => status);
  }

  /** The name of the relay behind a local end; `undefined` for one that is a socket. */
  relayOf(local: number): string | undefined {
    return this.#byLocal.get(local)?.info.id;
  }

  /** Replaces the relays; see `SetRelaysCommand`. */
  setRelays(now: Instant, infos: readonly RelayInfo[]): void {
    const wanted = infos.slice(0, RELAYS_MAX);
    this.#count("relaysRefused", infos.length - wanted.length);
    for (const race of this.#races) {
      if (wanted.some(({ id }) => id === race.info.id)) continue;
      race.stop();
      this.#byLocal.delete(race.local);
      this.#caps.delete(race.local);
    }
    this.#races = wanted.map((info) => {
      const known = this.#races.find((race) => race.info.id === info.id);
      known?.update(now, info);
      return known ?? this.#openRace(now, info);
    });
    this.#changed();
    this.#peersChanged = true;
  }

  /** Takes where a peer may be: from there, and from its relayed addresses, it may reach this node's. */
  setPeer(publicKey: string, candidates: readonly Candidate[]): void {
    const hostnames = candidates.map(({ address }) => address.hostname);
    this.#peers.set(publicKey, [...new Set(hostnames)].slice(0, ADDRESSES_PER_PEER));
    this.#peersChanged = true;
  }

  /** Forgets a peer. */
  removePeer(publicKey: string): void {
    if (this.#peers.delete(publicKey)) this.#peersChanged = true;
  }

  /** Takes a STUN message from the node's socket. Returns whether it is from a relay and for this desk. */
  handleStun(now: Instant, source: SocketAddress, payload: Uint8Array): boolean {
    for (const attempt of this.#attemptsAt(source)) {
      if (this.#takeMessage(now, attempt, payload)) return true;
    }
    return false;
  }

  /** Takes a train that begins with ChannelData from the node's socket. The bytes may be moved within themselves. */
  handleTrain(now: Instant, source: SocketAddress, bytes: Uint8Array, segment: number): void {
    const attempts = this.#attemptsAt(source);
    if (attempts.length === 0) return this.#count("channelDataUnmatched");
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(at + segment, bytes.length);
      const length = lengthOf(bytes, at, end);
      if (length < 0) {
        // Another kind of message of the same size, which the kernel has joined.
        if (!this.handleStun(now, source, bytes.subarray(at, end))) {
          this.#count("channelDataUnmatched");
        }
        at = end;
      } else at = this.#takeRun(now, { attempts, bytes, at, end, length, segment });
    }
  }

  /** Takes why a connection has ended or cannot be had; its slot says so itself a moment later. */
  handleFailed(slot: number, reason: string): void {
    this.#streams.get(slot)?.explain(reason);
  }

  /** The node's own addresses may be others. */
  linkChanged(now: Instant): void {
    for (const race of this.#races) race.linkChanged(now);
    this.#changed();
  }

  /** Takes the hint that nobody answers at an address. */
  handleUnreachable(now: Instant, destination: SocketAddress): void {
    for (const { current } of this.#races) {
      if (current === undefined || !sameAddress(current.client.server, destination)) continue;
      current.client.check(now);
      current.relay.drain(now, current);
    }
  }

  /** Sends datagrams as `Transport.send` says, from an allocation. */
  send(local: number, bytes: Uint8Array, segment: number, to: SocketAddress, whole: boolean): void {
    const now = this.#options.now();
    const race = this.#byLocal.get(local);
    const attempt = race?.current;
    if (race === undefined || attempt === undefined) return this.#count("relaySendFailed");
    const { client, carrier } = attempt;
    if (!client.reaches(to) || !this.#hasWay(local, to, client.relayed)) {
      return this.#count("relayUnreachable");
    }
    const { bandwidthBytesPerSecond: cap = 0 } = race.info;
    if (!this.#capOf(now, local).allows(now, cap, bytes.length)) {
      return this.#count("relayBandwidthDropped");
    }
    const channel = client.channelTo(now, to);
    if (channel !== undefined) {
      return carrier.sendRun(channel, { bytes, segment, whole }, client.server);
    }
    // First what asks for the permission: the relay takes one after the other.
    race.drain(now, attempt);
    for (let at = 0; at < bytes.length; at += segment) {
      const payload = client.encodeSend(to, bytes.subarray(at, at + segment));
      if (payload === undefined) this.#count("relayTooLong");
      else carrier.sendMessage(payload, client.server, whole);
    }
  }

  /** Does what is due. A NAT's mapping has to be used every `keepaliveMs`. */
  step(now: Instant, keepaliveMs: number): RelayChanges {
    if (keepaliveMs !== this.#keepaliveMs) this.#setKeepalive(now, keepaliveMs);
    for (const race of this.#races) {
      const dueAt = race.pollTimeout();
      if (dueAt !== undefined && now >= dueAt) race.handleTimeout(now);
    }
    if (this.#peersChanged) this.#permit(now);
    const changes = { relays: this.#relaysChanged, locals: this.#localsChanged };
    this.#relaysChanged = false;
    this.#localsChanged = false;
    return changes;
  }

  /** When {@linkcode RelayDesk.step} must be called. */
  pollTimeout(): Instant | undefined {
    let dueAt: Instant | undefined;
    for (const race of this.#races) dueAt = earlier(dueAt, race.pollTimeout());
    return dueAt;
  }

  /** Gives every allocation back. */
  stop(): void {
    for (const race of this.#races) race.stop();
    this.#races = [];
    this.#byLocal.clear();
  }

  /** Counters by name; only what is not zero. */
  counters(): Readonly<Record<string, number>> {
    let dropped = 0;
    for (const race of this.#races) {
      for (const { client } of race.attempts) dropped += client.dropped;
    }
    return {
      ...Object.fromEntries([...this.#counters].filter(([, value]) => value > 0)),
      ...(dropped > 0 && { relayRequestsDropped: dropped }),
    };
  }

  #openRace(now: Instant, info: RelayInfo): RelayRace {
    while (this.#byLocal.has(this.#nextLocal)) this.#passLocal();
    const local = this.#nextLocal;
    // Not used again soon: somebody may still send from the one before.
    this.#passLocal();
    const host: RelayRaceHost = {
      rng: this.#options.rng,
      keepaliveMs: () => this.#keepaliveMs,
      openCarrier: (transport, owner) => this.#openCarrier(transport, owner),
      onAttempts: () => {
        this.#last = undefined;
      },
      onChanged: () => this.#changed(),
    };
    const race = new RelayRace(now, { host, info, local });
    this.#byLocal.set(local, race);
    return race;
  }

  #setKeepalive(now: Instant, keepaliveMs: number): void {
    this.#keepaliveMs = keepaliveMs;
    for (const race of this.#races) {
      for (const { client } of race.attempts) client.setKeepalive(now, keepaliveMs);
    }
  }

  #passLocal(): void {
    this.#nextLocal = this.#nextLocal >= 0xffff ? RELAY_LOCAL_MIN : this.#nextLocal + 1;
  }

  #openCarrier(
    transport: RelayTransportInfo,
    owner: () => Attempt | undefined,
  ): RelayCarrier | undefined {
    if (transport.kind === "udp") return this.#udp;
    const { arena, lend, ring, connect, delivered, now } = this.#options;
    const carrier = StreamCarrier.open({
      arena,
      lend,
      ring,
      onFrame: (frame) => {
        const attempt = owner();
        if (attempt !== undefined) this.#takeFrame(now(), attempt, frame);
      },
      onTaken: delivered,
      onEnd: (reason) => {
        const attempt = owner();
        attempt?.relay.handleEnd(now(), attempt, reason);
      },
      onReleased: ({ slot: { index } }) => void this.#streams.delete(index),
      onDropped: (count) => this.#count("relayQueueFull", count),
    });
    if (carrier === undefined) return undefined;
    this.#streams.set(carrier.slot.index, carrier);
    connect({ kind: "relayConnect", slot: carrier.slot.index, transport });
    return carrier;
  }

  #takeFrame(now: Instant, attempt: Attempt, frame: Uint8Array): void {
    if (!this.#takeMessage(now, attempt, frame)) this.#count("relayUnmatched");
  }

  /** Takes one message for a client. Returns whether it was for that. */
  #takeMessage(now: Instant, attempt: Attempt, payload: Uint8Array): boolean {
    const { client, relay } = attempt;
    const opened = client.open(now, payload);
    if (opened !== undefined) {
      const { peer, data } = opened;
      // A Data indication may have led to a request for a channel.
      relay.drain(now, attempt);
      this.#options.deliver(peer, data, data.length, relay.local);
      return true;
    }
    if (!client.handleInput(now, { source: client.server, payload })) return false;
    relay.drain(now, attempt);
    return true;
  }

  /** Delivers equal datagrams of one peer at once, moved together. Returns where the next message begins. */
  #takeRun(now: Instant, { attempts, bytes, at, end, length, segment }: {
    readonly attempts: readonly Attempt[];
    readonly bytes: Uint8Array;
    readonly at: number;
    readonly end: number;
    readonly length: number;
    readonly segment: number;
  }): number {
    const start = at + CHANNEL_HEADER_BYTES;
    let to = start + length;
    let next = end;
    while (next < bytes.length && bytes[next] === bytes[at] && bytes[next + 1] === bytes[at + 1]) {
      const nextEnd = Math.min(next + segment, bytes.length);
      const nextLength = lengthOf(bytes, next, nextEnd);
      if (nextLength < 0 || nextLength > length) break;
      const from = next + CHANNEL_HEADER_BYTES;
      bytes.copyWithin(to, from, from + nextLength);
      to += nextLength;
      next = nextEnd;
      if (nextLength < length) break;
    }
    const channel = (bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0);
    for (const { client, relay } of attempts) {
      const peer = client.peerOf(channel);
      if (peer === undefined) continue;
      client.heard(now);
      this.#options.deliver(peer, bytes.subarray(start, to), length, relay.local);
      return next;
    }
    this.#count("channelDataUnmatched");
    return next;
  }

  /** As {@linkcode reachesFrom}, which is too slow to be asked for each train. */
  #hasWay(local: number, to: SocketAddress, relayed: readonly SocketAddress[]): boolean {
    const last = this.#way;
    if (last?.to === to && last.local === local) return last.exists;
    const exists = reachesFrom(relayed, to.hostname);
    this.#way = { local, to, exists };
    return exists;
  }

  /** Who uses the relay at an address, by the node's socket. */
  #attemptsAt(source: SocketAddress): readonly Attempt[] {
    if (this.#races.length === 0) return NOBODY;
    // The driver gives one object for one address.
    if (this.#last?.source === source) return this.#last.attempts;
    const attempts = this.#races.flatMap((race) =>
      race.attempts.filter(({ client, transport }) =>
        transport.kind === "udp" && sameAddress(client.server, source)
      )
    );
    this.#last = { source, attempts };
    return attempts;
  }

  /** Asks for permissions for every address of every peer, and for the relays themselves. */
  #permit(now: Instant): void {
    this.#peersChanged = false;
    const hostnames = new Set<string>();
    for (const { info } of this.#races) {
      for (const transport of info.transports) {
        const address = transport.kind === "websocket"
          ? undefined
          : parseSocketAddress(transport.address);
        if (address !== undefined) hostnames.add(address.hostname);
      }
    }
    for (const { relayed } of this.#ends) {
      for (const { hostname } of relayed) hostnames.add(hostname);
    }
    for (const addresses of this.#peers.values()) {
      for (const hostname of addresses) hostnames.add(hostname);
    }
    for (const race of this.#races) {
      const { current } = race;
      if (current === undefined) continue;
      const { client } = current;
      client.setPeers(now, [...hostnames].filter((name) => reachesFrom(client.relayed, name)));
      race.drain(now, current);
    }
  }

  #capOf(now: Instant, local: number): SendCap {
    const known = this.#caps.get(local);
    if (known !== undefined) return known;
    const made = new SendCap(now);
    this.#caps.set(local, made);
    return made;
  }

  #changed(): void {
    this.#relaysChanged = true;
    // A new allocation knows nobody, also one at the address of the old one.
    this.#peersChanged = true;
    this.#last = undefined;
    this.#way = undefined;
    const ends = this.#races.flatMap(({ local, current }): readonly RelayEnd[] =>
      current === undefined
        ? []
        : [{ local, relayed: current.client.relayed, draining: current.draining }]
    );
    if (JSON.stringify(ends) === JSON.stringify(this.#ends)) return;
    this.#ends = ends;
    this.#localsChanged = true;
  }

  #count(name: string, by = 1): void {
    this.#counters.set(name, (this.#counters.get(name) ?? 0) + by);
  }
}

const NOBODY: readonly Attempt[] = [];

/** The size of the data of the ChannelData message between `at` and `end`, or -1 if there is none. */
function lengthOf(bytes: Uint8Array, at: number, end: number): number {
  if (at + CHANNEL_HEADER_BYTES > end || (bytes[at] ?? 0) >> 4 !== 4) return -1;
  const length = (bytes[at + 2] ?? 0) << 8 | (bytes[at + 3] ?? 0);
  return at + CHANNEL_HEADER_BYTES + length > end ? -1 : length;
}
