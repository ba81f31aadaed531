/**
 * Carries a guess out: opens extra ends, sends in turns, closes what did not win, and waits ever longer after failures.
 *
 * ```text
 *            no direct path, 1.5 s                  ends opened                    all rounds sent, 6 s
 *  resting ------------------------> (opening) -----------------> sending --------------------------> resting
 *     ^                                                               |       20 s, then 1, 4, 16, 60, 60 ... minutes from begin to begin
 *     +---------------------------------------------------------------+
 *       a direct path works: the extra end that it uses stays open, the others close
 * ```
 *
 * Both sides must guess at the same time, and each has its own clock and its own past. What both have in common are the punches that
 * Discovery tells both of, with an id: where punches come, a guess begins with one of them, which both choose alike by the id
 * (docs/decisions/0023-guesses-begin-with-punches.md). Without punches each goes by its clock.
 *
 * @module
 */
import { after, earlier, type Instant, type Rng, type SocketAddress } from "../core/mod.ts";
import type { Candidate } from "./candidate.ts";
import {
  type GuessPlan,
  type NatCircumstances,
  ONCE_ROUND,
  planGuess,
  sequenceOf,
  varies,
} from "./guess.ts";
import { OWN_SOCKETS, type Path } from "./path.ts";
import { TokenBucket } from "./token_bucket.ts";

/** What the host is asked to do with extra local ends. */
export type LocalRequest =
  | {
    /** Open ends, as many as may be had, and say which. */
    readonly kind: "open";
    /** How many are wanted. */
    readonly count: number;
    /** Whether the peer has just been told to try: who guesses for others without that gives way. */
    readonly urgent: boolean;
  }
  | {
    /** Close ends. */
    readonly kind: "close";
    /** Which. */
    readonly locals: readonly number[];
  }
  | {
    /** Find out which ports the NAT gives out now, and tell the peer: a guess comes soon. */
    readonly kind: "sample";
  };

/** Options of {@linkcode GuessRun}. */
export interface GuessRunOptions {
  /** Source of random ports. Absent: nothing is guessed. */
  readonly rng?: Rng;
  /** Nothing is guessed. */
  readonly noGuess: boolean;
}

/** What a run must know of the paths now. */
export interface GuessSituation {
  /** Since when a direct path has been wanted and missing; `undefined` while there is one or none is wanted. */
  readonly missingSince: Instant | undefined;
  /** The peer's candidates. */
  readonly candidates: readonly Candidate[];
  /** Extra ends whose paths work or are in use. */
  readonly used: ReadonlySet<number>;
}

/** Ordinary attempts come first. */
export const GUESS_DELAY_MS = 1_500;
const BATCH_MS = 100;
/** Time from the beginning of one guess to the next. */
const PERIODS_MS = [20_000, 60_000, 240_000, 960_000, 3_600_000] as const;
/** Before a guess the peer is told of this side's ports, and tells of its own: that takes Discovery and back. */
const SAMPLE_MS = 1_500;
/** Where nothing can be planned with what is known, the next look. */
const UNPLANNED_MS = 60_000;
/** Ends to be found are of use for as long as the peer looks; what it tells of its ports may still come, and is worth more. */
const SHOW_AFTER_MS = 3_000;
/** Where another peer's guess has all the ends, the next try. */
const NO_ENDS_MS = 4_000;
/** Time from the beginning of one guess to the next that a punch brings about, at least. */
const TOGETHER_GAP_MS = 8_000;
/**
 * Punches bring about one guess in so long on average, however often they come; the longer both networks have been as they are the
 * fewer. Each is left out with a chance, so that pairs that are told at the same time do not get into each other's way each time.
 */
const TOGETHER_MS = [[60_000, 10_000], [600_000, 30_000], [Infinity, 960_000]] as const;
/** Time without a punch after which a side goes by its own clock again. */
const ALONE_MS = 90_000;
/** Whatever Discovery says: so many guesses at once, and the time that gives one back. */
const PUNCHED_MAX = 24;
const PUNCHED_EVERY_MS = 480_000;
/** Ports that were looked at so long ago are looked at again before anything is predicted from them. */
const SAMPLE_OLD_MS = 10_000;
/** Answers to the last datagrams are waited for. */
const TAIL_MS = 6_000;
/** Ends are held for so long before another peer may have them: the other side has tried all its ports by then. */
const TURN_MS = 8_000;
/** A host that does not answer a request to open ends is not waited for longer. */
const OPENING_MS = 2_000;

interface Run {
  readonly plan: GuessPlan;
  readonly startedAt: Instant;
  /** Its extra ends. */
  ends: readonly number[];
  /** What is sent in this round. */
  paths: readonly Path[];
  round: number;
  /** Datagrams of this round that have been sent. */
  sent: number;
  nextAt: Instant | undefined;
  endsAt: Instant | undefined;
}

/** The guesses for one peer. */
export class GuessRun {
  readonly #options: GuessRunOptions;
  #nat: NatCircumstances | undefined;
  #run: Run | undefined;
  #attempts = 0;
  #begunAt: Instant | undefined;
  #punchedAt: Instant | undefined;
  /** The punch of this instant, not yet looked at. */
  #punch: { readonly at: Instant; readonly coin: number; readonly after: number } | undefined;
  /** When both sides begin because of a punch. */
  #togetherAt: Instant | undefined;
  /** Guesses that punches may still bring about. */
  #punched: TokenBucket | undefined;
  /** Since when nothing else is known of both networks; `undefined` until a direct path is missing. */
  #knownSince: Instant | undefined;
  /** The peer's public addresses. */
  #hosts: ReadonlySet<string> = new Set();
  /** The guess that this side's ports were last looked at for, by when it is to begin. */
  #sampledFor: Instant | undefined;
  #sampledAt: Instant | undefined;
  /** The last port that was predicted from, and how often. */
  #predicted = { last: 0, times: 0 };
  /** When ends are opened to be found, unless the peer's ports turn out to follow an order until then. */
  #showAt: Instant | undefined;
  /** When it is this side's turn again, by its own clock. */
  #againAt: Instant | undefined;
  /** What a guess has to wait for besides. */
  #notBefore: Instant | undefined;
  #readyAt: Instant | undefined;
  #open = new Set<number>();
  #opening: Instant | undefined;
  /** Requests not yet taken. What is wanted no more is not asked for; so there is one of each kind at most. */
  #toClose: number[] = [];
  #toSample = false;
  #toOpen: LocalRequest | undefined;
  #batch: readonly Path[] | undefined;
  #sent = 0;

  /** A run that rests. */
  constructor(options: GuessRunOptions) {
    this.#options = options;
  }

  /** What is known of both NATs; `undefined` for nothing. */
  get nat(): NatCircumstances | undefined {
    return this.#nat;
  }

  /** Guesses begun. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Datagrams sent for guesses. */
  get sent(): number {
    return this.#sent;
  }

  /** Whether extra ends are open or asked for. */
  get holdsEnds(): boolean {
    return this.#open.size > 0 || this.#opening !== undefined;
  }

  /** Whether a guess is under way. */
  get running(): boolean {
    return this.#run !== undefined;
  }

  /** Takes what is known of both NATs. */
  setNat(nat: NatCircumstances): void {
    // Nothing that was sent meanwhile got anywhere.
    if (this.#nat?.udpBlocked === true && !nat.udpBlocked) this.renew();
    this.#nat = nat;
    if (this.#attempts === 0) this.#notBefore = undefined;
  }

  /** The peer's candidates are others: what could not be planned before may be now, and its network may be another. */
  reconsider(candidates: readonly Candidate[]): void {
    if (this.#attempts === 0) this.#notBefore = undefined;
    const seen = candidates.filter(({ kind }) => kind === "serverReflexive");
    const hosts = new Set(seen.map(({ address }) => address.hostname));
    if (hosts.difference(this.#hosts).size > 0) this.#knownSince = undefined;
    this.#hosts = hosts;
  }

  /** This node's network is another: failures of before do not count. */
  renew(): void {
    this.#attempts = 0;
    this.#notBefore = undefined;
    this.#againAt = undefined;
    this.#punched = undefined;
    this.#knownSince = undefined;
  }

  /** There is a direct path: when it is lost, a guess is worth as much as the first. */
  succeeded(): void {
    this.#attempts = 0;
    this.#punched = undefined;
    this.#knownSince = undefined;
    this.#againAt = undefined;
    this.#notBefore = this.#begunAt === undefined ? undefined : after(this.#begunAt, PERIODS_MS[0]);
  }

  /**
   * The peer tries now, as both were told: both guess together, whenever each began before. {@linkcode GuessRun.handle} follows at
   * the same instant. `coin` is a number from 0 to 1 that both were told, by which both leave the same punches out.
   */
  punch(now: Instant, coin: number): void {
    const waited = this.#punchedAt === undefined ? Infinity : now - this.#punchedAt;
    this.#punchedAt = now;
    this.#punch = { at: now, coin, after: waited };
  }

  /** Looks at what the paths do now: begins, goes on, or ends. */
  handle(now: Instant, situation: GuessSituation): void {
    this.#release(situation);
    const { missingSince } = situation;
    if (missingSince === undefined) {
      this.#end(situation);
      this.#readyAt = undefined;
      this.#showAt = undefined;
      this.#togetherAt = undefined;
      return;
    }
    this.#knownSince ??= now;
    this.#join(now, situation);
    this.#readyAt = this.#beginsAt(missingSince);
    if (this.#run === undefined && now >= this.#readyAt) this.#begin(now, situation);
    this.#proceed(now, situation);
    this.#sample(now);
  }

  /** Takes the host's answer to a request to open ends. */
  handleLocals(now: Instant, opened: readonly number[]): void {
    const extra = opened.filter((local) => local !== OWN_SOCKETS);
    if (this.#opening === undefined || this.#run === undefined) {
      this.#toClose.push(...extra);
      return;
    }
    this.#opening = undefined;
    for (const local of extra) this.#open.add(local);
    this.#run.ends = extra;
    this.#run.paths = pathsOf(this.#run.plan, extra, 0);
    if (extra.length > 0) {
      const at = firstRoundAt(this.#run);
      this.#run.nextAt = at > now ? at : now;
    } else {
      this.#run.endsAt = now;
      this.#postpone(now);
    }
  }

  /**
   * Gives its ends back because another peer needs some: if they have had their time, or if that peer's need is `urgent` and this
   * one's is not. Returns whether any are closed.
   */
  yieldEnds(
    now: Instant,
    { urgent, used }: { readonly urgent: boolean } & Pick<GuessSituation, "used">,
  ): boolean {
    const run = this.#run;
    if (run === undefined || this.#open.size === 0) return false;
    const over = now - run.startedAt >= TURN_MS;
    if (!over && (!urgent || this.#isUrgent(now))) return false;
    if (!over) this.#postpone(now);
    this.#readyAt = this.#notBefore ?? this.#againAt;
    this.#end({ used });
    return true;
  }

  /** Where an extra end sends to; empty if it is none of the guess under way. */
  aimsOf(local: number): readonly SocketAddress[] {
    return this.#run !== undefined && this.#open.has(local) ? this.#run.plan.aims : [];
  }

  /** Takes the paths that one initiation goes out on. */
  pollBatch(): readonly Path[] | undefined {
    const batch = this.#batch;
    this.#batch = undefined;
    return batch;
  }

  /** Takes the next request about extra ends. */
  pollLocal(): LocalRequest | undefined {
    if (this.#toClose.length > 0) {
      const locals = this.#toClose;
      this.#toClose = [];
      return { kind: "close", locals };
    }
    if (this.#toSample) {
      this.#toSample = false;
      return { kind: "sample" };
    }
    const open = this.#toOpen;
    this.#toOpen = undefined;
    return open;
  }

  /** When {@linkcode GuessRun.handle} has something to do; `undefined` for never. */
  dueAt(): Instant | undefined {
    const run = this.#run;
    if (run !== undefined) {
      const opened = this.#opening === undefined ? undefined : after(this.#opening, OPENING_MS);
      return earlier(earlier(run.nextAt, run.endsAt), opened);
    }
    if (!this.#possible || this.#readyAt === undefined) return undefined;
    return this.#samples(this.#readyAt) ? after(this.#readyAt, -SAMPLE_MS) : this.#readyAt;
  }

  /** When the next guess begins: where punches come, with one of them. */
  #beginsAt(missingSince: Instant): Instant {
    let at = after(missingSince, GUESS_DELAY_MS);
    const later = (other: Instant | undefined): void => {
      if (other !== undefined && other > at) at = other;
    };
    later(this.#notBefore);
    if (this.#togetherAt !== undefined) later(this.#togetherAt);
    else if (this.#againAt !== undefined) {
      later(this.#againAt);
      if (this.#punchedAt !== undefined) later(after(this.#punchedAt, ALONE_MS));
    }
    return at;
  }

  /** Begins with the peer, if there is a punch for that. */
  #join(now: Instant, situation: GuessSituation): void {
    const punch = this.#punch;
    this.#punch = undefined;
    if (punch?.at !== now || !this.#possible || this.#togetherAt !== undefined) return;
    if (this.#begunAt !== undefined && now - this.#begunAt < TOGETHER_GAP_MS) return;
    const known = now - (this.#knownSince ?? now);
    const [, everyMs] = TOGETHER_MS.find(([until]) => known < until) ?? TOGETHER_MS[2];
    if (punch.coin * everyMs >= punch.after) return;
    this.#punched ??= new TokenBucket(now, { most: PUNCHED_MAX, everyMs: PUNCHED_EVERY_MS });
    if (!this.#punched.take(now)) return;
    this.#end(situation);
    this.#notBefore = undefined;
    this.#togetherAt = after(now, SAMPLE_MS);
  }

  get #possible(): boolean {
    const { rng, noGuess } = this.#options;
    return rng !== undefined && !noGuess && this.#nat !== undefined;
  }

  /** Whether this side's ports have to be looked at before a guess. */
  #samples(readyAt: Instant): boolean {
    return this.#nat !== undefined && varies(this.#nat.own) && this.#sampledFor !== readyAt;
  }

  /** Has this side's ports looked at, if the next guess is near. */
  #sample(now: Instant): void {
    const readyAt = this.#readyAt;
    if (this.#run !== undefined || readyAt === undefined) return;
    if (!this.#possible || !this.#samples(readyAt)) return;
    if (now < after(readyAt, -SAMPLE_MS)) return;
    this.#sampledFor = readyAt;
    this.#sampledAt = now;
    this.#toSample = true;
  }

  #proceed(now: Instant, situation: GuessSituation): void {
    if (this.#opening !== undefined && now >= after(this.#opening, OPENING_MS)) {
      this.#opening = undefined;
      this.#end(situation);
    }
    const run = this.#run;
    if (run === undefined) return;
    if (run.endsAt !== undefined && now >= run.endsAt) return this.#end(situation);
    if (run.nextAt !== undefined && now >= run.nextAt) this.#send(now, run);
  }

  #begin(now: Instant, { candidates }: GuessSituation): void {
    const { rng } = this.#options;
    if (!this.#possible || rng === undefined || this.#nat === undefined) return;
    const last = sequenceOf(candidates)?.last;
    const attempt = last === this.#predicted.last ? this.#predicted.times : 0;
    const plan = planGuess({ ...this.#nat, candidates, attempt }, rng);
    const period = PERIODS_MS[Math.min(this.#attempts, PERIODS_MS.length - 1)] ?? 0;
    if (plan === undefined) {
      // Nothing to guess with what is known: look again when that is more.
      this.#togetherAt = undefined;
      this.#notBefore = after(now, UNPLANNED_MS);
      this.#readyAt = this.#notBefore;
      return;
    }
    if (plan.kind === "show") {
      this.#showAt ??= after(now, SHOW_AFTER_MS);
      if (now < this.#showAt) {
        this.#notBefore = this.#showAt;
        this.#readyAt = this.#showAt;
        return;
      }
    }
    this.#showAt = undefined;
    if (plan.kind === "predict" && this.#looksFirst(now)) return;
    this.#togetherAt = undefined;
    if (last !== undefined) this.#predicted = { last, times: attempt + 1 };
    this.#attempts++;
    this.#begunAt = now;
    this.#notBefore = undefined;
    this.#againAt = after(now, period);
    this.#readyAt = this.#againAt;
    const run: Run = {
      plan,
      startedAt: now,
      ends: [],
      paths: pathsOf(plan, [], 0),
      round: 0,
      sent: 0,
      nextAt: now,
      endsAt: undefined,
    };
    this.#run = run;
    if (plan.ends === 0) return;
    run.nextAt = undefined;
    this.#opening = now;
    this.#toOpen = { kind: "open", count: plan.ends, urgent: this.#isUrgent(now) };
  }

  #send(now: Instant, run: Run): void {
    const { plan } = run;
    const paths = run.paths.slice(run.sent, run.sent + plan.batch);
    run.sent += paths.length;
    this.#sent += paths.length;
    if (paths.length > 0) this.#batch = paths;
    if (run.sent < run.paths.length) {
      run.nextAt = after(now, BATCH_MS);
      return;
    }
    run.round++;
    run.sent = 0;
    run.paths = pathsOf(plan, run.ends, run.round);
    const roundAt = after(firstRoundAt(run), run.round * plan.roundMs);
    if (run.round < plan.rounds) run.nextAt = roundAt > now ? roundAt : after(now, BATCH_MS);
    else {
      run.nextAt = undefined;
      run.endsAt = after(now, TAIL_MS);
    }
  }

  /** Has this side's ports looked at, if that was long ago, and the guess wait for it. */
  #looksFirst(now: Instant): boolean {
    if (this.#sampledAt !== undefined && now - this.#sampledAt < SAMPLE_OLD_MS) return false;
    this.#sampledAt = now;
    this.#toSample = true;
    this.#notBefore = after(now, SAMPLE_MS);
    this.#readyAt = this.#notBefore;
    this.#sampledFor = this.#readyAt;
    return true;
  }

  #isUrgent(now: Instant): boolean {
    return this.#punchedAt !== undefined && now - this.#punchedAt < TURN_MS;
  }

  /** It was no guess that failed. */
  #postpone(now: Instant): void {
    this.#attempts = Math.max(0, this.#attempts - 1);
    this.#againAt = undefined;
    this.#notBefore = after(now, NO_ENDS_MS);
  }

  #end(situation: Pick<GuessSituation, "used">): void {
    if (this.#run === undefined) return;
    this.#run = undefined;
    this.#opening = undefined;
    this.#toOpen = undefined;
    this.#batch = undefined;
    this.#release(situation);
  }

  /** Closes ends that nothing needs any more. */
  #release({ used }: Pick<GuessSituation, "used">): void {
    if (this.#run !== undefined || this.#open.size === 0) return;
    const locals = [...this.#open].filter((local) => !used.has(local));
    if (locals.length === 0) return;
    for (const local of locals) this.#open.delete(local);
    this.#toClose.push(...locals);
  }
}

function firstRoundAt({ startedAt, plan: { delayMs = 0 } }: Run): Instant {
  return after(startedAt, delayMs);
}

/** What a plan's round consists of, from the ends that there are. */
function pathsOf(
  { aims, targets, once = [] }: GuessPlan,
  ends: readonly number[],
  round: number,
): readonly Path[] {
  const sought = round === ONCE_ROUND ? [...targets, ...once] : targets;
  const extra = aims.flatMap((remote) => ends.map((local) => ({ local, remote })));
  const own = sought.map((remote) => ({ local: OWN_SOCKETS, remote }));
  // Of copies only the first is answered: each kind of path has its turn to be that. The ends have their ports first.
  return round % 2 === 0 ? [...extra, ...own] : [...own, ...extra];
}
