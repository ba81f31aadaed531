/**
 * What is in a signed record, as bytes: a PeerRecord of the signer with its sequence.
 *
 * @module
 */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { parseKey } from "../../core/mod.ts";
import {
  type PeerRecord,
  PeerRecordSchema,
  PeerRole,
  type SignedStatement,
} from "../../proto/mod.ts";
import { statementFits } from "./statement.ts";

/** Longest statement: what a registration may hold at most fits twice. */
export const STATEMENT_BYTES_MAX = 32 * 1024;

/** What a node says of itself. */
export type RecordContent = Omit<
  MessageInitShape<typeof PeerRecordSchema>,
  "$typeName" | "lastSeen" | "registeredAt" | "generation" | "statement" | "sequence"
>;

/** A record that its node has signed. */
export interface SignedRecord {
  /** The record. */
  readonly record: PeerRecord;
  /** Its sequence, a whole number from 1. */
  readonly sequence: number;
}

/** Returns a record as the bytes that are signed. */
export function encodeRecord(content: RecordContent, sequence: number): Uint8Array<ArrayBuffer> {
  const record = create(PeerRecordSchema, { ...content, sequence: BigInt(sequence) });
  return Uint8Array.from(toBinary(PeerRecordSchema, record));
}

/**
 * Returns the record of a statement; `undefined` unless it is one, and signed by the key that it names. What Discovery would add
 * is not in it.
 */
export async function openRecord(signed: SignedStatement): Promise<SignedRecord | undefined> {
  const { statement } = signed;
  if (statement.length > STATEMENT_BYTES_MAX) return undefined;
  const record = decode(statement);
  if (record === undefined) return undefined;
  const { pubkey, role, sequence } = record;
  const publicKey = parseKey(pubkey);
  if (publicKey === undefined) return undefined;
  if (role !== PeerRole.COLONY && role !== PeerRole.AGENT) return undefined;
  if (sequence < 1n || sequence > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  if (!await statementFits(signed, { kind: "record", publicKey })) return undefined;
  return { record, sequence: Number(sequence) };
}

function decode(statement: Uint8Array): PeerRecord | undefined {
  try {
    const { lastSeen: _, registeredAt: __, ...record } = fromBinary(PeerRecordSchema, statement);
    return create(PeerRecordSchema, { ...record, generation: 0n });
  } catch {
    return undefined;
  }
}
