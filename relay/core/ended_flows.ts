/**
 * Clients whose allocation was ended by a request: the nonces that they had are worth nothing any more.
 *
 * A nonce is good for ten minutes at one address and port, and RFC 8656 section 5 asks for no more. Whoever has overheard requests and can send
 * from there could then play them again: the Refresh that ended one allocation would end the next one too, and an Allocate would make one
 * that nobody has asked for. Within one allocation a request that comes twice changes nothing: it permits, binds and keeps what its client has
 * wanted less than ten minutes ago.
 *
 * @module
 */
import type { Instant } from "../../core/mod.ts";
import type { Counters } from "./counters.ts";
import type { Flow } from "./flow.ts";
import { NONCE_SECONDS } from "./nonces.ts";

/** Flows remembered; beyond, the oldest is forgotten and counted: its nonces end by themselves. */
export const ENDED_FLOWS_MAX = 16_384;

/** When flows have ended, for as long as their nonces would live. */
export class EndedFlows {
  /** The second of the end, by the key of the flow, oldest first. */
  readonly #ends = new Map<string, number>();
  readonly #counters: Counters;

  /** None. */
  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** An allocation was ended by its client. */
  add(now: Instant, flow: Flow): void {
    // A stream has an address of its own each time, which nobody else can send from.
    if (flow.protocol !== "udp") return;
    this.#ends.delete(flow.key);
    if (this.#ends.size >= ENDED_FLOWS_MAX) {
      const [oldest] = this.#ends.keys();
      if (oldest !== undefined) this.#ends.delete(oldest);
      this.#counters.add("endedFlowsForgotten");
    }
    this.#ends.set(flow.key, secondOf(now));
  }

  /** The first second whose nonces are good for a flow: 0 for any. */
  notBefore({ key }: Flow): number {
    const end = this.#ends.get(key);
    return end === undefined ? 0 : end + 1;
  }

  /** Forgets flows whose nonces have expired. */
  sweep(now: Instant): void {
    for (const [key, second] of this.#ends) {
      if (secondOf(now) <= second + NONCE_SECONDS + 1) return;
      this.#ends.delete(key);
    }
  }
}

function secondOf(now: Instant): number {
  return Math.floor(now / 1000);
}
