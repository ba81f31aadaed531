/**
 * A node's end of its Watch stream, in the node's own time: what `discovery/client/watch.ts` does with promises and timers, with
 * the same memory from stream to stream.
 *
 * @module
 */
import { after, earlier, type Instant } from "../../core/mod.ts";
import { SILENCE_MAX_MS, WatchRecord } from "../../discovery/client/watch_record.ts";
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
  readonly #record = new WatchRecord();
  #close: (() => void) | undefined;
  #openAt: Instant | undefined;
  #silentAt: Instant | undefined;
  #wanted = false;
  #live = false;

  /** A client without a stream. */
  constructor(options: WatchClientOptions) {
    this.#options = options;
  }

  /** Opens a stream, and again whenever it breaks. */
  begin(): void {
    this.#wanted = true;
    this.#open();
  }

  /** Opens a stream now, in place of one that may be dead. */
  reconnect(): void {
    if (!this.#wanted) return;
    this.#record.renewed();
    this.#open();
  }

  /** Opens the next stream now, where one is waited for. */
  hurry(): void {
    if (this.#openAt !== undefined) this.#open();
  }

  /** Ends it for good. */
  stop(): void {
    this.#wanted = false;
    this.#close?.();
    this.#close = undefined;
    this.#openAt = undefined;
    this.#silentAt = undefined;
  }

  /** Opens the stream again, or notices that it is silent. */
  handleTimeout(now: Instant): void {
    if (this.#silentAt !== undefined && now >= this.#silentAt) this.#fail("no sign of life", false);
    if (this.#openAt !== undefined && now >= this.#openAt) this.#open();
  }

  /** When {@linkcode WatchClient.handleTimeout} must be called. */
  pollTimeout(): Instant | undefined {
    return earlier(this.#openAt, this.#silentAt);
  }

  #open(): void {
    this.#close?.();
    this.#openAt = undefined;
    this.#live = false;
    this.#record.begin();
    this.#hear();
    this.#close = this.#options.open({
      event: (event) => this.#take(event),
      ended: (reason, notRegistered) => this.#fail(reason, notRegistered),
    });
  }

  #take(event: PeerEvent | "heartbeat"): void {
    const { onEvent, onState } = this.#options;
    this.#hear();
    if (event === "heartbeat") return;
    switch (event.kind) {
      case "upserted":
        if (!this.#record.upserted(event.peer)) return;
        break;
      case "removed":
        if (!this.#record.removed(event.publicKey)) return;
        break;
      case "synchronized":
        for (const publicKey of this.#record.completed(false)) {
          onEvent({ kind: "removed", publicKey });
        }
        this.#live = true;
        if (this.#record.stands()) onState({ connected: true, url: "sim" });
        break;
      case "punch":
        break;
    }
    onEvent(event);
  }

  #hear(): void {
    this.#silentAt = after(this.#options.now(), SILENCE_MAX_MS);
  }

  #fail(reason: string, notRegistered: boolean): void {
    const { chance, now, onState } = this.#options;
    this.#close?.();
    this.#close = undefined;
    this.#silentAt = undefined;
    this.#record.ended({ live: this.#live });
    this.#openAt = after(now(), this.#record.waitMs(chance.between(0, 1)));
    onState({ connected: false, reason, notRegistered });
  }
}
