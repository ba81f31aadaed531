/**
 * Whom the colony of an agent's mesh has thrown out, as the agent knows it from what the colony has signed. Pure; what is handed in was verified.
 *
 * ```text
 *   Watch stream --as it happens--> Roster --thrown out--> the node cuts it off
 *   ListMembers ---who was away--->        <--admits?----- whoever would make it a peer
 * ```
 *
 * @module
 */
import type { Membership } from "../../discovery/mod.ts";

/** Nodes that are remembered; beyond, the one that was thrown out longest ago is forgotten and counted: its colony refuses it all the same. */
export const REVOKED_MAX = 20_000;

/** Who is out. */
export class Roster {
  /** The sequence of the last word on each node that is out, by key. */
  readonly #revoked = new Map<string, number>();
  #since = 0;
  #forgotten = 0;

  /** The sequence up to which everything was read: what is later is news. */
  get since(): number {
    return this.#since;
  }

  /** Nodes that were forgotten at the limit. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** Whether a node may be a peer, as far as one knows. */
  admits(publicKey: string): boolean {
    return !this.#revoked.has(publicKey);
  }

  /** Takes the colony's word. Returns whether it throws out a node that was not out before. */
  handle({ publicKey, state, sequence }: Membership): boolean {
    const before = this.#revoked.get(publicKey);
    if (before !== undefined && before >= sequence) return false;
    this.#revoked.delete(publicKey);
    if (state === "admitted") return false;
    this.#revoked.set(publicKey, sequence);
    if (this.#revoked.size > REVOKED_MAX) this.#forget();
    return before === undefined;
  }

  /** Takes all that was news since {@linkcode Roster.since}. Returns the keys of the nodes that are out since. */
  handleNews(news: readonly Membership[]): readonly string[] {
    for (const { sequence } of news) this.#since = Math.max(this.#since, sequence);
    return news.filter((one) => this.handle(one)).map(({ publicKey }) => publicKey);
  }

  #forget(): void {
    let oldest: readonly [key: string, sequence: number] | undefined;
    for (const entry of this.#revoked) {
      if (oldest === undefined || entry[1] < oldest[1]) oldest = entry;
    }
    if (oldest === undefined) return;
    this.#revoked.delete(oldest[0]);
    this.#forgotten++;
  }
}
