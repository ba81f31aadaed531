/**
 * Which relays a node holds: one is asked for at the start, others are compared with it later, credentials are renewed, and
 * another is taken when one fails, drains, or seems to lose what it carries. Pure.
 *
 * ```text
 *   start --requestRelay--> granted --setRelays--> ready ---10 s---> others granted too, measured
 *                              ^                     |                     | the best stays
 *                              +---- failed, drains, +---- a relayed path  v
 *                                    doubted: another         the rest is given back after 30 s
 * ```
 *
 * @module
 */
import { after, earlier, type ErrorCode, type Instant, type Rng } from "../core/mod.ts";
import type { RelayChoice } from "../discovery/mod.ts";
import type { MeshRequest } from "./mesh_messages.ts";
import type { MeshOutbox } from "./mesh_outbox.ts";
import { jittered, Retry } from "./pace.ts";
import type { RelayInfo, RelayStatus } from "./shared/mod.ts";

/** Relays held at once: the datapath opens no more. */
export const RELAYS_HELD_MAX = 4;
/** Waits before a relay is asked for again. */
const RETRY = { first: 1000, longest: 60_000 };
/** After the first relay, and then again and again: when the others are measured. */
const COMPARE_FIRST_MS = 10_000;
const COMPARE_MS = 1_800_000;
/** How long relays that are compared may take to be ready. */
const MEASURE_MS = 3000;
/** How long the first relay may take before another is asked for beside it: by then a network without UDP has had its stream. */
const PATIENCE_MS = 2500;
/** How much nearer another relay must be: by this part, and by so many milliseconds. */
const BETTER_PART = 0.2;
const BETTER_MS = 5;
/** How long a relay is kept after another was chosen: peers learn of the new one meanwhile. */
const OVERLAP_MS = 30_000;
/** How long a second relay is kept that was taken because of a doubt. */
const SECOND_MS = 60_000;
/** Least time between two doubts that are heeded. */
const DOUBT_GAP_MS = 10_000;
/** How long a relay that has failed is named to Discovery as such. */
const FAILED_MS = 60_000;
/** Where there is no other, it may be asked for again after this. */
const FORGIVE_MS = 5000;
/** Credentials are renewed after this part of their life, less a part at random; a failure is repaired so soon. */
const RENEW_PART = 0.5;
const RENEW_JITTER = 0.1;
const RENEW_RETRY_MS = 20_000;

/** A relay that Discovery has granted. */
export interface GrantedRelay {
  /** The relay, its names resolved. */
  readonly relay: RelayInfo;
  /** How long the session lives. */
  readonly lifeMs: number;
  /** Every relay that may be asked for. */
  readonly choices: readonly RelayChoice[];
}

/** What a {@linkcode RelayControl} is made of. */
export interface RelayControlOptions {
  /** Entropy for jitter. */
  readonly rng: Rng;
  /** Where commands, requests and log lines go. */
  readonly outbox: MeshOutbox;
  /** Never use a relay. @default false */
  readonly noRelay?: boolean;
  /** Most that is sent through a relay, in bytes a second. @default what the relay allows */
  readonly bandwidthBytesPerSecond?: number;
  /** Whether a peer is not reached directly: where nobody is, a Discovery that gives no relay is left in peace. */
  readonly misses: () => boolean;
}

type RelayRequest = MeshRequest & { readonly kind: "requestRelay" };

/** A session and what became of it. */
interface Held {
  info: RelayInfo;
  renewAt: Instant;
  status: RelayStatus | undefined;
  /** Whether it was ready and is not any more, though it may be tried again. */
  lost: boolean;
  /** When it is given back; `undefined` while it is kept. */
  releaseAt: Instant | undefined;
}

/** The relays of one node. */
export class RelayControl {
  readonly #options: RelayControlOptions;
  /** By id, in the order in which they were granted; at most {@linkcode RELAYS_HELD_MAX}. */
  readonly #held = new Map<string, Held>();
  /** Relays that are asked for now; empty for any. */
  readonly #asking = new Set<string>();
  /** Until when a relay counts as failed. Bounded by the choices. */
  readonly #failed = new Map<string, Instant>();
  readonly #ask: Retry;
  #choices: readonly RelayChoice[] = [];
  #chosen: string | undefined;
  #compareAt: Instant | undefined;
  #settleAt: Instant | undefined;
  #doubtedAt: Instant | undefined;
  /** When another is asked for if none is ready by then. */
  #lateAt: Instant | undefined;
  /** Why none is wanted; `undefined` while one is. */
  #unwanted: string | undefined;
  /** Why Discovery gives none. */
  #refusal: string | undefined;
  /** Discovery gave none, and none is needed: it is asked when that changes. */
  #resting = false;
  /** What the datapath was told last, in short. */
  #told = "";
  #ignored = 0;

  /** A control that has asked for nothing. */
  constructor(options: RelayControlOptions) {
    this.#options = options;
    this.#ask = new Retry(options.rng, RETRY);
    if (options.noRelay === true) this.#unwanted = "relays are switched off here";
  }

  /** Grants beyond what the datapath opens. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Why the node has no relay: one clause for a person; `undefined` if it has one, or is about to. */
  get reason(): string | undefined {
    if (this.#unwanted !== undefined) return this.#unwanted;
    if ([...this.#held.values()].some(isReady)) return undefined;
    const [failed] = [...this.#held.values()].filter(hasFailed);
    return failed?.status?.reason ?? this.#refusal;
  }

  /** The sessions that Discovery is to be told of at the end. */
  get sessions(): readonly string[] {
    return [...this.#held.values()].map(({ info }) => info.sessionId);
  }

  /** Asks for a relay. */
  start(now: Instant): void {
    if (this.#unwanted === undefined) this.#ask.begin(now);
  }

  /** Whether anybody could be reached over a relay; `reason` says why not. */
  setWanted(now: Instant, wanted: boolean, reason: string): void {
    if (this.#options.noRelay === true || wanted === (this.#unwanted === undefined)) return;
    this.#unwanted = wanted ? undefined : reason;
    if (wanted) return this.#ask.begin(now);
    this.#ask.end();
    this.#compareAt = undefined;
    this.#settleAt = undefined;
    this.#lateAt = undefined;
    for (const id of [...this.#held.keys()]) this.#release(id);
    this.#tell();
  }

  /** Discovery has said that it has relays, or answers again: where it gave none, it is asked again. */
  handleDiscovery(now: Instant): void {
    if (this.#unwanted === undefined && !this.#hasHope()) this.#ask.begin(now);
  }

  /** The node is attached elsewhere: which relay is near may be another. */
  handleLinkChanged(now: Instant): void {
    if (this.#unwanted !== undefined) return;
    this.#failed.clear();
    if (!this.#hasHope()) this.#ask.begin(now);
    if (this.#compareAt !== undefined) this.#compareAt = after(now, COMPARE_FIRST_MS);
  }

  /** A relay was granted. */
  handleGranted(now: Instant, request: RelayRequest, granted: GrantedRelay): void {
    this.#asking.delete(request.relayId);
    const { relay, lifeMs, choices } = granted;
    this.#refusal = undefined;
    this.#resting = false;
    this.#choices = choices;
    if (this.#unwanted !== undefined) return this.#giveBack(relay.sessionId);
    const known = this.#held.get(relay.id);
    if (known === undefined && this.#held.size >= RELAYS_HELD_MAX) {
      this.#ignored++;
      return this.#giveBack(relay.sessionId);
    }
    const renewMs = jittered(this.#options.rng, lifeMs * RENEW_PART, RENEW_JITTER);
    const { status: kept, lost = false } = known ?? {};
    this.#held.set(relay.id, {
      info: this.#limited(relay),
      renewAt: after(now, renewMs),
      status: kept,
      lost,
      releaseAt: undefined,
    });
    this.#chosen ??= relay.id;
    // The only one there is may have failed for its credentials, or come back soon.
    if (known !== undefined && hasFailed(known)) this.#ask.later(now);
    else this.#ask.end();
    this.#compareAt ??= after(now, COMPARE_FIRST_MS);
    if (known === undefined) {
      this.#settleAt = after(now, MEASURE_MS);
      this.#lateAt = after(now, PATIENCE_MS);
    }
    this.#tell();
  }

  /** A relay was not granted. */
  handleFailed(
    now: Instant,
    request: RelayRequest,
    { code, message }: { readonly code: ErrorCode; readonly message: string },
  ): void {
    this.#asking.delete(request.relayId);
    this.#options.outbox.say("debug", `asking for a relay: ${message}`);
    if (request.relayId !== "" || this.#unwanted !== undefined) return;
    this.#refusal = code === "unsupported" ? "this Discovery has no relays" : message;
    // Whoever lacks relays may be replaced by one who has them, but not soon.
    if (code === "unsupported") this.#ask.end();
    else if (code === "refused" && this.#held.size === 0 && !this.#options.misses()) {
      this.#ask.end();
      this.#resting = true;
    } else this.#ask.later(now);
  }

  /** Takes how the relays do. */
  handleRelays(now: Instant, statuses: readonly RelayStatus[]): void {
    for (const status of statuses) {
      const held = this.#held.get(status.id);
      if (held === undefined) continue;
      const was = held.status?.state;
      held.status = status;
      held.lost = status.state !== "ready" && (was === "ready" || held.lost);
      if (hasFailed(held) || isDraining(held)) {
        this.#failed.set(status.id, after(now, FAILED_MS));
      } else if (status.state === "ready") this.#failed.delete(status.id);
      if (status.state !== was) this.#say(status);
    }
    this.#settle(now);
    if ([...this.#held.values()].some((held) => isReady(held) && !isDraining(held))) {
      this.#ask.end();
    } else if (this.#held.size > 0 && !this.#hasHope()) this.#askAgain(now);
  }

  /** A relay is to carry nothing more: the node that runs it was thrown out of the mesh. Another is asked for at once. */
  drop(now: Instant, id: string): void {
    const choices = this.#choices.filter(({ relayId }) => relayId !== id);
    if (choices.length === this.#choices.length && !this.#held.has(id)) return;
    this.#choices = choices;
    this.#failed.set(id, after(now, FAILED_MS));
    if (!this.#held.has(id)) return;
    this.#release(id);
    this.#tell();
    if (this.#unwanted === undefined && !this.#hasHope()) this.#askAgain(now);
  }

  /** A peer that is reached over a relay does not answer: the relay may be gone before it was noticed. */
  handleDoubt(now: Instant): void {
    const recent = this.#doubtedAt !== undefined && now < after(this.#doubtedAt, DOUBT_GAP_MS);
    const held = this.#chosen === undefined ? undefined : this.#held.get(this.#chosen);
    if (this.#unwanted !== undefined || recent || held === undefined || !this.#hasOther()) return;
    this.#doubtedAt = now;
    this.#request("", [this.#chosen ?? ""]);
    this.#settleAt = after(now, SECOND_MS);
  }

  /** Does what is due. */
  handleTimeout(now: Instant): void {
    if (this.#unwanted !== undefined) return;
    for (const [id, until] of this.#failed) if (now >= until) this.#failed.delete(id);
    if (this.#resting && this.#options.misses()) {
      this.#resting = false;
      this.#ask.begin(now);
    }
    if (this.#ask.take(now)) this.#request("");
    for (const [id, held] of this.#held) {
      if (now < held.renewAt || held.releaseAt !== undefined) continue;
      held.renewAt = after(now, RENEW_RETRY_MS);
      this.#request(id);
    }
    if (this.#lateAt !== undefined && now >= this.#lateAt) this.#hasten();
    if (this.#compareAt !== undefined && now >= this.#compareAt) this.#compare(now);
    if (this.#settleAt !== undefined && now >= this.#settleAt) this.#settle(now);
    const over = [...this.#held].filter(([, { releaseAt }]) =>
      releaseAt !== undefined && now >= releaseAt
    );
    for (const [id] of over) this.#release(id);
    if (over.length > 0) this.#tell();
  }

  /** When {@linkcode RelayControl.handleTimeout} must be called; `undefined` for never. */
  pollTimeout(): Instant | undefined {
    if (this.#unwanted !== undefined) return undefined;
    let at = earlier(earlier(this.#ask.at, this.#compareAt), this.#settleAt);
    at = earlier(at, this.#lateAt);
    for (const { renewAt, releaseAt } of this.#held.values()) {
      at = earlier(at, releaseAt ?? renewAt);
    }
    return at;
  }

  /** Whether a relay is ready and stays so, or may become so. */
  #hasHope(): boolean {
    if (this.#asking.has("")) return true;
    return [...this.#held.values()].some((held) => !hasFailed(held) && !isDraining(held));
  }

  /** Whether there is a relay to be had that is neither held nor has failed. */
  #hasOther(): boolean {
    return this.#choices.some(({ relayId }) =>
      !this.#held.has(relayId) && !this.#failed.has(relayId)
    );
  }

  /** At once where another is to be had; the only one is asked for again after a while. */
  #askAgain(now: Instant): void {
    if (!this.#hasOther()) this.#forgive(now);
    if (this.#ask.at === undefined && this.#hasOther()) this.#ask.begin(now);
    else this.#ask.later(now);
    if (this.#ask.take(now)) this.#request("");
  }

  /** Where nothing is left, what failed a while ago and was given up for another may be back. */
  #forgive(now: Instant): void {
    for (const [id, until] of this.#failed) {
      const failedAt = until - FAILED_MS;
      if (!this.#held.has(id) && now >= failedAt + FORGIVE_MS) this.#failed.delete(id);
    }
  }

  #request(relayId: string, doubted: readonly string[] = []): void {
    if (this.#asking.has(relayId)) return;
    this.#asking.add(relayId);
    const failed = [...new Set([...doubted, ...this.#failed.keys()])];
    this.#options.outbox.request({ kind: "requestRelay", relayId, failed });
  }

  /** Asks for one more where none is ready in its time: those that are held may be out of reach from here. */
  #hasten(): void {
    this.#lateAt = undefined;
    if ([...this.#held.values()].some(isReady) || !this.#hasOther()) return;
    this.#request("", [...this.#held.keys()]);
  }

  /** Asks for the others, to see which is nearest. */
  #compare(now: Instant): void {
    this.#compareAt = after(now, jittered(this.#options.rng, COMPARE_MS, RENEW_JITTER));
    const others = this.#choices.map(({ relayId }) => relayId)
      .filter((id) => !this.#held.has(id) && !this.#failed.has(id));
    for (const id of others.slice(0, RELAYS_HELD_MAX - this.#held.size)) this.#request(id);
  }

  /** Chooses, once every relay is ready or has failed, or has had its time; whoever is not chosen is given back. */
  #settle(now: Instant): void {
    const late = this.#settleAt !== undefined && now >= this.#settleAt;
    const pending = [...this.#held.values()].some((held) => !isReady(held) && !hasFailed(held));
    const doubted = this.#doubtedAt !== undefined && now < after(this.#doubtedAt, SECOND_MS);
    if (late) this.#settleAt = undefined;
    const ready = [...this.#held].filter(([, held]) => isReady(held) && !isDraining(held));
    const current = ready.find(([id]) => id === this.#chosen);
    // A choice is only waited for where there is one that carries meanwhile.
    if (ready.length === 0 || (current !== undefined && (pending || doubted) && !late)) return;
    const [best] = ready.sort(([, a], [, b]) => rttOf(a) - rttOf(b));
    if (best === undefined) return;
    const [id, held] = best;
    const better = current === undefined ||
      rttOf(held) + Math.max(BETTER_MS, rttOf(current[1]) * BETTER_PART) < rttOf(current[1]);
    if (better && id !== this.#chosen) this.#chosen = id;
    for (const [other, one] of this.#held) {
      if (other === this.#chosen) one.releaseAt = undefined;
      else one.releaseAt ??= after(now, isReady(one) ? OVERLAP_MS : 0);
    }
    this.#tell();
  }

  #limited(relay: RelayInfo): RelayInfo {
    const limits = [relay.bandwidthBytesPerSecond, this.#options.bandwidthBytesPerSecond]
      .filter((limit) => limit !== undefined && limit > 0) as number[];
    if (limits.length === 0) return relay;
    return { ...relay, bandwidthBytesPerSecond: Math.min(...limits) };
  }

  #release(id: string): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#held.delete(id);
    if (this.#chosen === id) this.#chosen = undefined;
    this.#giveBack(held.info.sessionId);
  }

  #giveBack(sessionId: string): void {
    this.#options.outbox.request({ kind: "releaseRelay", sessionId });
  }

  /** Tells the datapath of every relay, the chosen one first. */
  #tell(): void {
    const rank = (id: string): number => id === this.#chosen ? 0 : 1;
    const relays = [...this.#held.values()].map(({ info }) => info)
      .sort((a, b) => rank(a.id) - rank(b.id));
    const told = relays.map(({ id, username }) => `${id} ${username}`).join();
    if (told !== this.#told) this.#options.outbox.setRelays(relays);
    this.#told = told;
  }

  #say({ id, state, transport, reason }: RelayStatus): void {
    const { outbox } = this.#options;
    if (state === "ready") outbox.say("info", `relay ${id} is ready`, { transport });
    if (state === "failed") outbox.say("warn", `relay ${id} has failed: ${reason ?? "unknown"}`);
  }
}

function isReady({ status }: Held): boolean {
  return status?.state === "ready";
}

function hasFailed({ status, lost }: Held): boolean {
  return lost || status?.state === "failed";
}

function isDraining({ status }: Held): boolean {
  return status?.draining === true;
}

function rttOf({ status }: Held): number {
  return status?.rttMs ?? Number.MAX_SAFE_INTEGER;
}
