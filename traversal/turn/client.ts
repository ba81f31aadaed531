/**
 * A TURN client with one server: allocates, keeps the allocation, its permissions and channels alive, and says what
 * datagrams of a relayed peer look like on the wire.
 *
 * ```text
 *               Allocate                 success
 *  allocating ------------> (401, 438, 300, 437) ------> allocated --- Refresh, CreatePermission, ChannelBind, Binding
 *      |  error, no answer                                  |  437, 441, no answer, another mapped address
 *      v                                                    v
 *    failed                                               lost                 stop(): Refresh with LIFETIME 0
 * ```
 *
 * It never opens a second allocation by itself: the owner makes a new client, uses it as soon as it is allocated, and only then stops the
 * old one.
 *
 * A Binding request now and then keeps the NAT's mapping, tells whether the relay lives, and shows when this side's address has
 * changed: the relay knows clients by address and port, so that an allocation is lost with them.
 *
 * @module
 */
import {
  after,
  type Datagram,
  earlier,
  type Family,
  familyOf,
  type Instant,
  type Machine,
  type Rng,
  sameAddress,
  type SocketAddress,
  type Transmit,
} from "../../core/mod.ts";
import {
  ALTERNATE_SERVER,
  decodeAddress,
  decodeStun,
  encodeStun,
  ERROR_TRY_ALTERNATE,
  findAttribute,
  METHOD_BINDING,
  type StunAttribute,
  type StunMessage,
  TRANSACTION_ID_BYTES,
  xorAddressAttribute,
  xorMappedAddress,
} from "../stun/codec.ts";
import type { StunCredentials } from "../stun/integrity.ts";
import {
  ADDITIONAL_ADDRESS_FAMILY,
  ADDITIONAL_ADDRESS_FAMILY_COTURN,
  DATA,
  ERROR_ADDRESS_FAMILY,
  ERROR_ALLOCATION_MISMATCH,
  familyAttribute,
  lifetimeAttribute,
  lifetimeOf,
  METHOD_ALLOCATE,
  METHOD_DATA,
  METHOD_REFRESH,
  METHOD_SEND,
  REQUESTED_ADDRESS_FAMILY,
  requestedTransportAttribute,
  XOR_PEER_ADDRESS,
  XOR_RELAYED_ADDRESS,
  xorAddressesOf,
  xorAddressOf,
} from "./attributes.ts";
import { Authentication } from "./authentication.ts";
import { CHANNEL_MIN, decodeChannelData } from "./channel_data.ts";
import { Liveness } from "./liveness.ts";
import { limitedOf } from "./limited.ts";
import { PeerBook } from "./peer_book.ts";
import { PeerRequests } from "./peer_requests.ts";
import { type TurnOutcome, type TurnRequest, TurnRequests, wordsOf } from "./requests.ts";
import type { RelayedDatagram, TurnClientOptions, TurnEvent } from "./turn_event.ts";

/** Lifetime asked for, the RFC's default. */
const LIFETIME_SECONDS = 600;
/** A Refresh goes out this long before the end, and after half of the time at the latest. */
const REFRESH_EARLY_MS = 60_000;
/** Redirections followed (300), and allocations of others removed (437), before the client gives up. */
const DETOURS_MAX = 3;
/** After removing an allocation, before the first further attempt; four times as long before each later one. */
const PAUSE_MS = 250;
const KEEPALIVE_MS = 25_000;
/**
 * Whether it lives is asked eight times within two seconds: where a tenth of all datagrams is lost, one in 590,000 finds a relay dead that
 * lives. Over a stream it is asked once, and answered within four seconds.
 */
const CHECK_ATTEMPTS = 8;
const CHECK_EVERY_MS = 250;
const STREAM_CHECK_MS = 4_000;
/** Events not yet taken; the oldest is dropped. An owner that drains after each call never has more than two. */
const EVENTS_MAX = 8;

/** One allocation on one relay. */
export class TurnClient implements Machine<TurnEvent> {
  readonly #rng: Rng;
  readonly #reliable: boolean;
  readonly #authentication: Authentication;
  readonly #requests: TurnRequests;
  readonly #book: PeerBook;
  readonly #peers: PeerRequests;
  readonly #liveness: Liveness;
  #families: readonly [Family, Family?];
  #server: SocketAddress;
  #state: "allocating" | "allocated" | "over" = "allocating";
  #relayed: readonly SocketAddress[] = [];
  #mapped: SocketAddress | undefined;
  #rttMs: number | undefined;
  #detours = 0;
  #allocateAt: Instant | undefined;
  #refreshAt: Instant | undefined;
  #events: TurnEvent[] = [];

  /** Starts to allocate. */
  constructor(now: Instant, options: TurnClientOptions) {
    this.#server = options.server;
    this.#rng = options.rng;
    this.#reliable = options.reliable ?? false;
    this.#families = options.families ?? [4, 6];
    this.#authentication = new Authentication(options.credentials);
    this.#requests = new TurnRequests({
      rng: options.rng,
      reliable: this.#reliable,
      authentication: this.#authentication,
    });
    this.#book = new PeerBook(options.firstChannel ?? CHANNEL_MIN);
    this.#peers = new PeerRequests({
      book: this.#book,
      ask: (now, request) => this.#ask(now, request),
      lose: (reason) => this.#lose(reason),
    });
    this.#liveness = new Liveness(now, options.keepaliveMs ?? KEEPALIVE_MS);
    this.#allocate(now);
  }

  /** Where requests go; another one after a redirection. */
  get server(): SocketAddress {
    return this.#server;
  }

  /** How far it is. */
  get state(): "allocating" | "allocated" | "over" {
    return this.#state;
  }

  /** The relayed addresses; none unless allocated. */
  get relayed(): readonly SocketAddress[] {
    return this.#relayed;
  }

  /** Where the server sees this side. */
  get mapped(): SocketAddress | undefined {
    return this.#mapped;
  }

  /** The latest round trip in milliseconds. */
  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  /** When the server was last heard. */
  get heardAt(): Instant {
    return this.#liveness.heardAt;
  }

  /** The number that the next channel gets, for a client that follows this one. */
  get nextChannel(): number {
    return this.#book.nextChannel;
  }

  /** Requests, addresses and peers left out at a limit. */
  get dropped(): number {
    return this.#requests.refused + this.#book.dropped;
  }

  /** Channels that carry. */
  get channels(): number {
    return this.#book.channels;
  }

  /** Takes newer credentials: they sign once those in use are refused. */
  setCredentials(credentials: StunCredentials): void {
    this.#authentication.renew(credentials);
  }

  /** Sets how often the mapping to the server has to be used, in milliseconds. */
  setKeepalive(now: Instant, keepaliveMs: number): void {
    this.#liveness.setKeepalive(now, keepaliveMs);
  }

  /** Replaces the addresses from which peers may reach the relayed address at any time. */
  setPeers(now: Instant, hostnames: Iterable<string>): void {
    this.#book.want(now, [...hostnames].filter((hostname) => this.#relays(hostname)));
    this.#askForPeers(now);
  }

  /** Whether the allocation has an address of a peer's family, and the server lets the peer in as far as is known. */
  reaches({ hostname }: SocketAddress): boolean {
    return this.#relays(hostname) && !this.#book.isRefused(hostname);
  }

  /**
   * The channel for a datagram to a peer; `undefined` as long as it has to be a Send indication. Call it for each datagram or train that is
   * sent: what the peer lacks is asked for.
   */
  channelTo(now: Instant, peer: SocketAddress): number | undefined {
    const known = this.#book.use(now, peer);
    this.#liveness.used(now);
    if (known.state === "granted") return known.channel;
    this.#askForPeers(now);
    return undefined;
  }

  /** Encodes a Send indication. `undefined` for a datagram that is too long for one, or no address. */
  encodeSend(peer: SocketAddress, data: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
    if (data.length > SEND_BYTES_MAX) return undefined;
    const transactionId = this.#rng.bytes(TRANSACTION_ID_BYTES);
    return encodeStun({
      class: "indication",
      method: METHOD_SEND,
      transactionId,
      attributes: [
        xorAddressAttribute(XOR_PEER_ADDRESS, peer, transactionId),
        { type: DATA, value: data },
      ],
    });
  }

  /** The peer that a channel is bound to; `undefined` for a number that is nobody's here. */
  peerOf(channel: number): SocketAddress | undefined {
    return this.#book.withChannel(channel)?.address;
  }

  /** Tells that something came from the server by a channel. */
  heard(now: Instant): void {
    this.#liveness.heard(now);
  }

  /** Opens what came from the server: ChannelData or a Data indication. `undefined` for what is neither, or from nobody known. */
  open(now: Instant, payload: Uint8Array): RelayedDatagram | undefined {
    if (this.#state !== "allocated") return undefined;
    const opened = (payload[0] ?? 0) >> 4 === 4
      ? this.#openChannel(payload)
      : this.#openIndication(now, payload);
    if (opened !== undefined) this.heard(now);
    return opened;
  }

  /** Offers a datagram from the server. Returns whether it is for this client: an answer, or the news that the relay ends. */
  handleInput(now: Instant, { source, payload }: Datagram): boolean {
    if (!sameAddress(source, this.#server)) return false;
    const message = decodeStun(payload);
    if (message === undefined) return false;
    const known = message.class === "indication"
      ? this.#takeNotice(message, payload)
      : this.#requests.handleInput(now, message, payload);
    if (known) this.heard(now);
    return known;
  }

  /** Asks the server whether the allocation is still ours: this side's address may have changed. */
  check(now: Instant): void {
    if (this.#state === "allocated") this.#check(now);
  }

  /** Gives the allocation back: one request, whose answer nobody waits for. */
  stop(): void {
    const allocated = this.#state === "allocated";
    this.#end();
    if (allocated) {
      this.#requests.sendOnce({ method: METHOD_REFRESH, attributes: () => [lifetimeAttribute(0)] });
    }
  }

  /** Does what is due. */
  handleTimeout(now: Instant): void {
    this.#requests.handleTimeout(now);
    if (this.#allocateAt !== undefined && now >= this.#allocateAt) {
      this.#allocateAt = undefined;
      this.#allocate(now);
    }
    if (this.#state !== "allocated") return;
    if (this.#refreshAt !== undefined && now >= this.#refreshAt) this.#refresh(now);
    if (this.#liveness.isDue(now)) this.#check(now);
    this.#askForPeers(now);
  }

  /** Takes the next event. */
  pollEvent(): TurnEvent | undefined {
    return this.#events.shift();
  }

  /** Takes the next message to send. */
  pollTransmit(): Transmit | undefined {
    const payload = this.#requests.pollTransmit();
    return payload && { destination: this.#server, payload };
  }

  /** When {@linkcode TurnClient.handleTimeout} must be called. */
  pollTimeout(): Instant | undefined {
    const requests = this.#requests.pollTimeout();
    if (this.#state !== "allocated") return earlier(requests, this.#allocateAt);
    const own = earlier(this.#refreshAt, this.#liveness.pollTimeout());
    return earlier(earlier(requests, own), this.#book.pollTimeout());
  }

  #allocate(now: Instant): void {
    const [family, additional] = this.#families;
    const attributes: StunAttribute[] = [
      requestedTransportAttribute(),
      lifetimeAttribute(LIFETIME_SECONDS),
    ];
    // The two exclude each other (RFC 8656 section 7.1): IPv4 is what a server gives unasked.
    if (family === 6) attributes.push(familyAttribute(REQUESTED_ADDRESS_FAMILY, 6));
    else if (additional === 6) {
      attributes.push(familyAttribute(ADDITIONAL_ADDRESS_FAMILY, 6));
      attributes.push(familyAttribute(ADDITIONAL_ADDRESS_FAMILY_COTURN, 6));
    }
    this.#requests.start(now, {
      method: METHOD_ALLOCATE,
      attributes: () => attributes,
      onEnd: (now, outcome) => this.#allocateEnded(now, outcome),
    });
  }

  #allocateEnded(now: Instant, outcome: TurnOutcome): void {
    if (this.#state !== "allocating") return;
    if (outcome.kind === "success") return this.#allocated(now, outcome.message, outcome.rttMs);
    if (outcome.kind === "timedOut") return this.#fail(undefined, "no answer");
    const { code, reason, message } = outcome;
    if (this.#detours++ < DETOURS_MAX && this.#detour(now, code, message)) return;
    this.#fail(code, wordsOf(code, reason));
  }

  /** Another attempt that an error leads to. Returns whether there is one. */
  #detour(now: Instant, code: number, message: StunMessage): boolean {
    switch (code) {
      case ERROR_TRY_ALTERNATE: {
        const value = findAttribute(message, ALTERNATE_SERVER);
        const server = value && decodeAddress(value);
        if (server === undefined || server.port === 0) return false;
        if (sameAddress(server, this.#server)) return false;
        if (this.#reliable) {
          this.#end();
          this.#emit({ kind: "redirected", server });
        } else {
          this.#server = server;
          this.#allocate(now);
        }
        return true;
      }
      case ERROR_ALLOCATION_MISMATCH:
        // What this address and port had in an earlier life: with the same credentials it is ours to remove.
        this.#requests.start(now, {
          method: METHOD_REFRESH,
          attributes: () => [lifetimeAttribute(0)],
          onEnd: (now) => {
            if (this.#state === "allocating") this.#allocateAt = after(now, this.#pauseMs());
          },
        });
        return true;
      case ERROR_ADDRESS_FAMILY:
        if (this.#families[1] === undefined) return false;
        this.#families = [this.#families[0]];
        this.#allocate(now);
        return true;
      default:
        return false;
    }
  }

  #allocated(now: Instant, message: StunMessage, rttMs: number | undefined): void {
    const addresses = xorAddressesOf(message, XOR_RELAYED_ADDRESS)?.filter(({ port }) => port > 0);
    const relayed = [4, 6].flatMap((family) =>
      addresses?.find(({ hostname }) => familyOf(hostname) === family) ?? []
    );
    if (relayed.length === 0) return this.#fail(0, "the relay names no address");
    this.#state = "allocated";
    this.#relayed = relayed;
    this.#mapped = xorMappedAddress(message);
    this.#rttMs = rttMs ?? this.#rttMs;
    this.#keepFor(now, message);
    this.#liveness.begin(now);
    this.#emit({ kind: "allocated", relayed });
  }

  /** Servers take a while to remove an allocation: coturn 4.6.1 about a second. */
  #pauseMs(): number {
    return PAUSE_MS * 4 ** (this.#detours - 1);
  }

  #keepFor(now: Instant, message: StunMessage): void {
    const lifeMs = (lifetimeOf(message) ?? LIFETIME_SECONDS) * 1000;
    this.#refreshAt = after(now, Math.max(lifeMs / 2, lifeMs - REFRESH_EARLY_MS));
  }

  #refresh(now: Instant): void {
    this.#refreshAt = undefined;
    this.#ask(now, {
      method: METHOD_REFRESH,
      attributes: () => [lifetimeAttribute(LIFETIME_SECONDS)],
      onEnd: (now, outcome) => {
        if (outcome.kind === "success") this.#keepFor(now, outcome.message);
        else if (outcome.kind === "timedOut") this.#lose("the relay does not answer");
        else this.#lose(wordsOf(outcome.code, outcome.reason));
      },
    });
  }

  #check(now: Instant): void {
    const unheard = this.#liveness.isUnheard;
    if (!this.#liveness.ask()) return;
    this.#ask(now, {
      method: METHOD_BINDING,
      attributes: () => [],
      signed: false,
      attempts: CHECK_ATTEMPTS,
      everyMs: CHECK_EVERY_MS,
      streamWaitMs: STREAM_CHECK_MS,
      onEnd: (now, outcome) => {
        if (outcome.kind === "timedOut") return this.#lose("the relay does not answer");
        this.#liveness.answered(now);
        if (outcome.kind === "error") return;
        this.#rttMs = outcome.rttMs ?? this.#rttMs;
        const mapped = xorMappedAddress(outcome.message);
        const moved = mapped !== undefined && !this.#reliable && this.#mapped !== undefined &&
          !sameAddress(mapped, this.#mapped);
        if (moved) return this.#lose("this side's address has changed");
        // A relay that has started anew answers, and knows nothing of the allocation.
        if (unheard && this.#refreshAt !== undefined) this.#refresh(now);
      },
    });
  }

  #askForPeers(now: Instant): void {
    if (this.#state === "allocated") this.#peers.askForDue(now);
  }

  /** A request that only counts while there is an allocation. */
  #ask(now: Instant, request: TurnRequest): void {
    this.#requests.start(now, {
      ...request,
      onEnd: (now, outcome) => {
        if (this.#state === "allocated") request.onEnd(now, outcome);
      },
    });
  }

  #openChannel(payload: Uint8Array): RelayedDatagram | undefined {
    const message = decodeChannelData(payload);
    const peer = message && this.peerOf(message.channel);
    return message && peer && { peer, data: message.data };
  }

  #openIndication(now: Instant, payload: Uint8Array): RelayedDatagram | undefined {
    const message = decodeStun(payload);
    if (message?.class !== "indication" || message.method !== METHOD_DATA) return undefined;
    const peer = xorAddressOf(message, XOR_PEER_ADDRESS);
    const data = findAttribute(message, DATA);
    if (peer === undefined || data === undefined || peer.port === 0) return undefined;
    this.#book.heard(now, peer);
    this.#askForPeers(now);
    return { peer, data };
  }

  /** Takes the news that the relay ends, or drops what a limit does not let through; only who has the key can send either. */
  #takeNotice(message: StunMessage, payload: Uint8Array): boolean {
    if (this.#state !== "allocated" || message.method !== METHOD_REFRESH) return false;
    const signed = this.#authentication.verify(payload, message);
    if (signed === undefined) return false;
    const notice = limitedOf(signed);
    this.#emit(notice === undefined ? { kind: "draining" } : { kind: "limited", notice });
    return true;
  }

  #relays(hostname: string): boolean {
    const family = familyOf(hostname);
    return this.#relayed.some((address) => familyOf(address.hostname) === family);
  }

  #fail(code: number | undefined, reason: string): void {
    this.#end();
    this.#emit({ kind: "failed", code, reason });
  }

  #lose(reason: string): void {
    if (this.#state !== "allocated") return;
    this.#end();
    this.#emit({ kind: "lost", reason });
  }

  #end(): void {
    this.#state = "over";
    this.#allocateAt = undefined;
    this.#relayed = [];
    this.#requests.clear();
  }

  #emit(event: TurnEvent): void {
    this.#events.push(event);
    if (this.#events.length > EVENTS_MAX) this.#events.shift();
  }
}

/** Longest datagram in an indication: what the attributes and IP leave of 64 KiB. */
const SEND_BYTES_MAX = 65_000;
