/** What became of a world and its pairs. @module */
import type { Verdict } from "./oracle.ts";
import type { Recovery } from "./watchdog.ts";

/** What became of a pair. */
export interface PairOutcome {
  /** Both names. */
  readonly name: string;
  /** What the oracle says of where they are in the end. */
  readonly verdict: Verdict;
  /** Whether they may use a relay, and there is one that both reach. */
  readonly relayable: boolean;
  /** From the later start to the first session; `undefined` if there never was one. */
  readonly connectMs: number | undefined;
  /** From the healing to the first echoes answered at both ends; `undefined` if there were none. */
  readonly healMs: number | undefined;
  /** How soon echoes were answered after each thing that happened to it. */
  readonly recoveries: readonly Recovery[];
  /** How soon echoes went directly again after each; none in a world without relays. */
  readonly upgrades: readonly Recovery[];
  /** Changes of the path at either end. */
  readonly moves: number;
  /** Events in the networks that may have changed it. */
  readonly events: number;
}

/** What became of a world. */
export interface Outcome {
  /** Its seed. */
  readonly seed: number;
  /** The same for the same seed, always. */
  readonly hash: string;
  /** What must not have happened, with the time; empty if all is well. */
  readonly violations: readonly string[];
  /** Every pair. */
  readonly pairs: readonly PairOutcome[];
  /** Relays that there were. */
  readonly relays: number;
  /** Things that happened. */
  readonly happenings: number;
}
