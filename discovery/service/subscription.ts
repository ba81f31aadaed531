/** One Watch stream's end of the hub: a bounded queue that somebody awaits. @module */
import { Code, ConnectError } from "@connectrpc/connect";
import type { WatchEvent } from "../../proto/mod.ts";
import type { Role } from "../store/store.ts";

/** Events waiting for one stream. A stream that falls behind is ended with RESOURCE_EXHAUSTED; it resumes by cursor. */
export const WATCH_QUEUE_MAX = 1024;
/** Unread heartbeats after which a stream counts as fallen behind. */
export const WATCH_UNREAD_HEARTBEATS_MAX = 4;

/** What a subscription begins with. */
export interface SubscriptionOptions {
  /** The watcher's role. */
  readonly role: Role;
  /** Where the stream stands when it begins. */
  readonly cursor: string;
  /** The events since the client's cursor; `undefined` if it needs a snapshot. */
  readonly missed: readonly WatchEvent[] | undefined;
  /** Events that may wait. */
  readonly queueMax: number;
  /** Called once when the subscription ends. */
  readonly onEnd: (overflowed: boolean) => void;
}

/** The events of one Watch stream. */
export class Subscription {
  /** The watcher's role. */
  readonly role: Role;
  /** Where the stream stands when it begins: the cursor of the snapshot's end. */
  readonly cursor: string;
  /** The events since the client's cursor; `undefined` if it needs a snapshot. */
  readonly missed: readonly WatchEvent[] | undefined;
  readonly #queueMax: number;
  readonly #onEnd: (overflowed: boolean) => void;
  #queue: WatchEvent[] = [];
  #heartbeats = 0;
  #wake: (() => void) | undefined;
  #ended = false;
  #error: ConnectError | undefined;

  /** Creates a subscription; the hub feeds it. */
  constructor({ role, cursor, missed, queueMax, onEnd }: SubscriptionOptions) {
    this.role = role;
    this.cursor = cursor;
    this.missed = missed;
    this.#queueMax = queueMax;
    this.#onEnd = onEnd;
  }

  /** Queues an event. Does nothing once the subscription has ended. */
  push(event: WatchEvent): void {
    if (this.#ended) return;
    if (event.event.case === "heartbeat") this.#heartbeats++;
    if (this.#queue.length >= this.#queueMax || this.#heartbeats > WATCH_UNREAD_HEARTBEATS_MAX) {
      this.#finish(true, new ConnectError("the stream fell behind", Code.ResourceExhausted));
      return;
    }
    this.#queue.push(event);
    this.#wake?.();
  }

  /** Ends the subscription: {@linkcode next} rejects with `error`, or says that it is over. */
  end(error?: ConnectError): void {
    this.#finish(false, error);
  }

  /** Takes every event that waits, at least one; an empty list when the subscription has ended. One caller at a time. */
  async next(): Promise<readonly WatchEvent[]> {
    while (this.#queue.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#error !== undefined) throw this.#error;
    const events = this.#queue;
    this.#queue = [];
    this.#heartbeats = 0;
    return events;
  }

  #finish(overflowed: boolean, error: ConnectError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#queue = [];
    this.#onEnd(overflowed);
    this.#wake?.();
  }
}
