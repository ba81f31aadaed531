/**
 * How a mesh node makes itself known: what Discovery can do, the node's own addresses, when they are registered, and when
 * they are looked for again. Pure.
 *
 * ```text
 *   start --serverInfo--> first STUN answer, or 600 ms --register--> announced
 *                              ^                                        |  own address changes, link changes, sleep
 *                              +----------------------------------------+
 * ```
 *
 * @module
 */
import { after, earlier, type Instant, type Rng } from "../core/mod.ts";
import type { DiscoveryFeatures } from "../discovery/mod.ts";
import { Retry } from "./pace.ts";
import { Registrar } from "./registrar.ts";
import type { CandidateInfo } from "./shared/mod.ts";
import type { NatStatus } from "./status.ts";

/** How long the first registration waits for a STUN answer: two round trips around the world. */
const FIRST_CANDIDATES_MS = 600;
/** Waits before something is asked again that failed. */
const RETRY = { first: 2000, longest: 60_000 };
/** Least time between two inquiries of all STUN servers. */
const REGATHER_GAP_MS = 5000;
/** Changes of links come in bursts, an address after its carrier, a route after its address: so often at most they are taken up. */
const LINK_GAP_MS = 250;

/** What is due. */
export interface PresenceDue {
  /** Ask what the server can do. */
  readonly serverInfo: boolean;
  /** Register; an answer to {@linkcode Presence.registered} or {@linkcode Presence.notRegistered} must follow. */
  readonly register: boolean;
  /** Tell the datapath that the links have changed. */
  readonly linkChanged: boolean;
  /** A path is in doubt: ask the STUN servers again, and open the connections to Discovery anew. */
  readonly doubted: boolean;
}

/** A node's presence in its mesh. */
export class Presence {
  readonly #registrar: Registrar;
  readonly #info: Retry;
  #features: DiscoveryFeatures | undefined;
  #candidates: readonly CandidateInfo[] = [];
  #nat: NatStatus | undefined;
  /** Own addresses that changed since the last registration, so that peers know old ones. */
  #refused = false;
  #unannounced = false;
  /** When to register although no STUN server has answered. */
  #firstAt: Instant | undefined;
  #regatheredAt: Instant | undefined;
  #regatherAt: Instant | undefined;
  #linkTakenAt: Instant | undefined;
  #linkAt: Instant | undefined;

  /** A node that nobody knows. */
  constructor(rng: Rng) {
    this.#registrar = new Registrar(rng);
    this.#info = new Retry(rng, RETRY);
  }

  /** What the server can do; `undefined` before it has said. */
  get features(): DiscoveryFeatures | undefined {
    return this.#features;
  }

  /** Own candidates, best first. */
  get candidates(): readonly CandidateInfo[] {
    return this.#candidates;
  }

  /** The NAT in front of this node, once known. */
  get nat(): NatStatus | undefined {
    return this.#nat;
  }

  /** Whether the node was ever registered in this run. */
  get known(): boolean {
    return this.#registrar.registered;
  }

  /**
   * Whether peers that look this node up now find its present addresses: a punch before that would send them to the wrong
   * place. Where the registration fails, what they have must do.
   */
  get announced(): boolean {
    const { registered, underWay, failing } = this.#registrar;
    return registered && !underWay && (failing || !this.#unannounced);
  }

  /** Begins. */
  start(now: Instant): void {
    this.#info.begin(now);
  }

  /** Takes own candidates, without those that are useless to others. Returns whether a STUN server sees this node elsewhere. */
  handleCandidates(now: Instant, candidates: readonly CandidateInfo[], nat: NatStatus): boolean {
    const before = seenAt(this.#candidates);
    const present = seenAt(candidates);
    const elsewhere = before.some((address) => !present.includes(address)) &&
      present.some((address) => !before.includes(address));
    const moved = JSON.stringify(candidates) !== JSON.stringify(this.#candidates);
    const renamed = nat.hint !== this.#nat?.hint;
    this.#candidates = candidates;
    this.#nat = nat;
    if (moved) this.#unannounced = true;
    if (this.#firstAt !== undefined && present.length > 0) this.#firstAt = now;
    if (moved || renamed) this.#registrar.changed(now);
    return elsewhere;
  }

  /** Takes what the server can do, and whether there is any STUN server to wait for. */
  handleServerInfo(
    now: Instant,
    { features, stun }: { readonly features: DiscoveryFeatures; readonly stun: boolean },
  ): void {
    this.#features = features;
    if (this.known) return;
    if (stun && seenAt(this.#candidates).length === 0) {
      this.#firstAt = after(now, FIRST_CANDIDATES_MS);
    } else this.#registrar.begin(now);
  }

  /** The server did not say what it can do. */
  noServerInfo(now: Instant): void {
    this.#info.later(now);
  }

  /** Discovery answers again: a registration that it has not taken need not wait for its turn. */
  handleDiscovery(now: Instant): void {
    if (this.#registrar.failing) this.#registrar.begin(now);
  }

  /** The registration stands. */
  registered(now: Instant, ttlMs: number): void {
    this.#refused = false;
    this.#registrar.succeeded(now, ttlMs);
  }

  /** The registration was not taken; `refused`: not for want of an answer. */
  notRegistered(now: Instant, { refused = false }: { readonly refused?: boolean } = {}): void {
    this.#unannounced = true;
    this.#refused = refused;
    this.#registrar.failed(now);
  }

  /** Discovery does not know the node any more. */
  forgotten(now: Instant): void {
    // Who is refused is asked for again in its turn, whatever else is refused with it.
    if (!this.#refused) this.#registrar.begin(now);
  }

  /** The links have changed, or the machine has slept. */
  handleLinkChanged(now: Instant, sleptMs: number): void {
    const taken = this.#linkTakenAt;
    const soonest = taken === undefined ? now : after(taken, LINK_GAP_MS);
    this.#linkAt = earlier(this.#linkAt, soonest > now ? soonest : now);
    // The registration's life went on while this machine's clock stood still.
    if (sleptMs > 0 && this.known) this.#registrar.begin(now);
    if (this.#info.at !== undefined) this.#info.begin(now);
  }

  /** A path is in doubt: the mappings in front of this node may be gone, and the connections to Discovery with them. */
  doubt(now: Instant): void {
    const last = this.#regatheredAt;
    const soonest = last === undefined ? now : after(last, REGATHER_GAP_MS);
    this.#regatherAt ??= soonest > now ? soonest : now;
  }

  /** Takes what is due now. */
  take(now: Instant): PresenceDue {
    if (this.#firstAt !== undefined && now >= this.#firstAt) {
      this.#firstAt = undefined;
      this.#registrar.begin(now);
    }
    const register = this.#registrar.take(now);
    if (register) this.#unannounced = false;
    const linkChanged = this.#linkAt !== undefined && now >= this.#linkAt;
    if (linkChanged) {
      this.#linkAt = undefined;
      this.#linkTakenAt = now;
    }
    const doubted = this.#regatherAt !== undefined && now >= this.#regatherAt;
    // A change of the links has them asked too.
    if (linkChanged || doubted) {
      this.#regatherAt = undefined;
      this.#regatheredAt = now;
    }
    return { serverInfo: this.#info.take(now), register, linkChanged, doubted };
  }

  /** When {@linkcode Presence.take} has something. */
  pollTimeout(): Instant | undefined {
    const registerAt = earlier(this.#firstAt, this.#registrar.pollTimeout());
    const changeAt = earlier(this.#linkAt, this.#regatherAt);
    return earlier(earlier(registerAt, this.#info.at), changeAt);
  }
}

/** Where others have seen the node. */
function seenAt(candidates: readonly CandidateInfo[]): readonly string[] {
  return candidates.filter(({ kind }) => kind === "serverReflexive").map(({ address }) => address);
}
