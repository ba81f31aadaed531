/**
 * What there is to report of a node's paths: those that have changed, and the rest in turn. Pure.
 *
 * Only the operator's page lives by it: it is seldom, and nothing waits for it.
 *
 * @module
 */
import { after, type Instant } from "../core/mod.ts";
import { PATHS_PER_REPORT_MAX, type PathSaid } from "../discovery/mod.ts";

/** How soon after a change it is told: what follows at once is told with it. */
export const SOON_MS = 2000;
/** Shortest time between two reports. */
export const BETWEEN_MS = 10_000;
/** A direct path that comes so soon after a punch is its success. */
export const SUCCESS_MS = 10_000;
/** Peers that are kept in mind; further ones are reported, but their punches are not counted. */
export const PEERS_MAX = 10_000;

/** A path as it is now, but for the punches. */
export type PathNow = Omit<PathSaid, "punchAttempts" | "punchSuccesses">;

/** What is known of one peer. */
interface Entry {
  direct: boolean;
  punchAttempts: number;
  punchSuccesses: number;
  /** The last punch that counted, while it has come to nothing yet. */
  punch: { readonly id: string; readonly at: Instant; readonly open: boolean } | undefined;
  /** What was told of it; empty before the first time. */
  told: string;
  /** The how many-th report told it. */
  toldIn: number;
}

/** The journal of one node. */
export class PathJournal {
  readonly #peersMax: number;
  readonly #peers = new Map<string, Entry>();
  #dueAt: Instant | undefined;
  #lastAt: Instant | undefined;
  #refreshing = false;
  #reports = 0;
  #ignored = 0;

  /** An empty journal, with another limit for tests. */
  constructor(peersMax: number = PEERS_MAX) {
    this.#peersMax = peersMax;
  }

  /** Peers that found no room. */
  get ignored(): number {
    return this.#ignored;
  }

  /** When the next report is due; `undefined` for never. */
  get dueAt(): Instant | undefined {
    return this.#dueAt;
  }

  /** A peer is reached, over a relay or without. */
  reached(now: Instant, publicKey: string, direct: boolean): void {
    const entry = this.#entry(publicKey);
    if (entry === undefined) return this.#changed(now);
    const { punch } = entry;
    if (direct && !entry.direct && punch?.open === true && now <= after(punch.at, SUCCESS_MS)) {
      entry.punchSuccesses++;
      entry.punch = { ...punch, open: false };
    }
    entry.direct = direct;
    this.#changed(now);
  }

  /** A peer is not reached any more. */
  lost(now: Instant, publicKey: string): void {
    const entry = this.#peers.get(publicKey);
    if (entry !== undefined) entry.direct = false;
    this.#changed(now);
  }

  /** Both sides send handshakes. The asking side hears of it twice. */
  punched(now: Instant, publicKey: string, id: string): void {
    const entry = this.#entry(publicKey);
    if (entry === undefined || entry.direct || entry.punch?.id === id) return;
    entry.punchAttempts++;
    entry.punch = { id, at: now, open: true };
  }

  /** The registration was made or refreshed: what Discovery was told before it may not know. */
  registered(now: Instant): void {
    this.#refreshing = true;
    this.#changed(now);
  }

  /** The report that is due, of the paths as they are now: what has changed first, then, once after each registration, what was told longest ago. */
  take(now: Instant, paths: readonly PathNow[]): PathSaid[] {
    this.#dueAt = undefined;
    this.#lastAt = now;
    const present = new Set(paths.map(({ publicKey }) => publicKey));
    for (const publicKey of this.#peers.keys()) {
      if (!present.has(publicKey)) this.#peers.delete(publicKey);
    }
    const known = paths.map((path) => ({ path, entry: this.#peers.get(path.publicKey) }));
    const changed = known.filter(({ path, entry }) => entry?.told !== gist(path));
    const rest = this.#refreshing
      ? known.filter(({ path, entry }) => entry?.told === gist(path))
      : [];
    rest.sort((a, b) => (a.entry?.toldIn ?? 0) - (b.entry?.toldIn ?? 0));
    // One that finds no room in the journal is a change for ever: only a registration makes it a reason to report.
    if (!this.#refreshing && changed.every(({ entry }) => entry === undefined)) return [];
    this.#refreshing = false;
    const chosen = [...changed, ...rest].slice(0, PATHS_PER_REPORT_MAX);
    if (changed.length > PATHS_PER_REPORT_MAX) this.#dueAt = after(now, BETWEEN_MS);
    return chosen.map(({ path, entry }) => {
      // Where nobody wants a direct path, a punch that leads to none has not failed.
      const counted = path.cause === "directOff" ? undefined : entry;
      const { punchAttempts = 0, punchSuccesses = 0 } = counted ?? {};
      return { ...path, punchAttempts, punchSuccesses };
    });
  }

  /** Discovery has taken a report. */
  told(report: readonly PathSaid[]): void {
    this.#reports++;
    for (const path of report) {
      const entry = this.#entry(path.publicKey);
      if (entry === undefined) continue;
      entry.told = gist(path);
      entry.toldIn = this.#reports;
    }
  }

  #changed(now: Instant): void {
    const soon = after(now, SOON_MS);
    const last = this.#lastAt;
    const earliest = last === undefined ? soon : after(last, BETWEEN_MS);
    this.#dueAt ??= earliest > soon ? earliest : soon;
  }

  #entry(publicKey: string): Entry | undefined {
    const known = this.#peers.get(publicKey);
    if (known !== undefined) return known;
    if (this.#peers.size >= this.#peersMax) {
      this.#ignored++;
      return undefined;
    }
    const entry: Entry = {
      direct: false,
      punchAttempts: 0,
      punchSuccesses: 0,
      punch: undefined,
      told: "",
      toldIn: 0,
    };
    this.#peers.set(publicKey, entry);
    return entry;
  }
}

/** What of a path is worth a report of its own; the rest goes with the next. */
function gist({ kind, cause, relayId, nat }: PathNow): string {
  return `${kind} ${cause ?? ""} ${relayId ?? ""} ${nat}`;
}
