/**
 * One relay as the datapath uses it: a race of its transports for an allocation, the one that carries, and what follows when it is lost.
 *
 * ```text
 *   start --> UDP ............ allocated: it carries, the others are closed
 *      800 ms --> TCP ........
 *      + 350 ms --> TLS ......
 *      + 350 ms --> WebSocket
 *   all failed: again after 1 s, 2 s, 4 s ... 60 s, and at once when the link changes
 *   lost: the race again; the old allocation is given back once there is a new one
 * ```
 *
 * @module
 */
import {
  after,
  earlier,
  formatSocketAddress,
  type Instant,
  parseSocketAddress,
  type Rng,
  type SocketAddress,
} from "../../core/mod.ts";
import { type LimitedNotice, TurnClient } from "../../traversal/mod.ts";
import type { RelayInfo, RelayStatus, RelayTransportInfo } from "../shared/mod.ts";
import type { RelayCarrier } from "./relay_carrier.ts";

/** Transports of one relay that are looked at. */
export const TRANSPORTS_MAX = 8;

/** How long the first transport is alone, and how long each further one is behind the one before. */
const HEAD_START_MS = 800;
const STAGGER_MS = 350;
/** After a race without a winner: the first pause, and the longest. */
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 60_000;
/** While something else than the best transport carries, the better ones are tried this often. */
const BETTER_MS = 300_000;
/** How long an allocation that has been replaced is still listened to. */
const RETIRE_MS = 3_000;
/** Redirections followed by one race. */
const REDIRECTIONS_MAX = 3;
/** Where a WebSocket's server is, for a client to which all that comes is from there. */
const NOWHERE: SocketAddress = { hostname: "0.0.0.0", port: 1 };

/** One transport of a relay and the client on it. */
export interface Attempt {
  /** The machine. */
  readonly client: TurnClient;
  /** What carries it. */
  readonly carrier: RelayCarrier;
  /** Which transport it is. */
  readonly transport: RelayTransportInfo;
  /** Its place in the list: 0 is the best. */
  readonly rank: number;
  /** The relay. */
  readonly relay: RelayRace;
  /** When it is closed, once replaced. */
  closeAt: Instant | undefined;
  /** Whether the relay has said that it is about to end. */
  draining: boolean;
  /** What the relay has said that it drops; `undefined` for nothing. */
  limited: LimitedNotice | undefined;
}

/** What a race needs of its owner. */
export interface RelayRaceHost {
  /** Entropy. */
  readonly rng: Rng;
  /** How often a mapping has to be used now, in milliseconds. */
  readonly keepaliveMs: () => number;
  /** Opens what carries a transport's messages; `undefined` when there is nothing. */
  readonly openCarrier: (
    transport: RelayTransportInfo,
    owner: () => Attempt | undefined,
  ) => RelayCarrier | undefined;
  /** An attempt was made or has ended: who knows attempts by address must look again. */
  readonly onAttempts: () => void;
  /** The state is another. */
  readonly onChanged: () => void;
}

/** One relay. */
export class RelayRace {
  /** The number of its local end, the same over all its allocations. */
  readonly local: number;
  readonly #host: RelayRaceHost;
  #info: RelayInfo;
  #current: Attempt | undefined;
  readonly #racing: Attempt[] = [];
  readonly #retired: Attempt[] = [];
  /** Transports not yet tried in this race, by rank. */
  #waiting: RelayTransportInfo[] = [];
  #nextAt: Instant | undefined;
  #retryAt: Instant | undefined;
  #retryMs = RETRY_MS;
  #redirections = 0;
  #lastKind: RelayTransportInfo["kind"] | undefined;
  #reason: string | undefined;
  #nextChannel: number | undefined;

  /** Starts the first race. */
  constructor(now: Instant, { host, info, local }: {
    readonly host: RelayRaceHost;
    readonly info: RelayInfo;
    readonly local: number;
  }) {
    this.#host = host;
    this.#info = info;
    this.local = local;
    this.#start(now);
  }

  /** What it was made from. */
  get info(): RelayInfo {
    return this.#info;
  }

  /** The attempt that carries. */
  get current(): Attempt | undefined {
    return this.#current;
  }

  /** Everything that listens: the one that carries first. */
  get attempts(): readonly Attempt[] {
    const current = this.#current === undefined ? [] : [this.#current];
    return [...current, ...this.#racing, ...this.#retired];
  }

  /** How it does. */
  get status(): RelayStatus {
    const { id } = this.#info;
    const current = this.#current;
    const racing = this.#racing.length > 0 || this.#waiting.length > 0;
    return {
      id,
      state: current !== undefined ? "ready" : racing ? "connecting" : "failed",
      transport: current?.transport.kind ?? this.#lastKind ?? null,
      relayed: current?.client.relayed.map(formatSocketAddress) ?? [],
      rttMs: current?.client.rttMs ?? null,
      ...(current?.draining === true && { draining: true }),
      ...(current?.limited !== undefined && { limited: current.limited }),
      ...(current !== undefined && { locals: [this.local] }),
      ...(current === undefined && this.#reason !== undefined && { reason: this.#reason }),
    };
  }

  /** Takes newer credentials and transports. */
  update(now: Instant, info: RelayInfo): void {
    const changed = JSON.stringify(info.transports) !== JSON.stringify(this.#info.transports);
    this.#info = info;
    for (const { client } of this.attempts) client.setCredentials(info);
    if (changed && !info.transports.some((other) => sameWay(other, this.#current?.transport))) {
      this.#start(now);
    }
  }

  /** The node's own addresses may be others: what carries has to prove itself, and who waits tries at once. */
  linkChanged(now: Instant): void {
    this.#retryMs = RETRY_MS;
    const current = this.#current;
    if (current?.transport.kind === "udp") {
      // Never a second allocation from the same socket: the server would see one client.
      current.client.check(now);
      return this.drain(now, current);
    }
    // Whoever has tried for a while asks seldom by now.
    for (const attempt of [...this.#racing]) this.#giveBack(attempt);
    this.#start(now);
  }

  /** Does what is due, of itself and its clients. */
  handleTimeout(now: Instant): void {
    for (const attempt of this.attempts) attempt.client.handleTimeout(now);
    for (const attempt of this.attempts) this.drain(now, attempt);
    for (const attempt of [...this.#retired]) {
      if (attempt.closeAt !== undefined && now >= attempt.closeAt) this.#giveBack(attempt);
    }
    if (this.#retryAt !== undefined && now >= this.#retryAt) {
      this.#start(now, this.#current?.rank);
    }
    while (this.#nextAt !== undefined && now >= this.#nextAt) this.#next(now);
  }

  /** When {@linkcode RelayRace.handleTimeout} must be called. */
  pollTimeout(): Instant | undefined {
    let dueAt = earlier(this.#nextAt, this.#retryAt);
    for (const { client, closeAt } of this.attempts) {
      dueAt = earlier(dueAt, earlier(client.pollTimeout(), closeAt));
    }
    return dueAt;
  }

  /** Sends what a client wants sent, and takes what it tells. */
  drain(now: Instant, attempt: Attempt): void {
    const { client, carrier } = attempt;
    for (let out; (out = client.pollTransmit()) !== undefined;) {
      carrier.sendMessage(out.payload, out.destination);
    }
    for (let event; (event = client.pollEvent()) !== undefined;) {
      switch (event.kind) {
        case "allocated":
          this.#won(now, attempt);
          break;
        case "failed":
        case "lost":
          this.handleEnd(now, attempt, event.reason);
          break;
        case "draining":
          if (attempt.draining) break;
          attempt.draining = true;
          this.#host.onChanged();
          break;
        case "limited":
          // Of two that cross each other the later one counts more.
          if (event.notice.packets <= (attempt.limited?.packets ?? 0)) break;
          attempt.limited = event.notice;
          this.#host.onChanged();
          break;
        case "redirected":
          this.#redirected(now, attempt, event.server);
          break;
        default:
          event satisfies never;
      }
    }
  }

  /** An attempt has ended: its client has said so, or its connection has. */
  handleEnd(now: Instant, attempt: Attempt, reason: string): void {
    if (!this.#forget(attempt)) return;
    this.#lastKind = attempt.transport.kind;
    this.#reason = `${attempt.transport.kind}: ${reason}`;
    this.#nextChannel = attempt.client.nextChannel;
    attempt.carrier.close();
    if (attempt === this.#current) {
      this.#current = undefined;
      this.#start(now);
    } else if (this.#waiting.length > 0) this.#nextAt = now;
    else this.#rest(now);
    this.#host.onChanged();
  }

  /** Gives every allocation back. */
  stop(): void {
    this.#waiting = [];
    this.#nextAt = undefined;
    this.#retryAt = undefined;
    for (const attempt of this.attempts) this.#giveBack(attempt);
    this.#current = undefined;
  }

  /** Tries every transport, or only those that are better than `rankMax`. */
  #start(now: Instant, rankMax = TRANSPORTS_MAX): void {
    this.#waiting = this.#info.transports.slice(0, rankMax).filter((transport) =>
      !this.#racing.some((other) => sameWay(other.transport, transport))
    );
    this.#redirections = 0;
    this.#retryAt = undefined;
    this.#nextAt = this.#waiting.length > 0 ? now : undefined;
    if (this.#waiting.length === 0 && this.#racing.length === 0) this.#rest(now);
  }

  #next(now: Instant): void {
    const transport = this.#waiting.shift();
    if (transport === undefined) {
      this.#nextAt = undefined;
      return;
    }
    const first = this.#racing.length === 0;
    const opened = this.#open(now, transport);
    const wait = !opened ? 0 : first ? HEAD_START_MS : STAGGER_MS;
    this.#nextAt = this.#waiting.length > 0 ? after(now, wait) : undefined;
    if (this.#nextAt === undefined && this.#racing.length === 0) this.#rest(now);
  }

  #open(now: Instant, transport: RelayTransportInfo): boolean {
    const server = transport.kind === "websocket" ? NOWHERE : parseSocketAddress(transport.address);
    if (server === undefined) {
      this.#reason = `${transport.kind}: its address is none`;
      return false;
    }
    // The carrier hears of its stream later than it is made, and of its attempt too.
    const made: Attempt[] = [];
    const carrier = this.#host.openCarrier(transport, () => made[0]);
    if (carrier === undefined) {
      this.#reason = `${transport.kind}: too many connections`;
      return false;
    }
    const { username, password, transports } = this.#info;
    const firstChannel = this.#current?.client.nextChannel ?? this.#nextChannel;
    const attempt: Attempt = {
      client: new TurnClient(now, {
        server,
        reliable: transport.kind !== "udp",
        credentials: { username, password },
        rng: this.#host.rng,
        keepaliveMs: this.#host.keepaliveMs(),
        ...(firstChannel !== undefined && { firstChannel }),
      }),
      carrier,
      transport,
      rank: transports.findIndex((other) => sameWay(other, transport)),
      relay: this,
      closeAt: undefined,
      draining: false,
      limited: undefined,
    };
    made.push(attempt);
    this.#racing.push(attempt);
    this.#lastKind = transport.kind;
    this.#host.onAttempts();
    this.drain(now, attempt);
    return true;
  }

  #won(now: Instant, attempt: Attempt): void {
    const index = this.#racing.indexOf(attempt);
    if (index < 0) return;
    this.#racing.splice(index, 1);
    for (const other of [...this.#racing]) this.#giveBack(other);
    if (this.#current !== undefined) {
      this.#current.closeAt = after(now, RETIRE_MS);
      this.#retired.push(this.#current);
    }
    this.#current = attempt;
    this.#waiting = [];
    this.#nextAt = undefined;
    this.#reason = undefined;
    this.#retryMs = RETRY_MS;
    this.#retryAt = attempt.rank > 0 ? after(now, BETTER_MS) : undefined;
    this.#host.onAttempts();
    this.#host.onChanged();
  }

  /** The race is over without a winner, or there is nothing better than what carries. */
  #rest(now: Instant): void {
    if (this.#racing.length > 0 || this.#waiting.length > 0) return;
    if (this.#current !== undefined) {
      if (this.#current.rank > 0) this.#retryAt = after(now, BETTER_MS);
      return;
    }
    this.#retryAt = after(now, this.#retryMs);
    this.#retryMs = Math.min(RETRY_MS_MAX, this.#retryMs * 2);
    this.#host.onChanged();
  }

  #redirected(now: Instant, attempt: Attempt, server: SocketAddress): void {
    const { transport } = attempt;
    this.#forget(attempt);
    attempt.carrier.close();
    if (transport.kind === "websocket" || this.#redirections++ >= REDIRECTIONS_MAX) {
      this.#reason = `${transport.kind}: the relay names others again and again`;
      return this.#rest(now);
    }
    const address = formatSocketAddress(server);
    if (!this.#open(now, { ...transport, address })) this.#rest(now);
  }

  #giveBack(attempt: Attempt): void {
    const { client, carrier } = attempt;
    client.stop();
    for (let out; (out = client.pollTransmit()) !== undefined;) {
      carrier.sendMessage(out.payload, out.destination);
    }
    carrier.close();
    this.#forget(attempt);
  }

  /** Returns whether it was one of ours. */
  #forget(attempt: Attempt): boolean {
    let known = attempt === this.#current;
    for (const list of [this.#racing, this.#retired]) {
      const index = list.indexOf(attempt);
      if (index < 0) continue;
      list.splice(index, 1);
      known = true;
    }
    this.#host.onAttempts();
    return known;
  }
}

function sameWay(a: RelayTransportInfo, b: RelayTransportInfo | undefined): boolean {
  if (b === undefined || a.kind !== b.kind) return false;
  if (a.kind === "websocket") return b.kind === "websocket" && a.url === b.url;
  return b.kind !== "websocket" && a.address === b.address;
}
