/**
 * A colony's members with what has changed since when: whoever has seen a revision gets what came after it. Pure.
 *
 * @module
 */
import type { MeshMember } from "./mesh_view.ts";

/** Changes that are remembered. Whoever has seen none of them gets the whole list. */
export const CHANGES_MAX = 4096;

/** What a node has seen. */
export interface SeenRevision {
  /** Of which list; empty for nothing. */
  readonly instance: string;
  /** Which revision of it. */
  readonly revision: number;
}

/** What a node has not seen. */
export interface MemberChanges {
  /** What it has seen then. */
  readonly revision: number;
  /** Whether this is the whole list. */
  readonly complete: boolean;
  /** The members, or those that have changed. */
  readonly members: readonly MeshMember[];
  /** Keys that are no members any more. */
  readonly removed: readonly string[];
}

/** The members of a mesh. */
export class MemberList {
  /** Names this list. */
  readonly instance: string;
  readonly #members = new Map<string, MeshMember>();
  #changes: { readonly revision: number; readonly publicKey: string }[] = [];
  /** The revision up to which changes are forgotten. */
  #floor = 0;
  #revision = 0;

  /** A list of nobody. `instance` must differ from that of every list before. */
  constructor(instance: string) {
    this.instance = instance;
  }

  /** Of the last change. */
  get revision(): number {
    return this.#revision;
  }

  /** Everybody. */
  get all(): readonly MeshMember[] {
    return [...this.#members.values()];
  }

  /** The member with a key. */
  find(publicKey: string): MeshMember | undefined {
    return this.#members.get(publicKey);
  }

  /** Adds or replaces a member. Returns whether that changes anything. */
  set(member: MeshMember): boolean {
    const known = this.#members.get(member.publicKey);
    if (known !== undefined && same(known, member)) return false;
    this.#members.set(member.publicKey, member);
    this.#changed(member.publicKey);
    return true;
  }

  /** Removes a member. Returns whether there was one. */
  delete(publicKey: string): boolean {
    if (!this.#members.delete(publicKey)) return false;
    this.#changed(publicKey);
    return true;
  }

  /** What somebody has not seen. */
  since({ instance, revision: seen }: SeenRevision): MemberChanges {
    const revision = this.#revision;
    const known = instance === this.instance && seen >= this.#floor && seen <= revision;
    if (!known) return { revision, complete: true, members: this.all, removed: [] };
    const from = this.#changes.findLastIndex((change) => change.revision <= seen) + 1;
    const keys = new Set(this.#changes.slice(from).map(({ publicKey }) => publicKey));
    const members = [...keys].map((key) => this.#members.get(key)).filter((one) =>
      one !== undefined
    );
    const removed = [...keys].filter((key) => !this.#members.has(key));
    return { revision, complete: false, members, removed };
  }

  #changed(publicKey: string): void {
    this.#revision++;
    this.#changes.push({ revision: this.#revision, publicKey });
    if (this.#changes.length <= CHANGES_MAX) return;
    this.#changes = this.#changes.slice(CHANGES_MAX >> 1);
    this.#floor = (this.#changes[0]?.revision ?? 1) - 1;
  }
}

function same(a: MeshMember, b: MeshMember): boolean {
  return a.name === b.name && a.role === b.role && a.ipv4 === b.ipv4 && a.ipv6 === b.ipv6 &&
    a.present === b.present;
}
