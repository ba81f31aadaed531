/** Events for a reader who takes them when he likes: bounded, the oldest are lost first. @module */

/** Events that wait for one reader. Older ones are lost and counted. */
export const EVENTS_MAX = 1024;

/** A queue with one reader. */
export class EventQueue<T extends object> {
  readonly #waiting: T[] = [];
  readonly #onClose: () => void;
  #missed = 0;
  #closed = false;
  #wake: (() => void) | undefined;

  /** An empty queue. `onClose` is called once, when nothing more is wanted. */
  constructor(onClose: () => void) {
    this.#onClose = onClose;
  }

  /** Adds an event. */
  push(event: T): void {
    if (this.#closed) return;
    if (this.#waiting.push(event) > EVENTS_MAX) {
      this.#waiting.shift();
      this.#missed++;
    }
    this.#wake?.();
  }

  /** Ends the queue: what waits is still read. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    this.#wake?.();
  }

  /** The events, each with how many were lost before it. To be called once. */
  async *read(): AsyncIterableIterator<T & { readonly missed: number }> {
    try {
      for (;;) {
        const event = this.#waiting.shift();
        if (event !== undefined) {
          const missed = this.#missed;
          this.#missed = 0;
          yield { ...event, missed };
        } else if (this.#closed) {
          return;
        } else {
          await new Promise<void>((resolve) => this.#wake = resolve);
          this.#wake = undefined;
        }
      }
    } finally {
      this.close();
    }
  }
}
