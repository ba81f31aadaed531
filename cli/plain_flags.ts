/**
 * Reads command lines in which nothing is wrong, which are nearly all, without the parser that explains the others:
 * loading that and building its tables for a node's twenty flags takes 60 ms of CPU (measured until the first byte).
 *
 * @module
 */
import type { Parameter, Parameters } from "./parameter.ts";
import type { FlagTexts } from "./settings.ts";

/** Returns whether the words ask for help: `--help` or `-h` before any `--`. */
export function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  const words = end < 0 ? args : args.slice(0, end);
  return words.some((word) => word === "--help" || word === "-h");
}

/**
 * Reads the words behind a command's name. `undefined` where a word needs judgement: an unknown flag, a flag twice, a value
 * that looks like a flag, a word too many. What it returns, `parseFlags` returns too.
 */
export function readPlainFlags(
  parameters: Parameters,
  args: readonly string[],
): FlagTexts | undefined {
  const texts = new Map<string, string[] | true>();
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    const isFlag = word.startsWith("-");
    const [name = "", ...parts] = isFlag ? word.split("=") : [word];
    const found = isFlag ? flagOf(parameters, name) : operandOf(parameters);
    if (found === undefined || word === "") return undefined;
    // What a letter takes stands behind it, in a word of its own.
    if (parts.length > 0 && !name.startsWith("--")) return undefined;
    const [property, { kind }] = found;
    const known = texts.get(property);
    if (known !== undefined && kind !== "repeated" && kind !== "operands") return undefined;
    if (kind === "switch") {
      if (parts.length > 0) return undefined;
      texts.set(property, true);
      continue;
    }
    const value = !isFlag ? word : parts.length > 0 ? parts.join("=") : args[++at];
    if (value === undefined || value === "" || value.startsWith("-")) return undefined;
    texts.set(property, [...known === undefined || known === true ? [] : known, value]);
  }
  return Object.fromEntries(
    Object.entries(parameters).map(([property, { kind }]) => {
      const given = texts.get(property);
      if (kind === "repeated" || kind === "operands") return [property, given ?? []];
      return [property, given === undefined || given === true ? given : given[0]];
    }),
  );
}

type Found = readonly [property: string, parameter: Parameter<unknown>];

function flagOf(parameters: Parameters, flag: string): Found | undefined {
  return Object.entries(parameters).find(([, { kind, name, letter }]) =>
    (`--${name}` === flag || letter !== undefined && `-${letter}` === flag) &&
    (kind === "flag" || kind === "repeated" || kind === "switch")
  );
}

/** The parameter that takes words without a flag; `undefined` unless there is exactly one. */
function operandOf(parameters: Parameters): Found | undefined {
  const all = Object.entries(parameters).filter(([, { kind }]) =>
    kind === "operand" || kind === "optionalOperand" || kind === "operands"
  );
  return all.length === 1 ? all[0] : undefined;
}
