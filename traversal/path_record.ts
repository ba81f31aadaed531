/**
 * What is known of one path: when it was heard and proven, its round trips, its probes without an answer.
 *
 * ```text
 *             authenticated receipt            answer to a probe that went out here
 *  unknown ------------------------> heard ------------------------------------------> proven
 *                                      ^                                                 |
 *                                      +-----------------------------------------------+
 *                                         probes without an answer, one after another
 * ```
 *
 * Receipt shows that the peer's datagrams come through; only an answer shows that ours do too, and that the address is
 * not that of somebody who has copied a datagram. Where answers come another way, the path is crooked: it carries there and not back
 * (docs/decisions/0027-ways-there-and-back.md).
 *
 * @module
 */
import { cidrContains, familyOf, type Instant, parseCidr, parseIp } from "../core/mod.ts";
import type { CandidateKind } from "./candidate.ts";
import { formatPath, OWN_SOCKETS, type Path, samePath } from "./path.ts";
import { MtuSearch } from "./path_mtu.ts";
import type { PathReport, PathState } from "./path_report.ts";

/** Round trips that the best of is taken from. */
const RTTS_KEPT = 8;
/** Weight of a new round trip in the smoothed one (RFC 6298 section 2.3). */
const RTT_GAIN = 1 / 8;
/** Probes in a row without an answer after which a path that once worked is silent. */
export const UNANSWERED_MAX = 3;
/** Answers that all come another way for so long are no chance any more. */
const STRAIGHT_FOR_MS = 10_000;
/** Probes closer than this to the one before count as one: what asks many times at once cannot have been answered meanwhile. */
const UNANSWERED_GAP_MS = 200;
/** How long a path that failed is not returned to by choice; doubles each time. */
const HOLD_MS = 10_000;
const HOLD_MS_MAX = 320_000;
/** A path that did well for this long after its hold starts again with the shortest one. */
const HOLD_FORGOTTEN_MS = 600_000;

/** Addresses that mean something on one site only: whoever answers there is a neighbour. */
const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"]
  .concat("fc00::/7", "fe80::/10", "::1/128").flatMap((text) => parseCidr(text) ?? []);

/** One path and the evidence for it. */
export class PathRecord {
  /** The path. */
  readonly path: Path;
  /** {@linkcode formatPath} of it. */
  readonly key: string;
  /** How its address was found. */
  kind: CandidateKind;
  /** Whether the peer names the address among its candidates now. */
  listed = false;
  /** Whether this node's own end is a relay's allocation. */
  ownRelay = false;
  /** Whether that relay is about to end. */
  draining = false;
  /** Whether that allocation is no more, so that nothing can be sent. */
  gone = false;
  /** Whether the address is one of a private network. */
  readonly private: boolean;
  /** The family that the datagrams of this path have. */
  readonly family: 4 | 6;
  /** When something authenticated last came from it, in whichever session. */
  learnedAt: Instant | undefined;
  /** When something authenticated came from it in this session. */
  heardAt: Instant | undefined;
  /** When a handshake was last completed over it: who sent that has had an answer of ours there. */
  greetedAt: Instant | undefined;
  /** When the latest probe that was answered went out. */
  provenAt: Instant | undefined;
  /** The same for the latest that was answered along the very path. */
  #straightAt: Instant | undefined;
  /** Where the latest answer came from, if that was another path. */
  #answeredFrom: Path | undefined;
  /** When the last probe went out. */
  probedAt: Instant | undefined;
  /** When the first probe without an answer went out, since the last answer. */
  unansweredSince: Instant | undefined;
  /** Probes without an answer since the last answer. */
  unanswered = 0;
  /** Place in the schedule of a path that is looked for. */
  step = 0;
  /** Probes sent, and answers. */
  probes = 0;
  /** Answers to probes. */
  replies = 0;
  /** Smoothed round trip in milliseconds; `undefined` until measured. */
  rttMs: number | undefined;
  /** The largest size that passes. */
  readonly mtu: MtuSearch;
  #rtts: number[] = [];
  #rttFloorMs: number | undefined;
  /** When the last probe went out that counts as unanswered. */
  #countedAt: Instant | undefined;
  #heldUntil: Instant | undefined;
  #holdMs = HOLD_MS;

  /** A path of which nothing is known. `mtuMax` is in bytes of inner packets. */
  constructor(path: Path, { kind, mtuMax }: { kind: CandidateKind; mtuMax: number }) {
    this.path = path;
    this.key = formatPath(path);
    this.kind = kind;
    this.family = familyOf(path.remote.hostname);
    const ip = parseIp(path.remote.hostname);
    this.private = ip !== undefined && PRIVATE.some((block) => cidrContains(block, ip));
    this.mtu = new MtuSearch({ max: mtuMax, family: this.family });
  }

  /** Relays on the way: 0, 1 or 2. */
  get relays(): number {
    return (this.kind === "relayed" ? 1 : 0) + (this.ownRelay ? 1 : 0);
  }

  /** Whether it is about to end: a relay on it says so, or the peer offers its relayed address no more. */
  get leaving(): boolean {
    return this.draining || this.gone || (this.kind === "relayed" && !this.listed);
  }

  /** Whether it works as far as is known: answered once, and not silent since. */
  get works(): boolean {
    return this.provenAt !== undefined && this.unanswered < UNANSWERED_MAX && !this.gone;
  }

  /**
   * Whether it carries one way only, as answers come another way: two NATs that give each destination another port may be open enough
   * for two ways that do not belong together. Data passes, as the peer sends its own another way too.
   */
  get crooked(): boolean {
    if (this.provenAt === undefined) return false;
    return this.#straightAt === undefined || this.provenAt - this.#straightAt >= STRAIGHT_FOR_MS;
  }

  /** The least of the last round trips; `undefined` until one was measured. */
  get rttFloorMs(): number | undefined {
    return this.#rttFloorMs;
  }

  /** Round trips known, up to a few. */
  get samples(): number {
    return this.#rtts.length;
  }

  /** How far it is known to work. */
  get state(): PathState {
    if (this.provenAt !== undefined) return this.works ? "proven" : "silent";
    return this.heardAt === undefined ? "unknown" : "heard";
  }

  /** Whether the extra end or relay behind it is anything but the node's own sockets. */
  get extra(): boolean {
    return this.path.local !== OWN_SOCKETS;
  }

  /** How it does, for people. */
  report(): PathReport {
    const { path, kind, state, rttMs, probes, replies } = this;
    const mtu = this.mtu.settled ? this.mtu.mtu : undefined;
    return { path, kind, state, rttMs, mtu, probes, replies };
  }

  /** A probe went out. */
  probed(now: Instant): void {
    this.probedAt = now;
    this.unansweredSince ??= now;
    this.probes++;
    const counted = this.unanswered > 0 ? this.#countedAt : undefined;
    if (counted !== undefined && now - counted < UNANSWERED_GAP_MS) return;
    this.unanswered++;
    this.#countedAt = now;
  }

  /** A probe of `sentAt` did not go out after all. */
  refused(sentAt: Instant): void {
    this.probes = Math.max(0, this.probes - 1);
    if (this.#countedAt === sentAt) {
      this.unanswered = Math.max(0, this.unanswered - 1);
      this.#countedAt = undefined;
    }
    if (this.unanswered === 0 || this.unansweredSince === sentAt) this.unansweredSince = undefined;
  }

  /**
   * A probe of `sentAt` was answered: it has arrived, whichever way the answer came (RFC 9000 section 8.2.3). Padded probes prove, and
   * say nothing of round trips.
   */
  answered(now: Instant, sentAt: Instant, from = this.path): void {
    this.replies++;
    this.heardAt = now;
    const straight = samePath(from, this.path);
    this.#answeredFrom = straight ? undefined : from;
    if (this.provenAt === undefined || sentAt > this.provenAt) this.provenAt = sentAt;
    if (straight && (this.#straightAt === undefined || sentAt > this.#straightAt)) {
      this.#straightAt = sentAt;
    }
    const later = this.probedAt !== undefined && this.probedAt > sentAt;
    // It lives now, however late the answer is: what went out since has from now on to be answered.
    this.unansweredSince = later ? now : undefined;
    this.unanswered = later ? 1 : 0;
    this.#countedAt = later ? this.probedAt : undefined;
    this.step = 0;
  }

  /** Whether the peer's answers to what goes this way come over a path. */
  hears(path: Path): boolean {
    return samePath(this.#answeredFrom ?? this.path, path);
  }

  /** A round trip was measured. */
  measured(rttMs: number): void {
    this.#rtts.push(rttMs);
    if (this.#rtts.length > RTTS_KEPT) this.#rtts.shift();
    this.#rttFloorMs = Math.min(...this.#rtts);
    this.rttMs = this.rttMs === undefined ? rttMs : this.rttMs + (rttMs - this.rttMs) * RTT_GAIN;
  }

  /** Looks for it from the beginning: the next probe is due at once. */
  search(): void {
    this.step = 0;
    this.probedAt = undefined;
  }

  /** It was left because it failed. */
  failed(now: Instant): void {
    const calm = this.#heldUntil !== undefined && now - this.#heldUntil > HOLD_FORGOTTEN_MS;
    if (calm) this.#holdMs = HOLD_MS;
    this.#heldUntil = now + this.#holdMs as Instant;
    this.#holdMs = Math.min(this.#holdMs * 2, HOLD_MS_MAX);
  }

  /** Until when it is not returned to by choice, since it failed; `undefined` for it may. */
  heldUntil(now: Instant): Instant | undefined {
    return this.#heldUntil !== undefined && now < this.#heldUntil ? this.#heldUntil : undefined;
  }

  /** The link is another: what was measured is of the past, and it is asked at once. */
  renew(): void {
    this.#rtts = [];
    this.#rttFloorMs = undefined;
    this.#heldUntil = undefined;
    this.#holdMs = HOLD_MS;
    this.mtu.forget();
    this.search();
  }

  /** The session is over. */
  forget(): void {
    this.heardAt = undefined;
    this.provenAt = undefined;
    this.#straightAt = undefined;
    this.#answeredFrom = undefined;
    this.unansweredSince = undefined;
    this.unanswered = 0;
    this.#countedAt = undefined;
    this.rttMs = undefined;
    this.renew();
  }
}
