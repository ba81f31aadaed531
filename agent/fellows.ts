/**
 * The other agents that an agent is to talk to, as its colony's policy says, and how it comes to know where they are. Pure.
 *
 * ```text
 *   colony: "b is there" --> a, whose key is the lesser: punch at Discovery --> both learn of each other
 *                        --> b: looks a up, if it has heard nothing for some seconds
 * ```
 *
 * @module
 */
import { after, earlier, type Instant, type Rng } from "../core/mod.ts";
import { jittered } from "./pace.ts";

/** Fellows of one agent: each costs keepalives and handshakes for ever. Those that are there come first; further ones are counted. */
export const FELLOWS_MAX = 512;
/** A fellow that has just come is punched towards within this time: everybody else hears of it too. */
const SPREAD_MS = 200;
/** How long the one that does not ask waits until it looks the other up, and how long then. */
const PATIENCE_MS = 4000;
const PATIENCE_MS_MAX = 60_000;
/** Part of each wait that chance may take away. */
const JITTER = 0.5;

/** An agent that this one may talk to. */
export interface Fellow {
  /** Its key, base64. */
  readonly publicKey: string;
  /** Whether it is there, as far as the colony knows. */
  readonly present: boolean;
}

/** What has changed of the fellows. */
export interface FellowChanges {
  /** Those that are there now, and were not. */
  readonly came: readonly string[];
  /** Those that are not there any more. */
  readonly left: readonly string[];
  /** Those that are fellows no more. */
  readonly dropped: readonly string[];
}

interface Search {
  at: Instant;
  waitMs: number;
}

/** The fellows of an agent. */
export class Fellows {
  readonly #own: string;
  readonly #rng: Rng;
  readonly #byKey = new Map<string, Fellow>();
  /** Those that are to be looked up, as nothing is known of where they are. */
  readonly #searches = new Map<string, Search>();
  #ignored = 0;

  /** Nobody. */
  constructor(
    { publicKey, rng }: {
      /** Our own key, base64. */
      readonly publicKey: string;
      /** Entropy for jitter. */
      readonly rng: Rng;
    },
  ) {
    this.#own = publicKey;
    this.#rng = rng;
  }

  /** Fellows that were one too many when they were last told. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Whether a key is a fellow's. */
  has(publicKey: string): boolean {
    return this.#byKey.has(publicKey);
  }

  /** Of two fellows the one whose key is the lesser asks for punches; the other one does where that helps nothing. */
  asks(publicKey: string): boolean {
    return this.#own < publicKey;
  }

  /** Replaces them. */
  set(fellows: readonly Fellow[]): FellowChanges {
    const sorted = [...fellows].sort((a, b) => Number(b.present) - Number(a.present));
    const next = new Map(sorted.slice(0, FELLOWS_MAX).map((one) => [one.publicKey, one]));
    this.#ignored = fellows.length - next.size;
    const dropped = [...this.#byKey.keys()].filter((key) => !next.has(key));
    const came: string[] = [];
    const left: string[] = [];
    for (const [key, { present }] of next) {
      const was = this.#byKey.get(key)?.present === true;
      if (present && !was) came.push(key);
      if (!present && was) left.push(key);
    }
    for (const key of [...dropped, ...left]) this.#searches.delete(key);
    this.#byKey.clear();
    for (const [key, fellow] of next) this.#byKey.set(key, fellow);
    return { came, left, dropped };
  }

  /** When to punch towards one that has just come, where this node asks. */
  punchAt(now: Instant): Instant {
    return after(now, jittered(this.#rng, SPREAD_MS, 1));
  }

  /** Has one looked up, unless it turns up by itself. */
  search(publicKey: string, now: Instant): void {
    if (this.#searches.has(publicKey)) return;
    const at = after(now, jittered(this.#rng, PATIENCE_MS, JITTER));
    this.#searches.set(publicKey, { at, waitMs: PATIENCE_MS });
  }

  /** It is known where one is. */
  found(publicKey: string): void {
    this.#searches.delete(publicKey);
  }

  /** Takes those that are to be looked up now. */
  takeSearches(now: Instant): readonly string[] {
    const due: string[] = [];
    for (const [publicKey, search] of this.#searches) {
      if (now < search.at) continue;
      due.push(publicKey);
      search.waitMs = Math.min(search.waitMs * 2, PATIENCE_MS_MAX);
      search.at = after(now, jittered(this.#rng, search.waitMs, JITTER));
    }
    return due;
  }

  /** When {@linkcode Fellows.takeSearches} has somebody; `undefined` for never. */
  pollTimeout(): Instant | undefined {
    let at: Instant | undefined;
    for (const search of this.#searches.values()) at = earlier(at, search.at);
    return at;
  }
}
