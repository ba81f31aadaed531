/**
 * Long-term credentials (RFC 8489 section 9.2), and the time-limited ones of the REST scheme that stand behind them here.
 *
 * ```text
 *   a shared secret --HMAC-SHA1(secret, username)--> password     username: <unix expiry>:<session>
 *   key = MD5 or SHA-256 of  username ":" realm ":" password      signs requests and answers
 *
 *   a NONCE that begins with "obMatJos2" and four characters of base64 tells what the server can do:
 *   24 bits, the leftmost "password algorithms", the next "username anonymity"
 *
 *   PASSWORD-ALGORITHMS, PASSWORD-ALGORITHM: | algorithm, 16 bits | length of parameters, 16 bits | parameters | ...
 * ```
 *
 * User names, realms and passwords are printable ASCII, which SASLprep and OpaqueString leave as it is.
 *
 * @module
 */
import { formatBase64 } from "../../core/mod.ts";
import {
  findAttribute,
  PASSWORD_ALGORITHM,
  PASSWORD_ALGORITHMS,
  type StunAttribute,
  type StunMessage,
} from "../stun/codec.ts";
import type { StunCredentials } from "../stun/integrity.ts";
import { md5 } from "../stun/md5.ts";
import { hmacSha1 } from "../stun/sha1.ts";
import { sha256 } from "../stun/sha256.ts";

/** How the key is made of the password. */
export type PasswordAlgorithm = "md5" | "sha256";

/** What a key is made of. */
export interface LongTermSource extends StunCredentials {
  /** What REALM says. */
  readonly realm: string;
}

/** What a NONCE says of its server. */
export interface NonceFeatures {
  /** It sends PASSWORD-ALGORITHMS, and whoever removes that is found out. */
  readonly passwordAlgorithms: boolean;
  /** It knows users by USERHASH. */
  readonly usernameAnonymity: boolean;
}

/** What stands before the features in a NONCE. */
const NONCE_COOKIE = "obMatJos2";
const FEATURES_CHARS = 4;
/** The registry of RFC 8489 section 18.5. */
const ALGORITHMS = { md5: 1, sha256: 2 } as const;
/** Algorithms that are looked at in one attribute. */
const ALGORITHMS_MAX = 16;

/** Returns the key that signs. A secret as the password is. */
export function longTermKey(
  algorithm: PasswordAlgorithm,
  { username, realm, password }: LongTermSource,
): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(`${username}:${realm}:${password}`);
  return algorithm === "md5" ? md5(text) : sha256(text);
}

/** Returns what USERHASH says instead of USERNAME. */
export function userHash(username: string, realm: string): Uint8Array<ArrayBuffer> {
  return sha256(new TextEncoder().encode(`${username}:${realm}`));
}

/** Returns the beginning of a NONCE that tells the features. */
export function formatNonceFeatures(features: NonceFeatures): string {
  const bits = (features.passwordAlgorithms ? 0x80 : 0) | (features.usernameAnonymity ? 0x40 : 0);
  return NONCE_COOKIE + formatBase64(Uint8Array.of(bits, 0, 0));
}

/** Reads the beginning of a NONCE. A server without features says nothing of them. */
export function parseNonceFeatures(nonce: string): NonceFeatures {
  const text = nonce.startsWith(NONCE_COOKIE)
    ? nonce.slice(NONCE_COOKIE.length, NONCE_COOKIE.length + FEATURES_CHARS)
    : "";
  const bits = /^[A-Za-z0-9+/]{4}$/.test(text) ? atob(text).charCodeAt(0) : 0;
  return { passwordAlgorithms: (bits & 0x80) !== 0, usernameAnonymity: (bits & 0x40) !== 0 };
}

/** Returns a PASSWORD-ALGORITHMS attribute, the best first. */
export function passwordAlgorithmsAttribute(
  algorithms: readonly PasswordAlgorithm[],
): StunAttribute {
  const value = Uint8Array.from(algorithms.flatMap((name) => [0, ALGORITHMS[name], 0, 0]));
  return { type: PASSWORD_ALGORITHMS, value };
}

/** Returns the algorithms of PASSWORD-ALGORITHMS that are known here, in the server's order; `undefined` if it is missing or malformed. */
export function passwordAlgorithmsOf(
  message: StunMessage,
): readonly PasswordAlgorithm[] | undefined {
  const value = findAttribute(message, PASSWORD_ALGORITHMS);
  return value && readAlgorithms(value);
}

/** Returns a PASSWORD-ALGORITHM attribute. */
export function passwordAlgorithmAttribute(algorithm: PasswordAlgorithm): StunAttribute {
  return { type: PASSWORD_ALGORITHM, value: Uint8Array.of(0, ALGORITHMS[algorithm], 0, 0) };
}

/** Returns what PASSWORD-ALGORITHM says; `unknown` for anything but one known algorithm, `undefined` if it is missing. */
export function passwordAlgorithmOf(
  message: StunMessage,
): PasswordAlgorithm | "unknown" | undefined {
  const value = findAttribute(message, PASSWORD_ALGORITHM);
  if (value === undefined) return undefined;
  const algorithms = readAlgorithms(value);
  return algorithms?.length === 1 && value.length === 4 ? algorithms[0] : "unknown";
}

/** Returns the credentials of a session until `expiresAtSeconds` since 1970. */
export function restCredentials(
  secret: string,
  { session, expiresAtSeconds }: { readonly session: string; readonly expiresAtSeconds: number },
): StunCredentials {
  const username = `${Math.floor(expiresAtSeconds)}:${session}`;
  return { username, password: restPassword(secret, username) };
}

/** Returns the password that belongs to a user name of the REST scheme. */
export function restPassword(secret: string, username: string): string {
  const encoder = new TextEncoder();
  return formatBase64(hmacSha1(encoder.encode(secret), encoder.encode(username)));
}

/** Reads a user name of the REST scheme; `undefined` for one that does not begin with a number and a colon. */
export function parseRestUsername(
  username: string,
): { readonly expiresAtSeconds: number; readonly session: string } | undefined {
  const match = /^(\d{1,15}):(.*)$/.exec(username);
  if (match === null) return undefined;
  return { expiresAtSeconds: Number(match[1]), session: match[2] ?? "" };
}

function readAlgorithms(value: Uint8Array): readonly PasswordAlgorithm[] | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  const known: PasswordAlgorithm[] = [];
  let at = 0;
  for (let n = 0; at < value.length; n++) {
    if (n === ALGORITHMS_MAX || at + 4 > value.length) return undefined;
    const number = view.getUint16(at);
    at += 4 + (view.getUint16(at + 2) + 3 & ~3);
    if (number === ALGORITHMS.md5) known.push("md5");
    if (number === ALGORITHMS.sha256) known.push("sha256");
  }
  return at === value.length ? known : undefined;
}
