/**
 * What the relay answers to signed requests: Allocate, Refresh, CreatePermission, ChannelBind (RFC 8656 sections 7 to 12).
 *
 * @module
 */
import {
  after,
  equals,
  type Family,
  familyOf,
  type Instant,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  ADDITIONAL_ADDRESS_FAMILY,
  addressErrorAttribute,
  ALTERNATE_SERVER,
  CHANNEL_MAX_RFC_5766,
  CHANNEL_MIN,
  channelNumberOf,
  encodeAddress,
  ERROR_ADDRESS_FAMILY,
  ERROR_ALLOCATION_MISMATCH,
  ERROR_ALLOCATION_QUOTA,
  ERROR_BAD_REQUEST,
  ERROR_FORBIDDEN,
  ERROR_INSUFFICIENT_CAPACITY,
  ERROR_PEER_ADDRESS_FAMILY,
  ERROR_TRANSPORT_PROTOCOL,
  ERROR_TRY_ALTERNATE,
  ERROR_WRONG_CREDENTIALS,
  EVEN_PORT,
  evenPortOf,
  familyAttributeOf,
  findAttribute,
  lifetimeAttribute,
  lifetimeOf,
  METHOD_ALLOCATE,
  METHOD_CHANNEL_BIND,
  METHOD_CREATE_PERMISSION,
  METHOD_REFRESH,
  PROTOCOL_UDP,
  REQUESTED_ADDRESS_FAMILY,
  requestedTransportOf,
  RESERVATION_TOKEN,
  reservationTokenAttribute,
  reservationTokenOf,
  type StunAttribute,
  type StunMessage,
  XOR_MAPPED_ADDRESS,
  XOR_PEER_ADDRESS,
  XOR_RELAYED_ADDRESS,
  xorAddressAttribute,
  xorAddressesOf,
  xorAddressOf,
} from "../../traversal/mod.ts";
import { Allocation, type Owner, type RelayedAddress } from "./allocation.ts";
import type { AllocationTable } from "./allocation_table.ts";
import { reasonOf, type Refusal, signedAnswer } from "./answers.ts";
import type { Counters } from "./counters.ts";
import type { Flow } from "./flow.ts";
import type { RelayLimits, ScopeTable } from "./limits.ts";
import type { PeerFilter } from "./peer_filter.ts";
import type { OpenPort, RelayedPorts } from "./relayed_ports.ts";

/** Life of an allocation where the client asks for less, or nothing (RFC 8656 section 3.2). */
export const LIFETIME_SECONDS = 600;
/** Longest life (RFC 8656 section 7.2). */
export const LIFETIME_SECONDS_MAX = 3600;

/** A relay that takes nobody new and soon ends. */
export interface Drain {
  /** When it ends. */
  readonly until: Instant;
  /** Where clients may go. Absent: they have to know. */
  readonly alternate?: SocketAddress;
}

/** A signed request. */
export interface SignedRequest {
  /** Who sent it. */
  readonly flow: Flow;
  /** Who signed it. */
  readonly owner: Owner;
  /** What was signed. */
  readonly request: StunMessage;
  /** The allocation of the flow. */
  readonly allocation: Allocation | undefined;
}

/** Options of {@linkcode Requests}. */
export interface RequestsOptions {
  /** The allocations. */
  readonly table: AllocationTable;
  /** The ports for new ones. */
  readonly ports: RelayedPorts;
  /** Whose they are. */
  readonly scopes: ScopeTable;
  /** Which peers there are. */
  readonly filter: PeerFilter;
  /** The limits. */
  readonly limits: RelayLimits;
  /** The relay's address for peers, of each family that it relays. */
  readonly externalIps: readonly string[];
  /** What SOFTWARE says. */
  readonly software: string;
  /** Counts. */
  readonly counters: Counters;
}

type Result = { readonly attributes: readonly StunAttribute[] } | Refusal;

/** Answers them. */
export class Requests {
  readonly #options: RequestsOptions;
  /** Set once the relay drains. */
  drain: Drain | undefined;

  /** No allocations yet. */
  constructor(options: RequestsOptions) {
    this.#options = options;
  }

  /** Does what a request asks, and returns the answer as bytes. The method is one of the four. */
  handle(now: Instant, signed: SignedRequest): Uint8Array {
    const { request, owner } = signed;
    if (request.method === METHOD_ALLOCATE) return this.#allocate(now, signed);
    return this.#answer(request, this.#onAllocation(now, signed), owner);
  }

  /** Refuses a request that was signed. */
  refuse({ request, owner }: SignedRequest, refusal: Refusal): Uint8Array {
    return this.#answer(request, refusal, owner);
  }

  #answer(request: StunMessage, result: Result, owner: Owner): Uint8Array {
    if ("code" in result) this.#options.counters.add(`refused:${result.code}`);
    return signedAnswer(request, result, { owner, software: this.#options.software });
  }

  #onAllocation(now: Instant, { request, owner, allocation }: SignedRequest): Result {
    if (allocation === undefined) return { code: ERROR_ALLOCATION_MISMATCH };
    if (owner.session !== allocation.owner.session) return { code: ERROR_WRONG_CREDENTIALS };
    // A session goes on under a renewed user name.
    allocation.owner = owner;
    switch (request.method) {
      case METHOD_REFRESH:
        return this.#refresh(now, allocation, request);
      case METHOD_CREATE_PERMISSION:
        return this.#createPermission(now, allocation, request);
      case METHOD_CHANNEL_BIND:
        return this.#bindChannel(now, allocation, request);
      default:
        return { code: ERROR_BAD_REQUEST };
    }
  }

  #allocate(now: Instant, { flow, owner, request, allocation }: SignedRequest): Uint8Array {
    if (allocation !== undefined) {
      // The answer was lost, and the request is here again.
      if (equals(allocation.transactionId, request.transactionId)) return allocation.answer;
      return this.#answer(request, { code: ERROR_ALLOCATION_MISMATCH }, owner);
    }
    const wish = wishOf(request, this.#options.externalIps);
    if ("code" in wish) return this.#answer(request, wish, owner);
    if (this.drain !== undefined) return this.#answer(request, this.#drained(this.drain), owner);
    const scopes = this.#options.scopes.enter(now, owner.session);
    if (typeof scopes === "string") {
      this.#options.counters.add(`quota:${scopes}`);
      const code = scopes === "total" ? ERROR_INSUFFICIENT_CAPACITY : ERROR_ALLOCATION_QUOTA;
      return this.#answer(request, { code }, owner);
    }
    const opened = this.#open(now, wish);
    if (opened === undefined) {
      this.#options.scopes.leave(scopes);
      return this.#answer(request, { code: ERROR_INSUFFICIENT_CAPACITY }, owner);
    }
    const seconds = this.#lifetime(now, lifetimeOf(request));
    const relayed = opened.ports.map((port) => this.#relayedOf(port));
    const { transactionId } = request;
    const answer = this.#answer(request, {
      attributes: [
        ...relayed.map(({ address }) =>
          xorAddressAttribute(XOR_RELAYED_ADDRESS, address, transactionId)
        ),
        ...opened.attributes,
        lifetimeAttribute(seconds),
        xorAddressAttribute(XOR_MAPPED_ADDRESS, flow.source, transactionId),
      ],
    }, owner);
    this.#options.table.add(
      new Allocation(now, {
        flow,
        scopes,
        requestsPerSecond: this.#options.limits.requestsPerSecond,
        relayed,
        owner,
        expiresAt: after(now, seconds * 1000),
        transactionId: transactionId.slice(),
        answer,
      }),
    );
    this.#options.counters.add("allocated");
    return answer;
  }

  #open(now: Instant, { family, both, even, token }: Wish): Opened | undefined {
    const { ports, externalIps } = this.#options;
    if (token !== undefined) {
      const port = ports.redeem(now, token);
      return port && { ports: [port], attributes: [] };
    }
    const opened: OpenPort[] = [];
    const attributes: StunAttribute[] = [];
    for (const wanted of both ? [4, 6] as const : [family]) {
      const isRelayed = familiesOf(externalIps).has(wanted);
      const taken = !isRelayed
        ? undefined
        : even === undefined
        ? { port: ports.take(wanted), token: undefined }
        : ports.takeEven(now, wanted, even.reserveNext);
      if (taken?.token !== undefined) attributes.push(reservationTokenAttribute(taken.token));
      if (taken?.port !== undefined) opened.push(taken.port);
      else if (both) attributes.push(missing(wanted, isRelayed));
    }
    return opened.length === 0 ? undefined : { ports: opened, attributes };
  }

  #relayedOf({ number, port, family }: OpenPort): RelayedAddress {
    const hostname = this.#options.externalIps.find((ip) => familyOf(ip) === family) ?? "";
    return { number, family, address: { hostname, port } };
  }

  #drained({ alternate }: Drain): Refusal {
    const value = alternate && encodeAddress(alternate);
    return value === undefined
      ? { code: ERROR_INSUFFICIENT_CAPACITY }
      : { code: ERROR_TRY_ALTERNATE, attributes: [{ type: ALTERNATE_SERVER, value }] };
  }

  #refresh(now: Instant, allocation: Allocation, request: StunMessage): Result {
    const family = familyAttributeOf(request, REQUESTED_ADDRESS_FAMILY);
    if (family === "unknown") return { code: ERROR_ADDRESS_FAMILY };
    if (family !== undefined && allocation.relayedOf(family) === undefined) {
      return { code: ERROR_PEER_ADDRESS_FAMILY };
    }
    const wanted = lifetimeOf(request);
    if (wanted === 0) {
      for (const relayed of allocation.relayed) {
        if (family === undefined || relayed.family === family) {
          this.#options.table.release(allocation, relayed.family);
        }
      }
      this.#options.counters.add("released");
      return { attributes: [lifetimeAttribute(0)] };
    }
    const seconds = this.#lifetime(now, wanted);
    allocation.expiresAt = after(now, seconds * 1000);
    return { attributes: [lifetimeAttribute(seconds)] };
  }

  #createPermission(now: Instant, allocation: Allocation, request: StunMessage): Result {
    const peers = xorAddressesOf(request, XOR_PEER_ADDRESS);
    if (peers === undefined || peers.length === 0) return { code: ERROR_BAD_REQUEST };
    const refusal = peers.map((peer) => this.#refuses(allocation, peer)).find((code) => code !== 0);
    if (refusal !== undefined) return { code: refusal };
    const added = new Set(
      peers.map(({ hostname }) => hostname).filter((name) => !allocation.hasPermission(name)),
    );
    const { permissionsMax } = this.#options.limits;
    if (allocation.permissions + added.size > permissionsMax) allocation.sweep(now);
    if (allocation.permissions + added.size > permissionsMax) {
      return { code: ERROR_INSUFFICIENT_CAPACITY };
    }
    for (const { hostname } of peers) allocation.permit(now, hostname);
    return { attributes: [] };
  }

  #bindChannel(now: Instant, allocation: Allocation, request: StunMessage): Result {
    const number = channelNumberOf(request);
    const peer = xorAddressOf(request, XOR_PEER_ADDRESS);
    // RFC 8656 leaves 0x5000 and above to others; coturn's client draws from all that RFC 5766 has.
    if (number === undefined || number < CHANNEL_MIN || number > CHANNEL_MAX_RFC_5766) {
      return { code: ERROR_BAD_REQUEST };
    }
    if (peer === undefined || peer.port === 0) return { code: ERROR_BAD_REQUEST };
    const refusal = this.#refuses(allocation, peer);
    if (refusal !== 0) return { code: refusal };
    const { filter, table, limits } = this.#options;
    if (filter.isOwn(peer) && table.ofAddress(peer) === undefined) {
      return { code: ERROR_FORBIDDEN };
    }
    if (allocation.channels >= limits.channelsMax) allocation.sweep(now);
    const bound = allocation.channel(now, number);
    const ofPeer = allocation.channelTo(now, peer);
    // Neither may be bound elsewhere (RFC 8656 section 12.2).
    if (bound !== ofPeer) return { code: ERROR_BAD_REQUEST };
    if (bound === undefined && allocation.channels >= limits.channelsMax) {
      return { code: ERROR_INSUFFICIENT_CAPACITY };
    }
    if (
      !allocation.hasPermission(peer.hostname) && allocation.permissions >= limits.permissionsMax
    ) {
      return { code: ERROR_INSUFFICIENT_CAPACITY };
    }
    allocation.bind(now, number, peer);
    return { attributes: [] };
  }

  /** The error for a peer that this allocation may not have; 0 for one that it may. */
  #refuses(allocation: Allocation, { hostname }: SocketAddress): number {
    if (allocation.relayedOf(familyOf(hostname)) === undefined) return ERROR_PEER_ADDRESS_FAMILY;
    if (!this.#options.filter.refuses(hostname)) return 0;
    this.#options.counters.add("peersRefused");
    return ERROR_FORBIDDEN;
  }

  /** What a client gets when it asks for so many seconds. */
  #lifetime(now: Instant, wanted: number | undefined): number {
    const seconds = Math.min(LIFETIME_SECONDS_MAX, Math.max(LIFETIME_SECONDS, wanted ?? 0));
    if (this.drain === undefined) return seconds;
    return Math.max(0, Math.min(seconds, Math.floor((this.drain.until - now) / 1000)));
  }
}

/** Ports for an allocation, and what the answer says besides. */
interface Opened {
  readonly ports: readonly OpenPort[];
  readonly attributes: readonly StunAttribute[];
}

/** What a client wants allocated. */
interface Wish {
  readonly family: Family;
  /** An IPv6 address too. */
  readonly both: boolean;
  readonly even: { readonly reserveNext: boolean } | undefined;
  readonly token: Uint8Array | undefined;
}

/** Reads an Allocate request in the order of RFC 8656 section 7.2. */
function wishOf(request: StunMessage, externalIps: readonly string[]): Wish | Refusal {
  const has = (type: number): boolean => findAttribute(request, type) !== undefined;
  const transport = requestedTransportOf(request);
  if (transport === undefined) return { code: ERROR_BAD_REQUEST };
  if (transport !== PROTOCOL_UDP) return { code: ERROR_TRANSPORT_PROTOCOL };
  const requested = familyAttributeOf(request, REQUESTED_ADDRESS_FAMILY);
  const additional = familyAttributeOf(request, ADDITIONAL_ADDRESS_FAMILY);
  const token = reservationTokenOf(request);
  const even = evenPortOf(request);
  if (has(RESERVATION_TOKEN)) {
    const excluded = has(EVEN_PORT) || requested !== undefined || additional !== undefined;
    if (excluded || token === undefined) return { code: ERROR_BAD_REQUEST };
  }
  if (has(EVEN_PORT) && even === undefined) return { code: ERROR_BAD_REQUEST };
  if (additional !== undefined) {
    const excluded = requested !== undefined || even?.reserveNext === true;
    // Only IPv6 can be additional (RFC 8656 section 18.11).
    if (excluded || additional !== 6) return { code: ERROR_BAD_REQUEST };
  }
  const family = requested ?? 4;
  const families = familiesOf(externalIps);
  if (family === "unknown") return { code: ERROR_ADDRESS_FAMILY };
  const both = additional !== undefined;
  if (token === undefined && !families.has(family) && !(both && families.has(6))) {
    return { code: ERROR_ADDRESS_FAMILY };
  }
  return { family, both, even, token };
}

/** Says that an allocation for both families lacks one. */
function missing(family: Family, isRelayed: boolean): StunAttribute {
  const code = isRelayed ? ERROR_INSUFFICIENT_CAPACITY : ERROR_ADDRESS_FAMILY;
  return addressErrorAttribute({ family, code, reason: reasonOf(code) });
}

function familiesOf(externalIps: readonly string[]): ReadonlySet<Family> {
  return new Set(externalIps.map(familyOf));
}
