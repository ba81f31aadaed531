/** Chance from a seed: each part of the world has a stream of its own, so that a change in one leaves the others alone. @module */
import { seeded, type SeededRng } from "../../traversal/testing/fuzz.ts";

/** A seeded generator with the shapes that a world is drawn with. */
export interface Chance extends SeededRng {
  /** Returns a number from `low` to below `high`. */
  between(low: number, high: number): number;
  /** Returns one of a list that is not empty. */
  pick<T>(list: readonly T[]): T;
}

/** Returns the stream that `name` has in the world of `seed`. */
export function chanceOf(seed: number, name: string): Chance {
  const rng = seeded(mix(seed, name));
  return {
    ...rng,
    between: (low, high) => low + rng.below(2 ** 30) / 2 ** 30 * (high - low),
    pick: <T>(list: readonly T[]): T => {
      const picked = list[rng.below(list.length)];
      if (picked === undefined) throw new RangeError("Nothing to pick from");
      return picked;
    },
  };
}

/** FNV-1a over the seed's bytes and the name. */
function mix(seed: number, name: string): number {
  let hash = 0x811c9dc5;
  const take = (byte: number): void => {
    hash = Math.imul(hash ^ byte, 0x01000193);
  };
  for (let i = 0; i < 4; i++) take(seed >>> 8 * i & 0xff);
  take(Math.floor(seed / 2 ** 32) & 0xff);
  for (let i = 0; i < name.length; i++) take(name.charCodeAt(i) & 0xff);
  return hash >>> 0;
}
