/** Looks at the signed records that registrations bring. @module */
import { toBinary } from "@bufbuild/protobuf";
import { createHash } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { formatBase64 } from "../../core/mod.ts";
import { PeerRole, type SignedStatement, SignedStatementSchema } from "../../proto/mod.ts";
import { openRecord, STATEMENT_BYTES_MAX } from "../signature/record.ts";
import type { NodeContent, RegisterOutcome } from "../store/store.ts";
import { invalid } from "./validate.ts";

/** Statements whose signature need not be verified again, 32 bytes each and their sequence. The one used longest ago goes. */
export const STATEMENTS_MAX = 20_000;

/** Verifies the records of registrations, each once: a node sends the same one with every refresh. */
export class StatementChecker {
  readonly #max: number;
  /** Sequences by a digest of the statement, its signature and whom it is of, in order of last use. */
  readonly #verified = new Map<string, number>();
  #forgotten = 0;

  /** A checker that remembers at most `max` statements. */
  constructor(max = STATEMENTS_MAX) {
    this.#max = max;
  }

  /** Statements that made room for others. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /**
   * Returns a registration with the record that its node signed; without where it brings none. Throws `ConnectError`
   * `INVALID_ARGUMENT` for a statement that is not this node's.
   */
  async with(content: NodeContent, signed: SignedStatement | undefined): Promise<NodeContent> {
    if (signed === undefined) return content;
    const { length } = signed.statement;
    if (length > STATEMENT_BYTES_MAX) {
      throw invalid(`statement has ${length} bytes, at most ${STATEMENT_BYTES_MAX} are allowed`);
    }
    const bytes = toBinary(SignedStatementSchema, signed);
    const { publicKey, meshId, role, agentId } = content;
    const whose = JSON.stringify([publicKey, meshId, role, agentId]);
    const digest = createHash("sha256").update(bytes).update(whose).digest("base64");
    const sequence = this.#verified.get(digest) ?? await verifiedSequence(content, signed);
    this.#remember(digest, sequence);
    return { ...content, statement: formatBase64(bytes), sequence };
  }

  #remember(digest: string, sequence: number): void {
    this.#verified.delete(digest);
    this.#verified.set(digest, sequence);
    if (this.#verified.size <= this.#max) return;
    const [oldest] = this.#verified.keys();
    if (oldest !== undefined) this.#verified.delete(oldest);
    this.#forgotten++;
  }
}

async function verifiedSequence(content: NodeContent, signed: SignedStatement): Promise<number> {
  const opened = await openRecord(signed);
  if (opened === undefined) throw invalid("statement is not a record that its node has signed");
  const { record, sequence } = opened;
  const role = record.role === PeerRole.COLONY ? "colony" : "agent";
  const pairs = [
    ["pubkey", record.pubkey, content.publicKey],
    ["mesh_id", record.meshId, content.meshId],
    ["role", role, content.role],
    ["agent_id", record.agentId, content.agentId],
  ];
  for (const [field, signedValue, value] of pairs) {
    if (signedValue !== value) throw invalid(`statement is of another ${field}`);
  }
  return sequence;
}

/** How a registration is refused for its record. */
export function recordRefusal(
  outcome: RegisterOutcome & { readonly kind: "unsigned" | "older" },
): ConnectError {
  const message = outcome.kind === "unsigned"
    ? "the node has signed its record: so must whoever registers it"
    : `the record's sequence is not after that of the stored one, ${outcome.sequence}`;
  return new ConnectError(message, Code.FailedPrecondition);
}
