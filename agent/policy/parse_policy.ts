/**
 * The policy file, TOML like `moray.toml`.
 *
 * ```toml
 * [groups]
 * ops = ["laptop", "phone"]
 *
 * [[allow]]
 * from = ["agents"]
 * to = ["colony"]
 * ports = ["tcp/80", "tcp/8000-8100", "udp/53", "icmp"]
 *
 * [[allow]]
 * from = ["group:ops"]
 * to = ["*"]          # without ports: all of them
 * ```
 *
 * @module
 */
import { MorayError } from "../../core/mod.ts";
import { isLabel } from "../names.ts";
import { lineOfKey, parseToml } from "../toml.ts";
import {
  ALL_PORTS,
  parsePorts,
  parseSelector,
  type Policy,
  POLICY_RULES_MAX,
  POLICY_RULES_PORTS_MAX,
  type PolicyRule,
  PORT_WORDS,
  type PortRange,
  type Selector,
  SELECTOR_WORDS,
} from "./policy.ts";

/** Largest policy file in characters. */
export const POLICY_CHARACTERS_MAX = 1_048_576;
/** Groups of a policy, and members of one. */
export const POLICY_GROUPS_MAX = 256;
/** Texts in one list: selectors of a rule, members of a group. */
export const POLICY_LIST_MAX = 1024;

const GROUP = "group:";
const RULE_KEYS = ["from", "to", "ports"];

/** Where in a file an error is. */
type Fail = (key: string | undefined, what: string) => MorayError;

/**
 * Reads a policy. Throws `MorayError` `config`, one line that names file and line and says what to write, for text that is no TOML,
 * keys and words that it does not know, groups that are missing, and more than the limits above.
 */
export function parsePolicy(path: string, text: string): Policy {
  if (text.length > POLICY_CHARACTERS_MAX) {
    throw new MorayError("config", `${path}: larger than ${POLICY_CHARACTERS_MAX} characters`);
  }
  const document = parseToml(path, text);
  const at = (line: number, what: string): MorayError =>
    new MorayError("config", `${path}:${line}: ${what}`);
  for (const key of Object.keys(document)) {
    if (key === "groups" || key === "allow") continue;
    const line = lineOfKey(text, key);
    throw at(line, `${word(key)} is no part of a policy; there are [groups] and [[allow]]`);
  }
  const groups = parseGroups(document["groups"], (key, what) => {
    return at(lineOfKey(text, key ?? "groups"), what);
  });
  const tables = document["allow"] ?? [];
  if (!Array.isArray(tables) || !tables.every(isTable)) {
    throw at(lineOfKey(text, "allow"), "allow is a list of tables: write [[allow]] above each");
  }
  if (tables.length > POLICY_RULES_MAX) {
    const line = lineOfKey(text, "allow", POLICY_RULES_MAX);
    throw at(line, `more than ${POLICY_RULES_MAX} rules: put nodes into groups`);
  }
  let portsLeft = POLICY_RULES_PORTS_MAX;
  const rules = tables.map((table, i) => {
    const fail: Fail = (key, what) => at(lineInRule(text, i, key), what);
    const rule = parseRule(table, groups, fail);
    portsLeft -= rule.ports.length;
    if (portsLeft < 0) {
      throw fail("ports", `more than ${POLICY_RULES_PORTS_MAX} port ranges in all`);
    }
    return rule;
  });
  return { rules };
}

function parseGroups(value: unknown, fail: Fail): ReadonlyMap<string, readonly Selector[]> {
  if (value === undefined) return new Map();
  if (!isTable(value)) {
    throw fail(undefined, "groups is a table: write [groups], then name = [...]");
  }
  const entries = Object.entries(value);
  if (entries.length > POLICY_GROUPS_MAX) {
    throw fail(undefined, `more than ${POLICY_GROUPS_MAX} groups`);
  }
  return new Map(entries.map(([name, members]) => {
    if (!isLabel(name)) {
      throw fail(name, `${word(name)} is no name of a group: 1 to 63 characters a-z, 0-9 and -`);
    }
    const selectors = textsOf(members, name, fail).map((text) => {
      const selector = parseSelector(text);
      if (selector?.kind === "name" || selector?.kind === "key") return selector;
      throw fail(name, `${word(text)} in group ${name}: give names or public keys of nodes`);
    });
    return [name, selectors];
  }));
}

function parseRule(
  table: Readonly<Record<string, unknown>>,
  groups: ReadonlyMap<string, readonly Selector[]>,
  fail: Fail,
): PolicyRule {
  const stranger = Object.keys(table).find((key) => !RULE_KEYS.includes(key));
  if (stranger !== undefined) {
    throw fail(stranger, `${word(stranger)} is no part of a rule; there are from, to and ports`);
  }
  const select = (key: "from" | "to"): readonly Selector[] => {
    if (table[key] === undefined) {
      throw fail(undefined, `a rule without ${key}: add ${key} = [...]`);
    }
    return textsOf(table[key], key, fail).flatMap((text) => {
      const group = text.startsWith(GROUP) ? text.slice(GROUP.length) : undefined;
      if (group !== undefined) {
        const members = groups.get(group);
        if (members === undefined) throw fail(key, `no group is called ${word(group)}`);
        return members;
      }
      const selector = parseSelector(text);
      if (selector === undefined) {
        throw fail(key, `${word(text)} is nobody: give ${SELECTOR_WORDS}`);
      }
      return [selector];
    });
  };
  return { from: select("from"), to: select("to"), ports: portsOf(table["ports"], fail) };
}

function portsOf(value: unknown, fail: Fail): readonly PortRange[] {
  if (value === undefined) return [ALL_PORTS];
  return textsOf(value, "ports", fail).map((text) => {
    const range = parsePorts(text);
    if (range !== undefined) return range;
    const bare = /^\d{1,5}(?:-\d{1,5})?$/.test(text);
    const hint = bare ? `"tcp/${text}" or "udp/${text}"` : PORT_WORDS;
    throw fail("ports", `${word(text)} is no port: write ${hint}`);
  });
}

function textsOf(value: unknown, key: string, fail: Fail): readonly string[] {
  const list = Array.isArray(value) ? value : [value];
  if (list.length > POLICY_LIST_MAX) throw fail(key, `more than ${POLICY_LIST_MAX} in one list`);
  const texts = list.filter((item) => typeof item === "string");
  if (texts.length !== list.length) throw fail(key, `${word(key)} must be a list of texts`);
  if (texts.length === 0) {
    throw fail(key, `${word(key)} is empty: name somebody, or leave the rule out`);
  }
  return texts;
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}

/** A word of the file in a message: short, and in characters that a terminal only prints. */
function word(text: string): string {
  return `"${text.slice(0, 64).replaceAll(/[^\x20-\x7e]/g, "?")}"`;
}

/** Line of a key in rule `index`, or of the rule itself; the best guess where rules are written inline. */
function lineInRule(text: string, index: number, key: string | undefined): number {
  const head = lineOfKey(text, "allow", index);
  if (key === undefined) return head;
  const rest = text.split(/\r?\n/).slice(head);
  const next = rest.findIndex((line) => /^\s*\[/.test(line));
  const body = (next < 0 ? rest : rest.slice(0, next)).join("\n");
  // Line 1 also stands for "not found": then the rule's head is said.
  const line = lineOfKey(`\n${body}`, key);
  return line === 1 ? head : head + line - 1;
}
