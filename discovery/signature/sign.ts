/**
 * Signing with a WireGuard key: XEdDSA (Signal's specification, revision 1), which makes an Ed25519 signature by an X25519 key.
 *
 * Only who signs loads this: what verifies is `verify.ts`, which needs no arithmetic on curves.
 *
 * @module
 */
// Not `ed25519.js`, which brings five more schemes, 2 MiB of a node that runs from source (measured).
import { edwards } from "@noble/curves/abstract/edwards.js";
import { createHash } from "node:crypto";
import { assert, concat, KEY_BYTES } from "../../core/mod.ts";

/** Random bytes that go into one signature (`Z` of the specification). */
export const SIGNATURE_RANDOM_BYTES = 64;

/** edwards25519 (RFC 8032, 5.1). */
const Point = edwards({
  p: 2n ** 255n - 19n,
  n: 2n ** 252n + 27742317777372353535851937790883648493n,
  h: 8n,
  a: 2n ** 255n - 20n,
  d: 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3n,
  Gx: 0x216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51an,
  Gy: 0x6666666666666666666666666666666666666666666666666666666666666658n,
});
const scalars = Point.Fn;
/**
 * The base point without tables: those cost 48 ms when they are made, and a node makes two products at its start and one
 * every few minutes, of 1.4 ms each (measured).
 */
const BASE = Point.fromAffine(Point.BASE.toAffine());
/** `hash1` of the specification: 2^256 - 2, little-endian, before what is hashed. Kept apart from hashes of points so. */
const NONCE_PREFIX = new Uint8Array(32).fill(0xff).fill(0xfe, 0, 1);

/** What signatures are made with: computed once for a key. Never in a log, an error or JSON. */
export interface SigningScalar {
  /** The secret scalar whose public point has the sign 0. */
  readonly secret: bigint;
  /** The same as bytes, as nonces are derived from it: not reduced where it is the key itself, as libsignal has it. */
  readonly seed: Uint8Array;
  /** That point: the Ed25519 form of the public key. */
  readonly point: Uint8Array;
}

/** Returns what an X25519 private key signs with (`calculate_key_pair` of the specification). */
export function signingScalar(privateKey: Uint8Array): SigningScalar {
  assert(privateKey.length === KEY_BYTES, "a private key has 32 bytes");
  const clamped = Uint8Array.from(privateKey);
  clamped[0] = (clamped[0] ?? 0) & 0xf8;
  clamped[31] = (clamped[31] ?? 0) & 0x7f | 0x40;
  const scalar = scalars.create(littleEndian(clamped));
  const point = BASE.multiply(scalar).toBytes();
  const negative = ((point[31] ?? 0) & 0x80) !== 0;
  point[31] = (point[31] ?? 0) & 0x7f;
  if (!negative) return { secret: scalar, seed: clamped, point };
  clamped.fill(0);
  const secret = scalars.neg(scalar);
  return { secret, seed: scalars.toBytes(secret), point };
}

/**
 * Returns the signature of a message, 64 bytes.
 *
 * @param random 64 bytes of {@linkcode SIGNATURE_RANDOM_BYTES}, new for every signature
 */
export function sign(
  { secret, seed, point }: SigningScalar,
  message: Uint8Array,
  random: Uint8Array,
): Uint8Array<ArrayBuffer> {
  assert(random.length === SIGNATURE_RANDOM_BYTES, "a signature takes 64 random bytes");
  const nonce = hashToScalar(NONCE_PREFIX, seed, message, random);
  const commitment = BASE.multiply(nonce).toBytes();
  const challenge = hashToScalar(commitment, point, message);
  const response = scalars.add(nonce, scalars.mul(challenge, secret));
  return concat(commitment, scalars.toBytes(response));
}

function hashToScalar(...parts: readonly Uint8Array[]): bigint {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return scalars.create(littleEndian(hash.digest()));
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
}
