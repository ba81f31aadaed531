/** Keeps a node's peers for a start without Discovery: what has changed is written soon, and together. @module */
import type { RememberedRecords } from "../discovery/mod.ts";
import type { Log } from "./options.ts";
import { writePeerCache } from "./peer_cache.ts";

/** Changes of the peers that come within this time are written together. */
const CACHE_MS = 5000;

/** What a {@linkcode PeerKeeper} is made of. */
export interface PeerKeeperOptions {
  /** State directory. */
  readonly state: string;
  /** Where the log goes. */
  readonly log: Log;
  /** What is to be kept now. */
  readonly remembered: () => RememberedRecords;
}

/** The peers on disk. */
export class PeerKeeper {
  readonly #options: PeerKeeperOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Has written nothing. */
  constructor(options: PeerKeeperOptions) {
    this.#options = options;
  }

  /** Something has changed. */
  changed(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => void this.#write(), CACHE_MS);
    Deno.unrefTimer(this.#timer);
  }

  /** Writes what has changed and was not written yet. Never rejects. */
  async stop(): Promise<void> {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    await this.#write();
  }

  async #write(): Promise<void> {
    this.#timer = undefined;
    await writePeerCache(this.#options, this.#options.remembered());
  }
}
