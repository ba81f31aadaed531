/**
 * Finds this node's server-reflexive candidates, keeps their NAT mappings alive, and classifies the NAT.
 *
 * ```text
 *            answer                              every keepaliveMs
 *  asking ------------> mapped ----------------------------------------> asking
 *     |                                          at once: regather(), recheck(), or another server saw our address change
 *     | no answer, or an error
 *     +-------------> failed, asked again after 5, 10, 20, 40, 60, 60 ... s; at once where its last answer is in doubt
 * ```
 *
 * A server that stops answering does not mean that the mapping is gone, so its candidate stays until
 * {@linkcode FAILURES_BEFORE_FORGETTING} transactions in a row have failed; after a link change those are short ones.
 *
 * @module
 */
import {
  after,
  type Datagram,
  earlier,
  familyOf,
  formatSocketAddress,
  type Instant,
  isLocalScope,
  type Machine,
  type Rng,
  sameAddress,
  type SocketAddress,
  type Transmit,
} from "../core/mod.ts";
import { type Candidate, mergeCandidates } from "./candidate.ts";
import { KEEPALIVE_DEFAULT_MS } from "./mapping_lifetime.ts";
import { classifyNat, NAT_UNKNOWN, type NatFacts, type NatObservation } from "./nat.ts";
import type { ProbeServer } from "./probe_trials.ts";
import { type BindingOutcome, BindingTransaction } from "./stun/binding_transaction.ts";
import { ERROR_UNAUTHENTICATED } from "./stun/codec.ts";
import type { StunCredentials } from "./stun/integrity.ts";

/** What a gatherer reports, only when it differs from what it reported before. */
export type GatherEvent =
  | {
    /** The set of server-reflexive candidates is another. */
    readonly kind: "reflexiveChanged";
    /** All of them now, best first; one per mapped address. */
    readonly candidates: readonly Candidate[];
  }
  | {
    /** The verdict on the NAT is another. */
    readonly kind: "natClassified";
    /** The verdict now. */
    readonly nat: NatFacts;
  }
  | {
    /** No server has told an address for {@linkcode SILENCE_MS}. Said once after servers were named and after a link change. */
    readonly kind: "unanswered";
  }
  | {
    /** A server vouches for an address at which it sees this node: said again with each new receipt. */
    readonly kind: "vouched";
    /** The address. */
    readonly address: SocketAddress;
    /** What it vouches with. */
    readonly receipt: Uint8Array;
  }
  | {
    /** A server does not take the credentials that it was said to take: it is asked without them until there are others. */
    readonly kind: "credentialsRefused";
  };

/** How one STUN server does. */
export interface StunServerStatus {
  /** The server. */
  readonly server: SocketAddress;
  /** `asking`: no verdict since the start or the last link change. `failed`: the last transaction got no address. */
  readonly state: "asking" | "mapped" | "failed";
  /** The address that the server saw last; `undefined` if none, or forgotten after failures. */
  readonly mapped: SocketAddress | undefined;
  /** Last round trip measured, in milliseconds. */
  readonly rttMs: number | undefined;
  /** Transactions in a row without an address. */
  readonly failures: number;
  /** Why the last transaction failed: one phrase for a person. */
  readonly reason: string | undefined;
  /** Whether it is a node of the mesh. */
  readonly isPeer: boolean;
}

/** Options of {@linkcode Gatherer}. */
export interface GathererOptions {
  /** STUN servers, both families. Duplicates and those over {@linkcode STUN_SERVERS_MAX} are left out. */
  readonly servers: readonly ProbeServer[];
  /** Source of transaction ids. */
  readonly rng: Rng;
  /** This node's own interface addresses, canonical; tells whether there is a NAT. @default [] */
  readonly hostAddresses?: readonly string[];
  /** Time between queries of a server that answers, in milliseconds. Keeps the mapping alive. @default 25000 */
  readonly keepaliveMs?: number;
}

/** Most nodes of the mesh asked: one is enough to learn a mapping, a second to see that it depends on the destination. */
export const PEER_SERVERS_MAX = 2;
/** Most STUN servers asked. */
export const STUN_SERVERS_MAX = 16;
/** How long nobody may answer before that is said: five requests have gone to each server. */
export const SILENCE_MS = 4_000;
/** Failed transactions in a row after which a server's candidate is dropped. */
export const FAILURES_BEFORE_FORGETTING = 3;

/** Wait after the first failed transaction; doubles with each further one. */
const RETRY_MS = 5_000;
const RETRY_MS_MAX = 60_000;
/**
 * A server that answered this recently, and is asked because its answer is in doubt, is asked again at once: without it nobody finds this
 * node. Each transaction is shorter then, so that no more than 4 s pass between two requests.
 */
const MISSED_MS = 600_000;
const MISSED_ATTEMPTS = 5;
/** While somebody is missed no request is waited for longer. */
const RECHECK_WAIT_MS = 4_000;
/** Why a server is of no use that says nothing. */
const NO_ANSWER = "no answer";
/** An observation younger than this is not checked again when another server's changes. */
const FRESH_MS = 5_000;

/** One server and what it told. */
interface Server {
  readonly address: SocketAddress;
  /** Whether it is a node of the mesh. */
  readonly isPeer: boolean;
  /** What signs requests to it. */
  credentials: StunCredentials | undefined;
  /** The user whom it has refused. */
  refusedUser: string | undefined;
  transaction: BindingTransaction | undefined;
  /** When the next transaction starts; unused while one runs. */
  nextAt: Instant;
  mapped: SocketAddress | undefined;
  /** Whether `mapped` was told before a change that makes it doubtful. */
  stale: boolean;
  answeredAt: Instant | undefined;
  state: StunServerStatus["state"];
  rttMs: number | undefined;
  failures: number;
  reason: string | undefined;
}

/** Asks every STUN server on the node's own socket, for ever. */
export class Gatherer implements Machine<GatherEvent> {
  readonly #rng: Rng;
  #keepaliveMs: number;
  #hostAddresses: readonly string[];
  #servers: Server[] = [];
  #elsewhere: NatFacts | undefined;
  /** When to say that nobody answers; `undefined` once somebody has, or that was said. */
  #silentAt: Instant | undefined;
  #unanswered = false;
  /** Receipts not taken yet, by address: as many as servers at most. */
  readonly #receipts = new Map<string, { readonly address: SocketAddress; receipt: Uint8Array }>();
  #refused = false;
  #candidates: readonly Candidate[] = [];
  #nat: NatFacts = NAT_UNKNOWN;
  #candidatesChanged = false;
  #natChanged = false;
  #unmatched = 0;

  /** Starts gathering; the first requests are due at `now`. Throws `RangeError` for a keepalive below 1 s. */
  constructor(
    now: Instant,
    { servers, rng, hostAddresses = [], keepaliveMs = KEEPALIVE_DEFAULT_MS }: GathererOptions,
  ) {
    this.#rng = rng;
    this.#keepaliveMs = checkKeepalive(keepaliveMs);
    this.#hostAddresses = hostAddresses;
    this.setServers(now, servers);
  }

  /** The server-reflexive candidates now, best first. */
  get candidates(): readonly Candidate[] {
    return this.#candidates;
  }

  /** The verdict on the NAT now. */
  get nat(): NatFacts {
    return this.#nat;
  }

  /** Datagrams offered that answered no transaction. */
  get unmatched(): number {
    return this.#unmatched;
  }

  /** Every server's state, in the order given. */
  get status(): readonly StunServerStatus[] {
    return this.#servers.map((
      { address: server, state, mapped, rttMs, failures, reason, isPeer },
    ) => (
      { server, state, mapped, rttMs, failures, reason, isPeer }
    ));
  }

  /** Whether UDP seems blocked: there are servers, each has failed, and none has ever told an address since the last change. */
  get udpBlocked(): boolean {
    return this.#servers.length > 0 &&
      this.#servers.every(({ state, mapped }) => state === "failed" && mapped === undefined);
  }

  /**
   * Replaces the servers. Those already known keep their state, and sign with what is given now; new ones are asked at `now`, and those
   * that had nothing to sign with before.
   */
  setServers(now: Instant, servers: readonly ProbeServer[]): void {
    const next: Server[] = [];
    for (const named of servers) {
      if (next.length === STUN_SERVERS_MAX) break;
      if (next.some((server) => sameAddress(server.address, named.address))) continue;
      const known = this.#servers.find(({ address, isPeer }) =>
        !isPeer && sameAddress(address, named.address)
      );
      if (known !== undefined) setCredentials(now, known, named.credentials);
      next.push(known ?? unasked(now, named, { isPeer: false }));
    }
    this.#servers = [...next, ...this.#servers.filter(({ isPeer }) => isPeer)];
    this.#silentAt = next.length > 0 ? after(now, SILENCE_MS) : undefined;
    this.#update();
  }

  /**
   * Replaces the nodes of the mesh that are asked, at most {@linkcode PEER_SERVERS_MAX}. Those already known keep their state; new
   * ones are asked at `now`.
   */
  setPeerServers(now: Instant, servers: readonly Required<ProbeServer>[]): void {
    const peers = servers.slice(0, PEER_SERVERS_MAX).map((server) =>
      this.#knownPeer(server) ?? unasked(now, server, { isPeer: true })
    );
    this.#servers = [...this.#servers.filter(({ isPeer }) => !isPeer), ...peers];
    this.#update();
  }

  /** Changes the time between queries of a server that answers, for the present wait too. Throws `RangeError` below 1 s. */
  setKeepalive(keepaliveMs: number): void {
    this.#keepaliveMs = checkKeepalive(keepaliveMs);
    for (const server of this.#servers) {
      const { state, answeredAt, stale } = server;
      if (state !== "mapped" || stale || answeredAt === undefined) continue;
      server.nextAt = after(answeredAt, keepaliveMs);
    }
  }

  /** Takes what a probe on other sockets has found out about the NAT; `undefined` forgets it. */
  setProbed(facts: NatFacts | undefined): void {
    this.#elsewhere = facts;
    this.#update();
  }

  /** Replaces this node's own addresses, which tell whether there is a NAT. */
  setHostAddresses(hostAddresses: readonly string[]): void {
    this.#hostAddresses = hostAddresses;
    this.#update();
  }

  /** Asks every server again at once: the link has changed, so that nothing known before counts any more. */
  regather(now: Instant): void {
    if (this.#servers.length > 0) this.#silentAt = after(now, SILENCE_MS);
    for (const server of this.#servers) {
      // An answer to what was sent over the old link would pass for one over the new.
      server.transaction = undefined;
      server.nextAt = now;
      server.stale = true;
      server.state = "asking";
      server.failures = 0;
      server.reason = undefined;
    }
    this.#update();
  }

  /**
   * Has no server asked later than now that would be: this node misses somebody, and may have moved without a sign of it. What is
   * known counts on.
   */
  recheck(now: Instant): void {
    for (const server of this.#servers) {
      const { transaction, nextAt } = server;
      if (transaction === undefined) {
        if (nextAt > now) server.nextAt = now;
        continue;
      }
      // Its waits have become long; the next one begins with short ones.
      const dueAt = transaction.pollTimeout();
      if (dueAt === undefined || dueAt - now <= RECHECK_WAIT_MS) continue;
      server.transaction = undefined;
      server.nextAt = now;
      server.state = "failed";
      server.reason = NO_ANSWER;
    }
  }

  /** Offers a datagram. Returns whether it answered one of the transactions. */
  handleInput(now: Instant, datagram: Datagram): boolean {
    for (const server of this.#servers) {
      if (server.transaction?.handleInput(now, datagram) !== true) continue;
      this.#drain(now, server);
      this.#update();
      return true;
    }
    this.#unmatched++;
    return false;
  }

  /** Starts transactions that are due and advances those that run. */
  handleTimeout(now: Instant): void {
    if (this.#silentAt !== undefined && now >= this.#silentAt) {
      this.#silentAt = undefined;
      this.#unanswered = true;
    }
    for (const server of this.#servers) {
      if (server.transaction === undefined && now >= server.nextAt) {
        const { address, credentials } = server;
        server.transaction = new BindingTransaction(now, {
          server: address,
          rng: this.#rng,
          ...credentials && { credentials },
          ...isMissed(now, server) && { attempts: MISSED_ATTEMPTS },
        });
      }
      server.transaction?.handleTimeout(now);
      this.#drain(now, server);
    }
    this.#update();
  }

  /** Takes the next event. */
  pollEvent(): GatherEvent | undefined {
    // Before the candidates: whoever registers an address can say at once who vouches for it.
    for (const [key, vouched] of this.#receipts) {
      this.#receipts.delete(key);
      return { kind: "vouched", ...vouched };
    }
    if (this.#candidatesChanged) {
      this.#candidatesChanged = false;
      return { kind: "reflexiveChanged", candidates: this.#candidates };
    }
    if (this.#natChanged) {
      this.#natChanged = false;
      return { kind: "natClassified", nat: this.#nat };
    }
    if (this.#unanswered) {
      this.#unanswered = false;
      return { kind: "unanswered" };
    }
    if (this.#refused) {
      this.#refused = false;
      return { kind: "credentialsRefused" };
    }
    return undefined;
  }

  /** Takes the next request. Its destination's family says on which socket it goes. */
  pollTransmit(): Transmit | undefined {
    for (const { transaction } of this.#servers) {
      const transmit = transaction?.pollTransmit();
      if (transmit !== undefined) return transmit;
    }
    return undefined;
  }

  /** When the next request is due; `undefined` without servers. */
  pollTimeout(): Instant | undefined {
    let dueAt = this.#silentAt;
    for (const { transaction, nextAt } of this.#servers) {
      dueAt = earlier(dueAt, transaction === undefined ? nextAt : transaction.pollTimeout());
    }
    return dueAt;
  }

  /** Takes the outcome of a server's transaction, if it has ended. */
  #drain(now: Instant, server: Server): void {
    const outcome = server.transaction?.pollEvent();
    if (outcome === undefined) return;
    server.transaction = undefined;
    const reason = reasonOf(server, outcome);
    if (outcome.kind === "mapped" && reason === undefined) {
      const { address, receipt } = outcome;
      this.#mapped(now, server, address);
      if (receipt !== undefined && !server.isPeer) {
        this.#receipts.set(formatSocketAddress(server.address), { address, receipt });
      }
      if (outcome.rttMs !== undefined) server.rttMs = outcome.rttMs;
      return;
    }
    if (isCredentialsRefused(server, outcome)) {
      // They have ended, or the server began anew: the address can be told without them.
      server.refusedUser = server.credentials?.username;
      server.credentials = undefined;
      server.nextAt = now;
      this.#refused = true;
      return;
    }
    server.state = "failed";
    server.reason = reason;
    const missed = isMissed(now, server);
    const retryMs = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** server.failures);
    server.nextAt = missed ? now : after(now, retryMs);
    server.failures++;
    const doubtful = server.stale && !missed;
    if (doubtful || server.failures >= FAILURES_BEFORE_FORGETTING) server.mapped = undefined;
  }

  #mapped(now: Instant, server: Server, mapped: SocketAddress): void {
    const moved = server.mapped !== undefined && !server.stale &&
      !sameAddress(server.mapped, mapped);
    server.mapped = mapped;
    server.stale = false;
    server.state = "mapped";
    server.reason = undefined;
    server.failures = 0;
    server.answeredAt = now;
    server.nextAt = after(now, this.#keepaliveMs);
    if (moved) this.#doubt(now, server);
  }

  /** The NAT gave one server a new mapping: what the others saw is old news, and no ground for a verdict. */
  #doubt(now: Instant, changed: Server): void {
    const family = familyOf(changed.address.hostname);
    for (const server of this.#servers) {
      if (server === changed || familyOf(server.address.hostname) !== family) continue;
      if (server.answeredAt === undefined || now - server.answeredAt < FRESH_MS) continue;
      server.stale = true;
      server.nextAt = now;
    }
  }

  /** The state of a node of the mesh, if it is asked already in the same way. */
  #knownPeer({ address, credentials }: Required<ProbeServer>): Server | undefined {
    return this.#servers.find((server) =>
      server.isPeer && sameAddress(server.address, address) &&
      server.credentials?.username === credentials.username &&
      server.credentials?.password === credentials.password
    );
  }

  /** Derives candidates and verdict again, and notes what has changed. */
  #update(): void {
    if (this.#servers.some(({ mapped, stale }) => mapped !== undefined && !stale)) {
      this.#silentAt = undefined;
    }
    const candidates: Candidate[] = [];
    const observations: NatObservation[] = [];
    for (const { address, mapped, stale } of this.#servers) {
      if (mapped === undefined) continue;
      const via = formatSocketAddress(address);
      candidates.push({ kind: "serverReflexive", address: mapped, via });
      if (!stale) observations.push({ server: address, mapped });
    }
    const merged = mergeCandidates(candidates);
    if (!sameAddresses(merged, this.#candidates)) this.#candidatesChanged = true;
    this.#candidates = merged;
    // While servers are being asked again, half the evidence would give half a verdict.
    const waiting = this.#servers.some(({ mapped, stale }) => mapped !== undefined && stale);
    if (waiting) return;
    const elsewhere = this.#elsewhere;
    const nat = classifyNat({
      observations,
      hostAddresses: this.#hostAddresses,
      ...elsewhere && { elsewhere },
    });
    if (
      nat.mapping !== this.#nat.mapping || nat.hint !== this.#nat.hint ||
      nat.filtering !== this.#nat.filtering
    ) this.#natChanged = true;
    this.#nat = nat;
  }
}

/** Whether a server does not say where this node is now although it did a while ago. */
function isMissed(now: Instant, { stale, answeredAt }: Server): boolean {
  return stale && answeredAt !== undefined && now - answeredAt < MISSED_MS;
}

/** Whether a named server, and not a node of the mesh, refused what signed the request. */
function isCredentialsRefused(server: Server, outcome: BindingOutcome): boolean {
  return !server.isPeer && server.credentials !== undefined &&
    outcome.kind === "refused" && outcome.code === ERROR_UNAUTHENTICATED;
}

/** Has a server asked with these credentials from now on, unless it has refused them. */
function setCredentials(
  now: Instant,
  server: Server,
  credentials: StunCredentials | undefined,
): void {
  if (credentials !== undefined && credentials.username === server.refusedUser) return;
  const isNew = server.credentials === undefined && credentials !== undefined;
  server.credentials = credentials;
  if (isNew && server.transaction === undefined) server.nextAt = now;
}

function unasked(
  now: Instant,
  { address, credentials }: ProbeServer,
  { isPeer }: { readonly isPeer: boolean },
): Server {
  return {
    address,
    isPeer,
    credentials,
    refusedUser: undefined,
    transaction: undefined,
    nextAt: now,
    mapped: undefined,
    stale: false,
    answeredAt: undefined,
    state: "asking",
    rttMs: undefined,
    failures: 0,
    reason: undefined,
  };
}

function checkKeepalive(keepaliveMs: number): number {
  if (!(keepaliveMs >= 1000)) throw new RangeError(`Keepalive below 1 s: ${keepaliveMs} ms`);
  return keepaliveMs;
}

/** Why an outcome is no address; `undefined` if it is one. */
function reasonOf({ address: server }: Server, outcome: BindingOutcome): string | undefined {
  switch (outcome.kind) {
    case "timedOut":
      return NO_ANSWER;
    case "refused":
      return outcome.code === undefined ? "refused" : `refused with ${outcome.code}`;
    case "mapped":
      // A server elsewhere that claims to see us on loopback or in a multicast group is broken or hostile.
      return isLocalScope(outcome.address.hostname) && !isLocalScope(server.hostname)
        ? "told an address that cannot be ours"
        : undefined;
    default:
      return outcome satisfies never;
  }
}

function sameAddresses(a: readonly Candidate[], b: readonly Candidate[]): boolean {
  const keys = new Set(a.map(({ address }) => formatSocketAddress(address)));
  return a.length === b.length &&
    b.every(({ address }) => keys.has(formatSocketAddress(address)));
}
