/**
 * The configuration file, `moray.toml`: one key per flag, named as the flag.
 *
 * ```toml
 * mesh = "reef"
 * discovery = ["https://discovery.example.com"]
 * wg-port = 51820
 * ```
 *
 * One file may serve several commands: a key that another command knows is left alone, a key that none knows is
 * an error.
 *
 * @module
 */
import { parse, TomlError } from "smol-toml";
import { messageOf, MorayError } from "../core/mod.ts";
import type { Given, Parameter } from "./parameter.ts";
import { splitList } from "./settings.ts";

/** A configuration file that was read. */
export interface ConfigFile {
  /** What the file gives to a parameter; `undefined` if nothing. */
  given(parameter: Parameter<unknown>): Given | undefined;
}

/** Largest configuration file in characters. */
export const CONFIG_CHARACTERS_MAX = 1_048_576;

/**
 * Reads the text of a configuration file.
 *
 * Throws `MorayError` `config` naming file, line and key for text that is no TOML, a key that is not in
 * `known`, and a value that is no text, number, boolean or list of them.
 */
export function parseConfigFile(
  path: string,
  text: string,
  known: readonly string[],
): ConfigFile {
  if (text.length > CONFIG_CHARACTERS_MAX) {
    throw new MorayError("config", `${path}: larger than ${CONFIG_CHARACTERS_MAX} characters`);
  }
  const values = new Map<string, { readonly texts: readonly string[]; readonly list: boolean }>();
  for (const [key, value] of Object.entries(parseToml(path, text))) {
    const place = `${path}:${lineOf(text, key)}: ${key}`;
    if (!known.includes(key)) {
      throw new MorayError("config", `${place} is no setting; there are ${known.join(", ")}`);
    }
    const list = Array.isArray(value);
    const texts = (list ? value : [value]).map((item) => scalarText(item, place));
    values.set(key, { texts, list });
  }
  return {
    given(parameter): Given | undefined {
      const found = values.get(parameter.name);
      if (found === undefined || parameter.group === "Arguments") return undefined;
      const origin = `${path}:${lineOf(text, parameter.name)}: ${parameter.name}`;
      if (found.list && parameter.kind !== "repeated") {
        throw new MorayError("config", `${origin} takes one value, not a list`);
      }
      const split = parameter.kind === "repeated" && (parameter.commas || !found.list);
      const texts = split ? found.texts.flatMap(splitList) : found.texts;
      return texts.length === 0 ? undefined : { origin, file: true, texts };
    },
  };
}

function parseToml(path: string, text: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [reason = ""] = messageOf(error).replace("Invalid TOML document: ", "").split("; ");
    throw new MorayError("config", `${path}:${error.line}: not TOML: ${reason}`, error);
  }
}

function scalarText(value: unknown, place: string): string {
  switch (typeof value) {
    case "string":
      return value;
    case "number":
    case "bigint":
    case "boolean":
      return String(value);
    default:
      throw new MorayError("config", `${place} must be a text, a number, true, false or a list`);
  }
}

/** Line of a top-level key, counted from 1; 1 if it is written in a way that a search does not find. */
function lineOf(text: string, key: string): number {
  const quoted = key.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const assignment = new RegExp(`^\\s*\\[*\\s*["']?${quoted}["']?\\s*[=.\\]]`);
  const index = text.split(/\r?\n/).findIndex((line) => assignment.test(line));
  return index < 0 ? 1 : index + 1;
}
