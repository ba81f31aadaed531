/** What a colony signs about the nodes of its mesh. @module */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { parseKey } from "../../core/mod.ts";
import {
  MembershipState,
  type MembershipState as StateNumber,
  MembershipStatementSchema,
} from "../../proto/mod.ts";
import type { Signer } from "../signature/signing_key.ts";
import { type Signed, signStatement, statementFits } from "../signature/statement.ts";

/** Longest statement: a mesh id, a key and a name. */
const STATEMENT_BYTES_MAX = 1024;

/** What a colony says of one node. */
export interface Membership {
  /** Mesh id. */
  readonly meshId: string;
  /** The node's key, base64. */
  readonly publicKey: string;
  /** Whether it belongs to the mesh. */
  readonly state: "admitted" | "revoked";
  /** Grows with every statement; a later one counts. From 1. */
  readonly sequence: number;
  /** The node's name; empty for none. */
  readonly name: string;
}

const NUMBERS = {
  admitted: MembershipState.ADMITTED,
  revoked: MembershipState.REVOKED,
} as const satisfies Record<Membership["state"], StateNumber>;

/** Signs a membership with the colony's key. */
export async function signMembership(signer: Signer, membership: Membership): Promise<Signed> {
  const { meshId, publicKey: pubkey, state, sequence, name } = membership;
  const message = create(MembershipStatementSchema, {
    meshId,
    pubkey,
    state: NUMBERS[state],
    sequence: BigInt(sequence),
    name,
  });
  return await signStatement(signer, "membership", toBinary(MembershipStatementSchema, message));
}

/** Returns what a statement says; `undefined` unless it is a membership of this mesh, signed by its colony. Never rejects. */
export async function openMembership(
  signed: Signed,
  { meshId, colonyKey }: {
    /** The mesh. */
    readonly meshId: string;
    /** Its colony's key, 32 bytes. */
    readonly colonyKey: Uint8Array;
  },
): Promise<Membership | undefined> {
  if (signed.statement.length > STATEMENT_BYTES_MAX) return undefined;
  const membership = decode(signed.statement);
  if (membership?.meshId !== meshId) return undefined;
  const fits = await statementFits(signed, { kind: "membership", publicKey: colonyKey });
  return fits ? membership : undefined;
}

function decode(bytes: Uint8Array): Membership | undefined {
  try {
    const { meshId, pubkey, state, sequence, name } = fromBinary(MembershipStatementSchema, bytes);
    if (parseKey(pubkey) === undefined) return undefined;
    if (sequence < 1n || sequence > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
    if (state !== MembershipState.ADMITTED && state !== MembershipState.REVOKED) return undefined;
    return {
      meshId,
      publicKey: pubkey,
      state: state === MembershipState.ADMITTED ? "admitted" : "revoked",
      sequence: Number(sequence),
      name,
    };
  } catch {
    return undefined;
  }
}
