/** The file that holds the token of the status page. @module */
import { MorayError } from "../../core/mod.ts";
import { readTextFile } from "../../io/files.ts";
import { isToken } from "./sign_in.ts";

/** Largest file: a token and a line end, with room for a comment below. */
const FILE_BYTES_MAX = 4096;

/** Reads a token, the first line. Rejects with `MorayError` `config` for one that is none, or as reading a file does. */
export async function readTokenFile(path: string): Promise<string> {
  const text = await readTextFile(path, { bytesMax: FILE_BYTES_MAX });
  const token = text.split("\n", 1)[0]?.trim() ?? "";
  if (isToken(token)) return token;
  throw new MorayError(
    "config",
    `Cannot use ${path}: its first line is not 16 to 256 printable ASCII characters without spaces`,
  );
}
