/** TOML files that people write: errors that name the file and the line. @module */
import { parse, TomlError } from "smol-toml";
import { messageOf, MorayError } from "../core/mod.ts";

/** Parses TOML. Throws `MorayError` `config`, naming file and line, for text that is none. */
export function parseToml(path: string, text: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [reason = ""] = messageOf(error).replace("Invalid TOML document: ", "").split("; ");
    throw new MorayError("config", `${path}:${error.line}: not TOML: ${reason}`, error);
  }
}

/**
 * Line on which a key of the top level, or the table of that name, stands, counted from 1; 1 if it is written in a way that a search
 * does not find. `occurrence`: which of them where a name comes several times, from 0.
 */
export function lineOfKey(text: string, key: string, occurrence = 0): number {
  const quoted = key.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const assignment = new RegExp(`^\\s*\\[*\\s*["']?${quoted}["']?\\s*[=.\\]]`);
  const lines = text.split(/\r?\n/).flatMap((line, i) => assignment.test(line) ? [i + 1] : []);
  return lines[occurrence] ?? lines[0] ?? 1;
}
