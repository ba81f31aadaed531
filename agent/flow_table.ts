/** Who talks with whom over UDP, which says neither when a conversation begins nor when it ends. @module */
import type { Instant } from "../core/mod.ts";

/** A flow's limits. */
export interface FlowLimits {
  /** How long a flow stays without a datagram, in milliseconds. */
  readonly idleMs: number;
  /** Flows at once. One more takes the place of the one that was silent longest. */
  readonly flowsMax: number;
}

/** Without a datagram for longer, a flow ends: RFC 4787 REQ-5 asks for at least two minutes, and recommends five. */
export const FLOW_IDLE_MS = 300_000;
/** Flows of one listener, unless told otherwise. */
export const FLOWS_MAX = 512;

interface Entry<T> {
  readonly flow: T;
  usedAt: Instant;
}

/** Flows by who began them. */
export class FlowTable<T> {
  readonly #limits: FlowLimits;
  readonly #flows = new Map<string, Entry<T>>();

  /** No flows. */
  constructor(limits: FlowLimits) {
    this.#limits = limits;
  }

  /** Flows now. */
  get size(): number {
    return this.#flows.size;
  }

  /** The flow of `key`, which is in use now. */
  use(now: Instant, key: string): T | undefined {
    const entry = this.#flows.get(key);
    if (entry === undefined) return undefined;
    entry.usedAt = now;
    return entry.flow;
  }

  /** Adds a flow; returns the one that had to go for it. */
  add(now: Instant, key: string, flow: T): T | undefined {
    const evicted = this.#flows.size < this.#limits.flowsMax ? undefined : this.#silentLongest();
    if (evicted !== undefined) this.#flows.delete(evicted[0]);
    this.#flows.set(key, { flow, usedAt: now });
    return evicted?.[1].flow;
  }

  /** Takes a flow out. */
  delete(key: string): void {
    this.#flows.delete(key);
  }

  /** Takes those out that were silent for too long, and returns them. */
  expire(now: Instant): readonly T[] {
    const ended: T[] = [];
    for (const [key, { flow, usedAt }] of this.#flows) {
      if (now - usedAt < this.#limits.idleMs) continue;
      this.#flows.delete(key);
      ended.push(flow);
    }
    return ended;
  }

  /** Takes all out, and returns them. */
  clear(): readonly T[] {
    const flows = [...this.#flows.values()].map(({ flow }) => flow);
    this.#flows.clear();
    return flows;
  }

  #silentLongest(): [string, Entry<T>] | undefined {
    let longest: [string, Entry<T>] | undefined;
    for (const each of this.#flows) {
      if (longest === undefined || each[1].usedAt < longest[1].usedAt) longest = each;
    }
    return longest;
  }
}
