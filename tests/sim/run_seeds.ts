/** Runs many seeds, on as many threads as there are processors. @module */
import { EXPECTATIONS, type Expectations } from "./expectations.ts";
import { loadEngine } from "./engine_module.ts";
import { scenarioOf } from "./scenario.ts";
import type { Outcome } from "./outcome.ts";
import { runWorld } from "./world.ts";

/** Most threads: each holds the engines of one world. */
const THREADS_MAX = 8;

/** How seeds are run. */
export interface RunOptions {
  /** What is expected. @default {@linkcode EXPECTATIONS} */
  readonly expectations?: Expectations;
  /** Whether worlds have their relays. @default false */
  readonly relays?: boolean;
  /** Hears of each world as it ends. */
  readonly onOutcome?: (outcome: Outcome) => void;
}

/** What a thread is told to run. */
export interface Order {
  /** The seed. */
  readonly seed: number;
  /** What is expected of its world. */
  readonly expectations: Expectations;
  /** Whether it has its relays. */
  readonly relays: boolean;
}

/** Runs seeds and returns what became of each, in their order. */
export async function runSeeds(
  seeds: readonly number[],
  { expectations = EXPECTATIONS, relays = false, onOutcome = (): void => undefined }: RunOptions =
    {},
): Promise<readonly Outcome[]> {
  const outcomes = new Map<number, Outcome>();
  const take = (outcome: Outcome): void => {
    outcomes.set(outcome.seed, outcome);
    onOutcome(outcome);
  };
  const threads = Math.min(THREADS_MAX, navigator.hardwareConcurrency, seeds.length);
  if (threads <= 1) {
    const module = loadEngine();
    for (const seed of seeds) {
      take(runWorld(scenarioOf(seed, { relays }), { module, expectations }));
    }
  } else {
    let next = 0;
    const feed = (): Order | undefined => {
      const seed = seeds[next++];
      return seed === undefined ? undefined : { seed, expectations, relays };
    };
    await Promise.all(Array.from({ length: threads }, () => runThread(feed, take)));
  }
  return seeds.map((seed) => outcomes.get(seed)).filter((outcome) => outcome !== undefined);
}

/** Runs seeds on a thread of its own until there is none left. */
async function runThread(
  feed: () => Order | undefined,
  take: (outcome: Outcome) => void,
): Promise<void> {
  const worker = new Worker(new URL("./sim_worker.ts", import.meta.url), { type: "module" });
  try {
    for (let order; (order = feed()) !== undefined;) {
      const answered = Promise.withResolvers<Outcome>();
      worker.onmessage = ({ data }) => answered.resolve(data as Outcome);
      const { seed } = order;
      worker.onerror = (event) => {
        event.preventDefault();
        answered.reject(new Error(`The thread of seed ${seed} died: ${event.message}`));
      };
      worker.postMessage(order);
      take(await answered.promise);
    }
  } finally {
    worker.terminate();
  }
}
