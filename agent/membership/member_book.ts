/**
 * Who belongs to a colony's mesh, and which invites are out: the allow-list. Pure: time, keys and signatures are arguments.
 *
 * Each change has a sequence, greater than every one before, so that what Discovery has can be told from what it lacks by one number.
 *
 * @module
 */
import { formatBase64, MorayError, parseBase64, parseKey } from "../../core/mod.ts";
import { isInviteKey, type Signed } from "../../discovery/mod.ts";
import { isLabel } from "../names.ts";

/** Members of one mesh, as many as it may have agents. A further one is refused. */
export const MEMBERS_MAX = 10_000;
/** Members and revoked ones that are remembered. The one that was revoked longest ago is forgotten, and cannot come back without an invite. */
export const REMEMBERED_MAX = 20_000;
/** Invites that are open at once. A further one is refused; the one used first gives way to it: unknown, it lets nobody in either. */
export const INVITES_MAX = 256;

/** A node that the colony has decided about. */
export interface Member {
  /** Its key, base64. */
  readonly publicKey: string;
  /** Its name when it was admitted; empty for none. */
  readonly name: string;
  /** Whether it belongs to the mesh. */
  readonly state: "admitted" | "revoked";
  /** Of the change that made it so. */
  readonly sequence: number;
  /** What the colony has signed about it. */
  readonly signed: Signed;
}

/** An invite. */
export interface OpenInvite {
  /** Its public key, base64url without padding; its first letters are its id. */
  readonly key: string;
  /** Name for the node; empty for none. */
  readonly name: string;
  /** When it ends, unix milliseconds. */
  readonly expiresAt: number;
  /** The key that took it, base64; empty while it is open. */
  readonly usedBy: string;
}

/** How a node's admission went. */
export type Entry = "admitted" | "member" | "revoked" | "noInvite" | "used" | "full";

/** A colony's members and invites. */
export class MemberBook {
  /** The key of the colony that has signed what is in it, base64. */
  readonly colonyKey: string;
  readonly #mesh: string;
  readonly #members = new Map<string, Member>();
  readonly #invites = new Map<string, OpenInvite>();
  #sequence = 0;
  #admitted = 0;

  /** A book of nobody. */
  constructor(mesh: string, colonyKey: string) {
    this.#mesh = mesh;
    this.colonyKey = colonyKey;
  }

  /** The sequence of the last change. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Everybody that was ever decided about, in the order of the decisions. */
  get members(): readonly Member[] {
    return [...this.#members.values()].sort((a, b) => a.sequence - b.sequence);
  }

  /** What is known of a key. */
  find(publicKey: string): Member | undefined {
    return this.#members.get(publicKey);
  }

  /** The invites that may be used now. */
  openInvites(now: number): readonly OpenInvite[] {
    return [...this.#invites.values()].filter(({ usedBy, expiresAt }) =>
      usedBy === "" && expiresAt > now
    );
  }

  /** The sequence that the next change has. */
  nextSequence(now: number): number {
    return Math.max(this.#sequence + 1, Math.floor(now));
  }

  /** What would come of an admission by an invite. */
  entryOf(publicKey: string, { invite, now }: { invite: string; now: number }): Entry {
    const state = this.#members.get(publicKey)?.state;
    if (state === "admitted") return "member";
    const held = this.#invites.get(invite);
    if (held === undefined || held.expiresAt <= now) {
      return state === "revoked" ? "revoked" : "noInvite";
    }
    if (held.usedBy !== "" && held.usedBy !== publicKey) return "used";
    // A new invite lets one in who was thrown out; the one that it used before does not.
    if (held.usedBy === publicKey) return state === "revoked" ? "revoked" : "noInvite";
    return this.#admitted < MEMBERS_MAX ? "admitted" : "full";
  }

  /** The name for a node that comes with an invite; empty for none. */
  nameOf(invite: string): string {
    return this.#invites.get(invite)?.name ?? "";
  }

  /** Writes a decision down; `invite` is used up by it. */
  decide(member: Member, { invite }: { readonly invite?: string } = {}): void {
    const { publicKey, state, sequence } = member;
    if (this.#members.get(publicKey)?.state === "admitted") this.#admitted--;
    if (state === "admitted") this.#admitted++;
    this.#members.delete(publicKey);
    this.#members.set(publicKey, member);
    this.#sequence = Math.max(this.#sequence, sequence);
    const held = invite === undefined ? undefined : this.#invites.get(invite);
    if (held !== undefined) this.#invites.set(held.key, { ...held, usedBy: publicKey });
    if (this.#members.size > REMEMBERED_MAX) this.#forgetRevoked();
  }

  /** Opens an invite. Throws `limit` where there are as many as there may be. */
  invite(invite: OpenInvite, now: number): void {
    for (const { key, expiresAt } of this.#invites.values()) {
      if (expiresAt <= now) this.#invites.delete(key);
    }
    if (this.#invites.size >= INVITES_MAX) this.#forgetUsed();
    if (this.#invites.size >= INVITES_MAX) {
      throw new MorayError("limit", `There are ${INVITES_MAX} invites already: cancel some`);
    }
    this.#sequence = this.nextSequence(now);
    this.#invites.set(invite.key, invite);
  }

  /** Takes open invites back whose key begins with this. Returns how many. */
  cancel(id: string, now: number): number {
    const found = this.openInvites(now).filter(({ key }) => key.startsWith(id));
    if (found.length !== 1) return found.length;
    for (const { key } of found) this.#invites.delete(key);
    this.#sequence = this.nextSequence(now);
    return 1;
  }

  /** Returns a book of nobody with the same invites, for a colony that goes on with another key. */
  emptied(colonyKey: string): MemberBook {
    const book = new MemberBook(this.#mesh, colonyKey);
    for (const [key, invite] of this.#invites) book.#invites.set(key, invite);
    book.#sequence = this.#sequence;
    return book;
  }

  /** The book as a file's text. */
  format(): string {
    const members = this.members.map(({ publicKey, name, state, sequence, signed }) => ({
      publicKey,
      name,
      state,
      sequence,
      statement: formatBase64(signed.statement),
      signature: formatBase64(signed.signature),
    }));
    const invites = [...this.#invites.values()];
    const { sequence, colonyKey } = this;
    const value = { version: 1, mesh: this.#mesh, colonyKey, sequence, members, invites };
    return `${JSON.stringify(value, null, 1)}\n`;
  }

  /** Parses a file's text; `undefined` for what is not wholly a book of this mesh: half an allow-list is none. */
  static parse(text: string, mesh: string): MemberBook | undefined {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      return undefined;
    }
    if (!isObject(value) || value["version"] !== 1 || value["mesh"] !== mesh) return undefined;
    const { colonyKey, sequence, members, invites } = value as Record<
      "colonyKey" | "sequence" | "members" | "invites",
      unknown
    >;
    if (!isCount(sequence) || !Array.isArray(members) || !Array.isArray(invites)) return undefined;
    if (members.length > REMEMBERED_MAX || invites.length > INVITES_MAX) return undefined;
    if (typeof colonyKey !== "string" || parseKey(colonyKey) === undefined) return undefined;
    const book = new MemberBook(mesh, colonyKey);
    for (const one of members) {
      const member = parseMember(one);
      if (member === undefined) return undefined;
      book.decide(member);
    }
    for (const one of invites) {
      const invite = parseInvite(one);
      if (invite === undefined) return undefined;
      book.#invites.set(invite.key, invite);
    }
    book.#sequence = Math.max(book.#sequence, sequence);
    return book;
  }

  #forgetUsed(): void {
    for (const { key, usedBy } of this.#invites.values()) {
      if (usedBy === "") continue;
      this.#invites.delete(key);
      return;
    }
  }

  #forgetRevoked(): void {
    for (const [publicKey, { state }] of this.#members) {
      if (state === "admitted") continue;
      this.#members.delete(publicKey);
      return;
    }
  }
}

function parseMember(value: unknown): Member | undefined {
  if (!isObject(value)) return undefined;
  const { publicKey, name, state, sequence } = value as Record<
    "publicKey" | "name" | "state" | "sequence",
    unknown
  >;
  const statement = bytesOf(value["statement"]);
  const signature = bytesOf(value["signature"]);
  if (typeof publicKey !== "string" || parseKey(publicKey) === undefined) return undefined;
  if (state !== "admitted" && state !== "revoked") return undefined;
  if (!isName(name) || !isCount(sequence)) return undefined;
  if (statement === undefined || signature?.length !== 64) return undefined;
  return { publicKey, name, state, sequence, signed: { statement, signature } };
}

function parseInvite(value: unknown): OpenInvite | undefined {
  if (!isObject(value)) return undefined;
  const { key, name, expiresAt, usedBy } = value as Record<
    "key" | "name" | "expiresAt" | "usedBy",
    unknown
  >;
  if (typeof key !== "string" || !isInviteKey(key) || !isName(name)) return undefined;
  if (!isCount(expiresAt) || typeof usedBy !== "string") return undefined;
  if (usedBy !== "" && parseKey(usedBy) === undefined) return undefined;
  return { key, name, expiresAt, usedBy };
}

function bytesOf(value: unknown): Uint8Array | undefined {
  return typeof value === "string" ? parseBase64(value) : undefined;
}

function isName(value: unknown): value is string {
  return typeof value === "string" && (value === "" || isLabel(value));
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
