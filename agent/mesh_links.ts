/**
 * How a mesh node stands with each of its peers, and what follows: whom it begins to connect to, and towards whom it wants to
 * punch. Pure.
 *
 * ```text
 *   add() --> none --reached()--> direct <-----------> relayed     each of them doubted() until trusted()
 *               ^                   |  lost()             |
 *               +-------------------+---------------------+        all but direct: punches, for ever
 * ```
 *
 * @module
 */
import { earlier, type Instant, parseSocketAddress, type Rng } from "../core/mod.ts";
import type { MeshOutbox } from "./mesh_outbox.ts";
import type { MeshPeer, Role } from "./mesh_peers.ts";
import { Pace } from "./pace.ts";
import { Puncher } from "./puncher.ts";
import type { PathKind } from "./status.ts";

/** After a change of its links or its public address a node punches towards all of so few peers; more notice by themselves. */
const FEW_PEERS = 16;
/** Peers that the node begins to connect to: each costs a key exchange, and all of them answer. */
const CONNECT_PACE = { perSecond: 100, burst: 64 };

/** Missing peers that are looked up at once; the others follow in turn. */
export const LOOK_UPS_MAX = 8;

/** How the node stands with one peer. */
export interface Link {
  /** The peer. */
  readonly peer: MeshPeer;
  /** How it is reached. */
  readonly path: PathKind;
  /** Whether nothing is heard of it although something should be. */
  readonly doubted: boolean;
  /** What Discovery said of the last punch, for `status`. */
  readonly hint: string | undefined;
  /** When it was last looked up because nothing is heard of it. */
  readonly lookedUpAt: Instant | undefined;
}

/** The same for the one who keeps it. */
type MutableLink = { -readonly [K in keyof Link]: Link[K] };

/** The links of a node: one for each peer, as many as its owner has. */
export class MeshLinks {
  readonly #role: Role;
  readonly #publicKey: string;
  readonly #outbox: MeshOutbox;
  readonly #byKey = new Map<string, MutableLink>();
  /** Those of them that nothing is heard of by any path. */
  readonly #silent = new Set<MutableLink>();
  /** Peers that no session was asked for yet. */
  readonly #connecting = new Set<MeshPeer>();
  readonly #connectPace: Pace;
  readonly #puncher: Puncher;

  /** No links. */
  constructor(
    { now, rng, role, publicKey, outbox }: {
      /** The present. */
      readonly now: Instant;
      /** Entropy for jitter. */
      readonly rng: Rng;
      /** What this node is. */
      readonly role: Role;
      /** Our own key, base64. */
      readonly publicKey: string;
      /** Where commands go. */
      readonly outbox: MeshOutbox;
    },
  ) {
    this.#role = role;
    this.#publicKey = publicKey;
    this.#outbox = outbox;
    this.#connectPace = new Pace(now, CONNECT_PACE);
    this.#puncher = new Puncher(now, rng);
  }

  /** Every link. */
  get all(): Iterable<Link> {
    return this.#byKey.values();
  }

  /** The link to the peer with a key. */
  find(publicKey: string): Link | undefined {
    return this.#byKey.get(publicKey);
  }

  /**
   * Whether this node is the one of the two that asks for punches: an agent towards its colony, which has many to care for, and of two
   * agents the one whose key is the lesser.
   */
  asks({ role, publicKey }: Pick<MeshPeer, "role" | "publicKey">): boolean {
    return this.#role === "agent" && (role === "colony" || this.#publicKey < publicKey);
  }

  /** Whether what becomes of a peer says something of this node's own mappings, and of Discovery: a fellow that is not reached does not. */
  #counts({ role }: MeshPeer): boolean {
    return this.#role === "colony" || role === "colony";
  }

  /** Why a peer is not reached, as far as Discovery knows: one clause for a person; `undefined` for nothing. `asked`: whether it answers. */
  hintOf(publicKey: string, asked: boolean): string | undefined {
    const link = this.#byKey.get(publicKey);
    if (link === undefined || link.path === "direct") return undefined;
    if (link.peer.goneAt !== undefined) {
      return this.#counts(link.peer)
        ? "it is not registered with Discovery any more"
        : "the colony does not see it any more";
    }
    return asked ? link.hint : "Discovery does not answer";
  }

  /** Whether there is a peer that is not reached directly, or in doubt, although Discovery knows it. */
  get doubtful(): boolean {
    for (const link of this.#byKey.values()) {
      if (!isFine(link) && link.peer.goneAt === undefined && this.#counts(link.peer)) return true;
    }
    return false;
  }

  /** Whether there is a peer that nothing is heard of by any path, although Discovery knows it. */
  get missing(): boolean {
    for (const { peer } of this.#silent) {
      if (peer.goneAt === undefined && this.#counts(peer)) return true;
    }
    return false;
  }

  /** Takes the missing peers that are to be looked up now: those first whose turn was longest ago. */
  takeMissing(now: Instant): readonly string[] {
    const missing = [...this.#silent].filter(({ peer }) =>
      peer.goneAt === undefined && this.#counts(peer)
    );
    missing.sort((a, b) => (a.lookedUpAt ?? -1) - (b.lookedUpAt ?? -1));
    const taken = missing.slice(0, LOOK_UPS_MAX);
    for (const link of taken) link.lookedUpAt = now;
    return taken.map(({ peer }) => peer.publicKey);
  }

  /** Begins with a peer: asks for a session, and for a punch if this node is the one that asks. */
  add(now: Instant, peer: MeshPeer): Link {
    const link: MutableLink = {
      peer,
      path: "none",
      doubted: false,
      hint: undefined,
      lookedUpAt: undefined,
    };
    this.#silent.add(link);
    this.#byKey.set(peer.publicKey, link);
    this.#connecting.add(peer);
    if (this.asks(peer)) this.#puncher.soon(peer.publicKey, now);
    return link;
  }

  /** Forgets a peer. */
  forget({ peer }: Link): void {
    const link = this.#byKey.get(peer.publicKey);
    if (link !== undefined) this.#silent.delete(link);
    this.#byKey.delete(peer.publicKey);
    this.#puncher.forget(peer.publicKey);
    this.#connecting.delete(peer);
  }

  /** A peer is reached. Returns its link, and whether it was not connected before; `undefined` for a stranger. */
  reached(
    now: Instant,
    publicKey: string,
    { remote, relayed = false }: { readonly remote: string; readonly relayed?: boolean },
  ): { readonly link: Link; readonly first: boolean } | undefined {
    const link = this.#byKey.get(publicKey);
    if (link === undefined) return undefined;
    const { peer } = link;
    const first = !peer.connected;
    peer.connected = true;
    link.path = relayed ? "relayed" : "direct";
    link.doubted = false;
    this.#silent.delete(link);
    if (!relayed) peer.lastRemote = parseSocketAddress(remote);
    if (link.path === "direct") {
      this.#puncher.done(publicKey);
      link.hint = undefined;
    } else if (!this.#puncher.wants(publicKey)) this.#puncher.soon(publicKey, now);
    return { link, first };
  }

  /** Nothing is heard of a peer that should answer. Returns its link if that is news. */
  doubted(publicKey: string): Link | undefined {
    const link = this.#byKey.get(publicKey);
    if (link === undefined || link.doubted) return undefined;
    link.doubted = true;
    this.#silent.add(link);
    return link;
  }

  /** A doubted peer is heard of again. */
  trusted(publicKey: string): void {
    const link = this.#byKey.get(publicKey);
    if (link === undefined || !link.doubted) return;
    link.doubted = false;
    if (link.path !== "none") this.#silent.delete(link);
    if (link.path === "direct") this.#puncher.done(publicKey);
  }

  /** A peer's path is lost. Returns its link. */
  lost(publicKey: string): Link | undefined {
    const link = this.#byKey.get(publicKey);
    if (link === undefined) return undefined;
    link.peer.connected = false;
    link.path = "none";
    link.doubted = false;
    this.#silent.add(link);
    return link;
  }

  /** Notes what Discovery said of the last punch towards a peer. */
  hint(publicKey: string, hint: string | undefined): void {
    const link = this.#byKey.get(publicKey);
    if (link !== undefined) link.hint = hint;
  }

  /** Wants a punch towards a peer at `at`. */
  punch(publicKey: string, at: Instant): void {
    this.#puncher.soon(publicKey, at);
  }

  /** Wants a punch towards every peer that is not reached directly, unless it is the one that asks. */
  punchAll(at: Instant): void {
    for (const link of this.#byKey.values()) {
      const { publicKey, goneAt } = link.peer;
      if (isFine(link) || goneAt !== undefined) continue;
      if (this.asks(link.peer) || this.#puncher.wants(publicKey)) {
        this.#puncher.soon(publicKey, at);
      }
    }
  }

  /** Wants a punch towards every peer, however well it seems to be reached, where there are few of them. */
  punchFew(at: Instant): void {
    if (this.#byKey.size <= FEW_PEERS) {
      for (const publicKey of this.#byKey.keys()) this.#puncher.soon(publicKey, at);
      return;
    }
    this.punchAll(at);
    // An agent's only one.
    for (const { peer } of this.#byKey.values()) {
      if (peer.role === "colony") this.#puncher.soon(peer.publicKey, at);
    }
  }

  /** Wants no punch towards a peer any more. */
  punchNoMore(publicKey: string): void {
    this.#puncher.done(publicKey);
  }

  /** Takes the next peer to punch towards; {@linkcode MeshLinks.answered} must follow. */
  takePunch(now: Instant): string | undefined {
    for (let publicKey; (publicKey = this.#puncher.take(now)) !== undefined;) {
      if (this.#byKey.get(publicKey)?.peer.goneAt === undefined) return publicKey;
      this.#puncher.done(publicKey);
    }
    return undefined;
  }

  /** The punch that was taken is over or has failed. */
  answered(publicKey: string, now: Instant): void {
    this.#puncher.answered(publicKey, now);
  }

  /** Takes part in a punch, whoever asked for it. Returns false for a known one. */
  joined(publicKey: string, punch: Parameters<Puncher["joined"]>[1]): boolean {
    return this.#puncher.joined(publicKey, punch);
  }

  /** Both sides punch. Where nothing but suspicion asked for it, once is enough. */
  punched(link: Link | undefined): void {
    if (link !== undefined && isFine(link)) this.#puncher.done(link.peer.publicKey);
  }

  /** Asks for the sessions that are due. */
  connectDue(now: Instant): void {
    for (const peer of this.#connecting) {
      if (!this.#connectPace.take(now)) break;
      this.#connecting.delete(peer);
      this.#outbox.peerCommand({ kind: "connectPeer", publicKey: peer.publicKey });
    }
  }

  /** When {@linkcode MeshLinks.connectDue} has something, or a punch is due, where those are `allowed`. */
  pollTimeout(now: Instant, allowed: boolean): Instant | undefined {
    const at = this.#connecting.size > 0 ? this.#connectPace.nextAt(now) : undefined;
    return allowed ? earlier(at, this.#puncher.pollTimeout(now)) : at;
  }
}

function isFine({ path, doubted }: Link): boolean {
  return path === "direct" && !doubted;
}
