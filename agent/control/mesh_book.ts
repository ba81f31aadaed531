/** What an agent knows of its mesh by its colony: views come on top of each other. Pure. @module */
import { fromJson, toJson } from "@bufbuild/protobuf";
import type { Cidr } from "../../core/mod.ts";
import { MeshViewSchema, type Policy } from "../../proto/control.ts";
import type { Fellow } from "../fellows.ts";
import type { NameTable } from "../names.ts";
import { connects, type NodeRules } from "../policy/mod.ts";
import type { SeenRevision } from "./member_list.ts";
import {
  MEMBERS_MAX,
  type MeshMember,
  type MeshView,
  parseView,
  viewMessage,
} from "./mesh_view.ts";
import { nodeRulesOf } from "../policy/policy_message.ts";

/** Nobody may anything. */
const NOTHING: NodeRules = { rules: [], reachable: { any: false, keys: [] } };

/** The members of a mesh, as an agent was told. */
export class MeshBook {
  readonly #publicKey: string;
  readonly #members = new Map<string, MeshMember>();
  #seen: SeenRevision = { instance: "", revision: 0 };
  #subnet: Cidr | undefined;
  #policy: Policy | undefined;
  #rules: NodeRules | undefined;
  #ignored = 0;

  /** A book of nobody, for the node with a key. */
  constructor(publicKey: string) {
    this.#publicKey = publicKey;
  }

  /** What was taken in last. */
  get seen(): SeenRevision {
    return this.#seen;
  }

  /** The node itself; `undefined` before the colony has told. */
  get own(): MeshMember | undefined {
    return this.#members.get(this.#publicKey);
  }

  /** Everybody. */
  get members(): readonly MeshMember[] {
    return [...this.#members.values()];
  }

  /** What the node may do; `undefined` where the colony has no policy. */
  get rules(): NodeRules | undefined {
    return this.#rules;
  }

  /** The other agents that the node may talk to. */
  get fellows(): readonly Fellow[] {
    const rules = this.#rules;
    if (rules === undefined) return [];
    return this.members.filter(({ publicKey, role }) =>
      role === "agent" && publicKey !== this.#publicKey && connects(rules, publicKey)
    ).map(({ publicKey, present }) => ({ publicKey, present }));
  }

  /** Members beyond as many as a mesh may have. */
  get ignored(): number {
    return this.#ignored;
  }

  /** The member with a key. */
  find(publicKey: string): MeshMember | undefined {
    return this.#members.get(publicKey);
  }

  /** Takes a view in. `names` follow: the old ones go first, as the new ones may be among them. */
  take(view: MeshView, names: NameTable): void {
    const { complete, members, removed, policy, subnet, instance, revision } = view;
    const told = new Set(members.map(({ publicKey }) => publicKey));
    const gone = complete ? [...this.#members.keys()].filter((key) => !told.has(key)) : removed;
    for (const publicKey of [...gone, ...told]) {
      const known = this.#members.get(publicKey);
      if (known === undefined) continue;
      if (names.resolve(known.name) === known.ipv6) names.delete(known.name);
      this.#members.delete(publicKey);
    }
    for (const member of members) {
      if (this.#members.size >= MEMBERS_MAX) {
        this.#ignored++;
        continue;
      }
      this.#members.set(member.publicKey, member);
      names.set(member.name, member.ipv6, member.ipv4);
    }
    if (complete || policy !== undefined) {
      this.#policy = policy;
      // One that makes no sense allows nothing.
      this.#rules = policy && (nodeRulesOf(policy) ?? NOTHING);
    }
    this.#subnet = subnet;
    this.#seen = { instance, revision };
  }

  /** What is known as a file's text; `undefined` before the colony has told anything. */
  format(): string | undefined {
    if (this.#subnet === undefined) return undefined;
    const message = viewMessage({
      ...this.#seen,
      complete: true,
      // Who is there is not known at the next start.
      members: this.members.map((member) => ({ ...member, present: false })),
      removed: [],
      subnet: this.#subnet,
      ...(this.#policy && { policy: this.#policy }),
    });
    return `${JSON.stringify(toJson(MeshViewSchema, message), null, 1)}\n`;
  }

  /** Parses a file's text; `undefined` for what is no view of this mesh. */
  static parseFile(text: string, mesh: string): MeshView | undefined {
    try {
      const view = parseView(fromJson(MeshViewSchema, JSON.parse(text)), mesh);
      // The next one is to be complete: what was on the disk may be older than what was seen.
      return view && { ...view, complete: true, instance: "", revision: 0 };
    } catch {
      return undefined;
    }
  }
}
