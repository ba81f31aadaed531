/**
 * The command line read by Optique: texts of flags, help pages, completions.
 *
 * @module
 */
import { group, object } from "@optique/core/constructs";
import { type DocPage, formatDocPage } from "@optique/core/doc";
import { formatMessage, message, text } from "@optique/core/message";
import { multiple, optional } from "@optique/core/modifiers";
import { ensureNonEmptyString } from "@optique/core/nonempty";
import {
  getDocPageSync,
  type Parser,
  parseSync,
  type Suggestion,
  suggestSync,
} from "@optique/core/parser";
import { argument, flag, option } from "@optique/core/primitives";
import { string, type ValueParser } from "@optique/core/valueparser";
import { MorayError } from "../core/mod.ts";
import { type Command, commandEntry, COMMANDS } from "./command.ts";
import type { Group, Parameter, Parameters } from "./parameter.ts";
import type { FlagTexts } from "./settings.ts";
import { printable } from "./text_format.ts";

/** Reads the words behind a command's name. Throws `MorayError` `usage` for words that it does not take. */
export function parseFlags(
  name: string,
  parameters: Parameters,
  args: readonly string[],
): FlagTexts {
  const result = parseSync(parserOf(parameters, { strict: false }), args);
  if (result.success) return Object.assign({}, ...Object.values(result.value)) as FlagTexts;
  const reason = formatMessage(result.error, { quotes: false, colors: false })
    .replaceAll(/\s*\n\s*/g, " ").replace(/[.?]?$/, (end) => end === "?" ? "?" : "");
  throw new MorayError(
    "usage",
    `${reason}${reason.endsWith("?") ? "" : ";"} see moray ${name} --help`,
  );
}

/** How wide and in which colours a help page is printed. */
export interface PageStyle {
  /** Width in columns. */
  readonly columns: number;
  /** Whether to use colours. */
  readonly colour: boolean;
  /** Columns of the flags or commands before their explanation. @default 28 */
  readonly termColumns?: number;
}

/** Formats the help page of one command. */
export function commandPage(
  { name, brief }: { readonly name: string; readonly brief: string },
  { parameters, description, examples }: Command,
  style: PageStyle,
): string {
  const page = getDocPageSync(parserOf(parameters, { strict: true }), []);
  const sections = [...page?.sections ?? []].sort((a, b) => orderOf(a.title) - orderOf(b.title));
  return [
    brief,
    `Usage: ${usageOf(name, parameters)}`,
    formatPage({ description: [text(description)], sections }, style),
    ["Examples:", ...examples.map((example) => `  ${example}`)].join("\n"),
  ].join("\n\n") + "\n";
}

/** Formats the overview of all commands. */
export function overviewPage(version: string, style: PageStyle): string {
  const entries = COMMANDS.map(({ name, brief }) => ({
    term: { type: "command" as const, name },
    description: [text(brief)],
  }));
  return [
    `moray ${version}: a userspace WireGuard agent that needs no root`,
    "Usage: moray COMMAND [flags]",
    formatPage({ sections: [{ title: "Commands", entries }] }, { ...style, termColumns: 14 }),
    [
      "Start with: moray demo",
      "A command's flags: moray COMMAND --help",
      "The exit codes: moray help exit-codes",
    ].join("\n"),
  ].join("\n\n") + "\n";
}

/** `moray ping --state DIR PEER [flags]`: what is required, in the order of the help page. */
function usageOf(name: string, parameters: Parameters): string {
  const all = Object.values(parameters);
  const flags = all.filter(({ group, required }) => required && group !== "Arguments")
    .map((parameter) => `--${parameter.name} ${parameter.value.metavar}`);
  // The words of `operands` are for scripts, not for people.
  const operands = all.filter(({ kind }) => kind === "operand" || kind === "optionalOperand")
    .map(({ required, value }) => required ? value.metavar : `[${value.metavar}]`);
  const others = all.some(({ group, required }) => !required && group !== "Arguments");
  return ["moray", name, ...operands, ...flags, ...(others ? ["[flags]"] : [])].join(" ");
}

/** What a shell may put in the place of the last word: a command, or what that command takes. */
export async function suggestions(words: readonly string[]): Promise<readonly Suggestion[]> {
  const [name = "", first, ...rest] = words;
  if (first === undefined) {
    return COMMANDS.filter((entry) => entry.name.startsWith(name)).map((entry) => ({
      kind: "literal",
      text: entry.name,
      description: [text(entry.brief)],
    }));
  }
  const command = await commandEntry(name)?.load();
  if (command === undefined) return [];
  return suggestSync(parserOf(command.parameters, { strict: false }), [first, ...rest]);
}

/** What Optique makes of one parameter or a group of them. */
type Branch = Parser<"sync", unknown, unknown>;

/** Builds Optique's parser. `strict` shows what is required; without it absence is left to the other layers. */
function parserOf(
  parameters: Parameters,
  { strict }: { readonly strict: boolean },
): Parser<"sync", Record<string, FlagTexts>, unknown> {
  const groups = new Map<Group, Record<string, Branch>>();
  for (const [property, parameter] of Object.entries(parameters)) {
    const members = groups.get(parameter.group) ?? {};
    members[property] = fieldOf(parameter, strict);
    groups.set(parameter.group, members);
  }
  const common = groups.get("Common") ?? {};
  groups.set("Common", { ...common, help: HELP_FIELD });
  const sections = [...groups].sort(([a], [b]) => GROUP_ORDER.indexOf(a) - GROUP_ORDER.indexOf(b));
  return object(Object.fromEntries(
    sections.map(([title, members]) => [title, group(title, object(members))]),
  )) as Parser<"sync", Record<string, FlagTexts>, unknown>;
}

const GROUP_ORDER: readonly Group[] = [
  "Arguments",
  "Mesh",
  "Network",
  "Access",
  "Service",
  "Relay",
  "Output",
  "Common",
];

/** Listed and completed here; asked for before parsing, see `asksForHelp`. */
const HELP_FIELD: Branch = optional(
  flag("-h", "--help", { description: message`Print this page.` }),
);

function fieldOf(parameter: Parameter<unknown>, strict: boolean): Branch {
  const name = `--${parameter.name}` as const;
  const letter = parameter.letter === undefined ? undefined : (`-${parameter.letter}` as const);
  const about = { description: [text(describe(parameter))] };
  const required = strict && parameter.required;
  switch (parameter.kind) {
    case "flag": {
      const field = letter === undefined
        ? option(name, textParser(parameter), about)
        : option(letter, name, textParser(parameter), about);
      return required ? field : optional(field);
    }
    case "repeated":
      return multiple(option(name, textParser(parameter), about), { min: required ? 1 : 0 });
    case "switch":
      return optional(letter === undefined ? flag(name, about) : flag(letter, name, about));
    case "operand": {
      const field = argument(textParser(parameter), about);
      return required ? field : optional(field);
    }
    case "optionalOperand":
      return optional(argument(textParser(parameter), about));
    case "operands":
      return multiple(argument(textParser(parameter), about));
    default:
      return parameter.kind satisfies never;
  }
}

/** The help text of a parameter: what it does, its default, its environment. */
function describe({ description, required, fallback, variables }: Parameter<unknown>): string {
  const origin = required ? " Required." : fallback === undefined ? "" : ` Default: ${fallback}.`;
  const environment = variables.length === 0 ? "" : ` Environment: ${variables.join(", ")}.`;
  return `${description}${origin}${environment}`;
}

/** Takes any text: values are judged with those of the other layers, in the same words. */
function textParser({ value }: Parameter<unknown>): ValueParser<"sync", string> {
  const metavar: string = value.metavar;
  ensureNonEmptyString(metavar);
  const plain = string({ metavar });
  return {
    ...plain,
    *suggest(prefix): Iterable<Suggestion> {
      for (const word of value.choices ?? []) {
        if (word.startsWith(prefix)) yield { kind: "literal", text: word };
      }
      if (value.completes !== undefined) {
        yield { kind: "file", type: value.completes, pattern: prefix };
      }
    },
  };
}

function formatPage(page: DocPage, { columns, colour, termColumns = 28 }: PageStyle): string {
  return formatDocPage("moray", page, {
    colors: colour,
    maxWidth: Math.max(60, Math.min(columns, 120)),
    termWidth: termColumns,
    sectionOrder: () => 0,
  }).replaceAll(/ +$/gm, "").trim();
}

function orderOf(title: string | undefined): number {
  return GROUP_ORDER.findIndex((group) => group === title);
}

/** The one of `names` that `word` begins, or the closest to it, if any is close. */
export async function closest(
  word: string,
  names: readonly string[],
): Promise<string | undefined> {
  const begun = word.length < 2 ? undefined : names.find((name) => name.startsWith(word));
  if (begun !== undefined) return begun;
  const { findSimilar } = await import("@optique/core/suggestion");
  return findSimilar(printable(word), names, { maxSuggestions: 1 }).at(0);
}
