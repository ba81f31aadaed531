/** Issuing bootstrap tokens. @module */
import type { JWK } from "jose";
import {
  type BootstrapClaims,
  CORAL_AUDIENCE,
  TOKEN_ALGORITHM,
  TOKEN_ISSUER,
  TOKEN_LIFE_MS,
} from "./claims.ts";
import { TokenKeys, type TokenKeysOptions } from "./signing_keys.ts";

/** What a token shall say. */
export type TokenOrder = Omit<BootstrapClaims, "id" | "issuedAt" | "expiresAt">;

/** A token. */
export interface IssuedToken {
  /** The token, a JWT. */
  readonly jwt: string;
  /** When it ends, unix milliseconds, whole seconds. */
  readonly expiresAt: number;
}

/** Options of {@linkcode TokenIssuer}. */
export interface TokenIssuerOptions extends TokenKeysOptions {
  /** A fresh unguessable id. */
  readonly randomId: () => string;
}

/** Issues tokens. */
export class TokenIssuer {
  readonly #options: TokenIssuerOptions;
  readonly #keys: TokenKeys;

  /** An issuer with the keys of a store. */
  constructor(options: TokenIssuerOptions) {
    this.#options = options;
    this.#keys = new TokenKeys(options);
  }

  /** What `GET /.well-known/jwks.json` says. Rejects as the store does. */
  async keySet(): Promise<{ readonly keys: readonly JWK[] }> {
    return { keys: await this.#keys.published() };
  }

  /** Issues a token. Rejects as the store does. */
  async issue(order: TokenOrder): Promise<IssuedToken> {
    const { SignJWT } = await import("jose" as string) as typeof import("jose");
    const { id, privateKey } = await this.#keys.signing();
    const issuedAt = Math.floor(this.#options.now() / 1000);
    const expiresAt = issuedAt + TOKEN_LIFE_MS / 1000;
    const claims = {
      iss: TOKEN_ISSUER,
      aud: [order.meshId, CORAL_AUDIENCE],
      sub: order.agentId,
      jti: this.#options.randomId(),
      iat: issuedAt,
      exp: expiresAt,
      "reef_id": order.reefId,
      "colony_id": order.meshId,
      "agent_id": order.agentId,
      intent: order.intent,
      cnf: { jkt: order.thumbprint },
    };
    const jwt = await new SignJWT(claims)
      .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: "JWT", kid: id })
      .sign(privateKey);
    return { jwt, expiresAt: 1000 * expiresAt };
  }
}
