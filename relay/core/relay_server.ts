/**
 * A TURN server (RFC 8656) without sockets and clock.
 *
 * ```text
 *   client ---- STUN ------> Authenticator --> Requests --> answer           allocations, permissions, channels
 *          ---- ChannelData, Send --> the channel or permission, the limits --> sendToPeer
 *          <--- ChannelData, Data --- the permission, the limits <------------ handlePeer <---- peer
 * ```
 *
 * Datagrams come as trains and leave as trains: the header of ChannelData is the same for all of a train but the last, so that the sockets
 * put it in or leave it out without a copy. What one client of the relay sends to another never leaves the process.
 *
 * @module
 */
import { after, earlier, type Instant, type Rng, type SocketAddress } from "../../core/mod.ts";
import {
  answerBinding,
  decodeStun,
  DONT_FRAGMENT,
  ERROR_UNKNOWN_ATTRIBUTE,
  lifetimeAttribute,
  limitedAttribute,
  METHOD_ALLOCATE,
  METHOD_BINDING,
  METHOD_CHANNEL_BIND,
  METHOD_CREATE_PERMISSION,
  METHOD_REFRESH,
  METHOD_SEND,
  RFC_8656_ATTRIBUTES,
  signStun,
  SourceLimiter,
  type StunAttribute,
  type StunMessage,
  TRANSACTION_ID_BYTES,
  unknownAttributesAttribute,
  unknownRequired,
} from "../../traversal/mod.ts";
import type { Allocation, Owner } from "./allocation.ts";
import { AllocationTable, type SessionUsage } from "./allocation_table.ts";
import { unsignedRefusal } from "./answers.ts";
import { Authenticator } from "./authenticator.ts";
import { Counters } from "./counters.ts";
import { EndedFlows } from "./ended_flows.ts";
import type { Flow, RelaySink } from "./flow.ts";
import { Forwarder } from "./forwarder.ts";
import { isOfMesh, type RelayLimits, ScopeTable } from "./limits.ts";
import { Nonces } from "./nonces.ts";
import { PeerFilter } from "./peer_filter.ts";
import { type PortRange, RelayedPorts } from "./relayed_ports.ts";
import { Requests, type SignedRequest } from "./requests.ts";
import { RevokedSessions } from "./revoked_sessions.ts";

/** How often what has expired is looked for. */
const SWEEP_MS = 1000;
/** A client is told so often that the relay ends, and at this distance: datagrams get lost, and nobody answers to an indication. */
const DRAIN_TELLS = 5;
const DRAIN_TELL_MS = 200;
/** Least time between two words to a client about what limits drop. */
const LIMIT_TELL_MS = 10_000;
const NONCE_KEY_BYTES = 32;
const FIRST_CHANNEL_BYTE = 0x40;
const BAD_REQUEST = 400;

const METHODS: ReadonlySet<number> = new Set([
  METHOD_ALLOCATE,
  METHOD_REFRESH,
  METHOD_CREATE_PERMISSION,
  METHOD_CHANNEL_BIND,
]);

/** Options of {@linkcode RelayServer}. */
export interface RelayServerOptions {
  /** The sockets. */
  readonly sink: RelaySink;
  /** Chooses ports, nonces' key, tokens and transaction ids. */
  readonly rng: Rng;
  /** Now, unix milliseconds: user names say until when they are good. */
  readonly unixMs: () => number;
  /** The secret that the passwords of the REST scheme are made of. */
  readonly secret: string;
  /** What REALM says. Longer than 20 characters, it makes the 401 too long for short requests, which then get no answer. */
  readonly realm: string;
  /** The address for peers, of each family that is relayed. */
  readonly externalIps: readonly string[];
  /** Addresses of this host, where only relayed ports may be sent to. */
  readonly ownAddresses: readonly string[];
  /** Lets private, loopback and link-local peers through. */
  readonly allowPrivatePeers: boolean;
  /** UDP ports of this host that are for peers as relayed ports are. @default [] */
  readonly ownPorts?: readonly number[];
  /** Takes sessions of one mesh only, by the tag that begins their ids. Absent: any session. */
  readonly onlyMesh?: string;
  /** How much for whom. */
  readonly limits: RelayLimits;
  /** Where relayed ports are. */
  readonly portRange: PortRange;
  /** What SOFTWARE says. */
  readonly software: string;
  /** Whether the sockets can forbid splitting; otherwise DONT-FRAGMENT is unknown here (420). */
  readonly canForbidSplitting: boolean;
}

/** A TURN server. */
export class RelayServer {
  readonly #options: RelayServerOptions;
  readonly #counters = new Counters();
  readonly #forwarder: Forwarder;
  readonly #ports: RelayedPorts;
  readonly #table: AllocationTable;
  readonly #requests: Requests;
  readonly #nonces: Nonces;
  readonly #authenticator: Authenticator;
  readonly #revoked: RevokedSessions;
  readonly #ended: EndedFlows;
  readonly #unproven: SourceLimiter;
  readonly #known: ReadonlySet<number>;
  #sweepAt: Instant;
  #tellAt: Instant | undefined;
  #tells = 0;

  /** A relay without clients. */
  constructor(now: Instant, options: RelayServerOptions) {
    this.#options = options;
    const { sink, rng, limits, externalIps, allowPrivatePeers, software } = options;
    const counters = this.#counters;
    const filter = new PeerFilter({
      allowPrivatePeers,
      ownAddresses: new Set([...options.ownAddresses, ...externalIps]),
      ownPorts: new Set(options.ownPorts ?? []),
    });
    const scopes = new ScopeTable(limits.scopes);
    const { reservationsMax } = limits;
    const ports = new RelayedPorts({ sink, rng, range: options.portRange, reservationsMax });
    const table = new AllocationTable({ ports, scopes, externalIps, counters });
    this.#ports = ports;
    this.#table = table;
    this.#requests = new Requests({
      table,
      ports,
      scopes,
      filter,
      limits,
      externalIps,
      software,
      counters,
    });
    this.#revoked = new RevokedSessions(counters);
    this.#ended = new EndedFlows(counters);
    this.#nonces = new Nonces(rng.bytes(NONCE_KEY_BYTES));
    const { secret, realm, unixMs, onlyMesh } = options;
    this.#authenticator = new Authenticator({
      secret,
      realm,
      unixMs,
      nonces: this.#nonces,
      ended: this.#ended,
      accepts: (session) =>
        !this.#revoked.has(session) && (onlyMesh === undefined || isOfMesh(session, onlyMesh)),
    });
    this.#unproven = new SourceLimiter({
      ratePerSecond: limits.unprovenPerSecond,
      burst: limits.unprovenBurst,
    });
    this.#known = options.canForbidSplitting
      ? RFC_8656_ATTRIBUTES
      : new Set([...RFC_8656_ATTRIBUTES].filter((type) => type !== DONT_FRAGMENT));
    this.#forwarder = new Forwarder({ table, filter, sink, counters, rng, known: this.#known });
    this.#sweepAt = after(now, SWEEP_MS);
  }

  /** Allocations now. */
  get allocations(): number {
    return this.#table.size;
  }

  /** Whether a flow has an allocation. */
  hasAllocation(now: Instant, flow: Flow): boolean {
    return this.#table.of(now, flow) !== undefined;
  }

  /** What it has done, by name. */
  counters(): Record<string, number> {
    return { ...this.#counters.all(), unprovenRefused: this.#unproven.refused };
  }

  /** Takes what sessions have relayed since it was last taken, `max` sessions at most; the rest waits. */
  takeUsage(max: number): readonly SessionUsage[] {
    return this.#table.takeUsage(max);
  }

  /**
   * Takes datagrams of a client, or messages of its stream: `segment` bytes each, the last maybe shorter, that lie one after another,
   * borrowed for the call. Whatever they are, nothing is thrown.
   */
  handleClient(now: Instant, flow: Flow, bytes: Uint8Array, segment: number): void {
    for (let at = 0; at < bytes.length;) {
      const size = Math.min(segment, bytes.length - at);
      if ((bytes[at] ?? 0) < FIRST_CHANNEL_BYTE) {
        this.#handleStun(now, flow, bytes.subarray(at, at + size));
        at += size;
      } else {
        at += this.#forwarder.handleChannelData(now, flow, bytes.subarray(at), segment);
      }
    }
  }

  /** Takes datagrams that came to the relayed address of a number, as {@linkcode RelayServer.handleClient}. */
  handlePeer(
    now: Instant,
    relayed: number,
    source: SocketAddress,
    { bytes, segment }: { readonly bytes: Uint8Array; readonly segment: number },
  ): void {
    const entry = this.#table.ofNumber(relayed);
    if (entry === undefined) return this.#counters.add("peerLate");
    this.#forwarder.deliver(now, entry.allocation, source, { bytes, segment, skip: 0 });
  }

  /** A stream has ended, and with it its allocation (RFC 8656 section 7.3). */
  handleEnd(now: Instant, flow: Flow): void {
    const allocation = this.#table.of(now, flow);
    if (allocation !== undefined) this.#table.remove(allocation);
  }

  /** Ends a session, and takes its credentials no more: whoever gave them has taken them back. */
  revoke(now: Instant, session: string): void {
    if (!this.#revoked.add(now, session)) return;
    this.#counters.add("revoked");
    for (const allocation of [...this.#table.all()]) {
      if (allocation.owner.session !== session) continue;
      this.#table.remove(allocation);
      this.#options.sink.endFlow(allocation.flow);
    }
  }

  /** Ends what has expired, and tells again what may have been lost. */
  handleTimeout(now: Instant): void {
    if (this.#tellAt !== undefined && now >= this.#tellAt) this.#tellOfDrain(now);
    if (now < this.#sweepAt) return;
    this.#sweepAt = after(now, SWEEP_MS);
    const ended = this.#table.sweep(now);
    this.#ports.sweep(now);
    this.#revoked.sweep(now);
    this.#ended.sweep(now);
    if (ended.length > 0) this.#counters.add("expired", ended.length);
    for (const allocation of this.#table.all()) this.#tellOfLimit(now, allocation);
    for (const { flow } of ended) this.#options.sink.endFlow(flow);
  }

  /** When {@linkcode RelayServer.handleTimeout} is due. */
  pollTimeout(): Instant {
    return earlier(this.#sweepAt, this.#tellAt) ?? this.#sweepAt;
  }

  /**
   * Takes nobody new from now on, and ends what there is after `ms`. Clients are told at once, and some times again in the next
   * second, by a signed Refresh indication with the seconds that they have left: those that know none ignore it, and learn of it when
   * they refresh.
   */
  drain(now: Instant, ms: number, alternate?: SocketAddress): void {
    const until = after(now, ms);
    this.#requests.drain = alternate === undefined ? { until } : { until, alternate };
    for (const allocation of this.#table.all()) {
      if (allocation.expiresAt > until) allocation.expiresAt = until;
    }
    this.#tells = 0;
    this.#tellOfDrain(now);
  }

  /** Ends all allocations. */
  close(): void {
    for (const allocation of [...this.#table.all()]) {
      this.#table.remove(allocation);
      this.#options.sink.endFlow(allocation.flow);
    }
    this.#ports.sweep(Infinity as Instant);
  }

  #tellOfDrain(now: Instant): void {
    this.#tells++;
    this.#tellAt = this.#tells < DRAIN_TELLS ? after(now, DRAIN_TELL_MS) : undefined;
    for (const { flow, expiresAt, owner } of this.#table.all()) {
      // A stream loses nothing.
      if (this.#tells > 1 && flow.protocol !== "udp") continue;
      const seconds = Math.max(0, Math.floor((expiresAt - now) / 1000));
      this.#indicate(flow, owner, [lifetimeAttribute(seconds)]);
    }
  }

  /** Tells a client that it is limited: within a second, then at most every ten seconds while more is dropped. */
  #tellOfLimit(now: Instant, allocation: Allocation): void {
    const { flow, owner, limits, toldPackets, tellAt } = allocation;
    if (limits.packets === toldPackets || now < tellAt) return;
    allocation.toldPackets = limits.packets;
    allocation.tellAt = after(now, LIMIT_TELL_MS);
    this.#counters.add("limitsTold");
    this.#indicate(flow, owner, [limitedAttribute(limits)]);
  }

  /** Sends a Refresh indication that the client knows to be ours. */
  #indicate(
    flow: Flow,
    { key, integrity }: Owner,
    attributes: readonly StunAttribute[],
  ): void {
    const message: StunMessage = {
      class: "indication",
      method: METHOD_REFRESH,
      transactionId: this.#options.rng.bytes(TRANSACTION_ID_BYTES),
      attributes,
    };
    const signed = signStun(message, key, { integrity, fingerprint: true });
    this.#options.sink.sendMessage(flow, signed);
  }

  #handleStun(now: Instant, flow: Flow, bytes: Uint8Array): void {
    const message = decodeStun(bytes);
    if (message === undefined) return this.#counters.add("malformed");
    if (message.class === "request") {
      if (message.method === METHOD_BINDING) return this.#answerBinding(now, flow, bytes);
      if (METHODS.has(message.method)) return this.#handleRequest(now, flow, bytes, message);
    }
    if (message.class === "indication" && message.method === METHOD_SEND) {
      return this.#forwarder.handleSend(now, flow, message);
    }
    this.#counters.add("ignored");
  }

  #answerBinding(now: Instant, flow: Flow, bytes: Uint8Array): void {
    if (!this.#admitUnproven(now, flow)) return;
    const answer = answerBinding({ source: flow.source, payload: bytes });
    if (answer !== undefined) this.#options.sink.sendMessage(flow, answer.payload);
  }

  #handleRequest(now: Instant, flow: Flow, bytes: Uint8Array, message: StunMessage): void {
    const allocation = this.#table.of(now, flow);
    const verdict = this.#authenticator.check(now, flow, { bytes, message }, {
      known: allocation?.owner,
      admits: () => allocation === undefined || allocation.requests.take(now),
    });
    if (verdict.kind === "limited") return this.#counters.add("requestsLimited");
    if (verdict.kind === "refused") {
      return this.#challenge(now, flow, { bytes, message, code: verdict.code });
    }
    const { owner, request } = verdict;
    const signed: SignedRequest = { flow, owner, request, allocation };
    const unknown = unknownRequired(request, this.#known);
    const answer = unknown.length === 0
      ? this.#requests.handle(now, signed)
      : this.#requests.refuse(signed, {
        code: ERROR_UNKNOWN_ATTRIBUTE,
        attributes: [unknownAttributesAttribute(unknown)],
      });
    const isOver = allocation !== undefined && this.#table.of(now, flow) === undefined;
    if (isOver) this.#ended.add(now, flow);
    this.#options.sink.sendMessage(flow, answer);
  }

  #challenge(now: Instant, flow: Flow, { bytes, message, code }: {
    readonly bytes: Uint8Array;
    readonly message: StunMessage;
    readonly code: number;
  }): void {
    if (!this.#admitUnproven(now, flow)) return;
    const { realm, software } = this.#options;
    const answer = unsignedRefusal(message, code, {
      requestBytes: bytes.length,
      isProven: flow.protocol !== "udp",
      // 400 asks for no other credentials.
      ...(code === BAD_REQUEST ? {} : { realm }),
      nonce: (features) => {
        const notBefore = this.#ended.notBefore(flow);
        return this.#nonces.issue(now, flow.source, { features, notBefore });
      },
      software,
    });
    this.#counters.add(answer === undefined ? "refusedInSilence" : `refused:${code}`);
    if (answer !== undefined) this.#options.sink.sendMessage(flow, answer);
  }

  #admitUnproven(now: Instant, { source }: Flow): boolean {
    return this.#unproven.admit(now, source.hostname);
  }
}
