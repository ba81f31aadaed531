/**
 * Which of the paths carries the data of a session, and when that changes.
 *
 * ```text
 *   trusted: nothing is asked of the path in use. A better class, or one that is clearly faster, is taken after 200 ms, in
 *            which a still better one may answer.
 *   question, because the path in use does not answer for 1.5 s: data goes out on others too. After 4.5 s the best that has
 *            answered meanwhile is taken; if none has, the best that answers within 200 ms of the first. The path that was
 *            left is not returned to by choice for 10 s, then 20 s and so on.
 *   question, because something happened (link change, peer heard elsewhere): the path in use has two seconds to answer.
 *   question, because the own end of the path in use is no more: the first other that works is taken at once.
 * ```
 *
 * So one event makes one change at most, and no path is left while it answers, unless for a better one; and any that works is better
 * than one that is about to end.
 *
 * @module
 */
import { after, earlier, type Instant } from "../core/mod.ts";
import type { Path } from "./path.ts";
import { comparePaths, handicapOf, isBetterClass, isClearlyFaster } from "./path_rank.ts";
import type { PathRecord } from "./path_record.ts";

/** What {@linkcode PathChoice.judge} decided. */
export type ChoiceEvent =
  /** The path in use does not answer. */
  | "doubted"
  /** It answers again, or another was taken. */
  | "trusted"
  /** Another was taken. */
  | "moved"
  /** Another answers: every path is to be asked now, so that the best of them is taken. */
  | "ask";

/** How long a path is trusted after an authenticated receipt. */
export const TRUST_MS = 6_500;
/** Time without an answer, from the first probe on, after which the path in use is in doubt; four of the least round trips if that is more. */
export const DOUBT_MS = 1_500;
/** The same for another to be taken instead: with the first probe after a second this is within {@linkcode TRUST_MS}. */
export const LEAVE_MS = 4_500;
/** The same for the other paths to be asked. */
export const SUSPECT_MS = 600;
/** Paths, besides a relay, that data is copied to while the path in use is in doubt. */
export const COPIES_MAX = 2;
const SILENCE_MS_MAX = 10_000;
/** How long better paths may still answer before one is taken; twice the round trip of the path in use if that is more. */
const GRACE_MS_MIN = 200;
const GRACE_MS_MAX = 1_000;
/** How long the path in use has to answer after an event. */
const SETTLE_MS_MIN = 2_000;
const SETTLE_MS_MAX = 4_000;
/** How long a path that a session began on has to answer for the first time, once another has. */
const UNPROVEN_MS = 1_000;
/** A path proven longer ago is not taken by choice. */
const FRESH_MS = 70_000;
/** Time between changes for speed alone; doubles. */
const DWELL_MS_FIRST = 5_000;
const DWELL_MS_MIN = 30_000;
const DWELL_MS_MAX = 600_000;
/** Of a peer that answers no probes: after the first answer, how long an answer from a host candidate may still win. */
const SAME_LAN_MS = 300;
/** Of a peer that answers no probes: silence after which data from elsewhere moves the path. */
const SILENT_MS = 1_000;

interface Question {
  /** An answer to what went out since then settles it. */
  readonly since: Instant;
  readonly cause: "silence" | "event" | "gone";
  decideAt: Instant | undefined;
  told: boolean;
}

/** The choice among the paths of one session. */
export class PathChoice {
  /** When the session began. */
  readonly since: Instant;
  #primary: PathRecord;
  #question: Question | undefined;
  #improveAt: Instant | undefined;
  #movedAt: Instant;
  #dwellMs = DWELL_MS_FIRST;
  /** When data first went out after the path in use was last heard. */
  #awaitingSince: Instant | undefined;
  #sentAt: Instant | undefined;

  /** A session that was made over a path. */
  constructor(now: Instant, primary: PathRecord) {
    this.since = now;
    this.#movedAt = now;
    this.#primary = primary;
  }

  /** The path in use. */
  get primary(): PathRecord {
    return this.#primary;
  }

  /** When data last went out. */
  get sentAt(): Instant | undefined {
    return this.#sentAt;
  }

  /** Whether the path in use has to prove itself. */
  get questioned(): boolean {
    return this.#question !== undefined;
  }

  /** From when on other paths are asked quickly; `undefined` while there is no reason to. */
  get suspectedAt(): Instant | undefined {
    const silence = this.#primary.unansweredSince;
    const suspected = silence === undefined ? undefined : after(silence, SUSPECT_MS);
    return earlier(this.#question?.since, suspected);
  }

  /** Whether data goes out on the path in use alone. */
  trusted(now: Instant): boolean {
    const { heardAt } = this.#primary;
    return this.#question === undefined && heardAt !== undefined && now - heardAt <= TRUST_MS;
  }

  /** The peer is heard over a path. Returns whether that is how it answers what goes out on the path in use, which works. */
  heard(now: Instant, path: Path): boolean {
    const primary = this.#primary;
    if (!primary.works || !primary.hears(path)) return false;
    primary.heardAt = now;
    return true;
  }

  /** Data goes out. */
  sent(now: Instant): void {
    const { heardAt } = this.#primary;
    const answered = this.#awaitingSince === undefined || heardAt === undefined ||
      heardAt >= this.#awaitingSince;
    if (answered) this.#awaitingSince = now;
    this.#sentAt = now;
  }

  /** Something happened that may have ended the path in use: it has to answer. */
  question(now: Instant): void {
    const told = this.#question?.told ?? false;
    this.#question = { since: now, cause: "event", decideAt: undefined, told };
    this.#improveAt = undefined;
  }

  /**
   * The others that data is copied to while the path in use is not trusted, best first. Where the latest handshake has come from is the first of
   * them: a peer that has started anew is there and nowhere else.
   */
  copies(records: Iterable<PathRecord>): readonly PathRecord[] {
    const others = [...records].filter((record) => record !== this.#primary).sort(comparePaths);
    const better = this.#better;
    const since = this.#question?.since;
    const greetedAt = ({ greetedAt: at }: PathRecord): number =>
      since !== undefined && at !== undefined && at >= since ? at : -Infinity;
    const chosen = others.filter((record) =>
      record.relays === 0 &&
      (record.works || better(record) || greetedAt(record) > -Infinity)
    )
      .sort((a, b) => Number(b.works) - Number(a.works))
      .sort((a, b) => greetedAt(a) === greetedAt(b) ? 0 : greetedAt(b) - greetedAt(a))
      .slice(0, COPIES_MAX);
    const relayed = others.filter(({ relays }) => relays > 0);
    const relay = relayed.find(({ works }) => works) ?? relayed[0];
    return relay === undefined ? chosen : [...chosen, relay];
  }

  /** Looks at what is known now. `probing`: the peer answers probes. */
  judge(
    now: Instant,
    { records, probing }: { readonly records: Iterable<PathRecord>; readonly probing: boolean },
  ): readonly ChoiceEvent[] {
    this.#lookAtEnd(now);
    const silentAt = this.#silentAt(probing);
    const silent = this.#question === undefined && silentAt !== undefined && now >= silentAt;
    if (silent) {
      const since = (probing ? this.#primary.unansweredSince : undefined) ?? now;
      this.#question = { since, cause: "silence", decideAt: undefined, told: false };
      this.#improveAt = undefined;
    }
    return this.#question === undefined
      ? this.#improve(now, { records, probing })
      : this.#settle(now, { records, probing, question: this.#question });
  }

  /**
   * Takes an authenticated packet of a peer that answers no probes, so that nothing better tells where it is: WireGuard's own
   * roaming, with a preference for neighbours. Returns whether the path in use is another.
   */
  follow(now: Instant, record: PathRecord, what: "handshake" | "data"): boolean {
    if (record === this.#primary || !this.#follows(now, record, what)) return false;
    this.#move(now, record);
    this.#question = undefined;
    return true;
  }

  /** When {@linkcode PathChoice.judge} has something to decide; `undefined` for never. */
  dueAt(probing: boolean): Instant | undefined {
    const question = this.#question;
    if (question === undefined) return earlier(this.#silentAt(probing), this.#improveAt);
    const tellAt = question.told ? undefined : this.#leaveAt(question);
    return earlier(question.decideAt, tellAt);
  }

  #settle(now: Instant, { records, probing, question }: {
    readonly records: Iterable<PathRecord>;
    readonly probing: boolean;
    readonly question: Question;
  }): readonly ChoiceEvent[] {
    if (this.#answered(question, probing)) {
      this.#question = undefined;
      return question.told ? ["trusted"] : [];
    }
    const events: ChoiceEvent[] = [];
    const best = bestOf(
      records,
      (record) => record !== this.#primary && record.works && provenSince(record, question),
    ) ?? (probing ? bestOf(records, this.#better) : undefined);
    const settled = question.cause === "silence" || now >= this.#leaveAt(question);
    // Whoever has another way at once is not in doubt.
    const spared = question.cause === "gone" && best !== undefined;
    if (settled && !spared && !question.told) {
      question.told = true;
      events.push("doubted");
    }
    if (best === undefined) {
      question.decideAt = undefined;
      return events;
    }
    if (question.decideAt === undefined) {
      question.decideAt = this.#decideAt(now, question);
      events.push("ask");
    }
    if (now < question.decideAt) return events;
    this.#primary.failed(now);
    this.#move(now, best);
    this.#question = undefined;
    return question.told ? [...events, "moved", "trusted"] : [...events, "moved"];
  }

  #improve(now: Instant, { records, probing }: {
    readonly records: Iterable<PathRecord>;
    readonly probing: boolean;
  }): readonly ChoiceEvent[] {
    const current = this.#primary;
    const unproven = this.#unproven;
    const rested = now - this.#movedAt >= this.#dwellMs;
    const best = bestOf(
      records,
      (record) =>
        record !== current && record.works &&
        (current.leaving || record.heldUntil(now) === undefined) &&
        record.provenAt !== undefined && now - record.provenAt <= FRESH_MS &&
        (isBetterClass(record, current) || rested && isClearlyFaster(record, current)),
    ) ?? (probing ? bestOf(records, this.#better) : undefined);
    if (best === undefined) {
      this.#improveAt = undefined;
      return [];
    }
    this.#improveAt ??= after(now, unproven ? UNPROVEN_MS : this.#graceMs);
    if (now < this.#improveAt) return [];
    if (!unproven && handicapOf(best) >= handicapOf(current)) {
      this.#dwellMs = Math.min(Math.max(DWELL_MS_MIN, this.#dwellMs * 2), DWELL_MS_MAX);
      // Else its class would bring it back at the next small change.
      if (handicapOf(best) > handicapOf(current)) current.failed(now);
    }
    this.#move(now, best);
    return ["moved"];
  }

  #move(now: Instant, record: PathRecord): void {
    this.#primary = record;
    this.#movedAt = now;
    this.#improveAt = undefined;
    this.#awaitingSince = undefined;
  }

  /** Asks of the path in use whether there is anything at all to send it from. */
  #lookAtEnd(now: Instant): void {
    const asked = this.#question?.cause === "gone";
    if (this.#primary.gone === asked) return;
    // An allocation that is back is another one, of which nothing is known.
    this.question(now);
    if (asked || this.#question === undefined) return;
    this.#question = { ...this.#question, cause: "gone" };
  }

  #answered({ since, cause }: Question, probing: boolean): boolean {
    if (cause === "gone") return false;
    const { provenAt, heardAt, unansweredSince } = this.#primary;
    if (probing && cause === "silence") {
      return unansweredSince === undefined || unansweredSince > since;
    }
    const at = probing ? provenAt : heardAt;
    return at !== undefined && at >= since;
  }

  #silentAt(probing: boolean): Instant | undefined {
    const { unansweredSince, rttFloorMs, heardAt } = this.#primary;
    if (probing) {
      if (unansweredSince === undefined) return undefined;
      return after(unansweredSince, within(4 * (rttFloorMs ?? 0), DOUBT_MS, SILENCE_MS_MAX));
    }
    const awaiting = this.#awaitingSince;
    if (awaiting === undefined || (heardAt !== undefined && heardAt >= awaiting)) return undefined;
    return after(awaiting, TRUST_MS);
  }

  /** A session may begin with a handshake that somebody else has brought: it takes a probe to prove the path. */
  get #unproven(): boolean {
    return this.#primary.provenAt === undefined;
  }

  /**
   * Which paths are better than one that nothing proves: those where the peer says that it is, and where it was heard. Probes
   * may have no luck for long where somebody delivers copies first.
   */
  get #better(): (record: PathRecord) => boolean {
    const { provenAt, listed } = this.#primary;
    const open = provenAt === undefined && !listed;
    return (record) => open && record.listed && record.heardAt !== undefined;
  }

  get #graceMs(): number {
    return within(2 * (this.#primary.rttMs ?? 0), GRACE_MS_MIN, GRACE_MS_MAX);
  }

  /** When the best of those that answer is taken. */
  #decideAt(now: Instant, question: Question): Instant {
    if (question.cause === "gone") return now;
    const graceAt = after(now, this.#graceMs);
    const leaveAt = this.#unproven ? after(this.since, UNPROVEN_MS) : this.#leaveAt(question);
    return graceAt > leaveAt ? graceAt : leaveAt;
  }

  /** When the path in use has had its time to answer. */
  #leaveAt({ since, cause }: Question): Instant {
    if (cause === "gone") return since;
    const rttMs = this.#primary.rttFloorMs ?? 0;
    return cause === "silence"
      ? after(since, within(4 * rttMs, LEAVE_MS, SILENCE_MS_MAX))
      : after(since, within(3 * rttMs, SETTLE_MS_MIN, SETTLE_MS_MAX));
  }

  #follows(now: Instant, record: PathRecord, what: "handshake" | "data"): boolean {
    if (now - this.since <= SAME_LAN_MS) {
      if (this.#primary.kind === "host") return false;
      if (record.kind === "host") return true;
    }
    const { heardAt } = this.#primary;
    return what === "handshake" || heardAt === undefined || now - heardAt >= SILENT_MS;
  }
}

/** Whether a path has answered what was asked after the question came up. */
function provenSince({ provenAt }: PathRecord, { since, cause }: Question): boolean {
  if (provenAt === undefined) return false;
  // Where nothing can be sent any more, nobody asks how long ago another way worked.
  if (cause === "gone") return true;
  // An event has everything asked at its own instant; silence was noticed by a probe that others need not share.
  return cause === "event" ? provenAt >= since : provenAt > since;
}

/** The path of the least cost among those that will do. */
function bestOf(
  records: Iterable<PathRecord>,
  willDo: (record: PathRecord) => boolean,
): PathRecord | undefined {
  let best: PathRecord | undefined;
  for (const record of records) {
    if (willDo(record) && (best === undefined || comparePaths(record, best) < 0)) best = record;
  }
  return best;
}

function within(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}
