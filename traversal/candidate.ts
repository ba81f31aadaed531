/**
 * Candidates: the addresses where a node may be reached, its own and those that Discovery tells of others.
 *
 * @module
 */
import {
  canonicalIp,
  type Cidr,
  cidrContains,
  familyOf,
  formatSocketAddress,
  isLocalScope,
  parseCidr,
  parseIp,
  parseSocketAddress,
  type SocketAddress,
} from "../core/mod.ts";

/** How a candidate was found, in the words of RFC 8445 where it has them. */
export type CandidateKind =
  | "host"
  | "serverReflexive"
  | "peerReflexive"
  | "portMapped"
  | "configured"
  | "relayed";

/** An address where a node may be reached. */
export interface Candidate {
  /** How it was found. */
  readonly kind: CandidateKind;
  /** The address, canonical. */
  readonly address: SocketAddress;
  /** Who told: the STUN server, the interface, the relay. For people. */
  readonly via?: string;
}

/** One address of one network interface, as the system lists them. */
export interface InterfaceAddress {
  /** The system's name of the interface. */
  readonly name: string;
  /** The address, a literal. */
  readonly address: string;
  /** The system's way to everywhere leads over this interface. Absent: it does not, or that is not known. */
  readonly routed?: boolean;
}

/** Options of {@linkcode hostCandidates}. */
export interface HostCandidatesOptions {
  /** Interfaces to leave out by exact name: this node's own TUN device. @default [] */
  readonly exclude?: readonly string[];
}

/** Options of {@linkcode parseEndpoint}. */
export interface ParseEndpointOptions {
  /** Accepts loopback and link-local addresses: for tests and demonstrations on one machine. @default false */
  readonly allowLocal?: boolean;
}

/** Most candidates that a node keeps for itself or for one peer; the worst ranked are dropped. */
export const CANDIDATES_MAX = 32;
/** Most host candidates; the worst ranked are dropped. */
export const HOST_CANDIDATES_MAX = 16;
/**
 * Most host candidates of interfaces that lead only to their own link, where others lead everywhere: a machine with many
 * networks for containers and virtual machines has dozens, and peers would try them all.
 */
export const UNROUTED_CANDIDATES_MAX = 8;

/**
 * Interfaces that lead into a tunnel or a virtual network of this machine, never to a peer. Prefixes, case ignored:
 * Windows writes `Tailscale`, Linux `tailscale0`.
 */
const VIRTUAL_INTERFACE =
  /^(tun|tap|utun|wg|moray|tailscale|zerotier|zt|docker|podman|br-|virbr|vmnet|vboxnet|cni|flannel|cali|awdl|llw)/i;
/** A container's end on the host. Case counts: Windows calls real networks `vEthernet (...)`. */
const VIRTUAL_ETHERNET = /^veth/;

/** Best first. A host address is on our own link; what was configured or mapped on purpose beats what a server saw. */
const KINDS: readonly CandidateKind[] = [
  "host",
  "configured",
  "portMapped",
  "serverReflexive",
  "peerReflexive",
  "relayed",
];

/** No peer is ever there: this network, multicast and reserved, unspecified and IPv4-compatible. */
const NEVER = blocks("0.0.0.0/8", "224.0.0.0/3", "ff00::/8");
/** A peer is there only if it is on this machine or this link. */
const LOCAL = blocks("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10");
/** A peer is there only if it is in the same network, or behind the same carrier. */
const PRIVATE = blocks(
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "100.64.0.0/10",
  "fc00::/7",
);
/** `::/96`: unspecified, loopback and the deprecated IPv4-compatible addresses. */
const IPV4_COMPATIBLE = blocks("::/96");

/** Returns whether an interface leads into a tunnel or a virtual network of this machine, by its name. */
export function isVirtualInterface(name: string): boolean {
  return VIRTUAL_INTERFACE.test(name) || VIRTUAL_ETHERNET.test(name);
}

/**
 * Returns the candidates of this node's interfaces for a bound port, best first: no loopback or link-local address,
 * no tunnel or container interface, at most {@linkcode HOST_CANDIDATES_MAX}, and first those of interfaces that lead everywhere.
 */
export function hostCandidates(
  interfaces: readonly InterfaceAddress[],
  port: number,
  { exclude = [] }: HostCandidatesOptions = {},
): readonly Candidate[] {
  const routed: Candidate[] = [];
  const unrouted: Candidate[] = [];
  for (const { name, address, routed: leadsEverywhere } of interfaces) {
    if (isVirtualInterface(name)) continue;
    if (exclude.includes(name)) continue;
    const hostname = canonicalIp(address);
    if (hostname === undefined || isLocalScope(hostname)) continue;
    const list = leadsEverywhere === true ? routed : unrouted;
    list.push({ kind: "host", address: { hostname, port }, via: name });
  }
  const first = mergeCandidates(routed).slice(0, HOST_CANDIDATES_MAX);
  const room = HOST_CANDIDATES_MAX - first.length;
  const rest = mergeCandidates(unrouted)
    .slice(0, first.length === 0 ? room : Math.min(room, UNROUTED_CANDIDATES_MAX));
  return mergeCandidates(first, rest);
}

/** Orders two candidates, best first: by kind, then IPv6 before IPv4, which has the NATs. For `Array.sort`. */
export function compareCandidates(a: Candidate, b: Candidate): number {
  return KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
    familyOf(b.address.hostname) - familyOf(a.address.hostname);
}

/**
 * Merges lists: each address once, as its best kind, best first, at most {@linkcode CANDIDATES_MAX}. Equal ranks keep
 * their order.
 */
export function mergeCandidates(...lists: readonly (readonly Candidate[])[]): readonly Candidate[] {
  const byAddress = new Map<string, Candidate>();
  for (const candidate of lists.flat().sort(compareCandidates)) {
    const key = formatSocketAddress(candidate.address);
    if (!byAddress.has(key)) byAddress.set(key, candidate);
  }
  return [...byAddress.values()].slice(0, CANDIDATES_MAX);
}

/**
 * Parses an endpoint that somebody else claims: `192.0.2.1:51820`, `[2001:db8::1]:51820`, or address and port.
 *
 * Returns `undefined` for a name, port 0, and any address where no peer can be: unspecified, multicast, reserved, and,
 * unless `allowLocal`, loopback and link-local. So nobody can aim this node at its own services.
 */
export function parseEndpoint(
  endpoint: string | SocketAddress,
  { allowLocal = false }: ParseEndpointOptions = {},
): SocketAddress | undefined {
  const parsed = typeof endpoint === "string" ? parseSocketAddress(endpoint) : endpoint;
  if (parsed === undefined || typeof parsed.hostname !== "string") return undefined;
  const { port } = parsed;
  if (!Number.isInteger(port) || port < 1 || port > 65535) return undefined;
  const hostname = canonicalIp(parsed.hostname);
  const ip = hostname === undefined ? undefined : parseIp(hostname);
  if (hostname === undefined || ip === undefined) return undefined;
  const within = (list: readonly Cidr[]): boolean => list.some((block) => cidrContains(block, ip));
  if (within(LOCAL)) return allowLocal ? { hostname, port } : undefined;
  return within(NEVER) || within(IPV4_COMPATIBLE) ? undefined : { hostname, port };
}

/** From how far an address can be reached: this machine or link, a private network, anywhere. */
export function scopeOf(hostname: string): "local" | "private" | "global" {
  const ip = parseIp(hostname);
  if (ip === undefined) return "local";
  const within = (list: readonly Cidr[]): boolean => list.some((block) => cidrContains(block, ip));
  return within(LOCAL) ? "local" : within(PRIVATE) ? "private" : "global";
}

function blocks(...texts: string[]): readonly Cidr[] {
  return texts.map((text) => {
    const cidr = parseCidr(text);
    if (cidr === undefined) throw new TypeError(`Not an address block: ${text}`);
    return cidr;
  });
}
