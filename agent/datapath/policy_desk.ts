/** The policy in the datapath: what each peer may reach, told to the engine, and what it has refused, for the log and `status`. @module */
import { after, type Instant } from "../../core/mod.ts";
import type { Engine, PeerId } from "../../wg/mod.ts";
import { type NodeRule, portsFor } from "../policy/node_rules.ts";
import { ALL_PORTS } from "../policy/policy.ts";
import type { RefusedStatus } from "../status.ts";
import type { Peer } from "./peer_table.ts";

/** Kinds of port that are kept for each peer, the ones noted longest ago go first. */
const LAST_MAX = 8;
/** One port of one peer is logged no more often. */
const LOGGED_EVERY_MS = 60_000;
/** Lines in such a time, of all peers; beyond them `status` alone tells. */
const LOGGED_MAX = 30;

const TCP = 6;
const UDP = 17;
const ICMP = [1, 58];

/** What of a peer was refused last: when each kind was noted, in milliseconds since 1970, and when it was logged. */
type Noted = Map<string, { readonly atMs: number; readonly loggedAt: Instant | undefined }>;

/** What a desk works with. */
export interface PolicyDeskOptions {
  /** Refuses. */
  readonly engine: Engine;
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number;
  /** Takes a line for the log. */
  readonly log: (message: string, publicKey: string) => void;
}

/** A packet that was refused, as the engine tells it. */
export interface RefusedPacket {
  /** IP protocol number. */
  readonly protocol: number;
  /** Destination port. */
  readonly port: number;
}

/** The policy of a node. */
export class PolicyDesk {
  readonly #options: PolicyDeskOptions;
  /** `undefined` before the first word about it. */
  #rules: readonly NodeRule[] | null | undefined;
  readonly #noted = new Map<PeerId, Noted>();
  #lines = { since: 0 as Instant, count: 0 };

  /** A desk that lets everything pass. */
  constructor(options: PolicyDeskOptions) {
    this.#options = options;
  }

  /** Replaces the rules; `null` lets everything pass. */
  setRules(rules: readonly NodeRule[] | null, peers: Iterable<Peer>): void {
    if (this.#rules === undefined) this.#options.engine.openFilter();
    this.#rules = rules;
    for (const peer of peers) this.addPeer(peer);
    this.#options.engine.cutRefused();
  }

  /** A peer is there, or has another number. */
  addPeer({ id, publicKey }: Peer): void {
    const rules = this.#rules;
    if (rules === undefined) return;
    this.#options.engine.setPorts(id, rules === null ? [ALL_PORTS] : portsFor(rules, publicKey));
  }

  /** A peer is gone. */
  removePeer({ id }: Peer): void {
    this.#noted.delete(id);
  }

  /** A packet of a peer was refused. */
  handleRefused(now: Instant, { id, name, publicKey }: Peer, packet: RefusedPacket): void {
    const what = wordOf(packet);
    const noted: Noted = this.#noted.get(id) ?? new Map();
    this.#noted.set(id, noted);
    const loggedAt = noted.get(what)?.loggedAt;
    const due = loggedAt === undefined || now >= after(loggedAt, LOGGED_EVERY_MS);
    const logs = due && this.#takeLine(now);
    noted.delete(what);
    noted.set(what, { atMs: this.#options.wallClockMs(), loggedAt: logs ? now : loggedAt });
    for (const oldest of noted.keys()) {
      if (noted.size <= LAST_MAX) break;
      noted.delete(oldest);
    }
    if (logs) this.#options.log(`refused ${what} from ${name}: policy`, publicKey);
  }

  /** What of a peer was refused; `undefined` for nothing. */
  refused({ id }: Peer): RefusedStatus | undefined {
    const counts = this.#options.engine.refusals(id);
    if (counts === undefined || Object.values(counts).every((count) => count === 0)) {
      return undefined;
    }
    const last = [...this.#noted.get(id) ?? []].reverse();
    return {
      ...counts,
      last: last.map(([what, { atMs }]) => ({ what, at: new Date(atMs).toISOString() })),
    };
  }

  #takeLine(now: Instant): boolean {
    if (now >= after(this.#lines.since, LOGGED_EVERY_MS)) this.#lines = { since: now, count: 0 };
    return this.#lines.count++ < LOGGED_MAX;
  }
}

/** A port as the policy file writes it. */
function wordOf({ protocol, port }: RefusedPacket): string {
  if (protocol === TCP) return `tcp/${port}`;
  if (protocol === UDP) return `udp/${port}`;
  return ICMP.includes(protocol) ? "icmp" : `ip/${protocol}`;
}
