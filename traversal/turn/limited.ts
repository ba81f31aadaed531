/**
 * How our relay tells a client that it carries less than it was sent. RFC 8656 has an error for an allocation that is not given (486, 508) and
 * nothing for datagrams that a rate does not let through, so that this is ours: a Refresh indication, signed as that of a drain, with an
 * attribute that nobody has to understand.
 *
 * ```text
 *    0                   1                   2                   3
 *   +-------------------------------+-------------------------------+
 *   |        type 0xFE4C            |           length 8            |
 *   +---------------+---------------+-------------------------------+
 *   |  whose limit  |                    0                          |    1 session, 2 key, 3 mesh, 4 total
 *   +---------------+-----------------------------------------------+
 *   |   datagrams dropped since the allocation was made, either way |
 *   +---------------------------------------------------------------+
 * ```
 *
 * The count is of all, so that an indication that comes twice, or is lost, changes nothing.
 *
 * @module
 */
import { findAttribute, type StunAttribute, type StunMessage } from "../stun/codec.ts";

/** LIMITED: from the range for which anybody may ask, and optional to understand. */
export const LIMITED = 0xfe4c;
const VALUE_BYTES = 8;
const PACKETS_MAX = 0xffff_ffff;

/** Whose limit: the session's, that of all sessions of its key or its mesh, or of everybody. */
export type LimitedScope = "session" | "key" | "mesh" | "total";

const SCOPES: readonly LimitedScope[] = ["session", "key", "mesh", "total"];

/** What was not carried. */
export interface LimitedNotice {
  /** The limit that was met last. */
  readonly scope: LimitedScope;
  /** Datagrams dropped since the allocation was made, at most 2^32 - 1. */
  readonly packets: number;
}

/** Encodes the attribute. */
export function limitedAttribute({ scope, packets }: LimitedNotice): StunAttribute {
  const value = new Uint8Array(VALUE_BYTES);
  value[0] = SCOPES.indexOf(scope) + 1;
  new DataView(value.buffer).setUint32(4, Math.min(PACKETS_MAX, packets));
  return { type: LIMITED, value };
}

/** Reads the attribute; `undefined` if it is not there or says nothing that is known. */
export function limitedOf(message: StunMessage): LimitedNotice | undefined {
  const value = findAttribute(message, LIMITED);
  const scope = SCOPES[(value?.[0] ?? 0) - 1];
  if (value?.length !== VALUE_BYTES || scope === undefined) return undefined;
  const packets = new DataView(value.buffer, value.byteOffset, VALUE_BYTES).getUint32(4);
  return { scope, packets };
}
