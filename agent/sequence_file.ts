/** The sequence of a node's last signed record, `record.sequence` in its state directory: the next one is later, whatever the clock says. @module */
import { messageOf } from "../core/mod.ts";
import type { SequenceStore } from "../discovery/mod.ts";
import { readTextFile, writePrivateFile } from "../io/mod.ts";
import type { Log } from "./options.ts";

/** The file in a state directory: a whole number. */
export const SEQUENCE_FILE = "record.sequence";
const FILE_BYTES_MAX = 64;

/** Opens the file of a state directory. Never rejects: where it is absent or holds no number, the clock has to do. */
export async function openSequences(
  { state, log }: { readonly state: string; readonly log: Log },
): Promise<SequenceStore> {
  const path = `${state}/${SEQUENCE_FILE}`;
  const text = await readTextFile(path, { bytesMax: FILE_BYTES_MAX }).catch((error) => {
    log("debug", `no sequence of an earlier run: ${messageOf(error)}`);
    return "0";
  });
  const last = parseSequence(text);
  if (last === undefined) log("warn", `${path} is damaged: going by the clock`);
  return {
    last: last ?? 0,
    keep: (sequence) =>
      writePrivateFile(path, `${sequence}\n`).catch((error) =>
        log("warn", `the sequence of the record is not kept: ${messageOf(error)}`)
      ),
  };
}

function parseSequence(text: string): number | undefined {
  const sequence = /^\d{1,16}\s*$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(sequence) ? sequence : undefined;
}
