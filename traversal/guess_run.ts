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
 * A punch brings the next one forward to two minutes after the last: eight times, and then once in 16 minutes. Both sides begin when
 * they are told to connect, and wait alike, so they stay together without speaking of it.
 *
 * @module
 */
import { after, earlier, type Instant, type Rng } from "../core/mod.ts";
import type { Candidate } from "./candidate.ts";
import { type GuessPlan, type NatCircumstances, planGuess, sequenceOf, varies } from "./guess.ts";
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
/** The same where Discovery has both sides punch, which it has for ever: so often at once, and the time that gives one back. */
const PUNCHED_MS = 120_000;
const FORWARD_MAX = 8;
const FORWARD_EVERY_MS = 960_000;
/** Answers to the last datagrams are waited for. */
const TAIL_MS = 6_000;
/** Ends are held for so long before another peer may have them: the other side has tried all its ports by then. */
const TURN_MS = 8_000;
/** A host that does not answer a request to open ends is not waited for longer. */
const OPENING_MS = 2_000;

interface Run {
  readonly plan: GuessPlan;
  readonly startedAt: Instant;
  /** What is sent in one round. */
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
  /** Guesses that punches may still bring forward. */
  #forward: TokenBucket | undefined;
  /** The guess that this side's ports were last looked at for, by when it is to begin. */
  #sampledFor: Instant | undefined;
  /** The last port that was predicted from, and how often. */
  #predicted = { last: 0, times: 0 };
  /** When ends are opened to be found, unless the peer's ports turn out to follow an order until then. */
  #showAt: Instant | undefined;
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

  /** The peer's candidates are others: what could not be planned before may be now. */
  reconsider(): void {
    if (this.#attempts === 0) this.#notBefore = undefined;
  }

  /** This node's network is another: failures of before do not count. */
  renew(): void {
    this.#attempts = 0;
    this.#notBefore = undefined;
    this.#forward = undefined;
  }

  /** There is a direct path: when it is lost, a guess is worth as much as the first. */
  succeeded(): void {
    this.#attempts = 0;
    this.#forward = undefined;
    this.#notBefore = this.#begunAt === undefined ? undefined : after(this.#begunAt, PERIODS_MS[0]);
  }

  /** The peer tries now, as both were told: a guess that failed long ago is worth another. */
  punch(now: Instant): void {
    this.#punchedAt = now;
    if (this.#begunAt === undefined || this.#notBefore === undefined) return;
    const at = after(this.#begunAt, PUNCHED_MS);
    if (at >= this.#notBefore) return;
    this.#forward ??= new TokenBucket(now, { most: FORWARD_MAX, everyMs: FORWARD_EVERY_MS });
    if (this.#forward.take(now)) this.#notBefore = at;
  }

  /** Looks at what the paths do now: begins, goes on, or ends. */
  handle(now: Instant, situation: GuessSituation): void {
    this.#release(situation);
    const { missingSince } = situation;
    if (missingSince === undefined) {
      this.#end(situation);
      this.#readyAt = undefined;
      this.#showAt = undefined;
      return;
    }
    const begin = after(missingSince, GUESS_DELAY_MS);
    this.#readyAt = this.#notBefore !== undefined && this.#notBefore > begin
      ? this.#notBefore
      : begin;
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
    this.#run.paths = pathsOf(this.#run.plan, extra);
    if (extra.length > 0) this.#run.nextAt = now;
    else {
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
    this.#readyAt = this.#notBefore;
    this.#end({ used });
    return true;
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
    if (last !== undefined) this.#predicted = { last, times: attempt + 1 };
    this.#attempts++;
    this.#begunAt = now;
    this.#notBefore = after(now, period);
    const run: Run = {
      plan,
      startedAt: now,
      paths: pathsOf(plan, []),
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
    const roundAt = after(run.startedAt, run.round * plan.roundMs);
    if (run.round < plan.rounds) run.nextAt = roundAt > now ? roundAt : after(now, BATCH_MS);
    else {
      run.nextAt = undefined;
      run.endsAt = after(now, TAIL_MS);
    }
  }

  #isUrgent(now: Instant): boolean {
    return this.#punchedAt !== undefined && now - this.#punchedAt < TURN_MS;
  }

  /** It was no guess that failed. */
  #postpone(now: Instant): void {
    this.#attempts = Math.max(0, this.#attempts - 1);
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

/** What a plan's round consists of, from the ends that there are. */
function pathsOf({ aims, targets }: GuessPlan, ends: readonly number[]): readonly Path[] {
  return [
    ...aims.flatMap((remote) => ends.map((local) => ({ local, remote }))),
    ...targets.map((remote) => ({ local: OWN_SOCKETS, remote })),
  ];
}
