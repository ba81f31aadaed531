/**
 * Bootstrap tokens: what Discovery says in them, in the form of Coral's RFD 049.
 *
 * ```text
 *   header  {alg: "EdDSA", typ: "JWT", kid}
 *   claims  {iss: "coral-discovery", aud: [<mesh id>, "coral-colony"], sub: <agent id>, jti, iat, exp,
 *            reef_id, colony_id: <mesh id>, agent_id, intent, cnf: {jkt: <thumbprint of the WireGuard key>}}
 * ```
 *
 * @module
 */
import { createHash } from "node:crypto";
import { assert, KEY_BYTES } from "../../core/mod.ts";

/** Who issues tokens: every replica, whatever its URL. */
export const TOKEN_ISSUER = "coral-discovery";
/** The audience that colonies of Coral look for, besides the mesh id. */
export const CORAL_AUDIENCE = "coral-colony";
/** How tokens are signed; any other way is refused. */
export const TOKEN_ALGORITHM = "EdDSA";
/** Life of a token. */
export const TOKEN_LIFE_MS = 60_000;
/** Where Discovery's keys are, below its URL. */
export const KEY_SET_PATH = "/.well-known/jwks.json";

/** What a token says. */
export interface BootstrapClaims {
  /** The token's id, which is used once. */
  readonly id: string;
  /** The mesh that it is for. */
  readonly meshId: string;
  /** The agent that it is for. */
  readonly agentId: string;
  /** What it is for: `register`, `renew`. */
  readonly intent: string;
  /** Reef id, as it was asked for; empty for none. */
  readonly reefId: string;
  /** Thumbprint of the WireGuard key whose holder asked for it: {@linkcode keyThumbprint}. */
  readonly thumbprint: string;
  /** When it was issued, unix milliseconds, whole seconds. */
  readonly issuedAt: number;
  /** When it ends, unix milliseconds, whole seconds. */
  readonly expiresAt: number;
}

/** The thumbprint of a WireGuard public key as a JWK (RFC 7638, RFC 8037): SHA-256 as base64url, 43 characters. */
export function keyThumbprint(publicKey: Uint8Array): string {
  assert(publicKey.length === KEY_BYTES, "a public key has 32 bytes");
  const x = publicKey.toBase64({ alphabet: "base64url", omitPadding: true });
  return createHash("sha256").update(`{"crv":"X25519","kty":"OKP","x":"${x}"}`).digest("base64url");
}
