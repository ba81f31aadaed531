/**
 * How a STUN server of ours vouches for the address that it saw: an attribute that nobody has to understand, in answers to signed requests.
 *
 * ```text
 *    0                   1                   2                   3
 *   +-------------------------------+-------------------------------+
 *   |        type 0xFE4D            |      length, at most 64       |
 *   +-------------------------------+-------------------------------+
 *   |   the receipt: bytes that only the server can make and check  |
 *   +---------------------------------------------------------------+
 * ```
 *
 * The client hands it in where the server believes it, which is at Discovery (docs/decisions/0034-observed-by-stun.md).
 *
 * @module
 */
import { findAttribute, type StunAttribute, type StunMessage } from "./codec.ts";

/** RECEIPT: from the range for which anybody may ask, and optional to understand. */
export const RECEIPT = 0xfe4d;
/** Longest receipt that is believed to be one. */
export const RECEIPT_BYTES_MAX = 64;

/** Encodes the attribute. */
export function receiptAttribute(receipt: Uint8Array): StunAttribute {
  return { type: RECEIPT, value: receipt };
}

/** Reads the attribute, as a copy; `undefined` if it is not there, empty, or too long. */
export function receiptOf(message: StunMessage): Uint8Array<ArrayBuffer> | undefined {
  const value = findAttribute(message, RECEIPT);
  if (value === undefined || value.length === 0 || value.length > RECEIPT_BYTES_MAX) {
    return undefined;
  }
  return value.slice();
}
