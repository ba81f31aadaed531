/**
 * Decides where to look for one peer: which handshakes go out when and where to, and which address is the peer's.
 *
 * The WireGuard handshake itself is the connectivity check: one initiation goes to every candidate at once, and the
 * first answer makes a session. The host owns the engine and the sockets; this machine only decides.
 *
 * ```text
 *   connect(), new candidate, lost             authenticated            nothing authenticated for 180 s
 *  trying ---------------------------> trying ---------------> connected --------------------------------> trying
 *   initiations at 0 200 500 1000 2000 ms, every 5 s for 30 s, then after 10 20 40 60 60 ... s, for ever
 *
 *  punch(window): initiations every 250 ms while the other side does the same, in any state
 * ```
 *
 * @module
 */
import {
  after,
  earlier,
  formatSocketAddress,
  type Instant,
  sameAddress,
  type SocketAddress,
} from "../core/mod.ts";
import { type Candidate, mergeCandidates } from "./candidate.ts";

/** What happened to the path. */
export type PathEvent =
  | {
    /** The peer answered: there is a session. */
    readonly kind: "connected";
    /** Where packets to the peer go from now on. */
    readonly remote: SocketAddress;
  }
  | {
    /** The peer is reached elsewhere. */
    readonly kind: "moved";
    /** Where packets to the peer go from now on. */
    readonly remote: SocketAddress;
  }
  | {
    /** Nothing was heard for {@linkcode LOST_MS}; the agent is trying again by itself. */
    readonly kind: "lost";
  };

/** One WireGuard handshake initiation to make, and where its copies go. */
export interface Initiation {
  /** Receivers of the same bytes: at least 1, at most {@linkcode FAN_OUT_MAX}. */
  readonly destinations: readonly SocketAddress[];
}

/** How a path does. */
export interface PathAgentStatus {
  /** Whether there is a session that was heard of within {@linkcode LOST_MS}. */
  readonly connected: boolean;
  /** The peer's address while connected. */
  readonly remote: SocketAddress | undefined;
  /** When anything was last authenticated; `undefined` for never. */
  readonly lastHeardAt: Instant | undefined;
  /** Initiations asked for since the last connection, or since the start. */
  readonly attempts: number;
  /** Why there is no session: one sentence for a person; `undefined` while connected. */
  readonly reason: string | undefined;
}

/** Options of {@linkcode PathAgent}. */
export interface PathAgentOptions {
  /** The present. */
  readonly now: Instant;
  /** Lets only handshakes move the remote, never data. @default false */
  readonly sticky?: boolean;
}

/** Most receivers of one initiation. With more addresses known, the best half stays and the others take turns. */
export const FAN_OUT_MAX = 16;
/** Silence after which a connection counts as lost: WireGuard's REJECT_AFTER_TIME, the end of every session key. */
export const LOST_MS = 180_000;
/** Longest coordinated punch; a longer window is cut. */
export const PUNCH_WINDOW_MS_MAX = 30_000;

/** Waits between the fan-outs of the schedule; the last one repeats for ever. */
const GAPS_MS = [
  ...[200, 300, 500, 1000],
  ...Array<number>(6).fill(5_000),
  ...[10_000, 20_000, 40_000, 60_000],
];
const PUNCH_INTERVAL_MS = 250;
/** WireGuard responders drop initiations of one peer that come within 20 ms, and timestamps are 16 ms coarse. */
const INITIATION_GAP_MS = 50;
/** The remote must be silent for this long before data from elsewhere moves it. */
const SILENT_MS = 1_000;
/** An engine's own initiation goes to the remote alone while it was heard from within this time. */
const TRUSTED_MS = 15_000;
/** After the first answer, how long an answer from a host candidate may still win. */
const SAME_LAN_MS = 300;
/** Addresses remembered because the peer was authenticated there; the one longest ago is forgotten. */
const LEARNED_MAX = 4;
/** Schedule restarts by new candidates at once, and the time that gives one back: whoever feeds candidates cannot flood. */
const RESTARTS_MAX = 10;
const RESTART_EVERY_MS = 6_000;
/** Events not yet taken; the oldest is dropped. A host that drains after each call never has more than two. */
const EVENTS_MAX = 8;

/** The path to one peer. */
export class PathAgent {
  readonly #sticky: boolean;
  /** Best first. */
  #candidates: readonly Candidate[] = [];
  /** Where the peer was authenticated, latest first. */
  #learned: readonly SocketAddress[] = [];
  #wanted = false;
  /** Position in {@linkcode GAPS_MS}. */
  #step = 0;
  /** When the schedule's next fan-out is due; `undefined` while it rests. */
  #nextAt: Instant | undefined;
  #punch: { nextAt: Instant; readonly until: Instant } | undefined;
  #initiationDue = false;
  #lastInitiationAt: Instant | undefined;
  #attempts = 0;
  #fanOuts = 0;
  /** `undefined` while not connected. */
  #connection: { readonly since: Instant; remote: SocketAddress; heardAt: Instant } | undefined;
  #lastHeardAt: Instant | undefined;
  #restartsLeft = RESTARTS_MAX;
  #restartsCountedAt: Instant;
  #events: PathEvent[] = [];
  #dropped = 0;

  /** Creates an agent that knows no candidate and tries nothing. */
  constructor({ now, sticky = false }: PathAgentOptions) {
    this.#sticky = sticky;
    this.#restartsCountedAt = now;
  }

  /** Events and schedule restarts dropped at a limit. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Replaces the peer's candidates; the worst over `CANDIDATES_MAX` are left out.
   *
   * While not connected, an address that was not known before restarts the schedule at once.
   */
  setCandidates(now: Instant, candidates: readonly Candidate[]): void {
    const known = this.#addresses();
    this.#candidates = mergeCandidates(candidates);
    const unseen = this.#candidates.some(({ address }) => !includes(known, address));
    const trying = this.#wanted && this.#connection === undefined;
    if (trying && unseen && this.#takeRestart(now)) this.#start(now);
    this.handleTimeout(now);
  }

  /** Asks for a session. Does nothing while connected or already trying. */
  connect(now: Instant): void {
    if (this.#wanted) return;
    this.#wanted = true;
    if (this.#connection !== undefined) return;
    this.#start(now);
    this.handleTimeout(now);
  }

  /**
   * Tries everything again at once: this node's link has changed.
   *
   * While connected too, until a handshake completes, since the peer learns the new address from it.
   */
  restart(now: Instant): void {
    if (!this.#wanted && this.#connection === undefined) return;
    this.#start(now);
    this.handleTimeout(now);
  }

  /**
   * Opens a coordinated window: an initiation to all candidates now and every 250 ms, until a handshake completes or
   * `windowMs` (at most {@linkcode PUNCH_WINDOW_MS_MAX}) is over. Works while connected too: the other side may have
   * lost what this side still has. A window that is no positive number is ignored.
   */
  punch(now: Instant, windowMs: number): void {
    if (!(windowMs > 0)) return;
    const until = after(now, Math.min(windowMs, PUNCH_WINDOW_MS_MAX));
    const running = this.#punch?.until ?? until;
    this.#punch = { nextAt: now, until: until > running ? until : running };
    this.handleTimeout(now);
  }

  /**
   * Tells that the engine authenticated a packet from `source`.
   *
   * `handshake`: the packet completed a handshake: a response, or the first packet of a session that this side
   * answered. `data`: any other packet of a session, keepalives included.
   */
  handleAuthenticated(now: Instant, source: SocketAddress, what: "handshake" | "data"): void {
    const connection = this.#connection;
    this.#lastHeardAt = now;
    if (connection === undefined) {
      this.#connection = { since: now, remote: source, heardAt: now };
      this.#attempts = 0;
      this.#learn(source);
      this.#rest();
      this.#emit({ kind: "connected", remote: source });
      return;
    }
    if (what === "handshake") this.#rest();
    if (sameAddress(source, connection.remote)) {
      connection.heardAt = now;
    } else if (this.#moves(now, source, what)) {
      connection.remote = source;
      connection.heardAt = now;
      this.#learn(source);
      this.#emit({ kind: "moved", remote: source });
    }
  }

  /**
   * Takes the hint that nobody answers at an address (an ICMP error, which may be forged).
   *
   * If it is the remote, and the remote has been silent for a second, every address is tried again, as the peer may have
   * moved. The connection stays what it is until something is authenticated elsewhere.
   */
  handleUnreachable(now: Instant, destination: SocketAddress): void {
    const connection = this.#connection;
    if (connection === undefined || !sameAddress(connection.remote, destination)) return;
    if (this.#nextAt !== undefined || now - connection.heardAt < SILENT_MS) return;
    if (!this.#takeRestart(now)) return;
    this.#start(now);
    this.handleTimeout(now);
  }

  /** Advances time: makes the next initiation due, or declares the connection lost. */
  handleTimeout(now: Instant): void {
    const lostAt = this.#lostAt();
    if (lostAt !== undefined && now >= lostAt) {
      this.#connection = undefined;
      this.#wanted = true;
      this.#start(now);
      this.#emit({ kind: "lost" });
    }
    if (this.#punch !== undefined && now > this.#punch.until) this.#punch = undefined;
    const initiationAt = this.#initiationAt();
    if (initiationAt === undefined || now < initiationAt) return;
    this.#initiationDue = true;
    this.#lastInitiationAt = now;
    if (this.#nextAt !== undefined && now >= this.#nextAt) {
      this.#nextAt = after(now, GAPS_MS[this.#step] ?? GAPS_MS.at(-1) ?? 0);
      if (this.#step < GAPS_MS.length) this.#step++;
    }
    if (this.#punch !== undefined && now >= this.#punch.nextAt) {
      this.#punch.nextAt = after(now, PUNCH_INTERVAL_MS);
      if (this.#punch.nextAt > this.#punch.until) this.#punch = undefined;
    }
  }

  /** When {@linkcode PathAgent.handleTimeout} must be called; `undefined` for never. */
  pollTimeout(): Instant | undefined {
    return earlier(this.#lostAt(), this.#initiationAt());
  }

  /**
   * Takes the initiation that is due: the host asks the engine for one fresh handshake initiation and sends the same
   * bytes to every destination.
   */
  pollInitiation(): Initiation | undefined {
    if (!this.#initiationDue) return undefined;
    this.#initiationDue = false;
    const destinations = this.#fanOut();
    if (destinations.length === 0) return undefined;
    this.#attempts++;
    this.#fanOuts++;
    return { destinations };
  }

  /**
   * Where an initiation goes that the engine made by itself (rekey, silent peer): to the remote alone if it was heard
   * from within 15 s, otherwise to the remote and the candidates, at most {@linkcode FAN_OUT_MAX}.
   */
  destinations(now: Instant): readonly SocketAddress[] {
    const connection = this.#connection;
    if (connection !== undefined && now - connection.heardAt <= TRUSTED_MS) {
      return [connection.remote];
    }
    return this.#fanOut();
  }

  /** Takes the next event. */
  pollEvent(): PathEvent | undefined {
    return this.#events.shift();
  }

  /** How the path does now. */
  status(now: Instant): PathAgentStatus {
    return {
      connected: this.#connection !== undefined,
      remote: this.#connection?.remote,
      lastHeardAt: this.#lastHeardAt,
      attempts: this.#attempts,
      reason: this.#connection === undefined ? this.#reason(now) : undefined,
    };
  }

  #reason(now: Instant): string {
    const count = this.#addresses().length;
    if (count === 0) return "no endpoint of this peer is known";
    const endpoints = plural(count, "endpoint");
    if (this.#attempts === 0) {
      return this.#nextAt === undefined && this.#punch === undefined
        ? `${endpoints} known, no session was asked for`
        : `about to try ${endpoints}`;
    }
    const tried = `${plural(this.#attempts, "handshake")} to ${endpoints}, no answer`;
    if (this.#lastHeardAt === undefined) return tried;
    return `${tried}; last heard of ${Math.round((now - this.#lastHeardAt) / 1000)} s ago`;
  }

  #moves(now: Instant, source: SocketAddress, what: "handshake" | "data"): boolean {
    const connection = this.#connection;
    if (connection === undefined) return false;
    if (now - connection.since <= SAME_LAN_MS) {
      if (this.#isHost(connection.remote)) return false;
      if (this.#isHost(source)) return true;
    }
    if (what === "handshake") return true;
    return !this.#sticky && now - connection.heardAt >= SILENT_MS;
  }

  #isHost(address: SocketAddress): boolean {
    return this.#candidates.some((candidate) =>
      candidate.kind === "host" && sameAddress(candidate.address, address)
    );
  }

  /** Starts the schedule from its beginning, due at `now`. */
  #start(now: Instant): void {
    this.#step = 0;
    this.#nextAt = now;
  }

  /** Stops schedule and punch. */
  #rest(): void {
    this.#nextAt = undefined;
    this.#punch = undefined;
    this.#initiationDue = false;
  }

  #takeRestart(now: Instant): boolean {
    const earned = Math.floor((now - this.#restartsCountedAt) / RESTART_EVERY_MS);
    if (earned > 0) {
      this.#restartsLeft = Math.min(RESTARTS_MAX, this.#restartsLeft + earned);
      this.#restartsCountedAt = after(this.#restartsCountedAt, earned * RESTART_EVERY_MS);
    }
    if (this.#restartsLeft === 0) {
      this.#dropped++;
      return false;
    }
    this.#restartsLeft--;
    return true;
  }

  /** When the next initiation is due; `undefined` if there is nowhere to send it. */
  #initiationAt(): Instant | undefined {
    if (this.#candidates.length === 0 && this.#learned.length === 0) return undefined;
    const dueAt = earlier(this.#nextAt, this.#punch?.nextAt);
    if (dueAt === undefined || this.#lastInitiationAt === undefined) return dueAt;
    const allowedAt = after(this.#lastInitiationAt, INITIATION_GAP_MS);
    return dueAt > allowedAt ? dueAt : allowedAt;
  }

  #lostAt(): Instant | undefined {
    if (this.#connection === undefined || this.#lastHeardAt === undefined) return undefined;
    return after(this.#lastHeardAt, LOST_MS);
  }

  /** Every known address once: the remote, the candidates, best first, then where the peer was before. */
  #addresses(): readonly SocketAddress[] {
    const byText = new Map<string, SocketAddress>();
    const remote = this.#connection === undefined ? [] : [this.#connection.remote];
    const candidates = this.#candidates.map(({ address }) => address);
    for (const address of [...remote, ...candidates, ...this.#learned]) {
      const text = formatSocketAddress(address);
      if (!byText.has(text)) byText.set(text, address);
    }
    return [...byText.values()];
  }

  #fanOut(): readonly SocketAddress[] {
    const all = this.#addresses();
    if (all.length <= FAN_OUT_MAX) return all;
    const kept = FAN_OUT_MAX / 2;
    const turns = all.slice(kept);
    const from = this.#fanOuts * kept % turns.length;
    return [...all.slice(0, kept), ...[...turns.slice(from), ...turns].slice(0, kept)];
  }

  #learn(address: SocketAddress): void {
    const others = this.#learned.filter((known) => !sameAddress(known, address));
    this.#learned = [address, ...others].slice(0, LEARNED_MAX);
  }

  #emit(event: PathEvent): void {
    if (this.#events.length === EVENTS_MAX) {
      this.#events.shift();
      this.#dropped++;
    }
    this.#events.push(event);
  }
}

function includes(list: readonly SocketAddress[], address: SocketAddress): boolean {
  return list.some((known) => sameAddress(known, address));
}

function plural(count: number, noun: string): string {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}
