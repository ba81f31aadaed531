/**
 * What a node does while it misses a peer, since what has happened after the first doubt tells of itself no more. Pure.
 *
 * @module
 */
import type { Instant, Rng } from "../core/mod.ts";
import type { MeshLinks } from "./mesh_links.ts";
import type { MeshOutbox } from "./mesh_outbox.ts";
import type { Role } from "./mesh_peers.ts";
import { Retry } from "./pace.ts";
import type { Strangers } from "./strangers.ts";

/** While a peer is not reached, what mends that is known to Discovery: the same for a broken Watch stream, and for look-ups beside one that stands. */
const MISSED_RETRY = { first: 2000, longest: 4000 };

/** How the Watch stream is, as far as one knows. */
export type StreamState = "unopened" | "stands" | "broken";

/** What {@linkcode MissedPeers} works with. */
export interface MissedPeersOptions {
  /** Entropy for jitter. */
  readonly rng: Rng;
  /** What this node is. */
  readonly role: Role;
  /** How it stands with its peers. */
  readonly links: MeshLinks;
  /** Looks agents up. */
  readonly strangers: Strangers;
  /** Where commands, requests and events go. */
  readonly outbox: MeshOutbox;
}

/**
 * Asks again every few seconds while a peer is missed: asks STUN for a new own address, has a broken Watch stream opened again, and looks the
 * peer up beside one that stands. A NAT that restarts ends that without a word, and the same mapping afterwards tells of nothing.
 */
export class MissedPeers {
  readonly #options: MissedPeersOptions;
  readonly #retry: Retry;
  #stream: StreamState = "unopened";

  /** Misses nobody. */
  constructor(options: MissedPeersOptions) {
    this.#options = options;
    this.#retry = new Retry(options.rng, MISSED_RETRY);
  }

  /** How the Watch stream is. */
  get stream(): StreamState {
    return this.#stream;
  }

  /** When something is due; `undefined` for never. */
  get at(): Instant | undefined {
    return this.#retry.at;
  }

  /** The Watch stream stands, or is broken. */
  handleStream(stands: boolean): void {
    this.#stream = stands ? "stands" : "broken";
    if (stands) this.#retry.end();
  }

  /** Does what is due. */
  handleTimeout(now: Instant): void {
    const { links, strangers, outbox, role } = this.#options;
    const stream = this.#stream;
    const misses = stream === "broken" ? links.doubtful : links.missing;
    if (stream === "unopened" || !misses) return this.#retry.end();
    if (!this.#retry.take(now)) return this.#retry.later(now);
    this.#retry.later(now);
    if (links.missing) outbox.command({ kind: "regather", recheck: true });
    if (stream === "broken") return outbox.emit({ kind: "hurry" });
    for (const publicKey of links.takeMissing(now)) {
      if (role === "agent") outbox.request({ kind: "lookUpColony" });
      else strangers.lookUp(publicKey);
    }
  }
}
