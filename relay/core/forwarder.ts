/**
 * Passes datagrams on between clients and peers, as far as permissions, channels and limits let them (RFC 8656 sections 11 and 12).
 *
 * @module
 */
import { familyOf, type Instant, type Rng, type SocketAddress } from "../../core/mod.ts";
import {
  CHANNEL_HEADER_BYTES,
  DATA,
  DONT_FRAGMENT,
  encodeStun,
  findAttribute,
  METHOD_DATA,
  type StunMessage,
  unknownRequired,
  XOR_PEER_ADDRESS,
  xorAddressAttribute,
  xorAddressOf,
} from "../../traversal/mod.ts";
import type { Allocation } from "./allocation.ts";
import type { AllocationTable } from "./allocation_table.ts";
import type { Counters } from "./counters.ts";
import { type Flow, type RelaySink, type Train, trainLength } from "./flow.ts";
import type { PeerFilter } from "./peer_filter.ts";

/** Longest datagram that fits into a Data indication. */
const INDICATION_BYTES_MAX = 65_400;

/** Options of {@linkcode Forwarder}. */
export interface ForwarderOptions {
  /** The allocations. */
  readonly table: AllocationTable;
  /** Which peers there are. */
  readonly filter: PeerFilter;
  /** The sockets. */
  readonly sink: RelaySink;
  /** Counts. */
  readonly counters: Counters;
  /** Chooses transaction ids. */
  readonly rng: Rng;
  /** Attributes that are understood here. */
  readonly known: ReadonlySet<number>;
}

/** Passes them on. */
export class Forwarder {
  readonly #options: ForwarderOptions;

  /** A forwarder. */
  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** Takes a Send indication. */
  handleSend(now: Instant, flow: Flow, message: StunMessage): void {
    const allocation = this.#options.table.of(now, flow);
    const peer = xorAddressOf(message, XOR_PEER_ADDRESS);
    const data = findAttribute(message, DATA);
    // Indications have no answer: what is wrong with them is counted (RFC 8656 section 11.2).
    if (allocation === undefined) return this.#options.counters.add("sendUnallocated");
    if (peer === undefined || peer.port === 0 || data === undefined) {
      return this.#options.counters.add("sendMalformed");
    }
    if (unknownRequired(message, this.#options.known).length > 0) {
      return this.#options.counters.add("sendUnknown");
    }
    if (!allocation.permits(now, peer.hostname)) {
      return this.#options.counters.add("sendUnpermitted");
    }
    const whole = findAttribute(message, DONT_FRAGMENT) !== undefined;
    this.#forward(now, allocation, peer, {
      bytes: data,
      segment: Math.max(1, data.length),
      skip: 0,
    }, whole);
  }

  /** Takes the datagrams at the start of `bytes` that have one header, and returns how many bytes these are. */
  handleChannelData(now: Instant, flow: Flow, bytes: Uint8Array, segment: number): number {
    const size = Math.min(segment, bytes.length);
    const number = (bytes[0] ?? 0) << 8 | (bytes[1] ?? 0);
    const length = CHANNEL_HEADER_BYTES + ((bytes[2] ?? 0) << 8 | (bytes[3] ?? 0));
    if (size < CHANNEL_HEADER_BYTES || length > size) {
      this.#options.counters.add("malformed");
      return size;
    }
    // Padding that was not asked for ends with its datagram.
    const end = length < size ? length : runEnd(bytes, size);
    const allocation = this.#options.table.of(now, flow);
    const channel = allocation?.channel(now, number);
    const train = { bytes: bytes.subarray(0, end), segment: length, skip: CHANNEL_HEADER_BYTES };
    if (allocation === undefined || channel === undefined) {
      this.#options.counters.add("channelUnbound", trainLength(train));
    } else {
      this.#forward(now, allocation, channel.peer, train, false);
    }
    return length < size ? size : end;
  }

  /** Sends what a client has sent on to a peer. */
  #forward(
    now: Instant,
    allocation: Allocation,
    peer: SocketAddress,
    train: Train,
    whole: boolean,
  ): void {
    if (!this.#admit(now, allocation, train, "received")) return;
    const family = familyOf(peer.hostname);
    const relayed = allocation.relayedOf(family);
    if (relayed === undefined) return this.#options.counters.add("sendUnpermitted");
    const neighbour = this.#options.table.ofAddress(peer);
    if (neighbour !== undefined) {
      this.deliver(now, neighbour.allocation, relayed.address, train);
    } else if (this.#options.filter.isOwn(peer)) {
      this.#options.counters.add("peersRefused");
    } else {
      this.#options.sink.sendToPeer(relayed.number, peer, train, whole);
    }
  }

  /** Sends what a peer has sent to a client, if the client wants to hear it. */
  deliver(now: Instant, allocation: Allocation, source: SocketAddress, train: Train): void {
    if (now >= allocation.expiresAt || !allocation.permits(now, source.hostname)) {
      return this.#options.counters.add("peerUnpermitted", trainLength(train));
    }
    if (!this.#admit(now, allocation, train, "sent")) return;
    const channel = allocation.channelTo(now, source);
    if (channel !== undefined) {
      this.#options.sink.sendChannelData(allocation.flow, channel.number, train);
      return;
    }
    const { bytes, segment, skip } = train;
    for (let at = 0; at < bytes.length; at += segment) {
      this.#indicate(allocation.flow, source, bytes.subarray(at + skip, at + segment));
    }
  }

  #indicate(flow: Flow, source: SocketAddress, data: Uint8Array): void {
    if (data.length > INDICATION_BYTES_MAX) return this.#options.counters.add("tooLong");
    const transactionId = this.#options.rng.bytes(12);
    this.#options.sink.sendMessage(
      flow,
      encodeStun({
        class: "indication",
        method: METHOD_DATA,
        transactionId,
        attributes: [
          xorAddressAttribute(XOR_PEER_ADDRESS, source, transactionId),
          { type: DATA, value: data },
        ],
      }),
    );
  }

  /** Counts what passes, and says whether the limits let it. A train passes or is dropped as a whole. */
  #admit(
    now: Instant,
    { limited, limits, traffic }: Allocation,
    train: Train,
    direction: "received" | "sent",
  ): boolean {
    const packets = trainLength(train);
    const bytes = train.bytes.length - packets * train.skip;
    for (const { kind, gate } of limited) {
      if (gate.admits(now, bytes, packets)) continue;
      this.#options.counters.add(`limited:${kind}`, packets);
      limits.packets += packets;
      limits.scope = kind;
      return false;
    }
    for (const { gate } of limited) gate.take(bytes, packets);
    traffic.packets += packets;
    if (direction === "received") traffic.receivedBytes += bytes;
    else traffic.sentBytes += bytes;
    return true;
  }
}

/** Where the run of datagrams ends that have the header of the first; the last one may be shorter. */
function runEnd(bytes: Uint8Array, segment: number): number {
  const [a, b, c, d] = bytes;
  let at = segment;
  for (; at + segment <= bytes.length; at += segment) {
    if (bytes[at] !== a || bytes[at + 1] !== b || bytes[at + 2] !== c || bytes[at + 3] !== d) {
      return at;
    }
  }
  const rest = bytes.length - at;
  const isLast = rest > CHANNEL_HEADER_BYTES && bytes[at] === a && bytes[at + 1] === b &&
    ((bytes[at + 2] ?? 0) << 8 | (bytes[at + 3] ?? 0)) === rest - CHANNEL_HEADER_BYTES;
  return isLast ? bytes.length : at;
}
