/** What the pairs of a world must reach where they are, each asked of the oracle once. @module */
import type { Expectations } from "./expectations.ts";
import type { TopologyDescription } from "./net/topology.ts";
import type { SimNode } from "./node.ts";
import type { Family } from "../../core/mod.ts";
import { familiesOf, judge, type Verdict } from "./oracle.ts";
import type { RelayPlan } from "./relay_plan.ts";

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
  readonly #relays: readonly RelayPlan[];
  readonly #known = new Map<string, Verdict>();
  readonly #families = new Map<string, ReadonlySet<Family>>();

  /** None yet. */
  constructor(topology: TopologyDescription, { expectations, relays }: {
    readonly expectations: Expectations;
    readonly relays: readonly RelayPlan[];
  }) {
    this.#topology = topology;
    this.#expectations = expectations;
    this.#relays = relays;
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

  /** The relays, by id, over each of which two nodes can talk where they are now. */
  relaysOf({ agent, colony }: Two): readonly string[] {
    const { relay } = this.#expectations;
    if (!relay || agent.noRelay || colony.noRelay) return [];
    const reached = [agent, colony].map(({ site }) => this.#familiesOf(site));
    return this.#relays.filter(({ families }) =>
      reached.every((own) => families.some((family) => own.has(family)))
    ).map(({ id }) => id);
  }

  /** Whether two nodes must talk where they are now. */
  isDue(two: Two): boolean {
    return this.mustBeDirect(two) || this.relaysOf(two).length > 0;
  }

  /** Whether two nodes must find a direct path where they are now, soon or late. */
  mustBeDirect(two: Two): boolean {
    const { guessing, prediction } = this.#expectations;
    switch (this.of(two)) {
      case "direct":
        return true;
      case "guess":
        return guessing;
      case "predict":
        return prediction;
      case "relay":
        return false;
    }
  }

  #familiesOf(site: string): ReadonlySet<Family> {
    const known = this.#families.get(site) ?? familiesOf(this.#topology, site);
    this.#families.set(site, known);
    return known;
  }
}
