/**
 * Verifying bootstrap tokens, for colonies and for programs that embed one.
 *
 * ```text
 *   token --form--> key of the set --> signature, issuer, audience, time --> its agent, its key --> used up: good, once
 * ```
 *
 * @module
 */
import type { JWTPayload } from "jose";
import type { Fetch } from "../client/transport.ts";
import type { SpendOutcome } from "../store/store.ts";
import {
  type BootstrapClaims,
  keyThumbprint,
  TOKEN_ALGORITHM,
  TOKEN_ISSUER,
  TOKEN_LIFE_MS,
} from "./claims.ts";
import { RemoteKeySet } from "./remote_key_set.ts";
import { SpentTokens } from "./spent_tokens.ts";

/** Longest token that is looked at, in characters. */
export const TOKEN_LENGTH_MAX = 4096;
/** Most that the clocks of Discovery and of the verifier may differ by. */
export const TOKEN_SKEW_MAX_MS = 60_000;

/** Who presents a token, and what for. */
export interface TokenBearer {
  /** The WireGuard key that the bearer has proven to hold, 32 bytes: by a handshake, say. */
  readonly publicKey: Uint8Array;
  /** The agent's id that the bearer goes by. Absent: the token says it. */
  readonly agentId?: string;
  /** What the bearer wants. Absent: the token says it. */
  readonly intent?: string;
}

/** Why a token is not taken. */
export type TokenFault =
  /** It is no bootstrap token, or signed in another way than ours. */
  | "malformed"
  /** Discovery has no such key; or was asked for its keys so lately that it is not asked again. */
  | "unknownKey"
  /** The signature is not by the key that it names. */
  | "wrongSignature"
  /** It is another issuer's. */
  | "wrongIssuer"
  /** It is for another mesh. */
  | "wrongAudience"
  /** Its time is over. */
  | "expired"
  /** Its time has not come, or it would live too long. */
  | "wrongTime"
  /** It is for another agent. */
  | "wrongAgent"
  /** It is for another intent. */
  | "wrongIntent"
  /** It is for the holder of another key. */
  | "wrongKey"
  /** It was used before. */
  | "used"
  /** No more used tokens can be remembered. */
  | "full"
  /** Discovery's keys cannot be had. */
  | "unreachable";

/** What verifying a token came to. */
export type TokenVerdict =
  | { readonly good: true; readonly claims: BootstrapClaims }
  | { readonly good: false; readonly fault: TokenFault };

/** Options of {@linkcode TokenVerifier}. */
export interface TokenVerifierOptions {
  /** The mesh whose tokens are taken. */
  readonly meshId: string;
  /** Base URLs of its Discovery. */
  readonly urls: readonly string[];
  /** Now, unix milliseconds. @default Date.now */
  readonly now?: () => number;
  /** Most that Discovery's clock may differ from this one, in milliseconds, 0 to 60000. @default 5000 */
  readonly skewMaxMs?: number;
  /**
   * Uses a token's id up until `expiresAt` (unix milliseconds), for verifiers that share their memory: Discovery's own store has
   * this method. @default a memory of this verifier's own, which ends with it
   */
  readonly spend?: (id: string, expiresAt: number) => Promise<SpendOutcome>;
  /** Makes the requests. @default fetch */
  readonly fetch?: Fetch;
}

/** Takes each good token once. */
export class TokenVerifier {
  readonly #meshId: string;
  readonly #now: () => number;
  readonly #skewMaxMs: number;
  readonly #keys: RemoteKeySet;
  readonly #spent: SpentTokens;
  readonly #spend: (id: string, expiresAt: number) => Promise<SpendOutcome>;
  readonly #counters: { tokensTaken: number; tokensRefused: number } = {
    tokensTaken: 0,
    tokensRefused: 0,
  };

  /** A verifier that has fetched no keys yet. Throws `RangeError` for clocks that may differ by more than a minute. */
  constructor(options: TokenVerifierOptions) {
    const { meshId, urls, now = Date.now, skewMaxMs = 5000, fetch = globalThis.fetch } = options;
    if (!(skewMaxMs >= 0 && skewMaxMs <= TOKEN_SKEW_MAX_MS)) {
      throw new RangeError(`Clocks that differ by ${skewMaxMs} ms are not within a minute`);
    }
    this.#meshId = meshId;
    this.#now = now;
    this.#skewMaxMs = skewMaxMs;
    this.#keys = new RemoteKeySet({ urls, now, fetch });
    this.#spent = new SpentTokens(now);
    this.#spend = options.spend ??
      ((id, expiresAt) => Promise.resolve(this.#spent.spend(id, expiresAt)));
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.#counters, ...this.#keys.counters() };
  }

  /** Verifies a token and uses it up; one that is refused stays unused. Rejects only as `spend` does. */
  async verify(token: string, bearer: TokenBearer): Promise<TokenVerdict> {
    const verdict = await this.#verify(token, bearer);
    if (verdict.good) this.#counters.tokensTaken++;
    else this.#counters.tokensRefused++;
    return verdict;
  }

  async #verify(token: string, bearer: TokenBearer): Promise<TokenVerdict> {
    const checked = await this.#check(token);
    if ("fault" in checked) return refused(checked.fault);
    const { claims } = checked;
    const { agentId = claims.agentId, intent = claims.intent } = bearer;
    if (claims.agentId !== agentId) return refused("wrongAgent");
    if (claims.intent !== intent) return refused("wrongIntent");
    if (claims.thumbprint !== keyThumbprint(bearer.publicKey)) return refused("wrongKey");
    // Remembered for as long as it would be taken.
    const outcome = await this.#spend(`token ${claims.id}`, claims.expiresAt + this.#skewMaxMs);
    if (outcome === "spent") return { good: true, claims };
    return refused(outcome === "full" ? "full" : "used");
  }

  async #check(token: string): Promise<Checked> {
    const id = keyIdOf(token);
    if (id === undefined) return { fault: "malformed" };
    const finding = await this.#keys.find(id);
    if (finding.kind !== "found") {
      return { fault: finding.kind === "unknown" ? "unknownKey" : "unreachable" };
    }
    const { errors, jwtVerify } = await import("jose" as string) as typeof import("jose");
    try {
      const { payload } = await jwtVerify(token, finding.key, {
        algorithms: [TOKEN_ALGORITHM],
        typ: "JWT",
        issuer: TOKEN_ISSUER,
        audience: this.#meshId,
        currentDate: new Date(this.#now()),
        clockTolerance: this.#skewMaxMs / 1000,
        maxTokenAge: TOKEN_LIFE_MS / 1000,
        requiredClaims: ["jti", "sub", "exp"],
      });
      const claims = claimsOf(payload);
      if (claims === undefined) return { fault: "malformed" };
      if (claims.meshId !== this.#meshId) return { fault: "wrongAudience" };
      return claims.expiresAt - claims.issuedAt > TOKEN_LIFE_MS
        ? { fault: "wrongTime" }
        : { claims };
    } catch (error) {
      if (error instanceof errors.JWTExpired) return { fault: "expired" };
      if (error instanceof errors.JWTClaimValidationFailed) {
        return { fault: CLAIM_FAULTS[error.claim] ?? "malformed" };
      }
      if (error instanceof errors.JWSSignatureVerificationFailed) {
        return { fault: "wrongSignature" };
      }
      return { fault: "malformed" };
    }
  }
}

type Checked = { readonly claims: BootstrapClaims } | { readonly fault: TokenFault };

const CLAIM_FAULTS: Readonly<Record<string, TokenFault>> = {
  __proto__: null as never,
  aud: "wrongAudience",
  iss: "wrongIssuer",
  iat: "wrongTime",
  nbf: "wrongTime",
};

function refused(fault: TokenFault): TokenVerdict {
  return { good: false, fault };
}

/** The id of the key that a token says it is signed with; `undefined` for what is not signed as ours are. */
function keyIdOf(token: string): string | undefined {
  if (token.length > TOKEN_LENGTH_MAX) return undefined;
  const [, header = ""] = /^([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/.exec(token) ?? [];
  try {
    const bytes = Uint8Array.fromBase64(header, { alphabet: "base64url" });
    const { alg, kid } = JSON.parse(new TextDecoder().decode(bytes));
    return alg === TOKEN_ALGORITHM && typeof kid === "string" ? kid : undefined;
  } catch {
    return undefined;
  }
}

/** What a token says whose signature is good. */
function claimsOf(payload: JWTPayload): BootstrapClaims | undefined {
  const { jti, sub, iat, exp, intent, cnf } = payload;
  const { reef_id: reefId, colony_id: meshId, agent_id: agentId } = payload;
  const thumbprint = typeof cnf === "object" && cnf !== null && "jkt" in cnf ? cnf.jkt : undefined;
  if (typeof jti !== "string" || jti === "" || jti.length > 64) return undefined;
  if (iat === undefined || exp === undefined || agentId !== sub) return undefined;
  if (typeof meshId !== "string" || typeof agentId !== "string") return undefined;
  if (typeof intent !== "string" || typeof thumbprint !== "string") return undefined;
  return {
    id: jti,
    meshId,
    agentId,
    intent,
    reefId: typeof reefId === "string" ? reefId : "",
    thumbprint,
    issuedAt: 1000 * iat,
    expiresAt: 1000 * exp,
  };
}
