/**
 * Tells both sides of a punch, wherever their Watch streams are.
 *
 * ```text
 *   InitiatePunch at A --say--> A, B, C: who has a stream of either side tells it
 *                     <--say--- B: the other side was told
 * ```
 *
 * @module
 */
import type { NodeKey, NodeRecord, Store } from "../store/store.ts";
import type { WatchHub } from "./watch_hub.ts";

/** How long another replica may take to say that it told the other side. */
export const TOLD_MS_MAX = 400;
/** Punches that wait for other replicas. Further ones are told all the same, and count as not delivered. */
export const PUNCHES_WAITING_MAX = 1000;

/** A punch between two nodes of a mesh. */
export interface PunchOrder {
  /** Id of the punch. */
  readonly punchId: string;
  /** How long both sides send, in milliseconds. */
  readonly windowMs: number;
  /** Who asked. */
  readonly from: NodeRecord;
  /** Towards whom. */
  readonly to: NodeRecord;
}

/** Options of {@linkcode PunchDesk}. */
export interface PunchDeskOptions {
  /** Carries words between replicas. */
  readonly store: Pick<Store, "shared" | "say" | "node">;
  /** The Watch streams of this server. */
  readonly hub: WatchHub;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Resolves after so many milliseconds, or when a signal is aborted. */
  readonly wait: (ms: number, signals: readonly AbortSignal[]) => Promise<void>;
}

/** A punch as replicas say it: keys, as each reads the records itself. */
interface PunchWord {
  readonly id: string;
  readonly windowMs: number;
  readonly meshId: string;
  readonly from: string;
  readonly to: string;
}

/** A punch that was started here. */
interface Started {
  readonly order: PunchOrder;
  readonly told: AbortController;
}

/** Carries punches to Watch streams. */
export class PunchDesk {
  readonly #options: PunchDeskOptions;
  readonly #started = new Map<string, Started>();

  /** A desk over the streams of this server. */
  constructor(options: PunchDeskOptions) {
    this.#options = options;
  }

  /** Has both sides told. Resolves with whether the other side has a stream open, here or elsewhere. */
  async punch(order: PunchOrder): Promise<boolean> {
    const { store, wait } = this.#options;
    if (!store.shared) return this.#tell(order);
    const { punchId, windowMs, from, to } = order;
    const { meshId } = from;
    const word = { id: punchId, windowMs, meshId, from: from.publicKey, to: to.publicKey };
    const started = { order, told: new AbortController() };
    const waits = this.#started.size < PUNCHES_WAITING_MAX;
    if (waits) this.#started.set(punchId, started);
    try {
      await store.say(JSON.stringify({ punch: word }));
      if (waits) await wait(TOLD_MS_MAX, [started.told.signal]);
      return started.told.signal.aborted;
    } finally {
      this.#started.delete(punchId);
    }
  }

  /** Takes what a replica said; others' words are no concern of ours. */
  async heard(text: string): Promise<void> {
    const { punch, punched } = parse(text);
    if (typeof punched === "string") this.#started.get(punched)?.told.abort();
    if (!isPunch(punch)) return;
    const { store, hub } = this.#options;
    const started = this.#started.get(punch.id);
    if (!hub.watching(keyOf(punch, "from")) && !hub.watching(keyOf(punch, "to"))) return;
    const order = started?.order ?? await this.#read(punch);
    if (order === undefined || !this.#tell(order)) return;
    if (started !== undefined) started.told.abort();
    else await store.say(JSON.stringify({ punched: punch.id }));
  }

  /** Tells the streams of this server. Both in one turn, so that the windows overlap but for the networks' delays. */
  #tell({ punchId, windowMs, from, to }: PunchOrder): boolean {
    const delivered = this.#options.hub.punch(to, { punchId, windowMs, peer: from });
    this.#options.hub.punch(from, { punchId, windowMs, peer: to });
    return delivered;
  }

  async #read(punch: PunchWord): Promise<PunchOrder | undefined> {
    const { store, now } = this.#options;
    const at = now();
    const [from, to] = await Promise.all([
      store.node(keyOf(punch, "from"), at),
      store.node(keyOf(punch, "to"), at),
    ]);
    if (from === undefined || to === undefined) return undefined;
    return { punchId: punch.id, windowMs: punch.windowMs, from, to };
  }
}

function keyOf(punch: PunchWord, side: "from" | "to"): NodeKey {
  return { meshId: punch.meshId, publicKey: punch[side] };
}

function parse(text: string): { readonly punch?: unknown; readonly punched?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

function isPunch(value: unknown): value is PunchWord {
  if (typeof value !== "object" || value === null) return false;
  const { id, windowMs, meshId, from, to } = value as Readonly<Record<string, unknown>>;
  return [id, meshId, from, to].every((it) => typeof it === "string") &&
    typeof windowMs === "number";
}
