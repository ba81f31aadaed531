/**
 * What of a registration is an observed endpoint: where Discovery's own STUN saw the node. All else that a node says of its addresses
 * is a claim, which is handed out as one.
 *
 * @module
 */
import { formatSocketAddress } from "../../core/mod.ts";
import type { NodeContent, ObservedEndpoint } from "../store/store.ts";
import type { Observation, StunReceipts } from "./stun_receipts.ts";

/** Tells observed endpoints from claimed ones. */
export class Observations {
  readonly #receipts: StunReceipts | undefined;
  readonly #now: () => number;
  readonly #counters = { receipts: 0, receiptsRefused: 0 };

  /** `receipts`: absent where this Discovery has no STUN, and so observes nothing. `now`: unix milliseconds. */
  constructor(receipts: StunReceipts | undefined, now: () => number) {
    this.#receipts = receipts;
    this.#now = now;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters };
  }

  /**
   * Returns a registration whose observed endpoints are those that the observations vouch for, and where relays listen for the node. The
   * others become endpoints like those that the node knows by itself. A receipt for an address that it does not say is of no
   * use. What nobody has proven is believed as it is, as plain Coral has it.
   */
  settle(content: NodeContent, observations: readonly Observation[]): NodeContent {
    if (!content.proven) return content;
    const vouched = new Set(
      observations.filter((one) => this.#check(one, content))
        .map(({ address }) => formatSocketAddress(address)),
    );
    const endpoints = new Set(content.endpoints);
    const observedEndpoints: ObservedEndpoint[] = [];
    // In the order in which the node says them, so that equal registrations stay equal.
    for (const endpoint of content.observedEndpoints) {
      const text = formatSocketAddress({ hostname: endpoint.ip, port: endpoint.port });
      if (endpoint.viaRelay || vouched.has(text)) observedEndpoints.push(endpoint);
      else endpoints.add(text);
    }
    return { ...content, endpoints: [...endpoints], observedEndpoints };
  }

  #check(observation: Observation, node: NodeContent): boolean {
    const vouched = this.#receipts?.vouchesFor(observation, node, this.#now()) === true;
    this.#counters[vouched ? "receipts" : "receiptsRefused"]++;
    return vouched;
  }
}
