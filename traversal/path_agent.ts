/**
 * Decides about the paths to one peer: which handshakes and probes go out when and where to, and which path carries the data.
 *
 * A session starts on whatever answers first and only improves from there. The host owns the engine and the sockets; this machine
 * only decides.
 *
 * ```text
 *          connect(), lost                authenticated                nothing authenticated for 180 s
 *  idle --------------------> trying ------------------> connected -------------------------------------> trying
 *                             FanOut: initiations         ProbeBook: probes          GuessRun: in both, without a direct path
 *
 *  while connected:
 *                    no answer for 1.5 s                             the path in use answers
 *     trusted --------------------------------> doubted ----------------------------------------> trusted
 *        |  \                                   data goes out on the best others too
 *        |   \  link change; the peer is heard     |
 *        |    \ where it was not known             |  no answer for 4.5 s, and another path has answered
 *        |     +------> questioned ----------------+---------------------------------------------> trusted, moved
 *        |              2 s to answer
 *        |  a better path has answered for 200 ms
 *        +---------------------------------------------------------------------------------------> trusted, moved
 * ```
 *
 * Nothing but an authenticated packet moves anything, and where the peer answers probes, nothing but the answer to a probe that took
 * the very path that the data would take: a handshake or data packet that somebody has copied and sends from
 * elsewhere only makes the agent ask there.
 *
 * @module
 */
import { after, earlier, type Instant } from "../core/mod.ts";
import type { Candidate } from "./candidate.ts";
import { DirectSearch, type SearchSituation } from "./direct_search.ts";
import { FanOut } from "./fan_out.ts";
import type { NatCircumstances } from "./guess.ts";
import type { LocalRequest } from "./guess_run.ts";
import { type Path, samePath } from "./path.ts";
import { type ChoiceEvent, PathChoice, TRUST_MS } from "./path_choice.ts";
import { isSilent, PathHearing } from "./path_hearing.ts";
import { PathProber } from "./path_prober.ts";
import type { PathRecord } from "./path_record.ts";
import type {
  Initiation,
  PathAgentOptions,
  PathAgentStatus,
  PathEvent,
  Route,
} from "./path_report.ts";
import { statusOf } from "./path_status.ts";
import { PathTable } from "./path_table.ts";
import type { RelayEnd } from "./relay_end.ts";
import type { PathProbe } from "./probe_book.ts";

/** Silence after which a connection counts as lost: WireGuard's REJECT_AFTER_TIME, the end of every session key. */
export const LOST_MS = 180_000;

/** An engine's own initiation goes to the path in use alone while that was heard within this time. */
const HEARD_MS = 15_000;
/** Called this late, the process has slept, and everything known is of the past. */
const LEAP_MS = 5_000;
/** Data within this time counts once. */
const SENT_EVERY_MS = 100;
/** Events not yet taken; the oldest is dropped. A host that drains after each call never has more than five. */
const EVENTS_MAX = 16;
const MTU_MAX = 1280;
const NO_COPIES: readonly Path[] = [];

/** The paths to one peer. */
export class PathAgent {
  readonly #noDirect: boolean;
  readonly #table: PathTable;
  readonly #fanOut: FanOut;
  readonly #prober: PathProber;
  readonly #hearing: PathHearing;
  readonly #search: DirectSearch;
  #wanted = false;
  #registered = true;
  #attempts = 0;
  #turns = 0;
  /** `undefined` while not connected. */
  #choice: PathChoice | undefined;
  #lastHeardAt: Instant | undefined;
  #toldMtu: number | undefined;
  #route: Route = { primary: undefined, also: NO_COPIES };
  #copies: readonly Path[] | undefined;
  /** Earliest deadline; `null` where it must be found again. */
  #dueAt: Instant | undefined | null = null;
  #events: PathEvent[] = [];
  #eventsDropped = 0;

  /** Creates an agent that knows no candidate and tries nothing. */
  constructor(options: PathAgentOptions) {
    const { now, rng, mtuMax = MTU_MAX, noDirect = false, noGuess = false } = options;
    this.#noDirect = noDirect;
    this.#table = new PathTable({ mtuMax, noDirect });
    this.#fanOut = new FanOut(now);
    this.#prober = new PathProber(now, { table: this.#table, keepaliveMs: options.keepaliveMs });
    this.#hearing = new PathHearing(now, this.#table);
    this.#search = new DirectSearch({
      table: this.#table,
      fanOut: this.#fanOut,
      noGuess: noGuess || noDirect,
      ...(rng && { rng }),
    });
  }

  /** Events, probes, addresses to ask and schedule restarts dropped at a limit. */
  get dropped(): number {
    return this.#eventsDropped + this.#hearing.refused + this.#prober.refused +
      this.#fanOut.refused;
  }

  /**
   * Replaces the peer's candidates; the worst over `CANDIDATES_MAX` are left out.
   *
   * An address that was not known before is tried at once: by initiations while not connected, by probes otherwise.
   */
  setCandidates(now: Instant, candidates: readonly Candidate[]): void {
    this.#list(now, (table, keep) => table.setCandidates(candidates, keep));
  }

  /** Replaces this node's local ends that are allocations on relays. */
  setRelays(now: Instant, ends: readonly RelayEnd[]): void {
    this.#list(now, (table, keep) => table.setRelays(ends, keep));
  }

  /**
   * Takes whether Discovery knows the peer. While it does not, the peer has most likely left: it is asked at once whether it is
   * still there, nothing is guessed for it, and a path that was guessed is given up after 6.5 s without an answer.
   *
   * @default true
   */
  setRegistered(now: Instant, registered: boolean): void {
    if (registered === this.#registered) return;
    this.#registered = registered;
    if (!registered) this.#choice?.primary.search();
    this.#step(now);
  }

  /** Takes what is known of both sides' NATs, whenever that changes. */
  setNat(now: Instant, nat: NatCircumstances): void {
    this.#search.guess.setNat(nat);
    this.handleTimeout(now);
  }

  /** Sets the time between probes that keep a NAT mapping, in milliseconds: what was measured to be short enough. */
  setKeepalive(now: Instant, keepaliveMs: number): void {
    this.#prober.setKeepalive(keepaliveMs);
    this.#step(now);
  }

  /** Asks for a session. Does nothing while connected or already trying. */
  connect(now: Instant): void {
    if (this.#wanted) return;
    this.#want(now);
    if (this.#choice !== undefined) return;
    this.#fanOut.start(now);
    this.#step(now);
  }

  /**
   * Tries everything again at once: this node's link has changed, or it has slept.
   *
   * While connected too: the path in use has to prove itself, and the peer learns the new address from the handshake.
   */
  restart(now: Instant): void {
    if (!this.#wanted && this.#choice === undefined) return;
    this.#renew(now);
    this.#step(now);
  }

  /**
   * Opens a coordinated window: initiations now and every 250 ms, until a handshake completes or `windowMs` is over, 30 s at
   * most. Works while connected too: the other side may have lost what this side still has. A window that is no positive
   * number is ignored. `coin` is a number from 0 to 1 that the other side is told as well.
   */
  punch(now: Instant, windowMs: number, coin = 0): void {
    if (!this.#fanOut.punch(now, windowMs)) return;
    // The path in use too: the other side may have left it.
    for (const record of this.#table.all) record.search();
    this.#search.guess.punch(now, coin);
    this.#step(now);
  }

  /**
   * Tells that the engine authenticated a packet that came over a path.
   *
   * `handshake`: the packet completed a handshake: a response, or the first packet of a session that this side
   * answered. `data`: any other packet of a session, keepalives and answers to probes included.
   */
  handleAuthenticated(now: Instant, path: Path, what: "handshake" | "data"): void {
    const choice = this.#choice;
    if (choice !== undefined) this.#lastHeardAt = now;
    this.#search.heard(now, path, choice?.primary);
    if (what === "data" && choice !== undefined && !this.#hearing.listens(now, choice, path)) {
      return;
    }
    const record = this.#table.learn(now, path, choice?.primary);
    if (record === undefined) return;
    record.heardAt = now;
    if (what === "handshake") record.greetedAt = now;
    this.#lastHeardAt = now;
    if (choice === undefined) this.#connected(now, record);
    else {
      if (what === "handshake") this.#fanOut.rest();
      if (record !== choice.primary && !choice.heard(now, path)) {
        if (this.#prober.answers === false) {
          if (choice.follow(now, record, what)) this.#emit({ kind: "moved", path });
        } else this.#hearing.elsewhere(now, { choice, record, what });
      }
    }
    this.#step(now);
  }

  /** Data goes out to the peer: not keepalives, handshakes, probes or answers to them. */
  handleSent(now: Instant): void {
    const choice = this.#choice;
    if (choice === undefined) return;
    if (choice.sentAt !== undefined && now - choice.sentAt < SENT_EVERY_MS) return;
    choice.sent(now);
    this.#dueAt = null;
  }

  /** Tells that the peer answered a probe, and over which path the answer came. */
  handleProbeReply(now: Instant, path: Path, sequence: number): void {
    if (!this.#prober.handleReply(now, path, sequence) || this.#choice === undefined) return;
    this.#lastHeardAt = now;
    this.#step(now);
  }

  /**
   * Tells that the peer has sent a probe: it knows them, so that silence to this side's says that they do not arrive, and not that
   * the peer has none.
   */
  handleProbed(now: Instant): void {
    if (this.#prober.handleProbed()) this.#step(now);
  }

  /** Tells that a probe could not be sent: it is not one without an answer. */
  handleProbeRefused(path: Path, sequence: number): void {
    this.#prober.handleRefused(path, sequence);
    this.#dueAt = null;
  }

  /**
   * Takes the hint that IP packets of more than `mtu` bytes do not pass (an ICMP error, which may be forged). It makes the agent
   * measure, and changes nothing by itself.
   */
  handleTooBig(now: Instant, path: Path, mtu: number): void {
    this.#table.find(path)?.mtu.hint(now, mtu);
    this.#step(now);
  }

  /**
   * Takes the hint that nobody answers at an address (an ICMP error, which may be forged).
   *
   * If it is the path in use, and that has been silent for a second, everything is tried again, as the peer may have
   * moved. Nothing is given up until something is authenticated elsewhere.
   */
  handleUnreachable(now: Instant, path: Path): void {
    const choice = this.#choice;
    if (choice === undefined || !samePath(choice.primary.path, path)) return;
    if (this.#fanOut.running || !isSilent(now, choice.primary)) return;
    if (!this.#fanOut.restart(now)) return;
    for (const record of this.#table.all) record.search();
    this.#step(now);
  }

  /** Takes the ends that the host opened when {@linkcode PathAgent.pollLocal} asked for some: maybe fewer, maybe none. */
  handleLocals(now: Instant, opened: readonly number[]): void {
    this.#search.guess.handleLocals(now, opened);
    this.#step(now);
  }

  /**
   * Gives back extra ends that a guess holds, since another peer needs some: `urgent`, if that one has just been told to try.
   * Returns whether it does, by {@linkcode PathAgent.pollLocal}.
   */
  yieldEnds(now: Instant, urgent: boolean): boolean {
    const yields = this.#search.yieldEnds(now, this.#situation, urgent);
    if (yields) this.#dueAt = null;
    return yields;
  }

  /** Advances time. */
  handleTimeout(now: Instant): void {
    const dueAt = this.pollTimeout();
    if (dueAt !== undefined && now - dueAt > LEAP_MS) this.#renew(now);
    this.#step(now);
  }

  /** When {@linkcode PathAgent.handleTimeout} must be called; `undefined` for never. Ask after every other call. */
  pollTimeout(): Instant | undefined {
    if (this.#dueAt === null) this.#dueAt = this.#nextDue();
    return this.#dueAt;
  }

  /** Whether the largest size that the path in use carries has been found. */
  get mtuSettled(): boolean {
    return this.#choice?.primary.mtu.settled === true;
  }

  /** Takes the initiation that is due. Ask until there is none. */
  pollInitiation(): Initiation | undefined {
    const due = this.#fanOut.poll();
    if (due !== undefined) {
      const destinations = this.#destinations(due.past);
      if (destinations.length > 0) {
        this.#attempts++;
        return { destinations, fresh: due.fresh };
      }
    }
    return this.#search.pollInitiation();
  }

  /** Takes the probe that is due. Ask until there is none. */
  pollProbe(): PathProbe | undefined {
    return this.#prober.poll();
  }

  /** Takes the next request about local ends. Ask until there is none. */
  pollLocal(): LocalRequest | undefined {
    const request = this.#search.guess.pollLocal();
    if (request?.kind === "close") this.#table.dropLocals(new Set(request.locals));
    return request;
  }

  /** Takes the next event. */
  pollEvent(): PathEvent | undefined {
    return this.#events.shift();
  }

  /** Where data goes now. The answer is the same object while nothing changes. */
  route(now: Instant): Route {
    const choice = this.#choice;
    const primary = choice?.primary.path;
    const certain = choice === undefined || choice.trusted(now);
    if (!certain && this.#copies === undefined) {
      this.#copies = choice.copies(this.#table.all).map(({ path }) => path);
    }
    const also = certain ? NO_COPIES : this.#copies ?? NO_COPIES;
    if (this.#route.primary !== primary || this.#route.also !== also) {
      this.#route = { primary, also };
    }
    return this.#route;
  }

  /**
   * Where an initiation goes that the engine made by itself (rekey, silent peer): on the path in use alone if it was heard
   * within 15 s, otherwise everywhere.
   */
  destinations(now: Instant): readonly Path[] {
    const primary = this.#choice?.primary;
    const heard = primary?.heardAt !== undefined && now - primary.heardAt <= HEARD_MS;
    return heard && !primary.gone ? [primary.path] : this.#destinations();
  }

  /** How the connection does now. */
  status(now: Instant): PathAgentStatus {
    return statusOf({
      now,
      table: this.#table,
      primary: this.#choice?.primary,
      guess: this.#search.guess,
      attempts: this.#attempts,
      trying: this.#fanOut.running,
      lastHeardAt: this.#lastHeardAt,
      noDirect: this.#noDirect,
    });
  }

  /** The list of addresses or own ends is another; `change` says whether there is a new path. */
  #list(
    now: Instant,
    change: (table: PathTable, keep: PathRecord | undefined) => boolean,
  ): void {
    const primary = this.#choice?.primary;
    const wasLeaving = primary?.leaving === true;
    const fresh = change(this.#table, primary);
    // Any path that works is better than one that is about to end, and whether one does is to be known now.
    if (primary?.leaving === true && !wasLeaving) {
      for (const record of this.#table.all) record.search();
    }
    if (fresh) this.#search.guess.reconsider(this.#table.candidates);
    // A peer with new addresses may have left the old ones.
    if (fresh) this.#choice?.primary.search();
    if (fresh && this.#wanted && this.#choice === undefined) this.#fanOut.restart(now);
    this.#step(now);
  }

  #want(now: Instant): void {
    this.#wanted = true;
    this.#search.begin(now);
  }

  #renew(now: Instant): void {
    this.#fanOut.start(now);
    this.#search.guess.renew();
    for (const record of this.#table.all) record.renew();
    this.#choice?.question(now);
  }

  #connected(now: Instant, record: PathRecord): void {
    this.#choice = new PathChoice(now, record);
    this.#attempts = 0;
    this.#fanOut.rest();
    for (const other of this.#table.all) other.search();
    this.#emit({ kind: "connected", path: record.path });
  }

  /** Does everything that is due. */
  #step(now: Instant): void {
    const lostAt = this.#lostAt();
    if (lostAt !== undefined && now >= lostAt) this.#lose(now);
    if (this.#table.size > 0) this.#fanOut.handleTimeout(now);
    if (this.#choice !== undefined) this.#tend(now, this.#choice);
    this.#search.handle(now, this.#situation);
    this.#copies = undefined;
    this.#dueAt = null;
  }

  #lose(now: Instant): void {
    this.#choice = undefined;
    this.#toldMtu = undefined;
    this.#prober.clear();
    for (const record of this.#table.all) record.forget();
    this.#want(now);
    this.#fanOut.start(now);
    this.#emit({ kind: "lost" });
  }

  /** Judges the paths of a session, and asks them. */
  #tend(now: Instant, choice: PathChoice): void {
    this.#prober.loseHope(now, choice);
    const evidence = { records: this.#table.all, probing: this.#prober.answers === true };
    for (const event of choice.judge(now, evidence)) {
      this.#chosen(now, choice, event);
    }
    this.#prober.ask(now, choice);
    const { path, mtu: { mtu } } = choice.primary;
    if (mtu === this.#toldMtu) return;
    this.#toldMtu = mtu;
    this.#emit({ kind: "mtu", path, mtu });
  }

  #chosen(now: Instant, choice: PathChoice, event: ChoiceEvent): void {
    switch (event) {
      case "moved":
        return this.#emit({ kind: "moved", path: choice.primary.path });
      case "trusted":
        this.#fanOut.calm();
        return this.#emit({ kind: "trusted" });
      case "doubted":
        // The session may be gone at the other side: that only a handshake tells.
        this.#fanOut.start(now);
        this.#fanOut.handleTimeout(now);
        this.#emit({ kind: "doubted" });
        break;
      case "ask":
        break;
      default:
        return event satisfies never;
    }
    for (const record of this.#table.all) record.search();
  }

  get #situation(): SearchSituation {
    const choice = this.#choice;
    return {
      wanted: this.#wanted,
      registered: this.#registered,
      primary: choice?.primary,
      questioned: choice?.questioned === true,
      answers: this.#prober.answers,
    };
  }

  #nextDue(): Instant | undefined {
    let at = earlier(this.#lostAt(), this.#search.guess.dueAt());
    if (this.#table.size > 0) at = earlier(at, this.#fanOut.dueAt());
    const choice = this.#choice;
    if (choice === undefined) return at;
    at = earlier(at, choice.dueAt(this.#prober.answers === true));
    return earlier(at, this.#prober.dueAt(choice));
  }

  #lostAt(): Instant | undefined {
    if (this.#choice === undefined || this.#lastHeardAt === undefined) return undefined;
    const lostAt = after(this.#lastHeardAt, LOST_MS);
    const { extra, ownRelay, unansweredSince } = this.#choice.primary;
    // The end that a guess has won is of use to others.
    const left = !this.#registered && extra && !ownRelay && unansweredSince !== undefined;
    return left ? earlier(lostAt, after(unansweredSince, TRUST_MS)) : lostAt;
  }

  #destinations(past = false): readonly Path[] {
    const receivers = this.#table.receivers(this.#choice?.primary, { turn: this.#turns++, past });
    return receivers.map(({ path }) => path);
  }

  #emit(event: PathEvent): void {
    if (this.#events.length === EVENTS_MAX) {
      this.#events.shift();
      this.#eventsDropped++;
    }
    this.#events.push(event);
  }
}
