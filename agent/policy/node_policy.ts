/** The policy as one node keeps to it: what it was told last, by its own file at a colony, by its colony at an agent. Pure. @module */
import type { PolicyStatus } from "../status.ts";
import type { NodeRule, NodeRules } from "./node_rules.ts";

/** What a node lets in. */
export class NodePolicy {
  readonly #enforce: (rules: readonly NodeRule[] | null) => void;
  #rules: readonly NodeRule[] | null = null;
  /** What the datapath was told last, as text; `undefined` before the first time. */
  #told: string | undefined;

  /** A node that lets everything pass. `enforce` tells the datapath; `null` is everything. */
  constructor(enforce: (rules: readonly NodeRule[] | null) => void) {
    this.#enforce = enforce;
  }

  /** Takes what holds from now on, before those become peers whom it lets in; `undefined` where there is no policy. What is the same as before is not told again. */
  take(rules: NodeRules | undefined): void {
    this.#rules = rules?.rules ?? null;
    const text = JSON.stringify(this.#rules);
    if (text === this.#told) return;
    this.#told = text;
    this.#enforce(this.#rules);
  }

  /** For the `status` of a colony or an agent; empty where everything passes. */
  statusOf(role: "colony" | "agent"): { readonly policy?: PolicyStatus } {
    if (this.#rules === null) return {};
    const origin = role === "colony" ? "file" : "colony";
    return { policy: { origin, rules: this.#rules.length } };
  }
}
