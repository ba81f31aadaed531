/**
 * A node's end of its Watch stream, in the node's own time: what `discovery/client/watch.ts` does with promises and timers,
 * told in the same constants.
 *
 * @module
 */
import { after, earlier, type Instant } from "../../core/mod.ts";
import { BACKOFF_MAX_MS, BACKOFF_MIN_MS, SILENCE_MAX_MS } from "../../discovery/client/watch.ts";
import type { PeerEvent, WatchState } from "../../discovery/mod.ts";
import type { Chance } from "./random.ts";
import type { StreamListener } from "./discovery.ts";

/** What a {@linkcode WatchClient} works with. */
export interface WatchClientOptions {
  /** For jitter. */
  readonly chance: Chance;
  /** Opens a stream; returns how to close it. */
  readonly open: (listener: StreamListener) => () => void;
  /** The node's clock. */
  readonly now: () => Instant;
  /** Takes an event. */
  readonly onEvent: (event: PeerEvent) => void;
  /** Takes a change of the state. */
  readonly onState: (state: WatchState) => void;
}

/** Keeps a stream open. */
export class WatchClient {
  readonly #options: WatchClientOptions;
  readonly #known = new Map<string, number>();
  #snapshot: Set<string> | undefined;
  #close: (() => void) | undefined;
  #openAt: Instant | undefined;
  #silentAt: Instant | undefined;
  #live = false;
  #reported = false;
  #failures = 0;

  /** A client without a stream. */
  constructor(options: WatchClientOptions) {
    this.#options = options;
  }

  /** Opens a stream now, in place of one that may be dead. */
  open(): void {
    this.#close?.();
    this.#openAt = undefined;
    this.#live = false;
    this.#snapshot = new Set();
    this.#hear();
    this.#close = this.#options.open({
      event: (event) => this.#take(event),
      ended: (reason, notRegistered) => this.#fail(reason, notRegistered),
    });
  }

  /** Ends it for good. */
  stop(): void {
    this.#close?.();
    this.#close = undefined;
    this.#openAt = undefined;
    this.#silentAt = undefined;
  }

  /** Opens the stream again, or notices that it is silent. */
  handleTimeout(now: Instant): void {
    if (this.#silentAt !== undefined && now >= this.#silentAt) this.#fail("no sign of life", false);
    if (this.#openAt !== undefined && now >= this.#openAt) this.open();
  }

  /** When {@linkcode WatchClient.handleTimeout} must be called. */
  pollTimeout(): Instant | undefined {
    return earlier(this.#openAt, this.#silentAt);
  }

  #take(event: PeerEvent | "heartbeat"): void {
    this.#hear();
    if (event === "heartbeat") return;
    switch (event.kind) {
      case "upserted": {
        const { publicKey, generation } = event.peer;
        this.#snapshot?.add(publicKey);
        if (this.#known.get(publicKey) === generation) return;
        this.#known.set(publicKey, generation);
        break;
      }
      case "removed":
        if (!this.#known.delete(event.publicKey)) return;
        break;
      case "synchronized": {
        const present = this.#snapshot ?? new Set();
        this.#snapshot = undefined;
        for (const publicKey of [...this.#known.keys()]) {
          if (present.has(publicKey)) continue;
          this.#known.delete(publicKey);
          this.#options.onEvent({ kind: "removed", publicKey });
        }
        this.#live = true;
        this.#failures = 0;
        if (!this.#reported) this.#options.onState({ connected: true, url: "sim" });
        this.#reported = true;
        break;
      }
      case "punch":
        break;
    }
    this.#options.onEvent(event);
  }

  #hear(): void {
    this.#silentAt = after(this.#options.now(), SILENCE_MAX_MS);
  }

  #fail(reason: string, notRegistered: boolean): void {
    const { chance, now, onState } = this.#options;
    this.#close?.();
    this.#close = undefined;
    this.#silentAt = undefined;
    if (this.#live) this.#failures = 0;
    const backoffMs = Math.min(
      BACKOFF_MAX_MS,
      BACKOFF_MIN_MS * 2 ** Math.min(this.#failures++, 16),
    );
    this.#openAt = after(now(), backoffMs * chance.between(0.5, 1));
    this.#reported = false;
    onState({ connected: false, reason, notRegistered });
  }
}
