/** What the pairs of a world must reach where they are, each asked of the oracle once. @module */
import type { Expectations } from "./expectations.ts";
import type { TopologyDescription } from "./net/topology.ts";
import type { SimNode } from "./node.ts";
import { judge, type Verdict } from "./oracle.ts";

/** Two nodes. */
export interface Two {
  /** The agent. */
  readonly agent: SimNode;
  /** Its colony. */
  readonly colony: SimNode;
}

/** The verdicts of one world. */
export class Verdicts {
  readonly #topology: TopologyDescription;
  readonly #expectations: Expectations;
  readonly #known = new Map<string, Verdict>();

  /** None yet. */
  constructor(topology: TopologyDescription, expectations: Expectations) {
    this.#topology = topology;
    this.#expectations = expectations;
  }

  /** What two nodes must reach in the sites where they are now. */
  of({ agent, colony }: Two): Verdict {
    const key = `${agent.site} ${colony.site}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const verdict = judge(this.#topology, agent.site, colony.site);
    this.#known.set(key, verdict);
    return verdict;
  }

  /** Whether two nodes must talk where they are now. */
  isDue(two: Two): boolean {
    const { guessing, prediction, relay } = this.#expectations;
    switch (this.of(two)) {
      case "direct":
        return true;
      case "guess":
        return guessing;
      case "predict":
        return prediction;
      case "relay":
        return relay;
    }
  }
}
