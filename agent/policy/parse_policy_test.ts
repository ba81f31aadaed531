import assert from "node:assert/strict";
import { array, assert as check, integer, property } from "fast-check";
import { MorayError } from "../../core/mod.ts";
import { parsePolicy, POLICY_CHARACTERS_MAX, POLICY_LIST_MAX } from "./parse_policy.ts";
import { ALL_PORTS, POLICY_RULES_MAX } from "./policy.ts";

const KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/** The message of the refusal of a text. */
function refusal(text: string): string {
  try {
    parsePolicy("p.toml", text);
  } catch (error) {
    assert.ok(error instanceof MorayError && error.code === "config", String(error));
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  assert.fail(`taken: ${text}`);
}

Deno.test("parsePolicy reads every form of selector and port", () => {
  const { rules } = parsePolicy(
    "p.toml",
    `
[groups]
ops = ["laptop", "${KEY}"]

[[allow]]
from = ["agents", "colony", "*", "group:ops", "phone", "${KEY}"]
to = "colony"
ports = ["tcp/80", "udp/53", "tcp/8000-8100", "icmp", "*", "udp", "tcp"]

[[allow]]
from = ["phone"]
to = ["*"]
`,
  );
  const key = { kind: "key", publicKey: KEY };
  assert.deepEqual(rules, [
    {
      from: [
        { kind: "role", role: "agent" },
        { kind: "role", role: "colony" },
        { kind: "everyone" },
        { kind: "name", name: "laptop" },
        key,
        { kind: "name", name: "phone" },
        key,
      ],
      to: [{ kind: "role", role: "colony" }],
      ports: [
        { protocol: "tcp", first: 80, last: 80 },
        { protocol: "udp", first: 53, last: 53 },
        { protocol: "tcp", first: 8000, last: 8100 },
        { protocol: "icmp", first: 0, last: 65_535 },
        ALL_PORTS,
        { protocol: "udp", first: 0, last: 65_535 },
        { protocol: "tcp", first: 0, last: 65_535 },
      ],
    },
    { from: [{ kind: "name", name: "phone" }], to: [{ kind: "everyone" }], ports: [ALL_PORTS] },
  ]);
});

Deno.test("parsePolicy takes an empty file for a policy that allows nothing", () => {
  assert.deepEqual(parsePolicy("p.toml", "# nobody\n"), { rules: [] });
});

Deno.test("parsePolicy names file and line of what is wrong, and what to write", () => {
  const rule = (line: string): string =>
    `[groups]\nops = ["a"]\n\n[[allow]]\nfrom = ["a"]\nto = ["b"]\n\n[[allow]]\n${line}\n`;
  const cases: readonly [string, RegExp][] = [
    ["[[allow]\n", /^p\.toml:1: not TOML: /],
    ["\nallow = 7\n", /^p\.toml:2: allow is a list of tables: write \[\[allow\]\]/],
    ["\n\ndeny = []\n", /^p\.toml:3: "deny" is no part of a policy; there are \[groups\]/],
    ["groups = 1\n", /^p\.toml:1: groups is a table: write \[groups\]/],
    ["[groups]\n\nOps = []\n", /^p\.toml:3: "Ops" is no name of a group/],
    ["[groups]\nops = []\n", /^p\.toml:2: "ops" is empty/],
    ['[groups]\nops = ["agents"]\n', /^p\.toml:2: "agents" in group ops: give names or/],
    ['[groups]\nops = ["group:ops"]\n', /^p\.toml:2: "group:ops" in group ops: give names/],
    [rule('to = ["a"]'), /^p\.toml:8: a rule without from: add from = \[\.\.\.\]$/],
    [rule('from = ["a"]'), /^p\.toml:8: a rule without to: add to = /],
    [rule('from = ["a"]\nto = ["group:x"]'), /^p\.toml:10: no group is called "x"$/],
    [rule('from = ["A b"]\nto = ["a"]'), /^p\.toml:9: "A b" is nobody: give "agents", "colony"/],
    [rule('from = [1]\nto = ["a"]'), /^p\.toml:9: "from" must be a list of texts$/],
    [rule('from = []\nto = ["a"]'), /^p\.toml:9: "from" is empty/],
    [rule('from = ["a"]\nto = ["a"]\nport = ["*"]'), /^p\.toml:11: "port" is no part of a rule/],
    [rule('from = ["a"]\nto = ["a"]\nports = ["80"]'), /:11: "80" is no port: write "tcp\/80" or/],
    [rule('from = ["a"]\nto = ["a"]\nports = ["tcp/0"]'), /:11: "tcp\/0" is no port: write /],
    [rule('from = ["a"]\nto = ["a"]\nports = ["tcp/9-8"]'), /:11: "tcp\/9-8" is no port/],
    [rule('from = ["a"]\nto = ["a"]\nports = ["udp/65536"]'), /:11: "udp\/65536" is no port/],
    [rule('from = ["a"]\nto = ["a"]\nports = ["icmp/8"]'), /:11: "icmp\/8" is no port/],
  ];
  for (const [text, expected] of cases) assert.match(refusal(text), expected);
});

Deno.test("parsePolicy holds its limits", () => {
  const rule = '[[allow]]\nfrom = ["a"]\nto = ["a"]\n';
  assert.equal(parsePolicy("p", rule.repeat(POLICY_RULES_MAX)).rules.length, POLICY_RULES_MAX);
  assert.match(refusal(rule.repeat(POLICY_RULES_MAX + 1)), /^p\.toml:3001: more than 1000 rules/);
  const names = Array.from({ length: POLICY_LIST_MAX + 1 }, (_, i) => `"n${i}"`);
  assert.match(refusal(`[[allow]]\nto = ["a"]\nfrom = [${names}]\n`), /:3: more than 1024 in/);
  const ports = `ports = [${Array.from({ length: 1024 }, (_, i) => `"tcp/${i + 1}"`)}]\n`;
  assert.match(refusal((rule + ports).repeat(5)), /^p\.toml:16: more than 4094 port ranges/);
  const groups = Array.from({ length: 257 }, (_, i) => `g${i} = ["a"]`);
  assert.match(refusal(`[groups]\n${groups.join("\n")}\n`), /more than 256 groups/);
  assert.match(refusal("#".repeat(POLICY_CHARACTERS_MAX + 1)), /larger than 1048576/);
});

Deno.test("parsePolicy throws nothing but its one-line error", () => {
  const noise = array(integer({ min: 0, max: 0x2fff }), { maxLength: 40 })
    .map((points) => String.fromCodePoint(...points));
  const parts = [
    (text: string) => text,
    (text: string) => `[[allow]]\nfrom = [${JSON.stringify(text)}]\nto = ["*"]\n`,
    (text: string) => `[[allow]]\nfrom = ["*"]\nto = ["*"]\nports = [${JSON.stringify(text)}]\n`,
    (text: string) => `[groups]\n${JSON.stringify(text)} = ["a"]\n`,
    (text: string) => `[[allow]]\n${JSON.stringify(text)} = ["a"]\n`,
  ];
  check(property(noise, (text) => {
    for (const part of parts) {
      try {
        parsePolicy("p.toml", part(text));
      } catch (error) {
        assert.ok(error instanceof MorayError && error.code === "config", String(error));
        assert.doesNotMatch(error.message, /[^ -~]/);
      }
    }
  }));
});
