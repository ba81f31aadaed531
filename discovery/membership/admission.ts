/**
 * Admissions: how a node that is no member yet shows that it holds an invite.
 *
 * ```text
 *   header  {alg: "EdDSA", typ: "moray-admission+jwt", kid: <public key of the invite, base64url>}
 *   claims  {aud: <mesh id>, sub: <agent id>, jti, iat, exp, cnf: {jkt: <thumbprint of the WireGuard key>}}
 * ```
 *
 * An invite is an Ed25519 key pair: whoever is given its seed signs for a key of his own, and for no other. Discovery and the colony
 * each know the public half and verify for themselves; what either of them sees is of no use with another key.
 *
 * @module
 */
import type { JWTPayload } from "jose";
import { ed25519KeyPair } from "../../io/ed25519.ts";
import { keyThumbprint } from "../token/claims.ts";

/** Life of an admission: it is made anew for each registration. */
export const ADMISSION_LIFE_MS = 60_000;
/** Longest admission that is looked at, in characters. */
export const ADMISSION_LENGTH_MAX = 2048;
/** How far the clocks of who signs and who verifies may be apart. The invite is good once, so this lets nobody in twice. */
export const ADMISSION_SKEW_MAX_MS = 60_000;

const ALGORITHM = "EdDSA";
const TYPE = "moray-admission+jwt";

/** What an admission says. */
export interface Admission {
  /** Public key of the invite, base64url without padding. */
  readonly invite: string;
  /** The mesh that it is for. */
  readonly meshId: string;
  /** The agent's id. */
  readonly agentId: string;
  /** Thumbprint of the WireGuard key that is to be let in. */
  readonly thumbprint: string;
}

/** What {@linkcode signAdmission} signs. */
export interface AdmissionOrder {
  /** Mesh id. */
  readonly meshId: string;
  /** The agent's id. */
  readonly agentId: string;
  /** The WireGuard key that is to be let in, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Now, unix milliseconds. */
  readonly now: number;
  /** A fresh id. */
  readonly id: string;
}

/** The public key of the invite whose seed this is, base64url without padding. */
export async function inviteKeyOf(seed: Uint8Array): Promise<string> {
  return (await ed25519KeyPair(seed)).x;
}

/** Whether a text is the public key of an invite in form. */
export function isInviteKey(text: string): boolean {
  return /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/.test(text);
}

/** Signs an admission with the seed of an invite, 32 bytes. */
export async function signAdmission(seed: Uint8Array, order: AdmissionOrder): Promise<string> {
  const { SignJWT } = await import("jose" as string) as typeof import("jose");
  const { privateKey, x } = await ed25519KeyPair(seed);
  const issuedAt = Math.floor(order.now / 1000);
  const claims = {
    aud: order.meshId,
    sub: order.agentId,
    jti: order.id,
    iat: issuedAt,
    exp: issuedAt + ADMISSION_LIFE_MS / 1000,
    cnf: { jkt: keyThumbprint(order.publicKey) },
  };
  return await new SignJWT(claims)
    .setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid: x })
    .sign(privateKey);
}

/**
 * Returns what an admission says; `undefined` unless it is for this mesh, agent and key, of now, and signed by the invite that it names.
 * Whether there is such an invite is not asked. Never rejects.
 */
export async function openAdmission(
  jwt: string,
  { meshId, agentId, publicKey, now }: Omit<AdmissionOrder, "id">,
): Promise<Admission | undefined> {
  const invite = inviteOf(jwt);
  if (invite === undefined) return undefined;
  const { importJWK, jwtVerify } = await import("jose" as string) as typeof import("jose");
  try {
    const key = await importJWK({ kty: "OKP", crv: "Ed25519", x: invite }, ALGORITHM);
    const { payload } = await jwtVerify(jwt, key, {
      algorithms: [ALGORITHM],
      typ: TYPE,
      audience: meshId,
      subject: agentId,
      currentDate: new Date(now),
      clockTolerance: ADMISSION_SKEW_MAX_MS / 1000,
      maxTokenAge: ADMISSION_LIFE_MS / 1000,
      requiredClaims: ["jti", "sub", "exp"],
    });
    const thumbprint = keyThumbprint(publicKey);
    if (payload.aud !== meshId || thumbprintOf(payload) !== thumbprint) return undefined;
    return { invite, meshId, agentId, thumbprint };
  } catch {
    return undefined;
  }
}

/** The invite that an admission names; `undefined` for what cannot be one. */
function inviteOf(jwt: string): string | undefined {
  if (jwt.length > ADMISSION_LENGTH_MAX) return undefined;
  const [, header = ""] = /^([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/.exec(jwt) ?? [];
  try {
    const bytes = Uint8Array.fromBase64(header, { alphabet: "base64url" });
    const { kid }: { kid?: unknown } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof kid === "string" && isInviteKey(kid) ? kid : undefined;
  } catch {
    return undefined;
  }
}

function thumbprintOf({ cnf }: JWTPayload): unknown {
  return typeof cnf === "object" && cnf !== null && "jkt" in cnf ? cnf.jkt : undefined;
}
