/**
 * Since when a peer has been without a direct path, and the guesses that are made for one.
 *
 * @module
 */
import type { Instant } from "../core/mod.ts";
import type { FanOut } from "./fan_out.ts";
import { GuessRun, type GuessRunOptions } from "./guess_run.ts";
import type { Path } from "./path.ts";
import type { Initiation } from "./path_report.ts";
import type { PathRecord } from "./path_record.ts";
import type { PathTable } from "./path_table.ts";

/** What a search must know of the session. */
export interface SearchSituation {
  /** Whether a session is wanted. */
  readonly wanted: boolean;
  /** Whether Discovery knows the peer: nobody answers to guesses otherwise. */
  readonly registered: boolean;
  /** The path in use; `undefined` without a session. */
  readonly primary: PathRecord | undefined;
  /** Whether that has to prove itself. */
  readonly questioned: boolean;
  /** Whether the peer answers probes; `undefined` until that is known. */
  readonly answers: boolean | undefined;
}

/** The search for a direct path to one peer. */
export class DirectSearch {
  /** The guesses. */
  readonly guess: GuessRun;
  readonly #table: PathTable;
  readonly #fanOut: FanOut;
  #missingSince: Instant | undefined;
  /** Not yet taken; the next one replaces it. */
  #initiation: Initiation | undefined;

  /** Nothing is searched for. */
  constructor(
    { table, fanOut, ...options }: GuessRunOptions & {
      /** The paths. */
      readonly table: PathTable;
      /** Says whether a guess may be a fresh initiation. */
      readonly fanOut: FanOut;
    },
  ) {
    this.#table = table;
    this.#fanOut = fanOut;
    this.guess = new GuessRun(options);
  }

  /** A direct path is wanted, from now on. */
  begin(now: Instant): void {
    this.#missingSince = now;
  }

  /** Looks whether there is a direct path, and guesses if not. */
  handle(now: Instant, situation: SearchSituation): void {
    const { wanted, registered, primary, questioned, answers } = situation;
    const { guess } = this;
    // A session may begin on two ports that do not belong together. Of a peer without probes more cannot be known.
    const believed = answers === false && !questioned ? primary : undefined;
    let direct = false;
    for (const record of this.#table.all) {
      direct ||= record.relays === 0 && (record.works || record === believed);
    }
    if (direct && guess.attempts > 0) guess.succeeded();
    const missing = !direct && registered && (wanted || primary !== undefined);
    this.#missingSince = missing ? this.#missingSince ?? now : undefined;
    if (!missing && !guess.holdsEnds && guess.dueAt() === undefined) return;
    const used = this.#used(situation);
    const { candidates } = this.#table;
    guess.handle(now, { missingSince: this.#missingSince, candidates, used });
    this.#fanOut.share(guess.running);
    const destinations = guess.pollBatch();
    if (destinations === undefined) return;
    this.#initiation = { destinations, fresh: this.#fanOut.beside(now) };
  }

  /**
   * The peer is heard at one of this node's ends. Where both NATs give each destination another port, it is heard from ports that
   * nothing sent to them comes back from; but the end that it has found is there, so where that one aims is asked.
   */
  heard(now: Instant, { local }: Path, primary: PathRecord | undefined): void {
    for (const remote of this.guess.aimsOf(local)) {
      if (this.#table.find({ local, remote }) !== undefined) continue;
      this.#table.learn(now, { local, remote }, primary);
    }
  }

  /** Gives up extra ends for another peer, as {@linkcode GuessRun.yieldEnds} says. */
  yieldEnds(now: Instant, situation: SearchSituation, urgent: boolean): boolean {
    return this.guess.yieldEnds(now, { urgent, used: this.#used(situation) });
  }

  /** Takes the initiation of a guess. */
  pollInitiation(): Initiation | undefined {
    const initiation = this.#initiation;
    this.#initiation = undefined;
    return initiation;
  }

  /** The end that won: that of a direct path in use, or until there is one those whose paths work. */
  #used({ primary, questioned }: SearchSituation): ReadonlySet<number> {
    const used = new Set<number>();
    const won = primary?.relays === 0 && primary.works && !questioned;
    for (const record of this.#table.all) {
      if (record === primary || (record.works && !won)) used.add(record.path.local);
    }
    return used;
  }
}
