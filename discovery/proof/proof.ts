/**
 * A proof of possession of a WireGuard key: one HTTP header beside the body that it covers.
 *
 * ```text
 *   moray-proof: 1 <server key id> <public key> <issued at, unix ms> <nonce> <mac>
 *
 *   key = HKDF-SHA256(X25519(node, server), salt = "moray proof 1", info = server's key, node's key), 32 bytes
 *   mac = HMAC-SHA256(key, lines of: "moray proof 1", method, content type, issued at, nonce, SHA-256 of the body in hex)
 * ```
 *
 * It covers the bytes of the body as they are sent, so both sides may know different versions of the messages. The server's
 * key binds it to one Discovery, the content type to one reading of the bytes, time and nonce to one use.
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { assert, concat, formatBase64, parseBase64 } from "../../core/mod.ts";
import { agreeSecret } from "../../io/x25519.ts";

/** The header that carries a proof. */
export const PROOF_HEADER = "moray-proof";
/** The header in which a server says its public key, base64. */
export const PROOF_KEY_HEADER = "moray-proof-key";
/** The header in which a server says its time, unix milliseconds, which proofs go by: clocks of nodes may be wrong. */
export const PROOF_TIME_HEADER = "moray-proof-time";
/** Most that a proof's time may be off the server's, either way. */
export const PROOF_SKEW_MAX_MS = 60_000;
/** Bytes of a nonce. */
export const NONCE_BYTES = 16;

const VERSION = "moray proof 1";
/** Bytes that SHA-256 takes at a time. */
const BLOCK_BYTES = 64;
const KEY = "[A-Za-z0-9+/]{43}=";
const FORMAT = new RegExp(
  `^1 ([0-9a-f]{16}) (${KEY}) (\\d{1,15}) ([A-Za-z0-9+/]{22}==) (${KEY})$`,
);

/** A proof as it is sent. */
export interface Proof {
  /** Which key of the server it is for: {@linkcode proofKeyId}. */
  readonly keyId: string;
  /** The node's public key, base64; whether its text is the one of 32 bytes is for whoever computes with it to see. */
  readonly publicKey: string;
  /** When it was made, by the server's clock, unix milliseconds. */
  readonly issuedAtMs: number;
  /** Random, used once, base64. */
  readonly nonce: string;
  /** HMAC-SHA256. */
  readonly mac: Uint8Array;
}

/** What a proof covers besides its own time and nonce. */
export interface ProvenRequest {
  /** The method's name: `RegisterAgent`. */
  readonly method: string;
  /** The body's content type as sent. */
  readonly contentType: string;
  /** The body as sent. */
  readonly body: Uint8Array;
}

/** Formats a proof as the header's value. */
export function formatProof({ keyId, publicKey, issuedAtMs, nonce, mac }: Proof): string {
  return `1 ${keyId} ${publicKey} ${issuedAtMs} ${nonce} ${formatBase64(mac)}`;
}

/** Parses the header's value; `undefined` for anything else. */
export function parseProof(text: string): Proof | undefined {
  const match = FORMAT.exec(text);
  if (match === null) return undefined;
  const [, keyId = "", publicKey = "", issuedAt, nonce = "", code = ""] = match;
  const mac = parseBase64(code);
  if (mac === undefined) return undefined;
  return { keyId, publicKey, issuedAtMs: Number(issuedAt), nonce, mac };
}

/** Names a server's public key. */
export function proofKeyId(serverKey: Uint8Array): string {
  return createHash("sha256").update(serverKey).digest("hex").slice(0, 16);
}

/**
 * The key of a node's proofs for a server, which both compute: each gives its own private key and the other's public one.
 * `undefined` where that is a weak one.
 */
export async function proofKey(
  secret: CryptoKey,
  { node, server, other }: {
    readonly node: Uint8Array;
    readonly server: Uint8Array;
    readonly other: "node" | "server";
  },
): Promise<Uint8Array | undefined> {
  const shared = await agreeSecret(secret, other === "node" ? node : server);
  if (shared === undefined) return undefined;
  const material = await crypto.subtle.importKey("raw", shared, "HKDF", false, ["deriveBits"]);
  const salt = new TextEncoder().encode(VERSION);
  const algorithm = { name: "HKDF", hash: "SHA-256", salt, info: concat(server, node) };
  return new Uint8Array(await crypto.subtle.deriveBits(algorithm, material, 256));
}

/** Computes the MAC. */
export function proofMac(
  key: Uint8Array,
  { method, contentType, body }: ProvenRequest,
  { issuedAtMs, nonce }: Pick<Proof, "issuedAtMs" | "nonce">,
): Uint8Array {
  const digest = createHash("sha256").update(body).digest("hex");
  const lines = [VERSION, method, contentType, issuedAtMs, nonce, digest];
  return hmac(key, lines.join("\n"));
}

/** HMAC-SHA256 (RFC 2104) with a key that is no longer than a block: of two hashes, which cost a third of what `createHmac` does. */
function hmac(key: Uint8Array, text: string): Uint8Array {
  assert(key.length <= BLOCK_BYTES, "a longer key would have to be hashed first");
  const [inner, outer] = [new Uint8Array(BLOCK_BYTES), new Uint8Array(BLOCK_BYTES)];
  for (let i = 0; i < BLOCK_BYTES; i++) {
    inner[i] = (key[i] ?? 0) ^ 0x36;
    outer[i] = (key[i] ?? 0) ^ 0x5c;
  }
  const digest = createHash("sha256").update(inner).update(text).digest();
  return createHash("sha256").update(outer).update(digest).digest();
}

/** Whether a proof's MAC is the right one. */
export function macFits(key: Uint8Array, request: ProvenRequest, proof: Proof): boolean {
  return timingSafeEqual(proofMac(key, request, proof), proof.mac);
}
