/**
 * From what the store tells to the Watch streams, in its order, whichever replica made the change.
 *
 * A change of this process's own file brings its record and is published at once. One that a shared store tells comes without: the
 * record is read, if anybody here follows the mesh, and those behind it wait.
 *
 * @module
 */
import { messageOf } from "../../core/mod.ts";
import type { Log } from "../log.ts";
import type { NodeChange, NodeKey, NodeRecord, Store, StoreEvent } from "../store/store.ts";
import type { WatchHub } from "./watch_hub.ts";

/** Changes that wait for their records. Beyond, every stream begins anew from a snapshot; {@linkcode StoreFeed.overflowed} counts. */
export const FEED_CHANGES_MAX = 1000;

/** Options of {@linkcode StoreFeed}. */
export interface StoreFeedOptions {
  /** What tells. */
  readonly store: Pick<Store, "listen" | "node">;
  /** What is told. */
  readonly hub: WatchHub;
  /** Takes what replicas say. */
  readonly onSaid: (text: string) => void;
  /** Takes who is gone, whether anybody watches or not. */
  readonly onRemoved: (node: NodeKey) => void;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** A change on its way. */
interface Waiting {
  readonly kind: "upserted" | "removed";
  readonly change: NodeChange;
  /** The record as it is now; `undefined` where it is gone, which is told next. */
  readonly record: Promise<NodeRecord | undefined>;
}

/** Publishes what a store tells. */
export class StoreFeed {
  readonly #options: StoreFeedOptions;
  #waiting: Waiting[] = [];
  #draining = false;
  #overflowed = 0;

  /** Listens to the store from now on. */
  constructor(options: StoreFeedOptions) {
    this.#options = options;
    options.store.listen((event) => this.#take(event));
  }

  /** How often too many changes waited. */
  get overflowed(): number {
    return this.#overflowed;
  }

  #take(event: StoreEvent): void {
    const { hub, onSaid, onRemoved } = this.#options;
    switch (event.kind) {
      case "said":
        return onSaid(event.text);
      case "gap":
        return this.#restart();
      case "upserted":
      case "removed":
        break;
      default:
        return event satisfies never;
    }
    const { kind, change } = event;
    if (kind === "removed") onRemoved(change);
    if (!hub.follows(change.meshId)) return hub.skip();
    const ready = kind === "removed" || change.record !== undefined;
    if (ready && this.#waiting.length === 0) {
      return this.#publish(kind, change, change.record);
    }
    if (this.#waiting.length >= FEED_CHANGES_MAX) {
      this.#overflowed++;
      return this.#restart();
    }
    const record = ready ? Promise.resolve(change.record) : this.#read(change);
    // A failure is for whoever comes to it.
    record.catch(() => {});
    this.#waiting.push({ kind, change, record });
    if (!this.#draining) void this.#drain();
  }

  async #read(change: NodeChange): Promise<NodeRecord | undefined> {
    const { store, now } = this.#options;
    return await store.node(change, now());
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      try {
        const record = await next.record;
        // All that waited may have been given up meanwhile.
        if (this.#waiting[0] !== next) continue;
        this.#waiting.shift();
        this.#publish(next.kind, next.change, record);
      } catch (error) {
        this.#options.log("debug", `a change could not be read: ${messageOf(error)}`);
        this.#restart();
      }
    }
    this.#draining = false;
  }

  #publish(kind: Waiting["kind"], change: NodeChange, record: NodeRecord | undefined): void {
    if (kind === "removed") this.#options.hub.publishRemoval(change);
    else if (record !== undefined) this.#options.hub.publishUpsert(record);
  }

  /** Changes are missing: whoever watches has to look at everything again. */
  #restart(): void {
    this.#waiting = [];
    this.#options.hub.restart();
  }
}
