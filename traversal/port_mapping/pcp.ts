/**
 * PCP messages as bytes (RFC 6887), as far as a client that maps one UDP port needs them.
 *
 * ```text
 *   request                                        response
 *    0  version 2 | R=0, opcode                     0  version 2 | R=1, opcode
 *    2  reserved                                    2  reserved | result code
 *    4  requested lifetime, seconds                 4  lifetime, seconds (of the mapping, or of the error)
 *    8  client's address, 16 bytes                  8  epoch time, seconds
 *                                                  12  reserved, 12 bytes
 *   24  MAP (section 11.1), in both:
 *       nonce, 12 bytes | protocol | reserved, 3 bytes
 *   40  internal port | suggested, or assigned, external port
 *   44  suggested, or assigned, external address, 16 bytes
 *   60  options, which we neither send nor need
 * ```
 *
 * @module
 */
import { equals, formatIp, parseIp } from "../../core/mod.ts";

/** The port that gateways listen on for PCP and NAT-PMP. */
export const PORT_CONTROL_PORT = 5351;
/** The port on which gateways announce to `224.0.0.1` and `ff02::1` that they have lost their state. */
export const ANNOUNCE_PORT = 5350;
/** Length of a mapping's nonce. */
export const PCP_NONCE_BYTES = 12;
/** The version spoken. Version 1 was a draft's, 0 is NAT-PMP. */
export const PCP_VERSION = 2;

/** Result codes that a client treats apart from the others (RFC 6887 section 7.4). */
export const PCP_RESULT = { success: 0, unsupportedVersion: 1, unsupportedOpcode: 4 } as const;

const HEADER_BYTES = 24;
const MAP_BYTES = 60;
/** Longer messages are invalid (section 7). */
const MESSAGE_BYTES_MAX = 1100;
const OPCODE_ANNOUNCE = 0;
const OPCODE_MAP = 1;
const RESPONSE = 0x80;
const PROTOCOL_UDP = 17;

/** Result codes as phrases for a person, in the order of RFC 6887 section 7.4. */
const RESULTS: readonly string[] = [
  "success",
  "the version is not supported",
  "not authorized",
  "the request is malformed",
  "mapping is not supported",
  "an option is not supported",
  "an option is malformed",
  "the gateway's network has failed",
  "the gateway has no resources left",
  "UDP is not supported",
  "this host's quota is used up",
  "the external address cannot be had",
  "another NAT is between this host and the gateway",
  "too many remote peers",
];

/** What a MAP request asks for. */
export interface PcpMapRequest {
  /** This mapping's nonce, {@linkcode PCP_NONCE_BYTES}; renewals and the deletion repeat it. */
  readonly nonce: Uint8Array;
  /** Our address as the gateway sees it, a canonical literal. */
  readonly client: string;
  /** Our UDP port. */
  readonly internalPort: number;
  /** The external port that we would like; 0 for any. */
  readonly suggestedPort: number;
  /** The external address that we would like. Absent: any of the client's family. */
  readonly suggestedAddress?: string | undefined;
  /** Seconds; 0 deletes the mapping. */
  readonly lifetime: number;
}

/** A response, to MAP or to ANNOUNCE. */
export interface PcpResponse {
  /** The version that the server speaks. */
  readonly version: number;
  /** What was asked; `other` for the answer to an opcode that we never send. */
  readonly opcode: "announce" | "map" | "other";
  /** Result code. */
  readonly result: number;
  /** Seconds that the mapping, or the error, lasts. */
  readonly lifetime: number;
  /** Seconds since the server lost its state. */
  readonly epoch: number;
  /** What is mapped: present in answers to MAP. */
  readonly mapping?: {
    /** The nonce of the request. */
    readonly nonce: Uint8Array;
    /** Our UDP port. */
    readonly internalPort: number;
    /** The external port assigned. */
    readonly externalPort: number;
    /** The external address assigned, canonical. */
    readonly externalAddress: string;
  };
}

/** Encodes a MAP request for UDP. Throws `RangeError` for what has no place in one: we made it. */
export function encodePcpMap(request: PcpMapRequest): Uint8Array<ArrayBuffer> {
  const { nonce, client, internalPort, suggestedPort, suggestedAddress, lifetime } = request;
  if (nonce.length !== PCP_NONCE_BYTES) throw new RangeError(`PCP nonce of ${nonce.length} bytes`);
  const [bytes, view] = header(OPCODE_MAP, { client, lifetime, length: MAP_BYTES });
  bytes.set(nonce, 24);
  bytes[36] = PROTOCOL_UDP;
  view.setUint16(40, internalPort);
  view.setUint16(42, suggestedPort);
  const anyAddress = client.includes(":") ? "::" : "0.0.0.0";
  bytes.set(address16(suggestedAddress ?? anyAddress), 44);
  return bytes;
}

/** Encodes an ANNOUNCE request (section 14.1): the server answers with its epoch time, and nothing changes. */
export function encodePcpAnnounce(client: string): Uint8Array<ArrayBuffer> {
  return header(OPCODE_ANNOUNCE, { client, lifetime: 0, length: HEADER_BYTES })[0];
}

/**
 * Decodes a response. Accepts anything; returns `undefined` for what is no response of a PCP server.
 *
 * A server of another version answers with a header of its own (section 9): then only `version` and `result` mean anything.
 */
export function decodePcp(payload: Uint8Array): PcpResponse | undefined {
  if (payload.length < HEADER_BYTES || payload.length > MESSAGE_BYTES_MAX) return undefined;
  if (payload.length % 4 !== 0) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const version = view.getUint8(0);
  const code = view.getUint8(1);
  if (version === 0 || (code & RESPONSE) === 0) return undefined;
  const common = {
    version,
    result: view.getUint8(3),
    lifetime: view.getUint32(4),
    epoch: view.getUint32(8),
  };
  switch (code & ~RESPONSE) {
    case OPCODE_ANNOUNCE:
      return { ...common, opcode: "announce" };
    case OPCODE_MAP: {
      if (payload.length < MAP_BYTES || view.getUint8(36) !== PROTOCOL_UDP) return undefined;
      const mapping = {
        nonce: payload.slice(24, 36),
        internalPort: view.getUint16(40),
        externalPort: view.getUint16(42),
        externalAddress: formatIp(payload.subarray(44, 60)),
      };
      return { ...common, opcode: "map", mapping };
    }
    default:
      return { ...common, opcode: "other" };
  }
}

/** Returns whether a response is about this mapping: same nonce, same internal port (section 11.4). */
export function isAboutMapping(
  { mapping }: PcpResponse,
  { nonce, internalPort }: Pick<PcpMapRequest, "nonce" | "internalPort">,
): boolean {
  return mapping !== undefined && mapping.internalPort === internalPort &&
    equals(mapping.nonce, nonce);
}

/** A result code as a phrase for a person. */
export function pcpReason(result: number): string {
  return RESULTS[result] ?? `result code ${result}`;
}

/** Whether an address stands for "none yet", as a gateway without a link gives it. */
export function isUnspecified(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

function header(
  opcode: number,
  { client, lifetime, length }: { client: string; lifetime: number; length: number },
): [Uint8Array<ArrayBuffer>, DataView] {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, PCP_VERSION);
  view.setUint8(1, opcode);
  view.setUint32(4, lifetime);
  bytes.set(address16(client), 8);
  return [bytes, view];
}

/** An address as PCP writes it: IPv4 as IPv4-mapped IPv6 (section 5). */
function address16(literal: string): Uint8Array {
  const ip = parseIp(literal);
  if (ip === undefined) throw new RangeError(`Not an address: ${literal}`);
  if (ip.length === 16) return ip;
  const bytes = new Uint8Array(16);
  bytes.fill(0xff, 10, 12);
  bytes.set(ip, 12);
  return bytes;
}
