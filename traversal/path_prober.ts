/**
 * Asks the paths of a session: whether they answer, how fast, and how large a packet the one in use carries.
 *
 * @module
 */
import { earlier, type Instant } from "../core/mod.ts";
import { type Path, samePath } from "./path.ts";
import type { PathChoice } from "./path_choice.ts";
import { comparePaths } from "./path_rank.ts";
import type { PathRecord } from "./path_record.ts";
import type { PathTable } from "./path_table.ts";
import { type PathProbe, PROBE_BYTES, ProbeBook } from "./probe_book.ts";
import { type ProbeContext, probeDueAt, stepSearch } from "./probe_timing.ts";

/** A peer that has not answered a probe after this time in its first session does not answer any. */
const PATIENCE_MS = 10_000;
/** Working paths, besides a relay, that are probed as often as a NAT wants it. */
const WARM_MAX = 2;
const KEEPALIVE_MS = 25_000;

/** The probes of one peer's paths. */
export class PathProber {
  readonly #table: PathTable;
  readonly #book: ProbeBook;
  readonly #warm = new Set<PathRecord>();
  #keepaliveMs: number;
  #answers: boolean | undefined;
  /** Whether the peer has sent a probe itself. */
  #knows = false;

  /** Asks nothing yet. */
  constructor(
    now: Instant,
    { table, keepaliveMs = KEEPALIVE_MS }: {
      /** The paths. */
      readonly table: PathTable;
      /** Time between probes that keep a NAT mapping. @default 25000 */
      readonly keepaliveMs?: number | undefined;
    },
  ) {
    this.#table = table;
    this.#book = new ProbeBook(now);
    this.#keepaliveMs = keepaliveMs;
  }

  /** Whether the peer answers probes; `undefined` until that is known. */
  get answers(): boolean | undefined {
    return this.#answers;
  }

  /** Probes not made at a limit. */
  get refused(): number {
    return this.#book.refused;
  }

  /** Sets the time between probes that keep a NAT mapping. What is no positive number is ignored. */
  setKeepalive(keepaliveMs: number): void {
    if (keepaliveMs > 0) this.#keepaliveMs = keepaliveMs;
  }

  /** Makes every probe that is due. */
  ask(now: Instant, choice: PathChoice): void {
    this.#keepWarm(choice.primary);
    const context = this.#context(choice);
    this.#askOne(now, choice.primary, context);
    for (const record of this.#table.all) this.#askOne(now, record, context);
    this.#measure(now, choice);
  }

  /** When {@linkcode PathProber.ask} has something to do; `undefined` for never. */
  dueAt(choice: PathChoice): Instant | undefined {
    const context = this.#context(choice);
    let at: Instant | undefined;
    for (const record of this.#table.all) at = earlier(at, probeDueAt(record, context));
    if (this.#answers !== true || choice.questioned) return at;
    const { mtu, rttMs } = choice.primary;
    return earlier(at, mtu.dueAt({ rttMs, sentAt: choice.sentAt }));
  }

  /** Waits no longer for a first answer, if a session has brought none for long. */
  loseHope(now: Instant, { since }: PathChoice): void {
    if (now - since >= PATIENCE_MS && !this.#knows) this.#answers ??= false;
  }

  /** The peer has sent a probe. Returns whether it was taken for one that answers none. */
  handleProbed(): boolean {
    this.#knows = true;
    if (this.#answers !== false) return false;
    this.#answers = undefined;
    return true;
  }

  /** Takes the next probe to send. */
  poll(): PathProbe | undefined {
    return this.#book.poll();
  }

  /** Takes an answer, and the path that it came over. Returns whether it was waited for. */
  handleReply(now: Instant, path: Path, sequence: number): boolean {
    const probe = this.#book.take(sequence);
    if (probe === undefined) return false;
    const { record, sentAt, bytes, purpose } = probe;
    this.#answers = true;
    record.answered(now, sentAt, path);
    record.mtu.alive(sentAt);
    if (purpose === "alive") record.measured(now - sentAt);
    else record.mtu.answered(now, bytes);
    return true;
  }

  /** A probe could not be sent: it is not one without an answer. */
  handleRefused(path: Path, sequence: number): void {
    const probe = this.#book.take(sequence);
    if (probe === undefined || !samePath(probe.record.path, path)) return;
    if (probe.purpose === "alive") probe.record.refused(probe.sentAt);
    if (!this.#knows) this.#answers ??= false;
  }

  /** Forgets every probe on its way: the session is over. */
  clear(): void {
    this.#book.clear();
  }

  /** The working paths that are kept ready: the best few, and a relay. */
  #keepWarm(primary: PathRecord): void {
    const working: PathRecord[] = [];
    for (const record of this.#table.all) {
      if (record.works && record !== primary) working.push(record);
    }
    if (working.length > 1) working.sort(comparePaths);
    this.#warm.clear();
    for (const record of working) {
      // Which of them keeps open the port that the peer's data comes to, nobody knows.
      const direct = primary.crooked || this.#warm.size < WARM_MAX;
      if (record.relays > 0 || direct) this.#warm.add(record);
      if (record.relays > 0) return;
    }
  }

  #context(choice: PathChoice): ProbeContext {
    return {
      since: choice.since,
      primary: choice.primary,
      sentAt: choice.sentAt,
      suspectedAt: this.#answers === true ? choice.suspectedAt : undefined,
      warm: this.#warm,
      keepaliveMs: this.#keepaliveMs,
    };
  }

  #askOne(now: Instant, record: PathRecord, context: ProbeContext): void {
    if (probeDueAt(record, context) > now) return;
    stepSearch(record);
    const urgent = record === context.primary;
    const made = this.#book.add(now, record, { bytes: PROBE_BYTES, purpose: "alive", urgent });
    if (made) record.probed(now);
    else record.probedAt = now;
  }

  /** Looks for the largest size that the path in use carries. */
  #measure(now: Instant, choice: PathChoice): void {
    if (this.#answers !== true || choice.questioned) return;
    const { primary } = choice;
    primary.mtu.start(now);
    const clues = { rttMs: primary.rttMs, sentAt: choice.sentAt };
    for (let bytes; (bytes = primary.mtu.poll(now, clues)) !== undefined;) {
      this.#book.add(now, primary, { bytes, purpose: "size" });
    }
  }
}
