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
import { lineOfKey, parseToml } from "../agent/toml.ts";
import { MorayError } from "../core/mod.ts";
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
    const place = `${path}:${lineOfKey(text, key)}: ${key}`;
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
      const origin = `${path}:${lineOfKey(text, parameter.name)}: ${parameter.name}`;
      if (found.list && parameter.kind !== "repeated") {
        throw new MorayError("config", `${origin} takes one value, not a list`);
      }
      const split = parameter.kind === "repeated" && (parameter.commas || !found.list);
      const texts = split ? found.texts.flatMap(splitList) : found.texts;
      return texts.length === 0 ? undefined : { origin, file: true, texts };
    },
  };
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
