/**
 * The paths to one peer: those that its candidates make, and those where it was heard.
 *
 * @module
 */
import { formatSocketAddress, type Instant, type SocketAddress } from "../core/mod.ts";
import { type Candidate, mergeCandidates } from "./candidate.ts";
import { formatPath, OWN_SOCKETS, type Path } from "./path.ts";
import { PathRecord } from "./path_record.ts";
import { reachesFrom, type RelayEnd } from "./relay_end.ts";

/** Paths kept because the peer was heard there; of those that do not work the one heard longest ago is forgotten first. */
export const LEARNED_MAX = 8;
/** Most receivers of one initiation of the schedule. */
export const FAN_OUT_MAX = 24;
/** Own ends that are relay allocations; more are left out. */
export const RELAYS_MAX = 4;
/** Relayed addresses of the peer that are remembered, those that it offers no more too; the one offered longest ago is forgotten. */
const RELAYED_MAX = 32;

/** What a table needs to know. */
export interface PathTableOptions {
  /** Largest inner packet, in bytes. */
  readonly mtuMax: number;
  /** Leaves out every path without a relay. */
  readonly noDirect: boolean;
}

/**
 * Every path to a peer, bounded: each candidate from the own sockets and from each relay that can have a way to it, and
 * {@linkcode LEARNED_MAX} others.
 */
export class PathTable {
  readonly #options: PathTableOptions;
  readonly #records = new Map<string, PathRecord>();
  /** Every path; may be gone through more than once. */
  readonly all: Iterable<PathRecord> = { [Symbol.iterator]: () => this.#records.values() };
  #candidates: readonly Candidate[] = [];
  /** The peer may go on sending from an allocation that it does not offer any more. */
  readonly #relayed = new Set<string>();
  #relays: ReadonlyMap<number, RelayEnd> = new Map();

  /** An empty table. */
  constructor(options: PathTableOptions) {
    this.#options = options;
  }

  /** How many there are. */
  get size(): number {
    return this.#records.size;
  }

  /** The peer's candidates, best first. */
  get candidates(): readonly Candidate[] {
    return this.#candidates;
  }

  /** Replaces the peer's candidates. Returns whether there is an address that no path led to. */
  setCandidates(candidates: readonly Candidate[], keep: PathRecord | undefined): boolean {
    this.#candidates = mergeCandidates(candidates);
    this.#remember();
    return this.#list(keep);
  }

  /** Replaces the own ends that are relay allocations. Returns whether that makes a new path. */
  setRelays(relays: readonly RelayEnd[], keep: PathRecord | undefined): boolean {
    const before = this.#relays;
    this.#relays = new Map(relays.slice(0, RELAYS_MAX).map((end) => [end.local, end]));
    for (const record of this.#records.values()) {
      const { local } = record.path;
      if (before.has(local) || this.#relays.has(local)) this.#setEnd(record);
    }
    return this.#list(keep);
  }

  /** The record of a path, if there is one. */
  find(path: Path): PathRecord | undefined {
    return this.#records.get(formatPath(path));
  }

  /**
   * The record of a path where something authenticated was heard: made if there is none. `keep` is never forgotten for it.
   * `undefined` for a direct path where none are used.
   */
  learn(now: Instant, path: Path, keep: PathRecord | undefined): PathRecord | undefined {
    const known = this.find(path);
    const record = known ?? this.#record(path, this.#kindOf(path.remote) ?? "peerReflexive");
    if (this.#options.noDirect && record.relays === 0) return undefined;
    record.learnedAt = now;
    if (known !== undefined) return known;
    this.#records.set(record.key, record);
    this.#forgetLearned(keep, record);
    return record;
  }

  /** Forgets paths from own ends that are closed. */
  dropLocals(locals: ReadonlySet<number>): void {
    for (const { key, path } of [...this.#records.values()]) {
      if (locals.has(path.local)) this.#records.delete(key);
    }
  }

  /** Paths that initiations go out on: each kind and family has its turn, so that many of one kind hide no other. */
  inTurns(): readonly PathRecord[] {
    const groups = new Map<string, PathRecord[]>();
    for (const record of this.#records.values()) {
      // An extra end is for the one path that it has.
      const name = `${record.kind} ${record.family} ${record.ownRelay}`;
      const group = groups.get(name);
      if (group === undefined) groups.set(name, [record]);
      else group.push(record);
    }
    const turns: PathRecord[] = [];
    for (let i = 0; turns.length < this.#records.size; i++) {
      for (const group of groups.values()) {
        const record = group[i];
        if (record !== undefined) turns.push(record);
      }
    }
    return turns;
  }

  /**
   * The paths that one initiation goes out on: the one in use, those that work, then each kind of the others in turn; at most
   * {@linkcode FAN_OUT_MAX}. Where there are more, half stays and the others alternate with `turn`. `past`: not those to neighbours,
   * where there are others.
   */
  receivers(
    primary: PathRecord | undefined,
    { turn, past = false }: { readonly turn: number; readonly past?: boolean },
  ): readonly PathRecord[] {
    const rank = (record: PathRecord): number => record === primary ? 0 : record.works ? 1 : 2;
    // An end that was opened for a guess serves the path that it found.
    const all = this.inTurns().filter((record) =>
      !record.gone && (rank(record) < 2 || record.ownRelay || !record.extra)
    ).sort((a, b) => rank(a) - rank(b));
    const others = past ? all.filter((record) => !record.private || record.relays > 0) : all;
    const sorted = others.length > 0 ? others : all;
    if (sorted.length <= FAN_OUT_MAX) return sorted;
    const kept = FAN_OUT_MAX / 2;
    const turns = sorted.slice(kept);
    const from = turn * kept % turns.length;
    return [...sorted.slice(0, kept), ...[...turns.slice(from), ...turns].slice(0, kept)];
  }

  /** Makes the paths of candidates and relays, and forgets those that are of neither and were never heard. */
  #list(keep: PathRecord | undefined): boolean {
    for (const record of this.#records.values()) record.listed = false;
    let fresh = false;
    for (const { address, kind } of this.#candidates) {
      for (const local of [OWN_SOCKETS, ...this.#relays.keys()]) {
        const path = { local, remote: address };
        const known = this.find(path);
        if (known === undefined && !this.#hasWay(path)) continue;
        const record = known ?? this.#record(path, kind);
        if (this.#options.noDirect && record.relays === 0) continue;
        record.kind = kind;
        record.listed = true;
        // Best first, also those that were known before.
        this.#records.delete(record.key);
        this.#records.set(record.key, record);
        fresh ||= known === undefined;
      }
    }
    for (const record of [...this.#records.values()]) {
      if (record.listed || record === keep) continue;
      if (record.learnedAt === undefined || record.gone) this.#records.delete(record.key);
      else {
        // Where the peer was heard goes behind what it says now.
        this.#records.delete(record.key);
        this.#records.set(record.key, record);
      }
    }
    this.#forgetLearned(keep);
    return fresh;
  }

  #forgetLearned(keep: PathRecord | undefined, newest?: PathRecord): void {
    const learned = [...this.#records.values()].filter((record) =>
      !record.listed && record !== keep && record !== newest
    );
    const room = LEARNED_MAX - (newest === undefined || newest.listed ? 0 : 1);
    learned.sort((a, b) =>
      Number(b.works) - Number(a.works) || (b.learnedAt ?? 0) - (a.learnedAt ?? 0)
    );
    for (const { key } of learned.slice(room)) this.#records.delete(key);
  }

  #record(path: Path, kind: PathRecord["kind"]): PathRecord {
    const record = new PathRecord(path, { kind, mtuMax: this.#options.mtuMax });
    this.#setEnd(record);
    return record;
  }

  /** Whether the relay of an own end, if it is one, can have a way to an address. */
  #hasWay({ local, remote }: Path): boolean {
    const end = this.#relays.get(local);
    return end === undefined || reachesFrom(end.relayed, remote.hostname);
  }

  #setEnd(record: PathRecord): void {
    const end = this.#relays.get(record.path.local);
    const wasGone = record.gone;
    // A relay's number is nobody else's, also while there is no allocation.
    record.ownRelay ||= end !== undefined;
    record.gone = record.ownRelay && end === undefined;
    record.draining = end?.draining === true;
    if (wasGone && !record.gone) record.search();
  }

  #kindOf(remote: SocketAddress): PathRecord["kind"] | undefined {
    const text = formatSocketAddress(remote);
    const listed = this.#candidates.find(({ address }) => formatSocketAddress(address) === text);
    return listed?.kind ?? (this.#relayed.has(text) ? "relayed" : undefined);
  }

  #remember(): void {
    for (const { kind, address } of this.#candidates) {
      const text = formatSocketAddress(address);
      this.#relayed.delete(text);
      if (kind === "relayed") this.#relayed.add(text);
    }
    for (const text of this.#relayed) {
      if (this.#relayed.size > RELAYED_MAX) this.#relayed.delete(text);
    }
  }
}
