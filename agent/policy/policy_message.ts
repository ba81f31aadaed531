/** A node's part of the policy as the control service carries it. Pure. @module */
import { create } from "@bufbuild/protobuf";
import { formatBase64, KEY_BYTES, parseKey } from "../../core/mod.ts";
import { type Policy as PolicyMessage, PolicySchema, Protocol } from "../../proto/control.ts";
import type { KeySet, NodeRule, NodeRules } from "./node_rules.ts";
import { POLICY_RULES_MAX, POLICY_RULES_PORTS_MAX } from "./policy.ts";
import type { PolicyProtocol, PortRange } from "./policy.ts";

const NUMBERS: Readonly<Record<PolicyProtocol, Protocol>> = {
  any: Protocol.UNSPECIFIED,
  tcp: Protocol.TCP,
  udp: Protocol.UDP,
  icmp: Protocol.ICMP,
};
const WORDS = new Map<number, PolicyProtocol>(
  Object.entries(NUMBERS).map(([word, number]) => [number, word as PolicyProtocol]),
);
const PORT_MAX = 65_535;
/** Keys of one set: as many as a mesh has nodes. */
const KEYS_MAX = 10_000;

/** Writes the rules of a node. */
export function policyMessage({ rules, reachable }: NodeRules): PolicyMessage {
  return create(PolicySchema, {
    rules: rules.map(({ from, ports }) => ({
      from: setMessage(from),
      ports: ports.map(({ protocol, first, last }) => ({
        protocol: NUMBERS[protocol],
        first,
        last,
      })),
    })),
    reachable: setMessage(reachable),
  });
}

/**
 * Reads the rules of a node; `undefined` for what no colony would send: keys of another length, ports that are none, more than a
 * policy may have. A protocol that this version does not know allows nothing.
 */
export function nodeRulesOf({ rules, reachable }: PolicyMessage): NodeRules | undefined {
  if (rules.length > POLICY_RULES_MAX + 1) return undefined;
  let ports = 0;
  const read: NodeRule[] = [];
  for (const rule of rules) {
    const from = keySetOf(rule.from);
    ports += rule.ports.length;
    if (from === undefined || ports > POLICY_RULES_PORTS_MAX + 1) return undefined;
    const ranges: PortRange[] = [];
    for (const { protocol, first, last } of rule.ports) {
      if (first > last || last > PORT_MAX) return undefined;
      const word = WORDS.get(protocol);
      if (word !== undefined) ranges.push({ protocol: word, first, last });
    }
    read.push({ from, ports: ranges });
  }
  const towards = keySetOf(reachable);
  return towards && { rules: read, reachable: towards };
}

function setMessage({ any, keys }: KeySet): { any: boolean; keys: Uint8Array[] } {
  return { any, keys: keys.map(parseKey).filter((key) => key !== undefined) };
}

/** Nobody where it is absent; `undefined` where it is wrong. */
function keySetOf(
  set: { readonly any: boolean; readonly keys: readonly Uint8Array[] } | undefined,
): KeySet | undefined {
  if (set === undefined) return { any: false, keys: [] };
  const { any, keys } = set;
  if (keys.length > KEYS_MAX || keys.some((key) => key.length !== KEY_BYTES)) return undefined;
  return { any, keys: keys.map(formatBase64) };
}
