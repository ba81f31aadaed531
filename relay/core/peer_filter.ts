/**
 * Which peers the relay sends to.
 *
 * Whoever may send through a relay sends from its place in the network: to what its administrator keeps private, to the cloud's
 * metadata service, to the relay's own services. None of these is a peer (RFC 8656 section 21.2.3, RFC 6890).
 *
 * @module
 */
import {
  type Cidr,
  cidrContains,
  formatIp,
  parseCidr,
  parseIp,
  type SocketAddress,
} from "../../core/mod.ts";

/** What no relay sends to: this host, multicast, reserved. */
const NEVER = blocks(["0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"]);
/**
 * What a relay sends to only when it is told to: loopback, link-local (with the metadata service), private, shared, benchmarks; and
 * IPv6 that leads to IPv4 by a way that the address does not tell (local NAT64 of RFC 8215, Teredo).
 */
const PRIVATE = blocks([
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "100.64.0.0/10",
  "192.0.0.0/24",
  "198.18.0.0/15",
  "::1/128",
  "fe80::/10",
  "fec0::/10",
  "fc00::/7",
  "64:ff9b:1::/48",
  "2001::/32",
]);
/** IPv6 blocks with an IPv4 address inside, and where it lies: NAT64 and 6to4 lead to what the address inside leads to. */
const EMBEDDING = [
  { block: block("64:ff9b::/96"), at: 12 },
  { block: block("2002::/16"), at: 2 },
  { block: block("::/96"), at: 12 },
] as const;

/** Options of {@linkcode PeerFilter}. */
export interface PeerFilterOptions {
  /** Lets private, loopback and link-local peers through. */
  readonly allowPrivatePeers: boolean;
  /** Addresses of the relay's own host. */
  readonly ownAddresses: ReadonlySet<string>;
  /** Ports there that are for peers, as a node's of WireGuard is. */
  readonly ownPorts: ReadonlySet<number>;
}

/** Decides by address. */
export class PeerFilter {
  readonly #options: PeerFilterOptions;

  /** A filter. */
  constructor(options: PeerFilterOptions) {
    this.#options = options;
  }

  /** Whether nothing may be sent to this address, whatever the port. */
  refuses(hostname: string): boolean {
    const ip = parseIp(hostname);
    // Canonical: an IPv4 address inside an IPv6 literal is IPv4.
    return ip === undefined || this.#refuses(parseIp(formatIp(ip)) ?? ip);
  }

  /**
   * Whether an address is the relay's own and not for peers: only relayed ports may be sent to there, what else listens is not for clients
   * of the relay. Nothing is the relay's own where private peers are let through.
   */
  isOwn({ hostname, port }: SocketAddress): boolean {
    const { allowPrivatePeers, ownAddresses, ownPorts } = this.#options;
    return !allowPrivatePeers && ownAddresses.has(hostname) && !ownPorts.has(port);
  }

  #refuses(ip: Uint8Array): boolean {
    const contains = ({ block }: { readonly block: Cidr }): boolean => cidrContains(block, ip);
    if (NEVER.some((block) => cidrContains(block, ip))) return true;
    if (!this.#options.allowPrivatePeers) {
      if (PRIVATE.some((block) => cidrContains(block, ip))) return true;
    }
    const embedding = EMBEDDING.find(contains);
    if (embedding === undefined || formatIp(ip) === "::1") return false;
    return this.#refuses(ip.subarray(embedding.at, embedding.at + 4));
  }
}

function block(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new TypeError(`Not an address block: ${text}`);
  return cidr;
}

function blocks(texts: readonly string[]): readonly Cidr[] {
  return texts.map(block);
}
