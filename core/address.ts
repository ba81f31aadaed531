/**
 * IP addresses and UDP or TCP endpoints as text and as bytes.
 *
 * Text is canonical: IPv6 is lower case and shortened as RFC 5952 asks, and an IPv4-mapped IPv6 address
 * (`::ffff:192.0.2.1`) is always the IPv4 address it carries, so equal endpoints are equal strings.
 *
 * @module
 */

/** An IP address and a port. */
export interface SocketAddress {
  /** A canonical IPv4 or IPv6 literal, never a name and never in brackets. */
  readonly hostname: string;
  /** 1 to 65535; 0 only where a caller asks the system to choose. */
  readonly port: number;
}

/** 4 for IPv4, 6 for IPv6. */
export type Family = 4 | 6;

/** A block of addresses, as in AllowedIPs. */
export interface Cidr {
  /** 4 or 16 bytes; bits behind the prefix are zero. */
  readonly address: Uint8Array;
  /** Prefix length, 0 to 32 or 0 to 128. */
  readonly prefix: number;
}

const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;

/** Returns the family of a literal that {@linkcode parseIp} accepts. */
export function familyOf(hostname: string): Family {
  return hostname.includes(":") ? 6 : 4;
}

/** Parses an IPv4 literal to 4 bytes or an IPv6 literal to 16 bytes; `undefined` for anything else. */
export function parseIp(text: string): Uint8Array | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

/** Formats 4 or 16 bytes as a canonical literal (RFC 5952); a mapped IPv4 address comes out as IPv4. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (isMapped(bytes)) return bytes.subarray(12).join(".");
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i] ?? 0) << 8 | (bytes[i + 1] ?? 0));
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > length) [start, length] = [i, n];
  }
  const hex = (part: number[]): string => part.map((g) => g.toString(16)).join(":");
  if (start < 0) return hex(groups);
  return `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

/** Returns the canonical form of an IP literal, or `undefined` if it is none. */
export function canonicalIp(text: string): string | undefined {
  const bytes = parseIp(text);
  return bytes === undefined ? undefined : formatIp(bytes);
}

/**
 * Parses `192.0.2.1:51820` or `[2001:db8::1]:51820`.
 *
 * Returns `undefined` for anything else, names included. Port 0 is accepted.
 */
export function parseSocketAddress(text: string): SocketAddress | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, v6, v4, digits] = match;
  const hostname = canonicalIp(v6 ?? v4 ?? "");
  const port = Number(digits);
  if (hostname === undefined || port > 65535) return undefined;
  if (v6 !== undefined && !v6.includes(":")) return undefined;
  return { hostname, port };
}

/** Formats an endpoint; IPv6 gets brackets. */
export function formatSocketAddress({ hostname, port }: SocketAddress): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/** Returns whether two endpoints are the same. Both must be canonical. */
export function sameAddress(a: SocketAddress, b: SocketAddress): boolean {
  return a.port === b.port && a.hostname === b.hostname;
}

/** Parses `10.42.0.0/16`, `fd00::/8` or a bare address (its full length); `undefined` for anything else. */
export function parseCidr(text: string): Cidr | undefined {
  const [ip = "", length, ...rest] = text.split("/");
  const bytes = parseIp(ip);
  if (bytes === undefined || rest.length > 0) return undefined;
  const bits = bytes.length * 8;
  if (length !== undefined && !/^\d{1,3}$/.test(length)) return undefined;
  const prefix = length === undefined ? bits : Number(length);
  if (prefix > bits) return undefined;
  const address = bytes.map((byte, i) => {
    const keep = Math.min(8, Math.max(0, prefix - i * 8));
    return byte & (0xff00 >> keep);
  });
  return { address, prefix };
}

/** Formats a block as `address/prefix`. */
export function formatCidr({ address, prefix }: Cidr): string {
  return `${formatIp(address)}/${prefix}`;
}

/** Returns whether `ip` (4 or 16 bytes) lies in the block. */
export function cidrContains({ address, prefix }: Cidr, ip: Uint8Array): boolean {
  if (address.length !== ip.length) return false;
  for (let bit = 0; bit < prefix; bit += 8) {
    const i = bit >> 3;
    const mask = prefix - bit >= 8 ? 0xff : 0xff00 >> (prefix - bit) & 0xff;
    if ((((address[i] ?? 0) ^ (ip[i] ?? 0)) & mask) !== 0) return false;
  }
  return true;
}

/** Returns whether the address only means something on one host or one link: loopback, link-local, unspecified, multicast. */
export function isLocalScope(hostname: string): boolean {
  const ip = parseIp(hostname);
  if (ip === undefined) return true;
  return LOCAL_SCOPE.some((block) => cidrContains(block, ip));
}

function block(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new TypeError(`Not an address block: ${text}`);
  return cidr;
}

/** RFC 6890: this host, loopback, link-local, multicast, reserved. */
const LOCAL_SCOPE: readonly Cidr[] = [
  "0.0.0.0/8",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/3",
  "::/127",
  "fe80::/10",
  "ff00::/8",
].map(block);

function parseIpv4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let part = 0;
  let digits = 0;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (digits === 0 || part === 3) return undefined;
      bytes[part++] = value;
      digits = 0;
      value = 0;
      continue;
    }
    // No leading zeros: some parsers read them as octal.
    if (code < ZERO || code > NINE || digits > 0 && value === 0) return undefined;
    value = value * 10 + code - ZERO;
    digits++;
    if (value > 255) return undefined;
  }
  if (part !== 3 || digits === 0) return undefined;
  bytes[3] = value;
  return bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  let source = text;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const v4 = parseIpv4(dotted[2] ?? "");
    if (v4 === undefined) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = v4;
    source = `${dotted[1]}${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`;
  }
  const halves = source.split("::");
  if (halves.length > 2) return undefined;
  const groups = (half: string): string[] => half === "" ? [] : half.split(":");
  const head = groups(halves[0] ?? "");
  const tail = groups(halves[1] ?? "");
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [...head, ...Array<string>(missing).fill("0"), ...tail];
  const bytes = new Uint8Array(16);
  for (const [i, group] of all.entries()) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    const value = parseInt(group, 16);
    bytes[2 * i] = value >> 8;
    bytes[2 * i + 1] = value & 0xff;
  }
  return bytes;
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((b) => b === 0);
}
