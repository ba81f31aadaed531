import assert from "node:assert/strict";
import { NodePolicy } from "./node_policy.ts";
import type { NodeRule } from "./node_rules.ts";

const RULE: NodeRule = {
  from: { any: true, keys: [] },
  ports: [{ protocol: "tcp", first: 80, last: 80 }],
};
const REACHABLE = { any: false, keys: [] };

Deno.test("the datapath is told each change once, and that there is no policy too", () => {
  const told: (readonly NodeRule[] | null)[] = [];
  const policy = new NodePolicy((rules) => told.push(rules));
  policy.take(undefined);
  policy.take(undefined);
  policy.take({ rules: [RULE], reachable: REACHABLE });
  policy.take({ rules: [structuredClone(RULE)], reachable: { any: true, keys: [] } });
  policy.take({ rules: [], reachable: REACHABLE });
  policy.take(undefined);
  assert.deepEqual(told, [null, [RULE], [], null]);
});

Deno.test("status says where the policy is from, and nothing where everything passes", () => {
  const policy = new NodePolicy(() => {});
  assert.deepEqual(policy.statusOf("colony"), {});
  policy.take({ rules: [RULE], reachable: REACHABLE });
  assert.deepEqual(policy.statusOf("colony"), { policy: { origin: "file", rules: 1 } });
  assert.deepEqual(policy.statusOf("agent"), { policy: { origin: "colony", rules: 1 } });
});
