/**
 * The relay's answers as bytes.
 *
 * ```text
 *   a request of 28 bytes      header 20 | REQUESTED-TRANSPORT 8
 *   401, at its shortest       header 20 | ERROR-CODE 8 | REALM 12 | NONCE 16      56 bytes with the realm "moray"
 *   and as far as the request  the words of ERROR-CODE, PASSWORD-ALGORITHMS with a longer NONCE, SOFTWARE
 *   is long enough
 * ```
 *
 * @module
 */
import {
  encodeStun,
  ERROR_ADDRESS_FAMILY,
  ERROR_ALLOCATION_MISMATCH,
  ERROR_ALLOCATION_QUOTA,
  ERROR_BAD_REQUEST,
  ERROR_FORBIDDEN,
  ERROR_INSUFFICIENT_CAPACITY,
  ERROR_PEER_ADDRESS_FAMILY,
  ERROR_STALE_NONCE,
  ERROR_TRANSPORT_PROTOCOL,
  ERROR_TRY_ALTERNATE,
  ERROR_UNAUTHENTICATED,
  ERROR_UNKNOWN_ATTRIBUTE,
  ERROR_WRONG_CREDENTIALS,
  errorAttribute,
  NONCE,
  passwordAlgorithmsAttribute,
  REALM,
  signStun,
  softwareAttribute,
  type StunAttribute,
  type StunMessage,
} from "../../traversal/mod.ts";
import type { Owner } from "./allocation.ts";
import { OFFERED_ALGORITHMS } from "./authenticator.ts";

/** The words of each error, as the RFCs have them. */
const REASONS: Readonly<Record<number, string>> = {
  [ERROR_TRY_ALTERNATE]: "Try Alternate",
  [ERROR_BAD_REQUEST]: "Bad Request",
  [ERROR_UNAUTHENTICATED]: "Unauthenticated",
  [ERROR_FORBIDDEN]: "Forbidden",
  [ERROR_UNKNOWN_ATTRIBUTE]: "Unknown Attribute",
  [ERROR_ALLOCATION_MISMATCH]: "Allocation Mismatch",
  [ERROR_STALE_NONCE]: "Stale Nonce",
  [ERROR_ADDRESS_FAMILY]: "Address Family not Supported",
  [ERROR_WRONG_CREDENTIALS]: "Wrong Credentials",
  [ERROR_TRANSPORT_PROTOCOL]: "Unsupported Transport Protocol",
  [ERROR_PEER_ADDRESS_FAMILY]: "Peer Address Family Mismatch",
  [ERROR_ALLOCATION_QUOTA]: "Allocation Quota Reached",
  [ERROR_INSUFFICIENT_CAPACITY]: "Insufficient Capacity",
};

/** What an answer to somebody who has proven nothing may be at most, as a multiple of the request. */
const AMPLIFICATION_MAX = 2;

/** An error and what goes with it. */
export interface Refusal {
  /** 300 to 699. */
  readonly code: number;
  /** Further attributes. Absent: none. */
  readonly attributes?: readonly StunAttribute[];
}

/** The words for an error's code. */
export function reasonOf(code: number): string {
  return REASONS[code] ?? "Error";
}

/** Encodes a signed answer. */
export function signedAnswer(
  request: StunMessage,
  result: { readonly attributes: readonly StunAttribute[] } | Refusal,
  { owner, software }: { readonly owner: Owner; readonly software: string },
): Uint8Array {
  const isError = "code" in result;
  const attributes = [
    ...(isError ? [errorAttribute(result.code, reasonOf(result.code))] : []),
    ...result.attributes ?? [],
    softwareAttribute(software),
  ];
  const { method, transactionId } = request;
  const message = { class: isError ? "error" : "success", method, transactionId, attributes };
  return signStun(message as StunMessage, owner.key, {
    integrity: owner.integrity,
    fingerprint: true,
  });
}

/** Options of {@linkcode unsignedRefusal}. */
export interface UnsignedRefusalOptions {
  /** Size of the request. */
  readonly requestBytes: number;
  /** Whether whoever asks has proven that he receives answers, so that their size is no weapon. */
  readonly isProven: boolean;
  /** What REALM says; absent with errors that tell no realm. */
  readonly realm?: string;
  /** The nonce to use from now on. `features`: the one that goes with PASSWORD-ALGORITHMS. */
  readonly nonce: (features: boolean) => string;
  /** What SOFTWARE says. */
  readonly software: string;
}

/**
 * Encodes a refusal for somebody whose request is not signed by anybody known: as much as is of use and not longer than the
 * request; at most twice as long; `undefined` where that is too little.
 */
export function unsignedRefusal(
  request: StunMessage,
  code: number,
  { requestBytes, isProven, realm, nonce, software }: UnsignedRefusalOptions,
): Uint8Array | undefined {
  const { method, transactionId } = request;
  const encode = (
    { words, features, name }: { words: boolean; features: boolean; name: boolean },
  ): Uint8Array => {
    const attributes = [errorAttribute(code, words ? reasonOf(code) : "")];
    if (realm !== undefined) {
      attributes.push(text(REALM, realm), text(NONCE, nonce(features)));
      if (features) attributes.push(passwordAlgorithmsAttribute(OFFERED_ALGORITHMS));
    }
    if (name) attributes.push(softwareAttribute(software));
    return encodeStun({ class: "error", method, transactionId, attributes });
  };
  for (const [words, features, name] of FORMS) {
    const answer = encode({ words, features, name });
    if (isProven || answer.length <= requestBytes) return answer;
  }
  const shortest = encode({ words: false, features: false, name: false });
  return shortest.length <= AMPLIFICATION_MAX * requestBytes ? shortest : undefined;
}

/** From the longest to the shortest. */
const FORMS = [[true, true, true], [true, true, false], [false, true, false], [
  true,
  false,
  false,
]] as const;

function text(type: number, value: string): StunAttribute {
  return { type, value: new TextEncoder().encode(value) };
}
