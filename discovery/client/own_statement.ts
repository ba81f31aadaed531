/** The record of a node as it signs it: anew when it changes, and now and then so that it stays young. @module */
import { create } from "@bufbuild/protobuf";
import { equals } from "../../core/mod.ts";
import { type SignedStatement, SignedStatementSchema } from "../../proto/mod.ts";
import { encodeRecord, type RecordContent } from "../signature/record.ts";
import type { Signer } from "../signature/signing_key.ts";
import { signStatement } from "../signature/statement.ts";

/** Age from which on a record is signed anew: others believe it for four times as long, if they never met the node. */
export const RECORD_RENEW_MS = 12 * 3_600_000;

/** The last sequence that a key has signed, kept across runs. */
export interface SequenceStore {
  /** The last one of earlier runs; 0 for none. */
  readonly last: number;
  /** Keeps one, before anybody sees it. Never rejects. */
  keep(sequence: number): Promise<void>;
}

/** Options of {@linkcode OwnStatements}. */
export interface OwnStatementsOptions {
  /** Signs with the node's key. */
  readonly signer: Signer;
  /** Where sequences are kept. @default in memory */
  readonly sequences?: SequenceStore;
  /** Now, unix milliseconds. */
  readonly now: () => number;
}

/** Signs the records of one node. */
export class OwnStatements {
  readonly #options: OwnStatementsOptions;
  #sequence: number;
  #last: { readonly content: Uint8Array; readonly signed: SignedStatement } | undefined;

  /** Nothing is signed yet. */
  constructor(options: OwnStatementsOptions) {
    this.#options = options;
    this.#sequence = options.sequences?.last ?? 0;
  }

  /** The last sequence. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Returns the signed record: the last one while its content is the same and it is young. */
  async of(content: RecordContent): Promise<SignedStatement> {
    const { signer, sequences, now } = this.#options;
    const bytes = encodeRecord(content, 0);
    const at = Math.floor(now());
    const last = this.#last;
    if (
      last !== undefined && equals(last.content, bytes) && at - this.#sequence < RECORD_RENEW_MS
    ) {
      return last.signed;
    }
    // A clock that was set back, or stands still, makes no older record.
    const sequence = Math.max(1, at, this.#sequence + 1);
    this.#sequence = sequence;
    await sequences?.keep(sequence);
    const statement = await signStatement(signer, "record", encodeRecord(content, sequence));
    const signed = create(SignedStatementSchema, statement);
    if (this.#sequence === sequence) this.#last = { content: bytes, signed };
    return signed;
  }

  /** A later record of this key is known: the next is later still. */
  follow(sequence: number): void {
    this.#last = undefined;
    this.#sequence = Math.max(this.#sequence, sequence);
  }
}
