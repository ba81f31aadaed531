/**
 * The three layers that give a command its settings: flags, then environment, then file.
 *
 * @module
 */
import type { ConfigFile } from "./config_file.ts";
import { type Given, type Parameter, type Parameters, type Settings } from "./parameter.ts";

/** What the command line gave, by property: a text, several, `true` for a switch, or nothing. */
export type FlagTexts = Readonly<Record<string, string | readonly string[] | true | undefined>>;

/** Where settings come from, strongest first. */
export interface Layers {
  /** The command line. */
  readonly flags: FlagTexts;
  /** Reads an environment variable. */
  readonly env: (name: string) => string | undefined;
  /** The configuration file. Absent: none. */
  readonly file?: ConfigFile;
}

/** Resolves every parameter. Throws `MorayError` `usage` or `config` at the first bad or missing one. */
export function resolveSettings<P extends Parameters>(
  parameters: P,
  layers: Layers,
): Settings<P> {
  const settings: Record<string, unknown> = {};
  for (const [property, parameter] of Object.entries(parameters)) {
    settings[property] = resolveOne(parameter, layers.flags[property], layers);
  }
  return settings as Settings<P>;
}

/** Resolves one parameter. */
export function resolveOne<T>(
  parameter: Parameter<T>,
  flag: FlagTexts[string],
  { env, file }: Omit<Layers, "flags">,
): T {
  return parameter.resolve(
    fromFlag(parameter, flag) ?? fromEnvironment(parameter, env) ?? file?.given(parameter),
  );
}

function fromFlag(parameter: Parameter<unknown>, flag: FlagTexts[string]): Given | undefined {
  if (flag === undefined) return undefined;
  const texts = flag === true ? ["true"] : typeof flag === "string" ? [flag] : flag;
  const split = parameter.commas ? texts.flatMap(splitList) : texts;
  if (split.length === 0) return undefined;
  const origin = parameter.group === "Arguments" ? parameter.value.metavar : `--${parameter.name}`;
  return { origin, file: false, texts: split };
}

function fromEnvironment(
  parameter: Parameter<unknown>,
  env: Layers["env"],
): Given | undefined {
  for (const variable of parameter.variables) {
    const text = env(variable)?.trim();
    if (text === undefined || text === "") continue;
    const texts = parameter.kind === "repeated" ? splitList(text) : [text];
    if (texts.length > 0) return { origin: variable, file: false, texts };
  }
  return undefined;
}

/** Splits `a, b` at its commas; empty parts vanish. */
export function splitList(text: string): string[] {
  return text.split(",").map((part) => part.trim()).filter((part) => part !== "");
}
