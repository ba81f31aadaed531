/**
 * What the datapath has yet to be told of peers: the last word on each, in the order in which they came. Pure.
 *
 * Discovery may tell of ten thousand nodes at once, and of one node many times, while the ring to the datapath holds a
 * bounded part: so what a later word makes void is not sent at all.
 *
 * @module
 */
import type { CommandBody } from "./shared/mod.ts";

/** A command that concerns one peer. */
export type PeerCommand = Extract<
  CommandBody,
  { readonly kind: "addPeer" | "removePeer" | "setCandidates" | "connectPeer" | "punch" }
>;

/** Commands by kind, so that there is at most one of each: in this order they make sense. */
const ORDER = ["removePeer", "addPeer", "setCandidates", "punch", "connectPeer"] as const;

/** A queue with at most five commands for each peer; so its owner's limit of peers is its own. */
export class PeerCommands {
  readonly #byKey = new Map<string, Partial<Record<PeerCommand["kind"], PeerCommand>>>();
  #superseded = 0;

  /** Commands that a later one made void. */
  get superseded(): number {
    return this.#superseded;
  }

  /** Peers of which something is to be told. */
  get size(): number {
    return this.#byKey.size;
  }

  /** Adds a command. */
  push(command: PeerCommand): void {
    const { kind, publicKey } = command;
    const waiting = this.#byKey.get(publicKey) ?? {};
    if (kind === "removePeer") {
      // An addition that was never told needs no removal, unless one came before it.
      const known = waiting.addPeer === undefined || waiting.removePeer !== undefined;
      this.#superseded += Object.keys(waiting).length;
      if (known) this.#byKey.set(publicKey, { removePeer: command });
      else this.#byKey.delete(publicKey);
      return;
    }
    if (waiting[kind] !== undefined) this.#superseded++;
    // A punch brings the candidates with it.
    if (kind === "punch" && waiting.setCandidates !== undefined) {
      delete waiting.setCandidates;
      this.#superseded++;
    }
    if (kind === "setCandidates" && command.gone === true && waiting.punch !== undefined) {
      delete waiting.punch;
      this.#superseded++;
    }
    if (kind === "setCandidates" && waiting.punch?.kind === "punch") {
      const { windowMs, coin } = waiting.punch;
      waiting.punch = { ...command, kind: "punch", windowMs, coin };
      this.#superseded++;
      return;
    }
    this.#byKey.set(publicKey, { ...waiting, [kind]: command });
  }

  /** Takes the next command. */
  poll(): PeerCommand | undefined {
    for (const [publicKey, waiting] of this.#byKey) {
      for (const kind of ORDER) {
        const command = waiting[kind];
        if (command === undefined) continue;
        delete waiting[kind];
        if (Object.keys(waiting).length === 0) this.#byKey.delete(publicKey);
        return command;
      }
    }
    return undefined;
  }
}
