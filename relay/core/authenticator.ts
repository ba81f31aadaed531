/** Long-term credentials at the server (RFC 8489 section 9.2.4), with user names of the REST scheme. @module */
import type { Instant } from "../../core/mod.ts";
import {
  ERROR_BAD_REQUEST,
  ERROR_STALE_NONCE,
  ERROR_UNAUTHENTICATED,
  findAttribute,
  type Integrity,
  longTermKey,
  MESSAGE_INTEGRITY,
  MESSAGE_INTEGRITY_SHA256,
  METHOD_ALLOCATE,
  NONCE,
  parseRestUsername,
  type PasswordAlgorithm,
  passwordAlgorithmOf,
  passwordAlgorithmsOf,
  REALM,
  restPassword,
  type StunMessage,
  USERNAME,
  verifyStun,
} from "../../traversal/mod.ts";
import type { Owner } from "./allocation.ts";
import type { EndedFlows } from "./ended_flows.ts";
import type { Flow } from "./flow.ts";
import { NONCE_FEATURES, type Nonces } from "./nonces.ts";

/** What the server offers in PASSWORD-ALGORITHMS, the best first. */
export const OFFERED_ALGORITHMS: readonly PasswordAlgorithm[] = ["sha256", "md5"];
/** Longest USERNAME (RFC 8489 section 14.3), REALM and NONCE that are looked at. */
const TEXT_BYTES_MAX = 763;

/** A request as it came. */
export interface ReceivedMessage {
  /** All of it. */
  readonly bytes: Uint8Array;
  /** Decoded. */
  readonly message: StunMessage;
}

/** Whether a request is somebody's. */
export type Verdict =
  | {
    /** It is. */
    readonly kind: "accepted";
    /** Whose. */
    readonly owner: Owner;
    /** The request with the attributes that were signed. */
    readonly request: StunMessage;
  }
  | {
    /** It is not. */
    readonly kind: "refused";
    /** 400, 401 or 438. */
    readonly code: number;
  }
  | {
    /** Not looked at: there are too many. */
    readonly kind: "limited";
  };

/** Options of {@linkcode Authenticator}. */
export interface AuthenticatorOptions {
  /** The secret that passwords are made of. Whoever knows it may use the relay. */
  readonly secret: string;
  /** What REALM says. */
  readonly realm: string;
  /** Issues nonces. */
  readonly nonces: Nonces;
  /** Now, unix milliseconds. */
  readonly unixMs: () => number;
  /** Clients whose earlier nonces are worth nothing. @default none */
  readonly ended?: EndedFlows;
  /** Whether a session may use the relay, whatever its credentials. @default every session may */
  readonly accepts?: (session: string) => boolean;
}

const BAD_REQUEST: Verdict = { kind: "refused", code: ERROR_BAD_REQUEST };
const UNAUTHENTICATED: Verdict = { kind: "refused", code: ERROR_UNAUTHENTICATED };
const STALE_NONCE: Verdict = { kind: "refused", code: ERROR_STALE_NONCE };
const LIMITED: Verdict = { kind: "limited" };

/** Checks who signed a request. */
export class Authenticator {
  readonly #options: AuthenticatorOptions;

  /** An authenticator. */
  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /**
   * Checks a request. `known`: who holds the allocation of its flow; its session may go on after the expiry of its user name, or
   * under a new one. `admits`: asked before a signature is computed, and not for those who only use the client's address: they
   * have no nonce, and must not use up what the client may ask for.
   */
  check(
    now: Instant,
    flow: Flow,
    { bytes, message }: ReceivedMessage,
    { known, admits }: { readonly known: Owner | undefined; readonly admits: () => boolean },
  ): Verdict {
    const integrity = integrityOf(message);
    if (integrity === undefined) return UNAUTHENTICATED;
    const username = textOf(message, USERNAME);
    const realm = textOf(message, REALM);
    const nonce = textOf(message, NONCE);
    if (username === undefined || realm === undefined || nonce === undefined) return BAD_REQUEST;
    // The cheapest check first: nobody who does not receive our answers gets beyond.
    // Where there is no allocation, nothing but a new one could be made of what is played again.
    const isAtRisk = known !== undefined || message.method === METHOD_ALLOCATE;
    const notBefore = isAtRisk ? this.#options.ended?.notBefore(flow) : undefined;
    if (!this.#options.nonces.isValid(now, flow.source, nonce, notBefore)) return STALE_NONCE;
    if (!admits()) return LIMITED;
    const algorithm = algorithmOf(message, nonce);
    if (algorithm === undefined) return BAD_REQUEST;
    const session = realm === this.#options.realm ? this.#sessionOf(username, known) : undefined;
    if (session === undefined) return UNAUTHENTICATED;
    const key = known?.username === username && known.algorithm === algorithm
      ? known.key
      : longTermKey(algorithm, {
        username,
        realm,
        password: restPassword(this.#options.secret, username),
      });
    const request = verifyStun(bytes, message, key, { integrity });
    if (request === undefined) return UNAUTHENTICATED;
    return {
      kind: "accepted",
      owner: { username, session, key, algorithm, integrity },
      request,
    };
  }

  #sessionOf(username: string, known: Owner | undefined): string | undefined {
    const parsed = parseRestUsername(username);
    if (parsed === undefined) return undefined;
    if (this.#options.accepts?.(parsed.session) === false) return undefined;
    const isLive = parsed.expiresAtSeconds * 1000 > this.#options.unixMs();
    return isLive || parsed.session === known?.session ? parsed.session : undefined;
  }
}

function integrityOf(message: StunMessage): Integrity | undefined {
  if (findAttribute(message, MESSAGE_INTEGRITY_SHA256) !== undefined) return "sha256";
  return findAttribute(message, MESSAGE_INTEGRITY) === undefined ? undefined : "sha1";
}

/** How the key is made; `undefined` where what we have offered was tampered with. */
function algorithmOf(message: StunMessage, nonce: string): PasswordAlgorithm | undefined {
  if (!nonce.startsWith(NONCE_FEATURES)) return "md5";
  const offered = passwordAlgorithmsOf(message);
  const chosen = passwordAlgorithmOf(message);
  if (offered === undefined && chosen === undefined) return "md5";
  if (offered?.join() !== OFFERED_ALGORITHMS.join()) return undefined;
  return chosen === "unknown" ? undefined : chosen;
}

function textOf(message: StunMessage, type: number): string | undefined {
  const value = findAttribute(message, type);
  if (value === undefined || value.length > TEXT_BYTES_MAX) return undefined;
  return new TextDecoder().decode(value);
}
