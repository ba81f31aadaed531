/** Asking for bootstrap tokens: what the caller says and gets. @module */

/** What a token is asked for. */
export interface TokenQuery {
  /** Mesh id. */
  readonly meshId: string;
  /** The agent's id: the asking node's own, or any where its colony asks. */
  readonly agentId: string;
  /** What for, 1 to 64 of `a-z 0-9 _ -`. @default "register" */
  readonly intent?: string;
  /** Reef id, which goes into the token as it is. @default "" */
  readonly reefId?: string;
}

/** A bootstrap token. */
export interface BootstrapToken {
  /** The token, a JWT: good once. */
  readonly jwt: string;
  /** When it ends, unix milliseconds by Discovery's clock. */
  readonly expiresAt: number;
}
