/**
 * Time that passes when there is something to wait for: what is due next happens at once, after whatever the program does in the
 * meantime.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { after, type Instant } from "../../core/mod.ts";

/** Things that wait to happen. One more is a program that runs away. */
export const HAPPENINGS_MAX = 1_000_000;

interface Happening {
  readonly at: Instant;
  readonly run: () => void;
}

/** A clock and what it wakes. */
export class VirtualTime {
  /** In order; what is due at one instant in the order in which it was asked for. */
  readonly #waiting: Happening[] = [];
  readonly #manual: boolean;
  #now = 0 as Instant;
  #running = false;
  #stopped = false;

  /** A clock at 0 that goes by itself, or with {@linkcode VirtualTime.advance} only. */
  constructor({ manual }: { readonly manual: boolean }) {
    this.#manual = manual;
  }

  /** The present, in milliseconds since the start. */
  get now(): Instant {
    return this.#now;
  }

  /** Has something happen after `ms`. Returns what takes that back. */
  in(ms: number, run: () => void): () => void {
    if (this.#waiting.length >= HAPPENINGS_MAX) {
      throw new RangeError(`More than ${HAPPENINGS_MAX} things wait for virtual time`);
    }
    const happening = { at: after(this.#now, ms), run };
    // What is new is mostly due last.
    let i = this.#waiting.length;
    while (i > 0 && (this.#waiting[i - 1]?.at ?? 0) > happening.at) i--;
    this.#waiting.splice(i, 0, happening);
    if (!this.#manual) this.#go();
    return () => {
      const at = this.#waiting.indexOf(happening);
      if (at >= 0) this.#waiting.splice(at, 1);
    };
  }

  /** Resolves after `ms` of this time. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.in(ms, resolve));
  }

  /** Lets `ms` pass, with everything that is due in them. */
  async advance(ms: number): Promise<void> {
    const until = after(this.#now, ms);
    for (;;) {
      await settled();
      const next = this.#waiting[0];
      if (next === undefined || next.at > until || this.#stopped) break;
      this.#step();
    }
    if (until > this.#now) this.#now = until;
  }

  /** Nothing happens any more. */
  stop(): void {
    this.#stopped = true;
    this.#waiting.length = 0;
  }

  #go(): void {
    if (this.#running) return;
    this.#running = true;
    void (async () => {
      for (;;) {
        await settled();
        if (this.#waiting.length === 0 || this.#stopped) break;
        this.#step();
      }
      this.#running = false;
    })();
  }

  #step(): void {
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#now = next.at;
    next.run();
  }
}

/** Resolves once the promises that could go on have done so. */
function settled(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
