/**
 * Rotations: a node's word, signed by the key that it gives up, on the key that follows.
 *
 * ```text
 *   K0 --signs--> "K1 follows K0" ; K1 --signs--> "K2 follows K1"     the chain in every record that K2 signs
 * ```
 *
 * Who knew the node by any key of the chain knows it by the last: so a node that was away meanwhile finds it again.
 *
 * @module
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { formatBase64, parseKey } from "../../core/mod.ts";
import { KeyRotationSchema } from "../../proto/mod.ts";
import type { Signer } from "./signing_key.ts";
import { type Signed, signStatement, statementFits } from "./statement.ts";

/** Rotations in one record: the last ones of the node. */
export const ROTATIONS_MAX = 8;
/** Longest statement of a rotation: the longest mesh id, two keys and a number fit in. */
const ROTATION_BYTES_MAX = 512;

/** The key that follows another. */
export interface Rotation {
  /** Mesh id. */
  readonly meshId: string;
  /** The key that signs, base64. */
  readonly oldKey: string;
  /** The key that follows, base64. */
  readonly newKey: string;
  /** Unix milliseconds: greater than that of the rotation which led to `oldKey`. */
  readonly sequence: number;
}

/** Returns a rotation signed by its old key, whose signer this is. */
export async function signRotation(signer: Signer, rotation: Rotation): Promise<Signed> {
  const { meshId, oldKey: oldPubkey, newKey: newPubkey, sequence } = rotation;
  const message = { meshId, oldPubkey, newPubkey, sequence: BigInt(sequence) };
  const bytes = toBinary(KeyRotationSchema, create(KeyRotationSchema, message));
  return await signStatement(signer, "rotation", Uint8Array.from(bytes));
}

/** Returns what a statement says; `undefined` unless it is a rotation, and signed by the key that it gives up. */
export async function openRotation(signed: Signed): Promise<Rotation | undefined> {
  const rotation = decode(signed.statement);
  const publicKey = rotation && parseKey(rotation.oldKey);
  if (publicKey === undefined) return undefined;
  return await statementFits(signed, { kind: "rotation", publicKey }) ? rotation : undefined;
}

/**
 * Returns the keys that a node had before this one, the last first: as far back as each has signed for the next, in growing order. At
 * most {@linkcode ROTATIONS_MAX}; signatures are verified from the end, so a chain that is none costs one.
 */
export async function earlierKeys(
  chain: readonly Signed[],
  { meshId, publicKey }: { readonly meshId: string; readonly publicKey: string },
): Promise<readonly string[]> {
  const keys: string[] = [];
  let next = { key: publicKey, sequence: Infinity };
  for (const signed of chain.slice(-ROTATIONS_MAX).reverse()) {
    const said = decode(signed.statement);
    if (said?.meshId !== meshId || said.newKey !== next.key || said.sequence >= next.sequence) {
      break;
    }
    if (await openRotation(signed) === undefined) break;
    next = { key: said.oldKey, sequence: said.sequence };
    keys.push(said.oldKey);
  }
  return keys;
}

function decode(statement: Uint8Array): Rotation | undefined {
  if (statement.length > ROTATION_BYTES_MAX) return undefined;
  try {
    const message = fromBinary(KeyRotationSchema, statement);
    const [oldKey, newKey] = [message.oldPubkey, message.newPubkey].map(canonicalKey);
    const sequence = Number(message.sequence);
    if (oldKey === undefined || newKey === undefined || oldKey === newKey) return undefined;
    if (sequence < 1 || !Number.isSafeInteger(sequence)) return undefined;
    return { meshId: message.meshId, oldKey, newKey, sequence };
  } catch {
    return undefined;
  }
}

/** A key in its text form; `undefined` for what is no key, or nobody's. */
function canonicalKey(text: string): string | undefined {
  const key = parseKey(text);
  return key === undefined || key.every((byte) => byte === 0) ? undefined : formatBase64(key);
}
