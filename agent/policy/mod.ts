/**
 * Who may reach whom in a mesh: the colony's policy file, and what each node makes of it.
 *
 * ```text
 *   policy.toml --parsePolicy--> Policy --policyFor(members, key)--> NodeRules --> the datapath of that node
 * ```
 *
 * ```ts
 * import { parsePolicy, policyFor, portsFor } from "./mod.ts";
 *
 * const policy = parsePolicy("policy.toml", '[[allow]]\nfrom = ["agents"]\nto = ["colony"]\nports = ["tcp/80"]\n');
 * const members = [
 *   { publicKey: "a", name: "laptop", role: "agent" },
 *   { publicKey: "c", name: "colony", role: "colony" },
 * ] as const;
 * console.log(portsFor(policyFor(policy, members, "c").rules, "a")); // icmp; tcp, 80 to 80
 * ```
 *
 * @module
 */
export * from "./node_rules.ts";
export * from "./parse_policy.ts";
export * from "./policy.ts";
