/** Inputs for decoders that must survive anything, and a seeded source of chance. For tests. @module */
import type { Rng } from "../../core/mod.ts";

/** A seeded generator: enough for tests, never for keys. */
export interface SeededRng extends Rng {
  /** Returns true with probability `p`. */
  chance(p: number): boolean;
  /** Returns an integer from 0 to `n` - 1. */
  below(n: number): number;
}

/** Returns the Mulberry32 generator of a seed. */
export function seeded(seed: number): SeededRng {
  let state = seed >>> 0;
  function next(): number {
    state = (state + 0x6D2B79F5) >>> 0;
    let t = Math.imul(state ^ state >>> 15, state | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  }
  return {
    bytes: (length) => {
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i++) bytes[i] = next() * 256;
      return bytes;
    },
    chance: (p) => next() < p,
    below: (n) => Math.floor(next() * n),
  };
}

/** How many mutated inputs a fuzz test feeds: `MORAY_FUZZ_RUNS`, or 10^5. */
export function fuzzRuns(): number {
  const runs = Number(Deno.env.get("MORAY_FUZZ_RUNS") ?? 100_000);
  if (!Number.isSafeInteger(runs) || runs < 1) throw new RangeError("MORAY_FUZZ_RUNS is no count");
  return runs;
}

/** Returns a copy of `input` with one to four mutations: flipped bits, new bytes, cuts, insertions, repeated parts. */
export function mutate(rng: SeededRng, input: Uint8Array): Uint8Array {
  let bytes = input;
  for (let n = 1 + rng.below(4); n > 0; n--) {
    const at = rng.below(bytes.length + 1);
    const copy = Uint8Array.from(bytes);
    switch (rng.below(6)) {
      case 0:
        if (at < copy.length) copy[at] = (copy[at] ?? 0) ^ 1 << rng.below(8);
        bytes = copy;
        break;
      case 1:
        if (at < copy.length) {
          copy[at] = [0, 1, 0x7f, 0x80, 0xff, rng.below(256)][rng.below(6)] ?? 0;
        }
        bytes = copy;
        break;
      case 2:
        bytes = copy.subarray(0, at);
        break;
      case 3:
        bytes = Uint8Array.from([
          ...copy.subarray(0, at),
          ...rng.bytes(1 + rng.below(8)),
          ...copy.subarray(at),
        ]);
        break;
      case 4:
        bytes = Uint8Array.from([...copy.subarray(0, at), ...copy.subarray(at + 1 + rng.below(8))]);
        break;
      default:
        bytes = Uint8Array.from([...copy, ...copy.subarray(at, at + 64)]).subarray(0, 2048);
    }
  }
  return bytes;
}
