/** What the main thread says to the datapath Worker about the policy. @module */
import type { NodeRule } from "../policy/node_rules.ts";

/** Says what the peers may reach here; connections that they may not have any longer end. Before the first one nothing is refused. */
export interface SetPolicyCommand {
  /** Which command this is. */
  readonly kind: "setPolicy";
  /** What is allowed, to peers that come later too. `null`: everything. */
  readonly rules: readonly NodeRule[] | null;
}
