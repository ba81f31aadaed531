/** What every way of mapping a port tells of it. @module */
import {
  cidrContains,
  type Instant,
  parseCidr,
  parseIp,
  type SocketAddress,
} from "../../core/mod.ts";

/** The three protocols, in the words of `status`. */
export type MappingProtocol = "pcp" | "nat-pmp" | "upnp";

/** A port of a gateway that leads to ours. */
export interface PortMapping {
  /** Who made it. */
  readonly protocol: MappingProtocol;
  /** The gateway's address on our side, a canonical literal. */
  readonly gateway: string;
  /** Where the gateway listens for us. */
  readonly external: SocketAddress;
  /** When it ends unless renewed; `undefined` for a gateway that keeps mappings until they are deleted. */
  readonly expiresAt: Instant | undefined;
}

/** What a machine that keeps a mapping reports. */
export type MappingEvent =
  | {
    /** There is a mapping, or its external address is another. */
    readonly kind: "mapped";
    /** The mapping now. */
    readonly mapping: PortMapping;
  }
  | {
    /** There was a mapping, and there is none any more. */
    readonly kind: "lost";
    /** Why: a phrase for a person. */
    readonly reason: string;
  }
  | {
    /** An attempt got no mapping. Another follows by itself. */
    readonly kind: "failed";
    /** Why: a phrase for a person. */
    readonly reason: string;
  }
  | {
    /** The mapping is deleted, or nobody answered to that; the machine has ended. */
    readonly kind: "released";
  };

/** How long a mapping is asked for, in seconds (RFC 6886 section 3.3 recommends two hours). */
export const MAPPING_LIFETIME_SECONDS = 7200;
/** Longest lifetime believed, in seconds. A renewal a day costs nothing. */
export const LIFETIME_SECONDS_MAX = 86_400;

/** Shortest lifetime believed, in seconds: what a gateway grants must not make us ask without end. */
export const LIFETIME_SECONDS_MIN = 30;

/** Addresses behind which there is another NAT, or nothing: RFC 1918, RFC 6598, RFC 6890, RFC 4193. */
const NOT_PUBLIC = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.168.0.0/16",
  "224.0.0.0/3",
  "::/96",
  "64:ff9b:1::/48",
  "fc00::/7",
  "fe80::/10",
  "ff00::/8",
].map(parseCidr).filter((block) => block !== undefined);

/** Returns whether an address can be reached from everywhere, as far as the address itself tells. */
export function isPublicAddress(hostname: string): boolean {
  const ip = parseIp(hostname);
  return ip !== undefined && !NOT_PUBLIC.some((block) => cidrContains(block, ip));
}
