/**
 * What the program is held to. A check that the program cannot pass yet is switched off here by name, and nowhere else.
 *
 * @module
 */

/** The switches. */
export interface Expectations {
  /** Pairs that need one side to guess ports are connected. */
  readonly guessing: boolean;
  /** Pairs whose NATs count are connected. */
  readonly prediction: boolean;
  /** Pairs that have no direct path are connected over a relay, and those that have lost it meanwhile. */
  readonly relay: boolean;
  /** Pairs that can be direct are, as soon as where there is no relay. */
  readonly upgrade: boolean;
  /** Traffic resumes soon after the networks let it. */
  readonly recovery: boolean;
  /** A stream outlives outages that are shorter than its patience, though its retransmissions have become rare by then. */
  readonly streams: boolean;
  /** Bulk passes where a link is narrower than the tunnel's packets and nobody says so. */
  readonly pathMtu: boolean;
  /** A path is changed at most once for each event in the networks. */
  readonly steadiness: boolean;
  /** A packet that somebody else delivers, though he cannot read it, moves no path. */
  readonly validation: boolean;
}

/** What holds now. */
export const EXPECTATIONS: Expectations = {
  guessing: true,
  prediction: true,
  relay: true,
  upgrade: true,
  recovery: true,
  streams: true,
  pathMtu: true,
  steadiness: true,
  validation: true,
};

/** What holds now, and what `names` (separated by commas) switches on besides; `undefined` if one is no switch. */
export function expecting(names: string): Expectations | undefined {
  const words = names.split(",").filter((word) => word !== "");
  if (words.some((word) => !Object.hasOwn(EXPECTATIONS, word))) return undefined;
  return { ...EXPECTATIONS, ...Object.fromEntries(words.map((word) => [word, true])) };
}
