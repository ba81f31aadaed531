/**
 * Verifying a signature by a WireGuard key: XEdDSA (Signal's specification, revision 1) as Ed25519 over the converted key.
 *
 * ```text
 *   u (X25519) --> y = (u - 1) / (u + 1), sign 0 (Ed25519) --> the platform's Ed25519
 * ```
 *
 * @module
 */
import { KEY_BYTES } from "../../core/mod.ts";

/** Bytes of a signature. */
export const SIGNATURE_BYTES = 64;

/** The field's prime. */
const P = 2n ** 255n - 19n;
/** The order of the base point. */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
/** What points of small order have as u: who has such a key shares every secret, and signs for everybody (RFC 7748 section 6.1). */
const SMALL_ORDER: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
]);

/**
 * Returns a WireGuard public key in its Ed25519 form, the point of sign 0; `undefined` for what is no key of anybody: not
 * reduced, or of small order. A key on the curve's twist comes through, and no signature verifies by it.
 */
export function toEd25519(publicKey: Uint8Array): Uint8Array<ArrayBuffer> | undefined {
  if (publicKey.length !== KEY_BYTES) return undefined;
  const u = littleEndian(publicKey);
  if (u >= P || SMALL_ORDER.has(u)) return undefined;
  return bytesOf((u + P - 1n) * inverse(u + 1n) % P);
}

/** Whether `signature` is one of `message` by a WireGuard public key. Never rejects. */
export async function verify(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (signature.length !== SIGNATURE_BYTES) return false;
  // One signature has one form: `s` and `s + ORDER` would verify alike by the equation.
  if (littleEndian(signature.subarray(KEY_BYTES)) >= ORDER) return false;
  const point = toEd25519(publicKey);
  if (point === undefined) return false;
  try {
    const key = await crypto.subtle.importKey("raw", point, "Ed25519", false, ["verify"]);
    const [signed, said] = [Uint8Array.from(message), Uint8Array.from(signature)];
    return await crypto.subtle.verify("Ed25519", key, said, signed);
  } catch {
    // What is no point on the curve makes no key.
    return false;
  }
}

/** The inverse modulo the prime of a number that is not 0, by Euclid: public keys are no secrets. */
function inverse(value: bigint): bigint {
  let [a, b] = [P, value % P];
  let [s, t] = [0n, 1n];
  while (b !== 0n) {
    const quotient = a / b;
    [a, b] = [b, a - quotient * b];
    [s, t] = [t, s - quotient * t];
  }
  return (s + P) % P;
}

function littleEndian(bytes: Uint8Array): bigint {
  const words = new DataView(bytes.buffer, bytes.byteOffset, KEY_BYTES);
  const word = (index: number): bigint => words.getBigUint64(8 * index, true);
  return word(3) << 192n | word(2) << 128n | word(1) << 64n | word(0);
}

function bytesOf(value: bigint): Uint8Array<ArrayBuffer> {
  const words = new DataView(new ArrayBuffer(KEY_BYTES));
  for (let index = 0; index < 4; index++) {
    words.setBigUint64(8 * index, BigInt.asUintN(64, value >> BigInt(64 * index)), true);
  }
  return new Uint8Array(words.buffer);
}
