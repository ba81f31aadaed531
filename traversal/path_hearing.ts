/**
 * What it means that a peer is heard where its data does not go.
 *
 * Nothing moves by it: the peer is asked there, and on the path in use if that may be over.
 *
 * @module
 */
import type { Instant } from "../core/mod.ts";
import type { Path } from "./path.ts";
import type { PathChoice } from "./path_choice.ts";
import type { PathRecord } from "./path_record.ts";
import type { PathTable } from "./path_table.ts";
import { TokenBucket } from "./token_bucket.ts";

/** The path in use must be silent for this long before what is heard elsewhere, or an error of the network, counts. */
const SILENT_MS = 1_000;
/** Where the peer is heard again and again without answering, it is asked this often. */
const ASK_AGAIN_MS = 2_000;
/** Unknown addresses that data comes from are asked: so many at once, and the time that gives one back. */
const LEARNS_MAX = 4;
const LEARN_EVERY_MS = 2_000;
/** A path proven within this time is no news. */
const KNOWN_MS = 60_000;

/** Judges packets of a peer by where they come from. */
export class PathHearing {
  readonly #table: PathTable;
  readonly #learns: TokenBucket;

  /** Has heard nothing. */
  constructor(now: Instant, table: PathTable) {
    this.#table = table;
    this.#learns = new TokenBucket(now, { most: LEARNS_MAX, everyMs: LEARN_EVERY_MS });
  }

  /** Unknown addresses that were not looked at, at the limit. */
  get refused(): number {
    return this.#learns.refused;
  }

  /**
   * Whether data from a path tells anything. From an unknown address it does while the path in use is relayed or silent; else it
   * is a probe or a copy that took another way, and behind a NAT that gives each destination another port every address that
   * is asked makes the peer see, and ask, another address, for ever.
   */
  listens(now: Instant, { primary, questioned }: PathChoice, path: Path): boolean {
    if (this.#table.find(path) !== undefined) return true;
    const content = primary.crooked && primary.works || !isSilent(now, primary);
    if (!questioned && content && primary.relays === 0) return false;
    return this.#learns.take(now);
  }

  /** A packet of the peer came over a path that its data does not take. */
  elsewhere(now: Instant, { choice, record, what }: {
    readonly choice: PathChoice;
    readonly record: PathRecord;
    readonly what: "handshake" | "data";
  }): void {
    if (record.provenAt !== undefined && now - record.provenAt < KNOWN_MS) return;
    if (record.probedAt === undefined || now - record.probedAt >= ASK_AGAIN_MS) record.search();
    if (choice.questioned || (what === "data" && !isSilent(now, choice.primary))) return;
    choice.question(now);
    choice.primary.search();
  }
}

/** Whether nothing has come over a path for a second. */
export function isSilent(now: Instant, { heardAt }: PathRecord): boolean {
  return heardAt === undefined || now - heardAt >= SILENT_MS;
}
