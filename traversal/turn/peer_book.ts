/**
 * Whom an allocation lets in and speaks to: permissions by address, channels by address and port (RFC 8656 sections 9 and 12).
 *
 * ```text
 *   permission   lives 300 s, renewed every 240 s while the address is wanted or spoken to
 *   channel      lives 600 s and renews the permission with it, renewed every 240 s while it is spoken over,
 *                its number given to nobody else for 300 s after its end
 * ```
 *
 * Only the book: what is to be asked for comes out of {@linkcode PeerBook.due}, what became of it goes into
 * {@linkcode PeerBook.permitted} and {@linkcode PeerBook.bound}.
 *
 * @module
 */
import { after, earlier, type Instant, type SocketAddress } from "../../core/mod.ts";
import { CHANNEL_MAX, CHANNEL_MIN } from "./channel_data.ts";

/** Addresses with a permission at once; wanted ones over it are left out, spoken-to ones push the longest silent out. */
export const PERMISSIONS_MAX = 512;
/** Peers with a channel at once; the others are spoken to by indications. */
export const CHANNELS_MAX = 256;
/** Peers, by address and port, of which anything is known; the longest silent is forgotten. */
export const PEERS_MAX = 1024;

/** Permissions and channels are renewed this long after the server last confirmed them. */
const RENEW_MS = 240_000;
/** RFC 8656 section 12: a channel lives for ten minutes, and its number rests for five more. */
const CHANNEL_LIFE_MS = 600_000;
const CHANNEL_REST_MS = 300_000;
/** An address or peer that nothing was sent to for this long, and that is not wanted, is not renewed. */
const IDLE_MS = 300_000;
/** What the server has refused is asked for again after this time. */
const REFUSED_MS = 300_000;
/** Datagrams sent to a peer before it gets a channel without having answered. */
const SENT_BEFORE_CHANNEL = 8;
const NUMBERS = CHANNEL_MAX - CHANNEL_MIN + 1;

type State = "none" | "asked" | "granted" | "refused";

interface Permission {
  readonly hostname: string;
  state: State;
  /** When to ask, again or first. */
  askAt: Instant;
  wanted: boolean;
  usedAt: Instant;
}

/** A peer that is spoken to. */
export interface TurnPeer {
  /** Where it is. */
  readonly address: SocketAddress;
  /** Its channel's number; `undefined` before it was asked for. */
  channel: number | undefined;
  /** How its channel does. */
  state: State;
  /** When to ask for the channel again. */
  askAt: Instant;
  /** When something was last sent to it. */
  usedAt: Instant;
  /** Datagrams sent without a channel. */
  sent: number;
}

/** What has to be asked of the server. */
export interface DuePermissions {
  /** Addresses without a permission, or with an old one. */
  readonly addresses: readonly string[];
  /** Peers without a channel, or with an old one; each has a number. */
  readonly peers: readonly TurnPeer[];
}

/** Permissions and channels of one allocation. */
export class PeerBook {
  readonly #permissions = new Map<string, Permission>();
  readonly #peers = new Map<string, TurnPeer>();
  readonly #byChannel = new Map<number, TurnPeer>();
  /** Numbers that must not be given to another peer, and until when. */
  readonly #resting = new Map<number, { readonly key: string; readonly until: Instant }>();
  #nextChannel: number;
  #last: TurnPeer | undefined;
  #dropped = 0;
  #dueAt: Instant | undefined;

  /** An empty book that gives numbers from `firstChannel` on. */
  constructor(firstChannel: number) {
    this.#nextChannel = firstChannel;
  }

  /** Addresses and peers left out or forgotten at a limit. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The number that the next channel gets. */
  get nextChannel(): number {
    return this.#nextChannel;
  }

  /** Channels that carry. */
  get channels(): number {
    let count = 0;
    for (const { state } of this.#byChannel.values()) if (state === "granted") count++;
    return count;
  }

  /** Replaces the addresses that must always be let in. Those over {@linkcode PERMISSIONS_MAX} are left out. */
  want(now: Instant, hostnames: Iterable<string>): void {
    for (const permission of this.#permissions.values()) permission.wanted = false;
    for (const hostname of hostnames) {
      const known = this.#permissions.get(hostname);
      if (known !== undefined) known.wanted = true;
      else if (this.#permissions.size >= PERMISSIONS_MAX) this.#dropped++;
      else this.#addPermission(now, hostname, true);
    }
  }

  /** The peer to whom a datagram is sent now. Notes the use, and gives the peer what it lacks. */
  use(now: Instant, address: SocketAddress): TurnPeer {
    const last = this.#last;
    const peer = last?.address === address ? last : this.#find(now, address);
    this.#last = peer;
    peer.usedAt = now;
    if (peer.state === "granted") return peer;
    const permission = this.#permissions.get(address.hostname) ??
      this.#addPermission(now, address.hostname, false);
    permission.usedAt = now;
    if (peer.state === "none" && ++peer.sent >= SENT_BEFORE_CHANNEL) this.#wantChannel(now, peer);
    return peer;
  }

  /** Something came from a peer without a channel: it deserves one as soon as it is spoken to. */
  heard(now: Instant, address: SocketAddress): void {
    const peer = this.#peers.get(keyOf(address));
    if (peer?.state === "none") this.#wantChannel(now, peer);
  }

  /** The peer that has a channel. */
  withChannel(channel: number): TurnPeer | undefined {
    return this.#byChannel.get(channel);
  }

  /** Takes what has to be asked for now; it counts as asked for. */
  due(now: Instant): DuePermissions {
    const addresses: string[] = [];
    const peers: TurnPeer[] = [];
    if (this.#dueAt === undefined || now < this.#dueAt) return { addresses, peers };
    this.#dueAt = undefined;
    for (const [number, { until }] of this.#resting) {
      if (now >= until) this.#resting.delete(number);
    }
    for (const [key, peer] of this.#peers) this.#askForChannel(now, { key, peer, peers });
    for (const permission of this.#permissions.values()) {
      if (permission.state === "asked") continue;
      const { wanted, usedAt, hostname } = permission;
      if (!wanted && now - usedAt >= IDLE_MS) this.#permissions.delete(hostname);
      else if (now < permission.askAt) this.#at(permission.askAt);
      else {
        permission.state = "asked";
        addresses.push(hostname);
      }
    }
    return { addresses, peers };
  }

  /** When {@linkcode PeerBook.due} may have something; `undefined` for never. May be early. */
  pollTimeout(): Instant | undefined {
    return this.#dueAt;
  }

  /** Takes the server's answer about an address; `later`: it did not answer. */
  permitted(now: Instant, hostname: string, answer: "granted" | "refused" | "later"): void {
    const permission = this.#permissions.get(hostname);
    if (permission === undefined) return;
    permission.state = answer === "later" ? "none" : answer;
    permission.askAt = after(now, answer === "granted" ? RENEW_MS : REFUSED_MS);
    this.#at(permission.askAt);
  }

  /** Whether the server refuses to let an address in. */
  isRefused(hostname: string): boolean {
    return this.#permissions.get(hostname)?.state === "refused";
  }

  /** Takes the server's answer about a peer's channel. */
  bound(now: Instant, peer: TurnPeer, answer: "granted" | "refused" | "later"): void {
    if (this.#peers.get(keyOf(peer.address)) !== peer) return;
    if (answer === "granted") {
      peer.state = "granted";
      peer.askAt = after(now, RENEW_MS);
      this.permitted(now, peer.address.hostname, "granted");
    } else {
      this.#release(now, peer);
      peer.state = answer === "refused" ? "refused" : "none";
      peer.sent = 0;
      peer.askAt = after(now, REFUSED_MS);
    }
    this.#at(peer.askAt);
  }

  #askForChannel(
    now: Instant,
    { key, peer, peers }: {
      readonly key: string;
      readonly peer: TurnPeer;
      readonly peers: TurnPeer[];
    },
  ): void {
    const idle = now - peer.usedAt >= IDLE_MS;
    if (peer.state === "asked" && peer.askAt <= now && peer.channel !== undefined) {
      // Wanted and not yet handed out, or handed out and not answered: the latter has no instant.
      peer.askAt = NEVER;
      peers.push(peer);
    } else if (peer.state === "granted" && now >= peer.askAt) {
      if (idle) {
        this.#release(now, peer);
        this.#peers.delete(key);
      } else {
        peer.askAt = NEVER;
        peers.push(peer);
      }
    } else if (peer.state === "refused" && now >= peer.askAt) peer.state = "none";
    else if (peer.state === "none" && idle) this.#peers.delete(key);
    if (peer.askAt > now && peer.askAt !== NEVER && peer.state !== "none") this.#at(peer.askAt);
  }

  #find(now: Instant, address: SocketAddress): TurnPeer {
    const key = keyOf(address);
    const known = this.#peers.get(key);
    if (known !== undefined) return known;
    if (this.#peers.size >= PEERS_MAX) this.#forgetOne(now);
    const peer: TurnPeer = {
      address,
      channel: undefined,
      state: "none",
      askAt: now,
      usedAt: now,
      sent: 0,
    };
    this.#peers.set(key, peer);
    return peer;
  }

  /** Forgets the peer that was longest not spoken to. */
  #forgetOne(now: Instant): void {
    let oldest: [string, TurnPeer] | undefined;
    for (const entry of this.#peers) {
      if (oldest === undefined || entry[1].usedAt < oldest[1].usedAt) oldest = entry;
    }
    if (oldest === undefined) return;
    this.#release(now, oldest[1]);
    this.#peers.delete(oldest[0]);
    this.#dropped++;
  }

  #addPermission(now: Instant, hostname: string, wanted: boolean): Permission {
    if (this.#permissions.size >= PERMISSIONS_MAX) {
      let oldest: Permission | undefined;
      for (const permission of this.#permissions.values()) {
        if (oldest === undefined || permission.usedAt < oldest.usedAt) oldest = permission;
      }
      if (oldest !== undefined) this.#permissions.delete(oldest.hostname);
      this.#dropped++;
    }
    const permission: Permission = { hostname, state: "none", askAt: now, wanted, usedAt: now };
    this.#permissions.set(hostname, permission);
    this.#at(now);
    return permission;
  }

  #wantChannel(now: Instant, peer: TurnPeer): void {
    const channel = this.#number(now, keyOf(peer.address));
    if (channel === undefined) return;
    peer.channel = channel;
    peer.state = "asked";
    peer.askAt = now;
    this.#byChannel.set(channel, peer);
    this.#at(now);
  }

  /** A free number, the one that the peer had if it rests. */
  #number(now: Instant, key: string): number | undefined {
    for (const [number, rest] of this.#resting) {
      if (rest.key === key && !this.#byChannel.has(number)) {
        this.#resting.delete(number);
        return number;
      }
    }
    if (this.#byChannel.size >= CHANNELS_MAX) return undefined;
    for (let tries = 0; tries < NUMBERS; tries++) {
      const number = this.#nextChannel;
      this.#nextChannel = number >= CHANNEL_MAX ? CHANNEL_MIN : number + 1;
      const rest = this.#resting.get(number);
      if (!this.#byChannel.has(number) && (rest === undefined || now >= rest.until)) return number;
    }
    return undefined;
  }

  /** Lets a channel run out at the server; its number rests as long as the server may know it, and five minutes more. */
  #release(now: Instant, peer: TurnPeer): void {
    const { channel } = peer;
    if (channel === undefined) return;
    peer.channel = undefined;
    this.#byChannel.delete(channel);
    const until = after(now, CHANNEL_LIFE_MS + CHANNEL_REST_MS);
    this.#resting.set(channel, { key: keyOf(peer.address), until });
  }

  #at(instant: Instant): void {
    this.#dueAt = earlier(this.#dueAt, instant);
  }
}

/** An instant that never comes: asked, and not answered yet. */
const NEVER = Infinity as Instant;

function keyOf({ hostname, port }: SocketAddress): string {
  return `${hostname} ${port}`;
}
