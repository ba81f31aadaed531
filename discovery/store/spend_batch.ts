/**
 * Uses ids up in a database across a network: those that are asked for in one turn in one statement, since each statement costs both
 * sides more than a row does.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { SpendOutcome } from "./store.ts";

/** Ids in one statement: a power of two, so that there are as few statements to prepare as there are powers up to it. */
export const SPEND_BATCH_MAX = 64;

/** An id that is to be used up. */
export interface Spending {
  /** What is used once. */
  readonly id: string;
  /** Until when that is remembered, unix milliseconds. */
  readonly expiresAt: number;
}

interface Waiting extends Spending {
  readonly resolve: (outcome: SpendOutcome) => void;
  readonly reject: (error: unknown) => void;
}

/** Gathers what is spent in one turn. */
export class SpendBatch {
  readonly #run: (batch: readonly Spending[]) => Promise<readonly SpendOutcome[]>;
  #waiting: Waiting[] = [];

  /** `run` uses ids up, of which two may be the same, and says what became of each. */
  constructor(run: (batch: readonly Spending[]) => Promise<readonly SpendOutcome[]>) {
    this.#run = run;
  }

  /** Uses an id up at the end of this turn. Rejects as `run` does. */
  spend(spending: Spending): Promise<SpendOutcome> {
    const { promise, resolve, reject } = Promise.withResolvers<SpendOutcome>();
    if (this.#waiting.length === 0) setImmediate(() => this.#flush());
    this.#waiting.push({ ...spending, resolve, reject });
    return promise;
  }

  #flush(): void {
    // In order, so that two replicas that were shown the same proofs never wait for each other.
    const waiting = this.#waiting.sort((a, b) => a.id < b.id ? -1 : 1);
    this.#waiting = [];
    for (let size = SPEND_BATCH_MAX; waiting.length > 0; size /= 2) {
      while (waiting.length >= size) void this.#settle(waiting.splice(0, size));
    }
  }

  async #settle(batch: readonly Waiting[]): Promise<void> {
    try {
      const outcomes = await this.#run(batch);
      for (const [i, { resolve }] of batch.entries()) resolve(outcomes[i] ?? "full");
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
