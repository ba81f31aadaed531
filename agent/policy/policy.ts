/** Who may reach whom in a mesh, and on which ports: the words of a policy. Pure. @module */
import { parseKey } from "../../core/mod.ts";
import { isLabel } from "../names.ts";

/** Protocols that a rule tells apart. `any` is every one, those without ports too. */
export type PolicyProtocol = "tcp" | "udp" | "icmp" | "any";

/** Ports of one protocol. */
export interface PortRange {
  /** Which protocol. */
  readonly protocol: PolicyProtocol;
  /** The first port, 0 to 65535; 0 for `icmp` and `any`. */
  readonly first: number;
  /** The last port; 65535 for `icmp` and `any`. */
  readonly last: number;
}

/** Members of a mesh, as a policy speaks of them. */
export type Selector =
  /** Every member. */
  | { readonly kind: "everyone" }
  /** The colony, or every agent. */
  | { readonly kind: "role"; readonly role: "colony" | "agent" }
  /** The one member of this name. */
  | { readonly kind: "name"; readonly name: string }
  /** The member with this public key, base64. */
  | { readonly kind: "key"; readonly publicKey: string };

/** One thing that is allowed. */
export interface PolicyRule {
  /** Who may open connections; none: nobody. */
  readonly from: readonly Selector[];
  /** To whom. */
  readonly to: readonly Selector[];
  /** At which ports of the receiver. */
  readonly ports: readonly PortRange[];
}

/** A whole policy: what no rule allows is refused. */
export interface Policy {
  /** In the order of the file, which means nothing. */
  readonly rules: readonly PolicyRule[];
}

/** Rules of a policy. */
export const POLICY_RULES_MAX = 1000;
/** Port ranges of all rules: as many as the engine takes for one peer, but for ICMP's and the control port's. */
export const POLICY_RULES_PORTS_MAX = 4094;

/** Every port of every protocol. */
export const ALL_PORTS: PortRange = { protocol: "any", first: 0, last: 65_535 };

/** What holds without a policy file: agents and their colony reach each other, agents do not reach agents. */
export const DEFAULT_POLICY: Policy = {
  rules: (["agent", "colony"] as const).map((role) => ({
    from: [{ kind: "role", role }],
    to: [{ kind: "role", role: role === "agent" ? "colony" : "agent" }],
    ports: [ALL_PORTS],
  })),
};

/** What the words of {@linkcode parseSelector} are, for messages. */
export const SELECTOR_WORDS =
  '"agents", "colony", "*", "group:NAME", a node\'s name or its public key';

/** What the words of {@linkcode parsePorts} are, for messages. */
export const PORT_WORDS = '"tcp/22", "tcp/8000-8100", "udp/53", "tcp", "udp", "icmp" or "*"';

/** Reads `agents`, `colony`, `*`, a name or a public key; `undefined` for anything else, a group too. */
export function parseSelector(text: string): Selector | undefined {
  switch (text) {
    case "*":
      return { kind: "everyone" };
    case "agents":
      return { kind: "role", role: "agent" };
    case "colony":
      return { kind: "role", role: "colony" };
  }
  if (isLabel(text)) return { kind: "name", name: text };
  return parseKey(text) === undefined ? undefined : { kind: "key", publicKey: text };
}

/** Reads `tcp/22`, `udp/8000-8100`, `tcp`, `udp`, `icmp` or `*`; `undefined` for anything else. */
export function parsePorts(text: string): PortRange | undefined {
  if (text === "*") return ALL_PORTS;
  if (text === "icmp") return { ...ALL_PORTS, protocol: "icmp" };
  const match = /^(tcp|udp)(?:\/(\d{1,5})(?:-(\d{1,5}))?)?$/.exec(text);
  if (match === null) return undefined;
  const [, word, low, high = low] = match;
  const protocol = word === "tcp" ? "tcp" : "udp";
  if (low === undefined) return { protocol, first: 0, last: 65_535 };
  const [first, last] = [Number(low), Number(high)];
  return first < 1 || first > last || last > 65_535 ? undefined : { protocol, first, last };
}
