/**
 * What a client believes of the records that Discovery hands out: what their nodes have signed, and never less than it knew.
 *
 * ```text
 *   record --signed by its key, of this mesh and role?--> sequence --not before the newest known--> believed, remembered
 *             | no: forged                                   | before: outdated
 *             +------------------> what was believed last <--+
 * ```
 *
 * So a Discovery can withhold, not forge. A node that has no memory of a key takes nothing that is older than
 * {@linkcode RECORD_AGE_MAX_MS}; an agent stays with the key of the colony that it met first, and with those that follow it by rotations (docs/decisions/0031-signed-records.md).
 *
 * @module
 */
import { createHash } from "node:crypto";
import { parseKey } from "../../core/mod.ts";
import type { SignedStatement } from "../../proto/mod.ts";
import type { Log } from "../log.ts";
import { type Membership, openMembership } from "../membership/statement.ts";
import { earlierKeys } from "../signature/rotation.ts";
import { openRecord } from "../signature/record.ts";
import { type DiscoveredPeer, parsePeer } from "./peer.ts";

/** Age of a record, by this machine's clock, from which on it is believed only if one as new is remembered. */
export const RECORD_AGE_MAX_MS = 48 * 3_600_000;
/** Records that are remembered: those of a full mesh, and as many that have left it. Beyond, records of further keys are not believed. */
export const RECORDS_MAX = 20_000;
/** Faults that the log names, each of a key once; counters have them all. */
const LOGGED_MAX = 64;

/** What is remembered of one mesh from an earlier run. */
export interface RememberedRecords {
  /** Mesh id. */
  readonly meshId: string;
  /** Peers as they were believed last. */
  readonly peers: readonly DiscoveredPeer[];
  /** The newest sequence of each public key: of those peers, and of others that have gone. */
  readonly sequences: ReadonlyMap<string, number>;
  /** The public key of the mesh's colony, where it is known for certain. */
  readonly colonyKey?: string;
}

/** Options of {@linkcode RecordBook}. */
export interface RecordBookOptions {
  /** What an earlier run knew. @default nothing */
  readonly remembered?: RememberedRecords;
  /** Whether the server has not said that every record is signed. */
  readonly mayBeUnsigned: () => boolean;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** What is known of one key. */
interface Entry {
  readonly sequence: number;
  /** Names the statement; `undefined` for one of an earlier run. */
  readonly digest: string | undefined;
  /** The record; `undefined` where only the sequence was remembered. */
  readonly peer: DiscoveredPeer | undefined;
}

/** What the log says of records. */
const WORDS = {
  trusted: "this Discovery has records that nobody has signed: what it says of them is believed",
  forged: "Discovery hands out a record that its node has not signed",
  outdated: "Discovery hands out an older record than before",
  expired: "Discovery hands out a record that is too old, if this machine's clock is right",
  unsigned: "Discovery hands out a record that nobody has signed",
  colonyReplaced: "Discovery names another colony than before: its key is not believed",
  ignored: "too many nodes are known to remember another",
  membershipForged: "Discovery hands out a membership that the colony has not signed",
} as const;
/** What may be wrong with a record. */
type Fault = Exclude<keyof typeof WORDS, "trusted">;

/** Believes, or not, and remembers. */
export class RecordBook {
  readonly #options: RecordBookOptions;
  readonly #entries = new Map<string, Entry>();
  /** Colony keys by mesh id. */
  readonly #colonies = new Map<string, string>();
  readonly #faults = new Map<Fault, number>();
  readonly #logged = new Set<string>();

  /** A book with what was remembered. */
  constructor(options: RecordBookOptions) {
    this.#options = options;
    const { remembered } = options;
    if (remembered === undefined) return;
    const { meshId, peers, sequences, colonyKey } = remembered;
    const byKey = new Map(peers.map((peer) => [peer.publicKey, peer]));
    for (const [publicKey, sequence] of sequences) {
      if (this.#entries.size >= RECORDS_MAX) break;
      const peer = byKey.get(publicKey);
      const kept = peer?.sequence === sequence ? peer : undefined;
      this.#entries.set(name(meshId, publicKey), { sequence, digest: undefined, peer: kept });
    }
    if (colonyKey !== undefined) this.pinColony(meshId, colonyKey);
  }

  /** What was wrong with records, by name; only what is not zero. */
  counters(): Record<string, number> {
    const named = [...this.#faults].map(([fault, count]) =>
      [`records${fault[0]?.toUpperCase()}${fault.slice(1)}`, count] as const
    );
    return Object.fromEntries(named);
  }

  /** From now on the colony of a mesh is the one with this key, and no other. */
  pinColony(meshId: string, publicKey: string): void {
    this.#colonies.set(meshId, publicKey);
  }

  /** What the colony of a mesh says of a node; `undefined` unless it has signed that, and while its key is not known. Never rejects. */
  async openMembership(meshId: string, signed: SignedStatement): Promise<Membership | undefined> {
    const known = this.#colonies.get(meshId);
    const colonyKey = known === undefined ? undefined : parseKey(known);
    if (known === undefined || colonyKey === undefined) return undefined;
    const membership = await openMembership(signed, { meshId, colonyKey });
    if (membership === undefined) {
      this.#refuse("membershipForged", { meshId, publicKey: known, role: "colony" });
    }
    // No colony throws itself out.
    return membership?.publicKey === known ? undefined : membership;
  }

  /** What is worth remembering of a mesh for the next run, which knows `peers`: their sequences, and those of young records. */
  remembered(meshId: string, peers: readonly DiscoveredPeer[]): RememberedRecords {
    const since = this.#since();
    const present = new Set(peers.map(({ publicKey }) => publicKey));
    const prefix = name(meshId, "");
    const sequences = new Map<string, number>();
    for (const [id, { sequence }] of this.#entries) {
      if (!id.startsWith(prefix)) continue;
      const publicKey = id.slice(prefix.length);
      if (sequence >= since || present.has(publicKey)) sequences.set(publicKey, sequence);
    }
    const colonyKey = this.#colonies.get(meshId);
    return { meshId, peers, sequences, ...(colonyKey !== undefined && { colonyKey }) };
  }

  /**
   * Returns what is to be believed about a node that Discovery hands out a record of: the record as its node signed it, or what was
   * believed before; `undefined` for nothing. Never rejects.
   */
  async open(
    told: DiscoveredPeer | undefined,
    signed: SignedStatement | undefined,
  ): Promise<DiscoveredPeer | undefined> {
    if (told === undefined) return undefined;
    const { meshId, publicKey } = told;
    const id = name(meshId, publicKey);
    if (signed === undefined) return this.#openUnsigned(told);
    const digest = digestOf(signed);
    const known = this.#entries.get(id);
    if (known?.digest !== digest || known.peer === undefined) {
      const peer = await this.#verified(told, signed);
      if (peer === undefined) return this.#refuse("forged", told);
      // Another may have been read meanwhile.
      const fault = this.#faultOf(peer);
      if (fault !== undefined) return this.#refuse(fault, told);
      this.#entries.set(id, { sequence: peer.sequence, digest, peer });
      if (peer.role === "colony") this.pinColony(meshId, publicKey);
      return peer;
    }
    if (this.#isReplaced(known.peer)) return this.#refuse("colonyReplaced", told);
    return { ...known.peer, ...addedTo(told) };
  }

  /** The record as its node signed it; `undefined` unless it signed it, and it is the one that Discovery says it is. */
  async #verified(
    told: DiscoveredPeer,
    signed: SignedStatement,
  ): Promise<DiscoveredPeer | undefined> {
    const opened = await openRecord(signed);
    if (opened === undefined) return undefined;
    const { record, sequence } = opened;
    const peer = parsePeer(record, this.#options.now());
    if (peer === undefined) return undefined;
    const same = peer.publicKey === told.publicKey && peer.meshId === told.meshId &&
      peer.role === told.role && peer.agentId === told.agentId;
    if (!same) return undefined;
    const earlier = await earlierKeys(record.rotations, peer);
    const verified = { ...peer, sequence, ...addedTo(told) };
    return earlier.length > 0 ? { ...verified, earlierKeys: earlier } : verified;
  }

  /** What is wrong with a record that its node did sign. */
  #faultOf(peer: DiscoveredPeer): Fault | undefined {
    const known = this.#entries.get(name(peer.meshId, peer.publicKey));
    if (this.#isReplaced(peer)) return "colonyReplaced";
    if (known !== undefined) return peer.sequence < known.sequence ? "outdated" : undefined;
    if (peer.sequence < this.#since()) return "expired";
    if (this.#entries.size >= RECORDS_MAX) this.#prune();
    return this.#entries.size >= RECORDS_MAX ? "ignored" : undefined;
  }

  #openUnsigned(told: DiscoveredPeer): DiscoveredPeer | undefined {
    const { meshId, publicKey, role } = told;
    const pinned = role === "colony" && this.#colonies.has(meshId);
    const signs = pinned || this.#entries.has(name(meshId, publicKey));
    if (signs || !this.#options.mayBeUnsigned()) return this.#refuse("unsigned", told);
    this.#warn("trusted", { mesh: meshId });
    return told;
  }

  /** Whether a mesh has another colony than this one, which did not give its key up for this one's. */
  #isReplaced({ meshId, publicKey, role, earlierKeys = [] }: DiscoveredPeer): boolean {
    const colonyKey = this.#colonies.get(meshId);
    if (role !== "colony" || colonyKey === undefined) return false;
    return colonyKey !== publicKey && !earlierKeys.includes(colonyKey);
  }

  /** Counts a fault, and returns what was believed before. */
  #refuse(
    fault: Fault,
    { meshId, publicKey, role }: Pick<DiscoveredPeer, "meshId" | "publicKey" | "role">,
  ): DiscoveredPeer | undefined {
    this.#faults.set(fault, (this.#faults.get(fault) ?? 0) + 1);
    this.#warn(fault, { mesh: meshId, role, publicKey });
    if (fault === "colonyReplaced") return undefined;
    const peer = this.#entries.get(name(meshId, publicKey))?.peer;
    return peer?.role === role ? peer : undefined;
  }

  /** Records from before this are believed only where they are remembered. */
  #since(): number {
    return this.#options.now() - RECORD_AGE_MAX_MS;
  }

  /** Says something of a key, or of all, once. */
  #warn(what: keyof typeof WORDS, fields: Readonly<Record<string, string>>): void {
    const line = `${what} ${fields["publicKey"]}`;
    if (this.#logged.has(line) || this.#logged.size >= LOGGED_MAX) return;
    this.#logged.add(line);
    this.#options.log("warn", WORDS[what], fields);
  }

  /** Forgets what the age of a record tells as well. Who lives renews its record long before. */
  #prune(): void {
    const since = this.#since();
    for (const [id, { sequence }] of this.#entries) {
      if (sequence < since) this.#entries.delete(id);
    }
  }
}

function name(meshId: string, publicKey: string): string {
  return `${meshId} ${publicKey}`;
}

function digestOf({ statement, signature }: SignedStatement): string {
  const hash = createHash("sha256").update(new Uint8Array([signature.length]));
  return hash.update(signature).update(statement).digest("base64");
}

/** What Discovery adds to a record. An admission is signed by an invite, for whoever knows that to judge. */
function addedTo(
  { generation, lastSeenAt, admission }: DiscoveredPeer,
): Pick<DiscoveredPeer, "generation" | "lastSeenAt" | "admission"> {
  return { generation, lastSeenAt, ...(admission !== undefined && { admission }) };
}
