/**
 * Statements: bytes that a node has signed with its WireGuard key, and what kind of statement they are.
 *
 * ```text
 *   signature = XEdDSA(key, "moray <kind> 1\n" || statement)
 * ```
 *
 * The label keeps the kinds apart: what was signed as one kind is never a statement of another.
 *
 * @module
 */
import { concat } from "../../core/mod.ts";
import type { Signer } from "./signing_key.ts";
import { verify } from "./verify.ts";

/** `record`: a node's own record. `membership`: who belongs to a colony's mesh. `rotation`: the key that follows this one. */
export type StatementKind = "record" | "membership" | "rotation";

/** A statement with its signature, as in the message SignedStatement. */
export interface Signed {
  /** What was said: a message in its binary form, as it was signed. */
  readonly statement: Uint8Array;
  /** 64 bytes. */
  readonly signature: Uint8Array;
}

/** Returns a statement with its signature. */
export async function signStatement(
  signer: Signer,
  kind: StatementKind,
  statement: Uint8Array,
): Promise<Signed & { readonly signature: Uint8Array<ArrayBuffer> }> {
  return { statement, signature: await signer.sign(labelled(kind, statement)) };
}

/** Whether a statement is of this kind, and by this WireGuard public key. Never rejects. */
export async function statementFits(
  { statement, signature }: Signed,
  { kind, publicKey }: { readonly kind: StatementKind; readonly publicKey: Uint8Array },
): Promise<boolean> {
  return await verify(publicKey, labelled(kind, statement), signature);
}

function labelled(kind: StatementKind, statement: Uint8Array): Uint8Array {
  return concat(new TextEncoder().encode(`moray ${kind} 1\n`), statement);
}
