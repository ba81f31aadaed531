import assert from "node:assert/strict";
import * as fc from "fast-check";
import { PORT_RANGE } from "../../wg/abi.ts";
import {
  connects,
  hasKey,
  MeshPolicy,
  type NodeRule,
  policyFor,
  type PolicyMember,
  portsFor,
} from "./node_rules.ts";
import {
  ALL_PORTS,
  DEFAULT_POLICY,
  parsePorts,
  type Policy,
  POLICY_RULES_PORTS_MAX,
  type PolicyRule,
  type PortRange,
  type Selector,
} from "./policy.ts";

const MEMBERS: readonly PolicyMember[] = [
  { publicKey: "kc", name: "reef", role: "colony" },
  { publicKey: "k1", name: "laptop", role: "agent" },
  { publicKey: "k2", name: "phone", role: "agent" },
  { publicKey: "k3", name: "twin", role: "agent" },
  { publicKey: "k4", name: "twin", role: "agent" },
];
const ICMP = { protocol: "icmp", first: 0, last: 65_535 };
const KEYS = MEMBERS.map(({ publicKey }) => publicKey);

/** What a policy means, straight from its words. */
function allowed(
  { rules }: Policy,
  { from, to, at }: {
    readonly from: PolicyMember;
    readonly to: PolicyMember;
    readonly at: { readonly protocol: string; readonly port: number };
  },
): boolean {
  const means = (selectors: readonly Selector[], { publicKey, name, role }: PolicyMember) =>
    selectors.some((selector) => {
      switch (selector.kind) {
        case "everyone":
          return true;
        case "role":
          return selector.role === role;
        case "name":
          return selector.name === name && name !== "twin";
        case "key":
          return selector.publicKey === publicKey;
      }
    });
  const within = ({ protocol, first, last }: PortRange) =>
    protocol === "any" || protocol === at.protocol && first <= at.port && at.port <= last;
  return rules.some((rule) => {
    const of = means(rule.from, from) && means(rule.to, to);
    return of && (at.protocol === "icmp" ? rule.ports.length > 0 : rule.ports.some(within));
  });
}

const SELECTOR: fc.Arbitrary<Selector> = fc.constantFrom<Selector>(
  { kind: "everyone" },
  { kind: "role", role: "colony" },
  { kind: "role", role: "agent" },
  ...["reef", "laptop", "phone", "twin", "nobody"].map((name) => ({ kind: "name" as const, name })),
  ...[...KEYS, "stranger"].map((publicKey) => ({ kind: "key" as const, publicKey })),
);
const PORTS: fc.Arbitrary<PortRange> = fc.oneof(
  fc.constantFrom("*", "icmp", "tcp", "udp").map((text) => parsePorts(text) ?? ALL_PORTS),
  fc.record({
    protocol: fc.constantFrom("tcp" as const, "udp" as const),
    first: fc.integer({ min: 1, max: 30 }),
    length: fc.integer({ min: 0, max: 9 }),
  }).map(({ protocol, first, length }) => ({ protocol, first, last: first + length })),
);
const RULE: fc.Arbitrary<PolicyRule> = fc.record({
  from: fc.array(SELECTOR, { maxLength: 4 }),
  to: fc.array(SELECTOR, { maxLength: 4 }),
  ports: fc.array(PORTS, { maxLength: 4 }),
});
const POLICY: fc.Arbitrary<Policy> = fc.record({ rules: fc.array(RULE, { maxLength: 5 }) });
const POINTS = ["tcp", "udp", "icmp", "sctp"].flatMap((protocol) =>
  [1, 10, 22, 39, 65_535].map((port) => ({ protocol, port }))
);

/** Whether the rules that a node has let somebody in. */
function letsIn(
  rules: readonly NodeRule[],
  key: string,
  at: { readonly protocol: string; readonly port: number },
): boolean {
  return portsFor(rules, key).some(({ protocol, first, last }) =>
    protocol === "any" || protocol === at.protocol && first <= at.port && at.port <= last
  );
}

Deno.test("MeshPolicy lets in exactly whom the policy allows, for each receiver, source and port", () => {
  fc.assert(fc.property(POLICY, (policy) => {
    const mesh = new MeshPolicy(policy, MEMBERS);
    for (const to of MEMBERS) {
      const { rules } = mesh.rulesFor(to.publicKey);
      for (const from of MEMBERS) {
        if (from === to) continue;
        for (const at of POINTS) {
          const expected = allowed(policy, { from, to, at });
          assert.equal(letsIn(rules, from.publicKey, at), expected, JSON.stringify(at));
        }
      }
    }
  }));
});

Deno.test("MeshPolicy says a node is reachable exactly where some port of it is", () => {
  fc.assert(fc.property(POLICY, (policy) => {
    const mesh = new MeshPolicy(policy, MEMBERS);
    for (const from of KEYS) {
      const mine = mesh.rulesFor(from);
      for (const to of KEYS) {
        if (from === to) continue;
        const theirs = mesh.rulesFor(to);
        const ways = portsFor(theirs.rules, from).length > 0;
        assert.equal(hasKey(mine.reachable, to), ways);
        assert.equal(connects(mine, to), connects(theirs, from), "peers agree that they are");
      }
    }
  }));
});

Deno.test("hasKey says of long sets what it says of short ones", () => {
  for (const count of [0, 1, 15, 16, 17, 1000]) {
    const keys = Array.from({ length: count }, (_, i) => `k${i}`);
    for (const any of [false, true]) {
      const set = { any, keys };
      assert.deepEqual(keys.filter((key) => hasKey(set, key) === any), []);
      assert.equal(hasKey(set, "another"), any);
    }
  }
});

Deno.test("portsFor merges what touches and keeps what does not", () => {
  const rule = (...texts: readonly string[]): NodeRule => ({
    from: { any: true, keys: [] },
    ports: texts.map((text) => parsePorts(text) ?? ALL_PORTS),
  });
  const rules = [rule("tcp/10-20", "udp/7"), rule("tcp/5", "tcp/21-22", "tcp/15", "tcp/24")];
  assert.deepEqual(portsFor(rules, "k"), [
    ICMP,
    { protocol: "tcp", first: 5, last: 5 },
    { protocol: "tcp", first: 10, last: 22 },
    { protocol: "tcp", first: 24, last: 24 },
    { protocol: "udp", first: 7, last: 7 },
  ]);
  assert.deepEqual(portsFor([...rules, rule("*")], "k"), [ALL_PORTS]);
  assert.deepEqual(portsFor([{ ...rule("*"), from: { any: true, keys: ["k"] } }], "k"), []);
});

Deno.test("the engine takes the most ports that a policy may have, and those that come by themselves", () => {
  const everyone = [{ kind: "everyone" }] as const;
  const ports = Array.from({ length: POLICY_RULES_PORTS_MAX }, (_, i): PortRange => {
    return { protocol: "tcp", first: 2 * i + 1, last: 2 * i + 1 };
  });
  const policy = { rules: [{ from: everyone, to: everyone, ports }] };
  const colony = policyFor(policy, MEMBERS, "kc", { controlPort: 60_000 });
  assert.equal(portsFor(colony.rules, "k1").length, PORT_RANGE.max);
});

Deno.test("without a file agents and the colony reach each other, and agents no agent", () => {
  const colony = policyFor(DEFAULT_POLICY, MEMBERS, "kc");
  const agent = policyFor(DEFAULT_POLICY, MEMBERS, "k1");
  assert.deepEqual(portsFor(colony.rules, "k1"), [ALL_PORTS]);
  assert.deepEqual(portsFor(agent.rules, "kc"), [ALL_PORTS]);
  assert.deepEqual(portsFor(agent.rules, "k2"), []);
  assert.deepEqual(agent.reachable, { any: false, keys: ["kc"] });
  assert.deepEqual(KEYS.map((key) => connects(agent, key)), [true, false, false, false, false]);
});

Deno.test("the control port of the colony is open whatever the policy says", () => {
  const options = { controlPort: 9000 };
  const colony = policyFor({ rules: [] }, MEMBERS, "kc", options);
  const control = { protocol: "tcp", first: 9000, last: 9000 };
  assert.deepEqual(portsFor(colony.rules, "k3"), [ICMP, control]);
  const agent = policyFor({ rules: [] }, MEMBERS, "k3", options);
  assert.deepEqual(agent, { rules: [], reachable: { any: false, keys: ["kc"] } });
});

Deno.test("who is no member may do nothing", () => {
  const everyone: Policy = {
    rules: [{ from: [{ kind: "everyone" }], to: [{ kind: "everyone" }], ports: [ALL_PORTS] }],
  };
  const nothing = { rules: [], reachable: { any: false, keys: [] } };
  assert.deepEqual(policyFor(everyone, MEMBERS, "stranger"), nothing);
});
