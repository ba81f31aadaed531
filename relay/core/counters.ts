/** What the relay has done, by name. @module */

/** Counters that only grow. */
export class Counters {
  readonly #values = new Map<string, number>();

  /** Adds to one. */
  add(name: string, by = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + by);
  }

  /** The value of one. */
  of(name: string): number {
    return this.#values.get(name) ?? 0;
  }

  /** All that are not zero. */
  all(): Record<string, number> {
    return Object.fromEntries(this.#values);
  }
}
