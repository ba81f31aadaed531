import assert from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { formatBase64 } from "../../core/mod.ts";
import { type Policy, PolicySchema, Protocol } from "../../proto/control.ts";
import type { KeySet, NodeRules } from "./node_rules.ts";
import { nodeRulesOf, policyMessage } from "./policy_message.ts";

const SET: fc.Arbitrary<KeySet> = fc.record({
  any: fc.boolean(),
  keys: fc.array(fc.uint8Array({ minLength: 32, maxLength: 32 }).map(formatBase64), {
    maxLength: 3,
  }),
});
const RULES: fc.Arbitrary<NodeRules> = fc.record({
  rules: fc.array(fc.record({
    from: SET,
    ports: fc.array(
      fc.record({
        protocol: fc.constantFrom("tcp" as const, "udp" as const, "icmp" as const, "any" as const),
        first: fc.integer({ min: 0, max: 40_000 }),
        last: fc.integer({ min: 40_000, max: 65_535 }),
      }),
      { maxLength: 3 },
    ),
  })),
  reachable: SET,
});

Deno.test("rules arrive as they were written", () => {
  fc.assert(fc.property(RULES, (rules) => {
    const bytes = toBinary(PolicySchema, policyMessage(rules));
    assert.deepEqual(
      nodeRulesOf(fromBinary(PolicySchema, bytes)),
      JSON.parse(JSON.stringify(rules)),
    );
  }));
});

Deno.test("what no colony would send is refused as a whole", () => {
  const any = { any: true, keys: [] };
  const ports = (first: number, last: number) => [{ protocol: Protocol.TCP, first, last }];
  const of = (policy: Parameters<typeof create<typeof PolicySchema>>[1]): Policy =>
    create(PolicySchema, policy);
  const bad = [
    of({ rules: [{ from: { any: false, keys: [new Uint8Array(31)] }, ports: ports(1, 1) }] }),
    of({ reachable: { any: false, keys: [new Uint8Array(33)] } }),
    of({ rules: [{ from: any, ports: ports(2, 1) }] }),
    of({ rules: [{ from: any, ports: ports(1, 65_536) }] }),
    of({ rules: Array.from({ length: 1002 }, () => ({ from: any, ports: ports(1, 1) })) }),
    of({ rules: [{ from: any, ports: Array.from({ length: 4098 }, () => ports(1, 1)).flat() }] }),
  ];
  for (const [i, policy] of bad.entries()) assert.equal(nodeRulesOf(policy), undefined, `${i}`);
});

Deno.test("a rule without a source or of an unknown protocol allows nothing", () => {
  const policy = create(PolicySchema, {
    rules: [{ ports: [{ protocol: 1, first: 1, last: 2 }] }, {
      from: { any: true, keys: [] },
      ports: [{ protocol: 99 as Protocol, first: 1, last: 2 }],
    }],
  });
  const nobody = { any: false, keys: [] };
  assert.deepEqual(nodeRulesOf(policy), {
    rules: [
      { from: nobody, ports: [{ protocol: "tcp", first: 1, last: 2 }] },
      { from: { any: true, keys: [] }, ports: [] },
    ],
    reachable: nobody,
  });
});
