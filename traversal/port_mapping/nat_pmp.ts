/**
 * NAT-PMP messages as bytes (RFC 6886).
 *
 * ```text
 *   external address            map UDP
 *   request:   0  version 0 | opcode 0          0  version 0 | opcode 1 | reserved, 2 bytes
 *                                               4  internal port | suggested external port
 *                                               8  requested lifetime, seconds
 *
 *   response:  0  version 0 | opcode 128        0  version 0 | opcode 129
 *              2  result code                   2  result code
 *              4  seconds since epoch           4  seconds since epoch
 *              8  external address              8  internal port | mapped external port
 *                                              12  lifetime, seconds
 * ```
 *
 * @module
 */
import { formatIp } from "../../core/mod.ts";

/** A response. */
export type NatPmpResponse =
  | {
    /** The gateway's external address. */
    readonly kind: "address";
    /** Seconds since the gateway lost its state. */
    readonly epoch: number;
    /** Canonical IPv4 literal; `0.0.0.0` while the gateway has none. */
    readonly address: string;
  }
  | {
    /** The mapping of a UDP port. */
    readonly kind: "map";
    /** Seconds since the gateway lost its state. */
    readonly epoch: number;
    /** Our UDP port. */
    readonly internalPort: number;
    /** The external port. */
    readonly externalPort: number;
    /** Seconds that the mapping lasts. */
    readonly lifetime: number;
  }
  | {
    /** The gateway refused. */
    readonly kind: "refused";
    /** What was asked: opcode 0, 1, or anything. A gateway that speaks another version may not say. */
    readonly opcode: number;
    /** Result code, not 0. */
    readonly result: number;
  };

/** Result code of a gateway that does not speak the version it was asked in. */
export const NAT_PMP_UNSUPPORTED_VERSION = 1;

const OPCODE_ADDRESS = 0;
const OPCODE_MAP_UDP = 1;
const RESPONSE = 0x80;
const REFUSAL_BYTES = 4;
const ADDRESS_BYTES = 12;
const MAP_BYTES = 16;

/** Result codes as phrases for a person (RFC 6886 section 3.5). */
const RESULTS: readonly string[] = [
  "success",
  "the version is not supported",
  "not authorized, or switched off",
  "the gateway's network has failed",
  "the gateway has no resources left",
  "mapping is not supported",
];

/** Encodes the question for the external address (section 3.2). */
export function encodeNatPmpAddress(): Uint8Array<ArrayBuffer> {
  return new Uint8Array([0, OPCODE_ADDRESS]);
}

/** Encodes the request to map a UDP port (section 3.3); lifetime 0 with suggested port 0 deletes the mapping (section 3.4). */
export function encodeNatPmpMap(
  { internalPort, suggestedPort, lifetime }: {
    readonly internalPort: number;
    readonly suggestedPort: number;
    readonly lifetime: number;
  },
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint8(1, OPCODE_MAP_UDP);
  view.setUint16(4, internalPort);
  view.setUint16(6, suggestedPort);
  view.setUint32(8, lifetime);
  return bytes;
}

/** Decodes a response. Accepts anything; returns `undefined` for what is no response of a NAT-PMP gateway. */
export function decodeNatPmp(payload: Uint8Array): NatPmpResponse | undefined {
  if (payload.length < REFUSAL_BYTES || payload[0] !== 0) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const code = view.getUint8(1);
  const opcode = code & ~RESPONSE;
  const result = view.getUint16(2);
  // Gateways that were asked in PCP echo its opcode, with or without the response bit.
  if (result !== 0) return { kind: "refused", opcode, result };
  if (code === (RESPONSE | OPCODE_ADDRESS) && payload.length === ADDRESS_BYTES) {
    const address = formatIp(payload.subarray(8, 12));
    return { kind: "address", epoch: view.getUint32(4), address };
  }
  if (code === (RESPONSE | OPCODE_MAP_UDP) && payload.length === MAP_BYTES) {
    return {
      kind: "map",
      epoch: view.getUint32(4),
      internalPort: view.getUint16(8),
      externalPort: view.getUint16(10),
      lifetime: view.getUint32(12),
    };
  }
  return undefined;
}

/** A result code as a phrase for a person. */
export function natPmpReason(result: number): string {
  return RESULTS[result] ?? `result code ${result}`;
}
