/** What one node must know of a policy: who may reach it where, and whom it may reach. Pure. @module */
import { ALL_PORTS, type Policy, type PortRange, type Selector } from "./policy.ts";

/** A set of members that stays small where it is nearly everybody. */
export interface KeySet {
  /** `true`: every member but `keys`. `false`: exactly `keys`. */
  readonly any: boolean;
  /** Public keys, base64, each once, in order. */
  readonly keys: readonly string[];
}

/** Who may open connections to the node, and at which of its ports. */
export interface NodeRule {
  /** Who. */
  readonly from: KeySet;
  /** Where. */
  readonly ports: readonly PortRange[];
}

/** A policy as one node needs it. */
export interface NodeRules {
  /** What others may reach at this node; what none allows is refused. */
  readonly rules: readonly NodeRule[];
  /** Towards whom this node may open connections, on some port. */
  readonly reachable: KeySet;
}

/** A member of the mesh, as policies see it. */
export interface PolicyMember {
  /** WireGuard key, base64. */
  readonly publicKey: string;
  /** Its name; a name that several members have stands for none of them. */
  readonly name: string;
  /** What it is. */
  readonly role: "colony" | "agent";
}

/** The keys of long sets, which are asked for each peer and rule. */
const LONG = new WeakMap<readonly string[], ReadonlySet<string>>();
/** From so many keys on a set is long. */
const LONG_KEYS = 16;

/** Whether a set has a key. */
export function hasKey({ any, keys }: KeySet, publicKey: string): boolean {
  if (keys.length < LONG_KEYS) return keys.includes(publicKey) !== any;
  let known = LONG.get(keys);
  if (known === undefined) LONG.set(keys, known = new Set(keys));
  return known.has(publicKey) !== any;
}

/** What is the same for all members. */
export interface PolicyForOptions {
  /**
   * The TCP port of the colony's control service, which every member may reach whatever the policy says: that is where it comes
   * from. Absent: there is none.
   */
  readonly controlPort?: number | undefined;
}

/** What a policy means for the node with a key: {@linkcode MeshPolicy} for one. */
export function policyFor(
  policy: Policy,
  members: readonly PolicyMember[],
  publicKey: string,
  options: PolicyForOptions = {},
): NodeRules {
  return new MeshPolicy(policy, members, options).rulesFor(publicKey);
}

/** Whether a node and the member with a key may speak, whoever begins: they are to be peers. */
export function connects({ rules, reachable }: NodeRules, publicKey: string): boolean {
  return hasKey(reachable, publicKey) || rules.some(({ from }) => hasKey(from, publicKey));
}

/**
 * At which ports the member with a key may reach the node: sorted, without overlaps; `any` stands alone. Whoever may reach something of
 * it may also ask whether it is there (ICMP), as nodes do of those they connect to.
 */
export function portsFor(rules: readonly NodeRule[], publicKey: string): readonly PortRange[] {
  const named = rules.flatMap(({ from, ports }) => hasKey(from, publicKey) ? ports : []);
  const ranges: PortRange[] = named.length === 0
    ? []
    : [...named, { ...ALL_PORTS, protocol: "icmp" }];
  if (ranges.some(({ protocol }) => protocol === "any")) return [ALL_PORTS];
  const merged: PortRange[] = [];
  const order = (a: PortRange, b: PortRange): number =>
    a.protocol === b.protocol ? a.first - b.first : a.protocol < b.protocol ? -1 : 1;
  for (const range of ranges.toSorted(order)) {
    const before = merged.at(-1);
    if (before?.protocol === range.protocol && range.first <= before.last + 1) {
      merged[merged.length - 1] = { ...before, last: Math.max(before.last, range.last) };
    } else merged.push(range);
  }
  return merged;
}

/** Selectors, as the members of a mesh are now. */
interface Meant {
  /** Whether every member is meant. */
  readonly everyone: boolean;
  /** Whether every agent is. */
  readonly agents: boolean;
  /** Who is, besides. */
  readonly keys: ReadonlySet<string>;
}

/**
 * A policy and the members of a mesh as they are now. Names that nobody has, or several have, match nobody.
 *
 * What selectors mean is found out once for all members: a policy may name as many as 10,000 of them a hundred times.
 */
export class MeshPolicy {
  readonly #rules: readonly {
    readonly from: Meant;
    readonly to: Meant;
    readonly ports: readonly PortRange[];
  }[];
  readonly #controlPort: number | undefined;
  readonly #members = new Map<string, PolicyMember>();
  readonly #colonies: readonly string[];
  /** `undefined` for a name of several members. */
  readonly #byName = new Map<string, string | undefined>();

  /** Puts a policy and members together. */
  constructor(policy: Policy, members: readonly PolicyMember[], options: PolicyForOptions = {}) {
    this.#controlPort = options.controlPort;
    this.#colonies = members.filter(({ role }) => role === "colony").map((one) => one.publicKey);
    for (const member of members) {
      const { name, publicKey } = member;
      this.#members.set(publicKey, member);
      this.#byName.set(name, this.#byName.has(name) ? undefined : publicKey);
    }
    this.#rules = policy.rules.filter(({ ports }) => ports.length > 0)
      .map(({ from, to, ports }) => ({ from: this.#meant(from), to: this.#meant(to), ports }));
  }

  /** What the policy means for the node with a key; nothing and nobody for one that is no member. */
  rulesFor(publicKey: string): NodeRules {
    const own = this.#members.get(publicKey);
    if (own === undefined) return { rules: [], reachable: { any: false, keys: [] } };
    const rules: NodeRule[] = [];
    const targets: Meant[] = [];
    for (const { from, to, ports } of this.#rules) {
      if (includes(from, own)) targets.push(to);
      if (!includes(to, own)) continue;
      const sources = this.#select([from], own);
      if (sources.any || sources.keys.length > 0) rules.push({ from: sources, ports });
    }
    const port = this.#controlPort;
    if (port !== undefined && own.role === "agent") {
      targets.push(this.#meant([{ kind: "role", role: "colony" }]));
    }
    if (port !== undefined && own.role === "colony") {
      const ports: PortRange[] = [{ protocol: "tcp", first: port, last: port }];
      rules.push({ from: { any: true, keys: [] }, ports });
    }
    return { rules, reachable: this.#select(targets, own) };
  }

  #meant(selectors: readonly Selector[]): Meant {
    const keys = new Set<string>();
    let [everyone, agents] = [false, false];
    for (const selector of selectors) {
      switch (selector.kind) {
        case "everyone":
          everyone = true;
          break;
        case "role":
          if (selector.role === "agent") agents = true;
          else this.#colonies.forEach((key) => keys.add(key));
          break;
        case "name": {
          const key = this.#byName.get(selector.name);
          if (key !== undefined) keys.add(key);
          break;
        }
        case "key":
          keys.add(selector.publicKey);
      }
    }
    return { everyone, agents, keys };
  }

  /** Who but `own` is meant. */
  #select(meant: readonly Meant[], own: PolicyMember): KeySet {
    const everyone = meant.some((one) => one.everyone);
    const any = everyone || meant.some((one) => one.agents);
    const keys = new Set(everyone ? [] : meant.flatMap((one) => [...one.keys]));
    const except = everyone ? [] : this.#colonies.filter((key) => !keys.has(key));
    const named = any ? except : [...keys];
    return { any, keys: named.filter((key) => key !== own.publicKey).toSorted() };
  }
}

function includes({ everyone, agents, keys }: Meant, { publicKey, role }: PolicyMember): boolean {
  return everyone || agents && role === "agent" || keys.has(publicKey);
}
