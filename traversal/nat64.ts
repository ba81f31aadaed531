/**
 * IPv4 from networks that have only IPv6: how NAT64 is recognised, and the addresses under which it makes IPv4 reachable.
 *
 * A resolver of such a network gives names without IPv6 addresses made-up ones, an IPv4 address behind the network's prefix
 * (DNS64, RFC 6147). `ipv4only.arpa` has two well-known IPv4 addresses and never an IPv6 one, so that whatever comes back for it
 * tells the prefix (RFC 7050). Where the IPv4 address lies depends on the prefix's length (RFC 6052 section 2.2):
 *
 * ```text
 *   bits   0         32    40    48    56    64  72    80    88    96
 *   /32    prefix    v4........................  u   zeros
 *   /40    prefix          v4..................  u   v4
 *   /48    prefix                v4............  u   v4....
 *   /56    prefix                      v4......  u   v4..........
 *   /64    prefix                            u   v4......................
 *   /96    prefix                                              v4..........
 * ```
 *
 * @module
 */
import {
  cidrContains,
  familyOf,
  formatIp,
  formatSocketAddress,
  parseCidr,
  parseIp,
  parseSocketAddress,
} from "../core/mod.ts";
import { isPublicAddress } from "./port_mapping/mapping.ts";

/** A prefix under which a network makes IPv4 reachable. */
export interface Nat64Prefix {
  /** 16 bytes; what is behind the prefix is zero. */
  readonly address: Uint8Array;
  /** Length in bits: 32, 40, 48, 56, 64 or 96. */
  readonly length: number;
}

/** The name that tells the prefix. */
export const NAT64_NAME = "ipv4only.arpa";
/** Most prefixes used of a network; RFC 7050 knows networks with several, all of which work. */
export const NAT64_PREFIXES_MAX = 2;

/** 192.0.0.170 and 192.0.0.171 (RFC 7050 section 2.2). */
const WELL_KNOWN_IPV4: readonly Uint8Array[] = [
  Uint8Array.of(192, 0, 0, 170),
  Uint8Array.of(192, 0, 0, 171),
];
/** The longest first: what is found twice is found there first. */
const LENGTHS: readonly number[] = [96, 64, 56, 48, 40, 32];
/** The byte that is zero in every form but the last (RFC 6052 section 2.2). */
const U = 8;
/** 64:ff9b::/96, which never carries private addresses (RFC 6052 section 3.1). */
const WELL_KNOWN_PREFIX = parseCidr("64:ff9b::/96");

/** Finds the prefixes in the IPv6 addresses that a resolver gave for {@linkcode NAT64_NAME}, in their order. */
export function findNat64Prefixes(addresses: readonly string[]): readonly Nat64Prefix[] {
  const found: Nat64Prefix[] = [];
  for (const literal of addresses) {
    const ip = parseIp(literal);
    if (ip?.length !== 16) continue;
    const length = LENGTHS.find((length) => {
      const at = positions(length);
      return (length === 96 || ip[U] === 0) && restIsZero(ip, length) &&
        WELL_KNOWN_IPV4.some((known) => known.every((byte, i) => ip[at[i] ?? 0] === byte));
    });
    if (length === undefined) continue;
    const address = new Uint8Array(16);
    address.set(ip.subarray(0, length / 8));
    const known = found.some((other) =>
      other.length === length && formatIp(other.address) === formatIp(address)
    );
    if (!known && found.length < NAT64_PREFIXES_MAX) found.push({ address, length });
  }
  return found;
}

/** Returns the IPv6 address of an IPv4 one behind a prefix; `undefined` for what must not be sent there. */
export function synthesizeIpv6(
  { address, length }: Nat64Prefix,
  ipv4: string,
): string | undefined {
  const ip = parseIp(ipv4);
  if (ip?.length !== 4) return undefined;
  const wellKnown = WELL_KNOWN_PREFIX !== undefined && length === 96 &&
    cidrContains(WELL_KNOWN_PREFIX, address);
  if (wellKnown && !isPublicAddress(ipv4)) return undefined;
  const bytes = Uint8Array.from(address);
  for (const [i, at] of positions(length).entries()) bytes[at] = ip[i] ?? 0;
  return formatIp(bytes);
}

/** Returns the endpoints that NAT64 adds for one: `host:port` with IPv4 once per prefix, nothing for any other text. */
export function synthesizeEndpoints(
  prefixes: readonly Nat64Prefix[],
  endpoint: string,
): readonly string[] {
  const address = parseSocketAddress(endpoint);
  if (address === undefined || familyOf(address.hostname) === 6) return [];
  return prefixes.map((prefix) => synthesizeIpv6(prefix, address.hostname))
    .filter((hostname) => hostname !== undefined)
    .map((hostname) => formatSocketAddress({ hostname, port: address.port }));
}

/** The indices of the four bytes of IPv4. */
function positions(length: number): readonly number[] {
  const at: number[] = [];
  for (let i = length / 8; at.length < 4; i++) if (i !== U || length === 96) at.push(i);
  return at;
}

/** Whether the bytes behind the IPv4 address are zero, as the reserved suffix has to be. */
function restIsZero(ip: Uint8Array, length: number): boolean {
  const [, , , last = 15] = positions(length);
  return ip.subarray(last + 1).every((byte) => byte === 0);
}
