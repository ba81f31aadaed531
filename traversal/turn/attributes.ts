/**
 * Methods, attributes and errors of TURN (RFC 8656), on top of the STUN codec.
 *
 * ```text
 *   LIFETIME                    seconds, 32 bits
 *   CHANNEL-NUMBER              | number, 16 bits | reserved, 16 bits |
 *   XOR-PEER-ADDRESS,           as XOR-MAPPED-ADDRESS
 *   XOR-RELAYED-ADDRESS
 *   DATA                        the datagram
 *   REQUESTED-ADDRESS-FAMILY,   | family 1|2 | reserved, 24 bits |
 *   ADDITIONAL-ADDRESS-FAMILY
 *   REQUESTED-TRANSPORT         | protocol, 17 is UDP | reserved, 24 bits |
 *   EVEN-PORT                   | R, 1 bit | reserved, 7 bits |
 *   DONT-FRAGMENT               nothing
 *   RESERVATION-TOKEN           8 bytes
 *   ADDRESS-ERROR-CODE          | family 1|2 | reserved, 13 bits, class, 3 bits | number | reason, UTF-8 ...
 *   ICMP                        | reserved, 16 bits | type, 8 bits | code, 8 bits | error data, 32 bits |
 * ```
 *
 * RFC 8656 draws the code of ICMP with 9 bits after a type of 7; every known implementation reads two bytes, as here.
 * Reading never throws: what is missing or malformed is `undefined`.
 *
 * @module
 */
import type { Family, SocketAddress } from "../../core/mod.ts";
import {
  decodeXorAddress,
  errorAttribute,
  findAttribute,
  RFC_8489_ATTRIBUTES,
  type StunAttribute,
  type StunError,
  type StunMessage,
} from "../stun/codec.ts";

/** The Allocate method. */
export const METHOD_ALLOCATE = 0x003;
/** The Refresh method. */
export const METHOD_REFRESH = 0x004;
/** The Send method: indications from the client. */
export const METHOD_SEND = 0x006;
/** The Data method: indications from the server. */
export const METHOD_DATA = 0x007;
/** The CreatePermission method. */
export const METHOD_CREATE_PERMISSION = 0x008;
/** The ChannelBind method. */
export const METHOD_CHANNEL_BIND = 0x009;

/** CHANNEL-NUMBER. */
export const CHANNEL_NUMBER = 0x000C;
/** LIFETIME. */
export const LIFETIME = 0x000D;
/** XOR-PEER-ADDRESS. */
export const XOR_PEER_ADDRESS = 0x0012;
/** DATA. */
export const DATA = 0x0013;
/** XOR-RELAYED-ADDRESS. */
export const XOR_RELAYED_ADDRESS = 0x0016;
/** REQUESTED-ADDRESS-FAMILY. */
export const REQUESTED_ADDRESS_FAMILY = 0x0017;
/** EVEN-PORT. */
export const EVEN_PORT = 0x0018;
/** REQUESTED-TRANSPORT. */
export const REQUESTED_TRANSPORT = 0x0019;
/** DONT-FRAGMENT. */
export const DONT_FRAGMENT = 0x001A;
/** RESERVATION-TOKEN. */
export const RESERVATION_TOKEN = 0x0022;
/** ADDITIONAL-ADDRESS-FAMILY. */
export const ADDITIONAL_ADDRESS_FAMILY = 0x8000;
/**
 * ADDITIONAL-ADDRESS-FAMILY by the number that coturn 4.6.1 has for it: it gives both families to this one and IPv4 alone to the RFC's
 * (seen). The number is nobody else's, and optional to understand.
 */
export const ADDITIONAL_ADDRESS_FAMILY_COTURN = 0x8032;
/** ADDRESS-ERROR-CODE. */
export const ADDRESS_ERROR_CODE = 0x8001;
/** ICMP. */
export const ICMP = 0x8004;

/** 403: policy forbids it, for instance a peer address. */
export const ERROR_FORBIDDEN = 403;
/** 437: there is no allocation where there must be one, or one where there must be none. */
export const ERROR_ALLOCATION_MISMATCH = 437;
/** 440: the server relays no addresses of the family. */
export const ERROR_ADDRESS_FAMILY = 440;
/** 441: the credentials are not those that made the allocation. */
export const ERROR_WRONG_CREDENTIALS = 441;
/** 442: the server does not relay over the transport that is asked for. */
export const ERROR_TRANSPORT_PROTOCOL = 442;
/** 443: the peer's family is not one of the allocation's. */
export const ERROR_PEER_ADDRESS_FAMILY = 443;
/** 486: the user has too many allocations. */
export const ERROR_ALLOCATION_QUOTA = 486;
/** 508: the server has no capacity left, for instance no port. */
export const ERROR_INSUFFICIENT_CAPACITY = 508;

/** The protocol number of UDP, for REQUESTED-TRANSPORT. */
export const PROTOCOL_UDP = 17;
/** Size of a RESERVATION-TOKEN. */
export const RESERVATION_TOKEN_BYTES = 8;

/** Attributes that must be understood, and that a user of RFC 8656 understands. */
export const RFC_8656_ATTRIBUTES: ReadonlySet<number> = new Set([
  ...RFC_8489_ATTRIBUTES,
  CHANNEL_NUMBER,
  LIFETIME,
  XOR_PEER_ADDRESS,
  DATA,
  XOR_RELAYED_ADDRESS,
  REQUESTED_ADDRESS_FAMILY,
  EVEN_PORT,
  REQUESTED_TRANSPORT,
  DONT_FRAGMENT,
  RESERVATION_TOKEN,
]);

/** The attributes that hold a family. */
export type FamilyAttributeType =
  | typeof REQUESTED_ADDRESS_FAMILY
  | typeof ADDITIONAL_ADDRESS_FAMILY
  | typeof ADDITIONAL_ADDRESS_FAMILY_COTURN;

/** Why a server gives no relayed address of one family. */
export interface AddressError extends StunError {
  /** The family that there is none of. */
  readonly family: Family;
}

/** An ICMP error that a relayed datagram has met. */
export interface IcmpError {
  /** The type of ICMPv4 or ICMPv6. */
  readonly type: number;
  /** The code. */
  readonly code: number;
  /** What RFC 8656 section 18.13 says for the type: the next hop's MTU for "too big", otherwise 0. */
  readonly data: number;
}

/** Returns a LIFETIME attribute; `seconds` is 0 to 2^32 - 1. */
export function lifetimeAttribute(seconds: number): StunAttribute {
  const value = new Uint8Array(4);
  new DataView(value.buffer).setUint32(0, seconds);
  return { type: LIFETIME, value };
}

/** Returns the seconds of LIFETIME. */
export function lifetimeOf(message: StunMessage): number | undefined {
  const value = findAttribute(message, LIFETIME);
  return value?.length === 4 ? viewOf(value).getUint32(0) : undefined;
}

/** Returns a CHANNEL-NUMBER attribute. */
export function channelNumberAttribute(channel: number): StunAttribute {
  return { type: CHANNEL_NUMBER, value: Uint8Array.of(channel >> 8 & 0xff, channel & 0xff, 0, 0) };
}

/** Returns CHANNEL-NUMBER, whatever it is: a server checks the range. */
export function channelNumberOf(message: StunMessage): number | undefined {
  const value = findAttribute(message, CHANNEL_NUMBER);
  return value?.length === 4 ? viewOf(value).getUint16(0) : undefined;
}

/** Returns a REQUESTED-TRANSPORT attribute. */
export function requestedTransportAttribute(protocol: number = PROTOCOL_UDP): StunAttribute {
  return { type: REQUESTED_TRANSPORT, value: Uint8Array.of(protocol, 0, 0, 0) };
}

/** Returns the protocol number of REQUESTED-TRANSPORT. */
export function requestedTransportOf(message: StunMessage): number | undefined {
  const value = findAttribute(message, REQUESTED_TRANSPORT);
  return value?.length === 4 ? value[0] : undefined;
}

/** Returns an attribute that holds a family. */
export function familyAttribute(type: FamilyAttributeType, family: Family): StunAttribute {
  return { type, value: Uint8Array.of(family === 4 ? 1 : 2, 0, 0, 0) };
}

/** Returns the family of an attribute; `unknown` for a value that is neither, `undefined` if the attribute is missing. */
export function familyAttributeOf(
  message: StunMessage,
  type: FamilyAttributeType,
): Family | "unknown" | undefined {
  const value = findAttribute(message, type);
  if (value === undefined) return undefined;
  return value.length === 4 ? familyOfCode(value[0]) ?? "unknown" : "unknown";
}

/** Returns an EVEN-PORT attribute. `reserveNext` asks for a RESERVATION-TOKEN for the next higher port too. */
export function evenPortAttribute(reserveNext: boolean): StunAttribute {
  return { type: EVEN_PORT, value: Uint8Array.of(reserveNext ? 0x80 : 0) };
}

/** Returns what EVEN-PORT asks for. */
export function evenPortOf(message: StunMessage): { readonly reserveNext: boolean } | undefined {
  const value = findAttribute(message, EVEN_PORT);
  if (value?.length !== 1) return undefined;
  return { reserveNext: ((value[0] ?? 0) & 0x80) !== 0 };
}

/** Returns a DONT-FRAGMENT attribute. */
export function dontFragmentAttribute(): StunAttribute {
  return { type: DONT_FRAGMENT, value: new Uint8Array(0) };
}

/** Returns a RESERVATION-TOKEN attribute. Throws `RangeError` unless `token` is of {@linkcode RESERVATION_TOKEN_BYTES}. */
export function reservationTokenAttribute(token: Uint8Array): StunAttribute {
  if (token.length !== RESERVATION_TOKEN_BYTES) {
    throw new RangeError(`TURN reservation token of ${token.length} bytes`);
  }
  return { type: RESERVATION_TOKEN, value: token };
}

/** Returns RESERVATION-TOKEN. */
export function reservationTokenOf(message: StunMessage): Uint8Array | undefined {
  const value = findAttribute(message, RESERVATION_TOKEN);
  return value?.length === RESERVATION_TOKEN_BYTES ? value : undefined;
}

/** Returns an ADDRESS-ERROR-CODE attribute. Throws as `errorAttribute`. */
export function addressErrorAttribute({ family, code, reason }: AddressError): StunAttribute {
  const { value } = errorAttribute(code, reason);
  const copy = Uint8Array.from(value);
  copy[0] = family === 4 ? 1 : 2;
  return { type: ADDRESS_ERROR_CODE, value: copy };
}

/** Returns the first well-formed ADDRESS-ERROR-CODE. */
export function addressErrorOf(message: StunMessage): AddressError | undefined {
  for (const { type, value } of message.attributes) {
    if (type !== ADDRESS_ERROR_CODE || value.length < 4) continue;
    const family = familyOfCode(value[0]);
    const [hundreds, number] = [(value[2] ?? 0) & 7, value[3] ?? 0];
    if (family === undefined || hundreds < 3 || hundreds > 6 || number > 99) continue;
    const reason = new TextDecoder().decode(value.subarray(4, 4 + 763));
    return { family, code: hundreds * 100 + number, reason };
  }
  return undefined;
}

/** Returns an ICMP attribute. */
export function icmpAttribute({ type, code, data }: IcmpError): StunAttribute {
  const value = new Uint8Array(8);
  value[2] = type;
  value[3] = code;
  new DataView(value.buffer).setUint32(4, data);
  return { type: ICMP, value };
}

/** Returns ICMP. */
export function icmpOf(message: StunMessage): IcmpError | undefined {
  const value = findAttribute(message, ICMP);
  if (value?.length !== 8) return undefined;
  return { type: value[2] ?? 0, code: value[3] ?? 0, data: viewOf(value).getUint32(4) };
}

/** Returns the address of the first attribute of a type that has the form of XOR-MAPPED-ADDRESS. Port 0 is accepted. */
export function xorAddressOf(message: StunMessage, type: number): SocketAddress | undefined {
  const value = findAttribute(message, type);
  return value && decodeXorAddress(value, message.transactionId);
}

/**
 * Returns every address of a type, in the order of the wire: CreatePermission carries any number of XOR-PEER-ADDRESS, and an
 * allocation for both families has two XOR-RELAYED-ADDRESS. `undefined` if one is malformed.
 */
export function xorAddressesOf(
  message: StunMessage,
  type: number,
): readonly SocketAddress[] | undefined {
  const addresses: SocketAddress[] = [];
  for (const attribute of message.attributes) {
    if (attribute.type !== type) continue;
    const address = decodeXorAddress(attribute.value, message.transactionId);
    if (address === undefined) return undefined;
    addresses.push(address);
  }
  return addresses;
}

function familyOfCode(code: number | undefined): Family | undefined {
  return code === 1 ? 4 : code === 2 ? 6 : undefined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
