/** One allocation: a client's relayed addresses, whom they may hear, and the channels to them (RFC 8656 sections 5 to 12). @module */
import {
  after,
  type Family,
  familyOf,
  formatSocketAddress,
  type Instant,
  type SocketAddress,
} from "../../core/mod.ts";
import {
  type Integrity,
  type LimitedScope,
  type PasswordAlgorithm,
  TokenBucket,
} from "../../traversal/mod.ts";
import type { Flow } from "./flow.ts";
import type { Scope } from "./limits.ts";

/** Life of a permission (RFC 8656 section 9). */
export const PERMISSION_MS = 300_000;
/** Life of a channel binding (RFC 8656 section 12). */
export const CHANNEL_MS = 600_000;
/** For how many seconds requests may come at once after a rest: a client that joins a mesh asks for many permissions. */
const BURST_SECONDS = 10;

/** Who made an allocation. */
export interface Owner {
  /** The user name that signed last. */
  readonly username: string;
  /** The session that it names: the same for every user name that may use the allocation. */
  readonly session: string;
  /** The key that signs. A secret. */
  readonly key: Uint8Array;
  /** How the key was made. */
  readonly algorithm: PasswordAlgorithm;
  /** The attribute that signs. */
  readonly integrity: Integrity;
}

/** A relayed transport address. */
export interface RelayedAddress {
  /** Its number at the sockets. */
  readonly number: number;
  /** Its family. */
  readonly family: Family;
  /** Its address for peers. */
  readonly address: SocketAddress;
}

/** A channel. */
export interface Channel {
  /** 0x4000 to 0x7FFF. */
  readonly number: number;
  /** Where it leads. */
  readonly peer: SocketAddress;
  /** Until when. */
  expiresAt: Instant;
}

/** What was relayed since somebody last asked. */
export interface Traffic {
  /** Bytes of payload from the client. */
  receivedBytes: number;
  /** Bytes of payload to the client. */
  sentBytes: number;
  /** Datagrams, both ways. */
  packets: number;
}

/** One client's allocation. */
export class Allocation {
  /** The client. */
  readonly flow: Flow;
  /** Whose limits it counts for. */
  readonly scopes: readonly Scope[];
  /** Those of the scopes that limit a rate. */
  readonly limited: readonly Scope[];
  /** The transaction that made it, to know the request again when it is sent again. */
  readonly transactionId: Uint8Array;
  /** What was relayed. */
  readonly traffic: Traffic = { receivedBytes: 0, sentBytes: 0, packets: 0 };
  /** What limits did not let through, and whose limit it was last. */
  readonly limits: { packets: number; scope: LimitedScope } = { packets: 0, scope: "session" };
  /** How much of that the client was told. */
  toldPackets = 0;
  /** When it may be told again. */
  tellAt = 0 as Instant;
  /** How many requests on it may still be looked at. */
  readonly requests: TokenBucket;
  /** Its relayed addresses: one, or one of each family. */
  relayed: readonly RelayedAddress[];
  /** Who signs its requests. */
  owner: Owner;
  /** When it ends. */
  expiresAt: Instant;
  /** What {@linkcode Allocation.transactionId} was answered with. */
  readonly answer: Uint8Array;
  readonly #permissions = new Map<string, Instant>();
  readonly #byNumber = new Map<number, Channel>();
  readonly #byPeer = new Map<string, Channel>();
  /** The peer that was heard last, found again without a text. */
  #last: { readonly source: SocketAddress; readonly channel: Channel } | undefined;
  #lastPermission: { readonly hostname: string; readonly until: Instant } | undefined;

  /** An allocation without permissions. */
  constructor(now: Instant, options: {
    readonly flow: Flow;
    readonly scopes: readonly Scope[];
    readonly requestsPerSecond: number;
    readonly relayed: readonly RelayedAddress[];
    readonly owner: Owner;
    readonly expiresAt: Instant;
    readonly transactionId: Uint8Array;
    readonly answer: Uint8Array;
  }) {
    this.flow = options.flow;
    this.scopes = options.scopes;
    const { requestsPerSecond } = options;
    this.requests = new TokenBucket(now, {
      most: BURST_SECONDS * requestsPerSecond,
      everyMs: 1000 / requestsPerSecond,
    });
    this.limited = options.scopes.filter(({ gate }) => gate.isLimited);
    this.relayed = options.relayed;
    this.owner = options.owner;
    this.expiresAt = options.expiresAt;
    this.transactionId = options.transactionId;
    this.answer = options.answer;
  }

  /** Permissions, expired ones that nobody has swept included. */
  get permissions(): number {
    return this.#permissions.size;
  }

  /** Channels, expired ones that nobody has swept included. */
  get channels(): number {
    return this.#byNumber.size;
  }

  /** The relayed address of a family. */
  relayedOf(family: Family): RelayedAddress | undefined {
    return this.relayed.find((relayed) => relayed.family === family);
  }

  /** Whether a peer's address has a permission. */
  permits(now: Instant, hostname: string): boolean {
    const last = this.#lastPermission;
    if (last?.hostname === hostname) return now < last.until;
    const until = this.#permissions.get(hostname);
    if (until === undefined) return false;
    this.#lastPermission = { hostname, until };
    return now < until;
  }

  /** Whether there is an entry for a peer's address, so that a further permission takes no room. */
  hasPermission(hostname: string): boolean {
    return this.#permissions.has(hostname);
  }

  /** Installs or refreshes a permission. */
  permit(now: Instant, hostname: string): void {
    this.#permissions.set(hostname, after(now, PERMISSION_MS));
    this.#lastPermission = undefined;
  }

  /** The channel of a number while it is bound. */
  channel(now: Instant, number: number): Channel | undefined {
    const channel = this.#byNumber.get(number);
    return channel !== undefined && now < channel.expiresAt ? channel : undefined;
  }

  /** The channel to a peer while it is bound. */
  channelTo(now: Instant, peer: SocketAddress): Channel | undefined {
    let channel = this.#last?.source === peer ? this.#last.channel : undefined;
    if (channel === undefined) {
      channel = this.#byPeer.get(formatSocketAddress(peer));
      if (channel === undefined) return undefined;
      this.#last = { source: peer, channel };
    }
    return now < channel.expiresAt ? channel : undefined;
  }

  /** Binds a channel, or refreshes it, with its permission. The number and the peer must be free, or bound to each other. */
  bind(now: Instant, number: number, peer: SocketAddress): void {
    this.permit(now, peer.hostname);
    const expiresAt = after(now, CHANNEL_MS);
    const known = this.channel(now, number);
    if (known !== undefined) {
      known.expiresAt = expiresAt;
      return;
    }
    this.#unbind(number);
    this.#unbind(this.#byPeer.get(formatSocketAddress(peer))?.number);
    const channel: Channel = { number, peer, expiresAt };
    this.#byNumber.set(number, channel);
    this.#byPeer.set(formatSocketAddress(peer), channel);
  }

  /** Lets go of a family: the other one stays. */
  release(family: Family): void {
    this.relayed = this.relayed.filter((relayed) => relayed.family !== family);
    this.#forget(Infinity as Instant, (hostname) => familyOf(hostname) === family);
  }

  /** Forgets what has expired. */
  sweep(now: Instant): void {
    this.#forget(now, () => true);
  }

  #forget(now: Instant, isMeant: (hostname: string) => boolean): void {
    this.#last = undefined;
    this.#lastPermission = undefined;
    for (const [hostname, until] of this.#permissions) {
      if (until <= now && isMeant(hostname)) this.#permissions.delete(hostname);
    }
    for (const [number, { expiresAt, peer }] of this.#byNumber) {
      if (expiresAt <= now && isMeant(peer.hostname)) this.#unbind(number);
    }
  }

  #unbind(number: number | undefined): void {
    const channel = number === undefined ? undefined : this.#byNumber.get(number);
    if (channel === undefined) return;
    this.#byNumber.delete(channel.number);
    this.#byPeer.delete(formatSocketAddress(channel.peer));
    this.#last = undefined;
  }
}
