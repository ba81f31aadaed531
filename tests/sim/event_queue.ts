/** What is going to happen in a world, in order: a binary heap by time, and by insertion where times are equal. @module */
import type { Instant } from "../../core/mod.ts";

/** Something that will happen. */
export type Happening = () => void;

/** A queue by time. */
export class EventQueue {
  readonly #at: number[] = [];
  readonly #order: number[] = [];
  readonly #happenings: Happening[] = [];
  #inserted = 0;

  /** How many things wait. */
  get size(): number {
    return this.#at.length;
  }

  /** When the next thing happens; `undefined` if nothing will. */
  get nextAt(): Instant | undefined {
    return this.#at[0] as Instant | undefined;
  }

  /** Has something happen at an instant. */
  push(at: Instant, happening: Happening): void {
    let i = this.#at.length;
    const order = this.#inserted++;
    while (i > 0) {
      const parent = i - 1 >> 1;
      if (!this.#before(at, order, parent)) break;
      this.#copy(parent, i);
      i = parent;
    }
    this.#at[i] = at;
    this.#order[i] = order;
    this.#happenings[i] = happening;
  }

  /** Takes the next thing. */
  pop(): Happening | undefined {
    const first = this.#happenings[0];
    const at = this.#at.pop();
    const order = this.#order.pop();
    const last = this.#happenings.pop();
    if (at === undefined || order === undefined || last === undefined) return undefined;
    const size = this.#at.length;
    if (size === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#before(this.#at[child + 1], this.#order[child + 1], child)) {
        child++;
      }
      if (this.#before(at, order, child)) break;
      this.#copy(child, i);
      i = child;
    }
    this.#at[i] = at;
    this.#order[i] = order;
    this.#happenings[i] = last;
    return first;
  }

  /** Whether something comes before what stands at `i`. */
  #before(at = 0, order = 0, i = 0): boolean {
    const other = this.#at[i] ?? 0;
    return at < other || at === other && order < (this.#order[i] ?? 0);
  }

  #copy(from: number, to: number): void {
    this.#at[to] = this.#at[from] ?? 0;
    this.#order[to] = this.#order[from] ?? 0;
    const happening = this.#happenings[from];
    if (happening !== undefined) this.#happenings[to] = happening;
  }
}
