/** Answers to look-ups, kept while the record that they tell is the same: many nodes ask for one colony. @module */
import type { LookupColonyResponse } from "../../proto/mod.ts";
import type { NodeRecord } from "../store/store.ts";
import { colonyResponse } from "./records.ts";

/** Colonies whose answer is kept, some kilobytes each. The one that was made longest ago goes. */
export const KEPT_ANSWERS_MAX = 1024;

/** Makes answers about colonies, each once. */
export class KeptAnswers {
  readonly #max: number;
  readonly #kept = new Map<string, { record: NodeRecord; answer: LookupColonyResponse }>();
  #forgotten = 0;

  /** Keeps at most `max` answers. */
  constructor(max = KEPT_ANSWERS_MAX) {
    this.#max = max;
  }

  /** Answers that made room for others. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** The answer that tells this record: the same object for the same record, which nobody may change. */
  of(record: NodeRecord): LookupColonyResponse {
    const { meshId } = record;
    const kept = this.#kept.get(meshId);
    // Whatever the record has, so that no field of it can be overlooked.
    if (kept !== undefined && equal(kept.record, record)) return kept.answer;
    const answer = colonyResponse(record);
    this.#kept.delete(meshId);
    if (this.#kept.size >= this.#max) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
      this.#forgotten++;
    }
    this.#kept.set(meshId, { record, answer });
    return answer;
  }
}

/** Whether two values of a record are the same, through lists and objects. */
function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length &&
    names.every((name) => equal((a as Fields)[name], (b as Fields)[name]));
}

type Fields = Readonly<Record<string, unknown>>;
