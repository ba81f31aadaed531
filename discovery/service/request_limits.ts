/**
 * How much Discovery is asked: requests per second of one address, one key and one mesh, and calls that are under way at once.
 *
 * Whoever is refused is told when to come again. A mesh is counted for those who have proven a key only; where it is used up, each of its
 * members still has a little of its own, which no stranger can take from it.
 *
 * @module
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { Instant } from "../../core/mod.ts";
import { sourceKey, SourceLimiter } from "../../traversal/mod.ts";
import type { NodeKey } from "../store/store.ts";

/** What one source may ask. */
export interface RequestRate {
  /** Requests per second for ever. */
  readonly ratePerSecond: number;
  /** Requests at once after a rest. */
  readonly burst: number;
}

/** Whose requests are counted together. */
export type RequestSource = "address" | "key" | "mesh" | "member";

/** The limits of requests. */
export interface RequestLimits extends Readonly<Record<RequestSource, RequestRate>> {
  /** Calls under way at once. */
  readonly openMax: number;
  /** Calls of one address (or IPv6 /64) that are under way at once. */
  readonly openPerAddressMax: number;
}

/**
 * The limits where nobody sets others. An address may be a whole site behind one NAT; a key is a colony that looks for its agents; a mesh of
 * 10,000 nodes refreshes 100 times a second, and all of it comes at once after an outage. What a member has besides is enough to start again
 * and to look for its peers.
 */
export const REQUEST_LIMITS: RequestLimits = {
  address: { ratePerSecond: 200, burst: 1000 },
  key: { ratePerSecond: 100, burst: 800 },
  mesh: { ratePerSecond: 1000, burst: 20_000 },
  member: { ratePerSecond: 1, burst: 20 },
  openMax: 4096,
  openPerAddressMax: 512,
};

/** Sources of each kind that are remembered. The one not seen for longest is forgotten, and counted. */
const SOURCES_MAX = 50_000;

const WHOSE: Readonly<Record<RequestSource, string>> = {
  address: "from this address",
  key: "by this node",
  mesh: "in this mesh",
  member: "in this mesh",
};

/** Counts requests. Time is in unix milliseconds. */
export class RequestLimiter {
  readonly #limits: RequestLimits;
  readonly #limiters: Readonly<Record<RequestSource, SourceLimiter>>;
  /** Calls under way by address. As many entries as calls at most. */
  readonly #open = new Map<string, number>();
  #openCalls = 0;
  #crowded = 0;
  #spared = 0;

  /** Creates a limiter that knows nobody. Throws `RangeError` for limits below 1. */
  constructor(limits: Partial<RequestLimits> = {}) {
    const all = { ...REQUEST_LIMITS, ...limits };
    this.#limits = all;
    const limiter = ({ ratePerSecond, burst }: RequestRate): SourceLimiter =>
      new SourceLimiter({ ratePerSecond, burst, sourcesMax: SOURCES_MAX });
    this.#limiters = {
      address: limiter(all.address),
      key: limiter(all.key),
      mesh: limiter(all.mesh),
      member: limiter(all.member),
    };
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    const { address, key, mesh, member } = this.#limiters;
    const byMesh = mesh.refused - this.#spared;
    return {
      requestsLimited: address.refused + key.refused + byMesh,
      requestsLimitedByKey: key.refused,
      requestsLimitedByMesh: byMesh,
      requestsSparedForMembers: this.#spared,
      requestsCrowdedOut: this.#crowded,
      requestSourcesForgotten: address.evicted + key.evicted + mesh.evicted + member.evicted,
      requestsOpen: this.#openCalls,
    };
  }

  /** Returns how a request is refused, or `undefined` for one that may be answered; then it counts. */
  refusal(kind: RequestSource, source: string, now: number): ConnectError | undefined {
    const limiter = this.#limiters[kind];
    const at = now as Instant;
    if (limiter.admit(at, source)) return undefined;
    return tooMany(`too many requests ${WHOSE[kind]}`, limiter.waitMs(at, source));
  }

  /** How a member is refused for whose mesh too much was asked, or `undefined` where it has something left of its own; then it counts. */
  memberRefusal({ meshId, publicKey }: NodeKey, now: number): ConnectError | undefined {
    const refusal = this.refusal("member", `${meshId} ${publicKey}`, now);
    if (refusal === undefined) this.#spared++;
    return refusal;
  }

  /** Begins a call of an address. Returns what ends it, or `undefined` where too many are under way. */
  enter(hostname: string): (() => void) | undefined {
    const address = sourceKey(hostname);
    const { openMax, openPerAddressMax } = this.#limits;
    const open = this.#open.get(address) ?? 0;
    if (this.#openCalls >= openMax || open >= openPerAddressMax) {
      this.#crowded++;
      return undefined;
    }
    this.#open.set(address, open + 1);
    this.#openCalls++;
    return () => this.#leave(address);
  }

  #leave(address: string): void {
    this.#openCalls--;
    const open = (this.#open.get(address) ?? 1) - 1;
    if (open === 0) this.#open.delete(address);
    else this.#open.set(address, open);
  }
}

/** A `RESOURCE_EXHAUSTED` that says when to come again. */
export function tooMany(message: string, waitMs: number): ConnectError {
  const seconds = Math.max(1, Math.ceil(waitMs / 1000));
  return new ConnectError(message, Code.ResourceExhausted, { "retry-after": String(seconds) });
}
