/**
 * A parameter of a command: one value that a flag, an environment variable or the configuration file can give.
 *
 * Every layer delivers texts; a parameter turns the texts of the strongest layer into its value, so all layers
 * accept the same spellings and make the same errors.
 *
 * @module
 */
import { MorayError } from "../core/mod.ts";
import { TRUTH, type Value } from "./values.ts";

/** Where texts come from, for error messages: `--wg-port`, `MORAY_WG_PORT`, `moray.toml:3: wg-port`. */
export interface Given {
  /** How to name the place. */
  readonly origin: string;
  /** Whether the place is a file: its errors are `config`, the others `usage`. */
  readonly file: boolean;
  /** The texts, in order; never empty. */
  readonly texts: readonly string[];
}

/** What a parameter is for: the sections of a help page, in this order. */
export type Group =
  | "Arguments"
  | "Mesh"
  | "Network"
  | "Access"
  | "Service"
  | "Relay"
  | "Output"
  | "Common";

/** One parameter whose value has type `T`. */
export interface Parameter<T> {
  /** `flag` takes one value, `repeated` one or more, `switch` none, `operand` stands without a flag. */
  readonly kind: "flag" | "repeated" | "switch" | "operand" | "optionalOperand" | "operands";
  /** The flag without dashes, which is also the key in the file; for an operand its name in messages. */
  readonly name: string;
  /** One letter that stands for the flag: `c` for `-c`. Absent: none. */
  readonly letter?: string;
  /** Whether something must give it. */
  readonly required: boolean;
  /** Its section on the help page. */
  readonly group: Group;
  /** What it does, with unit and range. */
  readonly description: string;
  /** The default as the help page shows it. Absent: none. */
  readonly fallback?: string;
  /** Environment variables, strongest first. */
  readonly variables: readonly string[];
  /** Whether one text may hold several values with commas between them, on the command line too. */
  readonly commas: boolean;
  /** The kind of value, for help and completion. */
  readonly value: Value<unknown>;
  /** Returns the value. Throws `MorayError` `usage` or `config` for a bad text, `usage` where nothing is given and something must be. */
  resolve(given: Given | undefined): T;
}

/** Parameters by the name of the property that holds the value. */
export type Parameters = Readonly<Record<string, Parameter<unknown>>>;

/** The values of parameters. */
export type Settings<P extends Parameters> = {
  readonly [K in keyof P]: P[K] extends Parameter<infer T> ? T : never;
};

/** What every parameter says of itself. */
interface About {
  readonly group: Group;
  readonly description: string;
  /** One letter that stands for the flag. @default none */
  readonly letter?: string;
  /** Environment variables besides `MORAY_<NAME>`. @default [] */
  readonly variables?: readonly string[];
}

/** A flag that may be absent. */
export function optional<T>(
  name: string,
  value: Value<T>,
  about: About & {
    /** What its absence means, for the help page. */
    readonly fallback?: string;
  },
): Parameter<T | undefined> {
  return {
    ...flagBase("flag", name, value, about),
    resolve: (given) => given === undefined ? undefined : lastOf(value, given),
  };
}

/** A flag with a default, written as on the command line. */
export function withDefault<T>(
  name: string,
  value: Value<T>,
  about: About & { readonly fallback: string },
): Parameter<T> {
  const standard: Given = { origin: `--${name}`, file: false, texts: [about.fallback] };
  return {
    ...flagBase("flag", name, value, about),
    resolve: (given) => lastOf(value, given ?? standard),
  };
}

/** A flag that must be there. */
export function required<T>(
  name: string,
  value: Value<T>,
  about: About & {
    /** What to do when it is missing: `name the mesh, for example --mesh reef`. */
    readonly hint: string;
  },
): Parameter<T> {
  return {
    ...flagBase("flag", name, value, about),
    required: true,
    resolve: (given) => lastOf(value, given ?? missing(name, about.hint)),
  };
}

/** A flag that repeats; the environment and a file's text may hold several values with commas between them. */
export function repeated<T>(
  name: string,
  value: Value<T>,
  about: About & {
    /** What the absence means, for the help page. */
    readonly fallback?: string;
    /** The values if none is given. @default [] */
    readonly standard?: readonly string[];
    /** Must be given; what to do when it is missing. Absent: may be missing. */
    readonly hint?: string;
    /** Commas separate values on the command line too. @default false */
    readonly commas?: boolean;
  },
): Parameter<readonly T[]> {
  return {
    ...flagBase("repeated", name, value, about),
    commas: about.commas ?? false,
    required: about.hint !== undefined,
    resolve(given): readonly T[] {
      if (given === undefined && about.hint !== undefined) missing(name, about.hint);
      const texts = given?.texts ?? about.standard ?? [];
      const origin = given ?? { origin: `--${name}`, file: false, texts };
      return texts.map((text) => valueOf(value, text, origin));
    },
  };
}

/** A switch: on the command line there or not, elsewhere `true` or `false`. */
export function toggle(
  name: string,
  about: About & { readonly fallback?: string },
): Parameter<boolean | undefined> {
  return {
    ...flagBase("switch", name, TRUTH, about),
    resolve: (given) => given === undefined ? undefined : lastOf(TRUTH, given),
  };
}

/** A word without a flag that must be there. */
export function operand<T>(
  name: string,
  value: Value<T>,
  about: { readonly description: string; readonly hint: string },
): Parameter<T> {
  return {
    ...operandBase("operand", name, value, about.description),
    resolve(given): T {
      if (given !== undefined) return lastOf(value, given);
      throw new MorayError("usage", `${value.metavar} is missing: ${about.hint}`);
    },
  };
}

/** A word without a flag that may be absent. */
export function optionalOperand<T>(
  name: string,
  value: Value<T>,
  about: { readonly description: string },
): Parameter<T | undefined> {
  return {
    ...operandBase("optionalOperand", name, value, about.description),
    resolve: (given) => given === undefined ? undefined : lastOf(value, given),
  };
}

/** All the words that are left. */
export function operands<T>(
  name: string,
  value: Value<T>,
  about: { readonly description: string },
): Parameter<readonly T[]> {
  return {
    ...operandBase("operands", name, value, about.description),
    resolve: (given) => (given?.texts ?? []).map((text) => valueOf(value, text, given)),
  };
}

/** Returns the environment variable of a flag: `wg-port` is `MORAY_WG_PORT`. */
export function variableOf(name: string): string {
  return `MORAY_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** Longest part of a bad text that a message repeats. */
const QUOTED_CHARACTERS_MAX = 80;

/** A text in quotes, shortened, with control characters escaped. */
function quote(text: string): string {
  const start = text.slice(0, QUOTED_CHARACTERS_MAX);
  return JSON.stringify(start.length < text.length ? `${start}...` : text);
}

function flagBase(
  kind: "flag" | "repeated" | "switch",
  name: string,
  value: Value<unknown>,
  { group, description, letter, variables = [], fallback }: About & { readonly fallback?: string },
): Omit<Parameter<never>, "resolve"> {
  return {
    kind,
    name,
    ...(letter !== undefined && { letter }),
    required: false,
    group,
    description,
    ...(fallback !== undefined && { fallback }),
    variables: [variableOf(name), ...variables],
    commas: false,
    value,
  };
}

function operandBase(
  kind: "operand" | "optionalOperand" | "operands",
  name: string,
  value: Value<unknown>,
  description: string,
): Omit<Parameter<never>, "resolve"> {
  const required = kind === "operand";
  return {
    kind,
    name,
    required,
    group: "Arguments",
    description,
    variables: [],
    commas: false,
    value,
  };
}

function lastOf<T>(value: Value<T>, given: Given): T {
  return valueOf(value, given.texts.at(-1) ?? "", given);
}

function valueOf<T>(value: Value<T>, text: string, given: Given | undefined): T {
  const parsed = value.parse(text);
  if (parsed !== undefined) return parsed;
  const origin = given?.origin ?? value.metavar;
  const code = given?.file === true ? "config" : "usage";
  const what = value.secret === true ? "what it says" : quote(text);
  throw new MorayError(code, `${origin}: ${what} is not ${value.expected}`);
}

function missing(name: string, hint: string): never {
  const variable = variableOf(name);
  throw new MorayError("usage", `--${name} is missing: ${hint} (or set ${variable})`);
}
