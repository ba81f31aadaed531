/**
 * The routers that this machine's default routes lead to.
 *
 * Linux tells them in `/proc/net`. Elsewhere their addresses are not known, since Deno has no call for them: what asks a gateway
 * by address (PCP, NAT-PMP) is then left out, and what finds it by multicast (UPnP) works all the same.
 *
 * @module
 */
import {
  canonicalIp,
  type Family,
  familyOf,
  formatIp,
  isLocalScope,
  parseIp,
} from "../core/mod.ts";

/** A router, and how it is reached. */
export interface Gateway {
  /** Family of `address`. */
  readonly family: Family;
  /**
   * Its address on our link, a canonical literal without a zone; IPv6 routers nearly always have a link-local one. `undefined`
   * where the system does not tell.
   */
  readonly address: string | undefined;
  /** The interface that leads to it. */
  readonly interfaceName: string;
  /** Our address on that interface, canonical: what the router knows us by. */
  readonly local: string;
}

/** One route with a gateway, as the system lists it. */
export interface GatewayRoute {
  /** Canonical literal. */
  readonly gateway: string;
  /** Name of the interface. */
  readonly interfaceName: string;
  /** Smaller is better. */
  readonly metric: number;
}

/** An address of this machine with the length of its network's prefix. */
export interface LocalAddress {
  /** Name of the interface. */
  readonly name: string;
  /** Literal, without a zone. */
  readonly address: string;
  /** Netmask as an address literal. */
  readonly netmask: string;
}

const RTF_UP = 1;
const RTF_GATEWAY = 2;
const RTF_REJECT = 0x200;
/** More lines than this are not looked at: a router with the whole Internet's table is no host behind a NAT. */
const ROUTES_MAX = 4096;
/** More networks than this are not searched for a gateway. */
const NETWORKS_MAX = 4;
/** RFC 1918. */
const PRIVATE_IPV4 = /^(10|192\.168|172\.(1[6-9]|2\d|3[01]))\./;

/** Parses `/proc/net/route`: the default routes that have a gateway, best first. */
export function parseIpv4Routes(text: string): readonly GatewayRoute[] {
  const found: GatewayRoute[] = [];
  for (const line of text.split("\n").slice(1, ROUTES_MAX)) {
    const [interfaceName = "", destination, gateway = "", flags = "", , , metric, mask] = line
      .trim().split(/\s+/);
    if (destination !== "00000000" || mask !== "00000000") continue;
    if (!isGatewayRoute(parseInt(flags, 16)) || !/^[0-9A-Fa-f]{8}$/.test(gateway)) continue;
    // The kernel prints the bytes as a number of the machine's own order; every machine of ours is little-endian.
    const address = formatIp(bytesOf(gateway).reverse());
    found.push({ gateway: address, interfaceName, metric: Number(metric) });
  }
  return found.sort((a, b) => a.metric - b.metric);
}

/** Parses `/proc/net/ipv6_route`: the default routes that have a gateway, best first. */
export function parseIpv6Routes(text: string): readonly GatewayRoute[] {
  const found: GatewayRoute[] = [];
  for (const line of text.split("\n").slice(0, ROUTES_MAX)) {
    const [destination, length, , , gateway = "", metric = "", , , flags = "", interfaceName = ""] =
      line.trim().split(/\s+/);
    if (destination !== "0".repeat(32) || length !== "00") continue;
    if (!isGatewayRoute(parseInt(flags, 16)) || !/^[0-9a-f]{32}$/.test(gateway)) continue;
    const address = formatIp(bytesOf(gateway));
    found.push({ gateway: address, interfaceName, metric: parseInt(metric, 16) });
  }
  return found.sort((a, b) => a.metric - b.metric);
}

/**
 * Returns our address towards a gateway: the one in its network; for a link-local gateway, and for one outside of every
 * network of the interface, the first that means something beyond the link.
 */
export function localAddressTowards(
  { gateway, interfaceName }: Omit<GatewayRoute, "metric">,
  addresses: readonly LocalAddress[],
): string | undefined {
  const usable = addresses.filter(({ name, address }) =>
    name === interfaceName && familyOf(address) === familyOf(gateway) &&
    canonicalIp(address) !== undefined && !isLocalScope(address)
  );
  // Unique local IPv6 addresses (RFC 4193) need no gateway's help, and get none.
  const wide = usable.filter(({ address }) => !/^f[cd]/i.test(address));
  const near = usable.find((address) => inNetwork(gateway, address));
  const chosen = near ?? wide[0] ?? usable[0];
  return chosen === undefined ? undefined : canonicalIp(chosen.address);
}

/** Returns the networks in which there may be a gateway that nobody tells the address of: private IPv4 ones, four at most. */
export function gatewaysToFind(addresses: readonly LocalAddress[]): readonly Gateway[] {
  return addresses.filter(({ address }) => PRIVATE_IPV4.test(address)).slice(0, NETWORKS_MAX)
    .map(({ name, address }) => (
      { family: 4, address: undefined, interfaceName: name, local: address }
    ));
}

/** Returns the best default gateway of each family to which we have an address. An unreadable table has none. */
export function defaultGateways(): readonly Gateway[] {
  const addresses = Deno.networkInterfaces().map(({ name, address, netmask }) => ({
    name,
    address: address.replace(/%.*$/, ""),
    netmask,
  }));
  if (Deno.build.os !== "linux") return gatewaysToFind(addresses);
  const tables = [
    parseIpv4Routes(readTable("/proc/net/route")),
    parseIpv6Routes(readTable("/proc/net/ipv6_route")),
  ];
  return tables.flatMap((routes): Gateway[] => {
    for (const { gateway: address, interfaceName } of routes) {
      const local = localAddressTowards({ gateway: address, interfaceName }, addresses);
      if (local === undefined) continue;
      return [{ family: familyOf(address), address, interfaceName, local }];
    }
    return [];
  });
}

/** Returns the names of the interfaces that default routes lead over, gateway or not. Empty where the system does not tell. */
export function defaultRouteInterfaces(): ReadonlySet<string> {
  if (Deno.build.os !== "linux") return new Set();
  return new Set([
    ...parseDefaultInterfaces(readTable("/proc/net/route"), 4),
    ...parseDefaultInterfaces(readTable("/proc/net/ipv6_route"), 6),
  ]);
}

/**
 * Returns whether this machine's only way out is IPv6. Where the system tells no routes, an IPv4 address that means something
 * beyond its link counts as a way out.
 */
export function isIpv6Only(): boolean {
  if (Deno.build.os === "linux") {
    return parseDefaultInterfaces(readTable("/proc/net/route"), 4).length === 0 &&
      parseDefaultInterfaces(readTable("/proc/net/ipv6_route"), 6).length > 0;
  }
  const wide = Deno.networkInterfaces().map(({ address }) => address.replace(/%.*$/, ""))
    .filter((address) => !isLocalScope(address));
  return wide.length > 0 && wide.every((address) => familyOf(address) === 6);
}

/** Parses a table of the kernel's: the interfaces of its default routes, without those that lead nowhere. */
export function parseDefaultInterfaces(text: string, family: Family): readonly string[] {
  const found: string[] = [];
  for (const line of text.split("\n").slice(0, ROUTES_MAX)) {
    const words = line.trim().split(/\s+/);
    const [name, isDefault, flags] = family === 4
      ? [words[0], words[1] === "00000000" && words[7] === "00000000", words[3]]
      : [words[9], words[0] === "0".repeat(32) && words[1] === "00", words[8]];
    if (!isDefault || name === undefined || name === "lo") continue;
    const bits = parseInt(flags ?? "", 16);
    if ((bits & RTF_UP) !== 0 && (bits & RTF_REJECT) === 0) found.push(name);
  }
  return found;
}

function readTable(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return "";
  }
}

function isGatewayRoute(flags: number): boolean {
  return (flags & RTF_UP) !== 0 && (flags & RTF_GATEWAY) !== 0;
}

function inNetwork(gateway: string, { address, netmask }: LocalAddress): boolean {
  const [a, b, mask] = [gateway, address, netmask].map(parseIp);
  if (a === undefined || b === undefined || mask === undefined) return false;
  return a.length === b.length && a.length === mask.length &&
    a.every((byte, i) => ((byte ^ (b[i] ?? 0)) & (mask[i] ?? 0)) === 0);
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}
