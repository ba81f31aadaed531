/**
 * What `moray netcheck` finds out: a plain value for `--json`, and what it means for a person. Pure.
 *
 * A fact is `null` where no test told; words are those of RFC 4787.
 *
 * @module
 */
import { familyOf, parseSocketAddress } from "../../core/mod.ts";
import { type NatHint, type NatReport, scopeOf } from "../../traversal/mod.ts";
import type { RelayOfferStatus, RelayStatus } from "../status.ts";

/** How a NAT chooses outside ports. */
export interface AllocationReport {
  /** `preserving`, `sequential` or `random`. */
  readonly kind: string;
  /** The step between two ports, where they are sequential. */
  readonly delta: number | null;
}

/** How long a NAT keeps a mapping that nobody uses. */
export interface LifetimeReport {
  /** It outlives this silence, in milliseconds. */
  readonly atLeastMs: number;
  /** It does not outlive this silence; `null` if it outlived every one that was tried. */
  readonly belowMs: number | null;
}

/** One family. */
export interface FamilyReport {
  /** Whether UDP reaches a STUN server and comes back; `null` where this machine has no address of the family, or no server is known. */
  readonly udp: boolean | null;
  /** This machine's address as the network outside sees it. */
  readonly publicAddress: string | null;
  /** Whether that is another than its own: whether there is a NAT. */
  readonly nat: boolean | null;
  /** How outside addresses depend on the destination. */
  readonly mapping: string;
  /** Which packets are let in. */
  readonly filtering: string;
  /** Whether two nodes behind the NAT reach each other by their outside addresses. */
  readonly hairpin: boolean | null;
  /** How outside ports are chosen. */
  readonly allocation: AllocationReport | null;
  /** How long an idle mapping lives; `null` unless it was measured. */
  readonly lifetime: LifetimeReport | null;
}

/** One STUN server. */
export interface StunServerReport {
  /** Its address, `host:port`. */
  readonly server: string;
  /** Who named it: `configured`, `discovery`, `peer` (a node of the mesh), or `default`. */
  readonly origin: string;
  /** Round trip in milliseconds. */
  readonly rttMs: number | null;
  /** The address that it saw. */
  readonly mapped: string | null;
  /** Why there is none. */
  readonly reason: string | null;
}

/** One Discovery service. */
export interface DiscoveryReport {
  /** Its base URL. */
  readonly url: string;
  /** Whether it answered as a Discovery does. */
  readonly reachable: boolean;
  /** Whether it has relays. Absent where it was not asked. */
  readonly relay?: boolean;
  /** Why not. */
  readonly reason: string | null;
}

/** One way to ask the router for a port. */
export interface PortMappingReport {
  /** `pcp`, `nat-pmp` or `upnp`. */
  readonly protocol: string;
  /** The router. */
  readonly gateway: string | null;
  /** The address outside that it gave, `host:port`. */
  readonly external: string | null;
  /** Why there is none. */
  readonly reason: string | null;
}

/** Everything. */
export interface NetcheckReport {
  /** IPv4. */
  readonly ipv4: FamilyReport;
  /** IPv6. */
  readonly ipv6: FamilyReport;
  /** The hint that peers get. */
  readonly hint: NatHint;
  /** Every STUN server that was asked. */
  readonly stunServers: readonly StunServerReport[];
  /** Every Discovery service that was asked. */
  readonly discovery: readonly DiscoveryReport[];
  /** Whether something between answers in Discovery's place, as the sign-in page of a hotel does. */
  readonly captivePortal: boolean | null;
  /** What the router offers; `null` unless it was asked. */
  readonly portMapping: readonly PortMappingReport[] | null;
  /** The relays that a running node holds. Absent where no node was asked. */
  readonly relays?: readonly RelayStatus[];
  /** What a running node offers as a relay itself. Absent where it offers none. */
  readonly relayOffer?: RelayOfferStatus;
  /** What this means: sentences for a person, the most important first. */
  readonly meaning: readonly string[];
}

/** A family of which nothing is known. */
export const FAMILY_UNKNOWN: FamilyReport = {
  udp: null,
  publicAddress: null,
  nat: null,
  mapping: "unknown",
  filtering: "unknown",
  hairpin: null,
  allocation: null,
  lifetime: null,
};

/** Turns a probe's report into ours. */
export function familyReport(
  { mapped, translated, facts, hairpin, allocation }: NatReport,
  lifetime: { readonly atLeastMs: number; readonly belowMs: number | undefined } | undefined,
): FamilyReport {
  return {
    udp: mapped !== undefined,
    publicAddress: mapped?.hostname ?? null,
    nat: translated ?? null,
    mapping: facts.mapping,
    filtering: facts.filtering,
    hairpin: hairpin ?? null,
    allocation: allocation === undefined ? null : {
      kind: allocation.kind,
      delta: allocation.kind === "sequential" ? allocation.delta : null,
    },
    lifetime: lifetime === undefined
      ? null
      : { atLeastMs: lifetime.atLeastMs, belowMs: lifetime.belowMs ?? null },
  };
}

/** What a running node knows of its network. */
export interface NodeNetwork {
  /** What was examined by sockets of its own; absent where nothing was yet. */
  readonly families: { readonly ipv4?: FamilyReport; readonly ipv6?: FamilyReport };
  /** Every server and peer that is asked by STUN on the node's own socket. */
  readonly stunServers: readonly StunServerReport[];
  /** The hint that peers get. */
  readonly hint: NatHint;
  /** The Discovery service in use. */
  readonly discovery: { readonly url: string; readonly connected: boolean };
  /** What the router offers; `null` if it is not asked. */
  readonly portMapping: readonly PortMappingReport[] | null;
  /** The relays that it holds. */
  readonly relays: readonly RelayStatus[];
  /** What it offers as a relay itself. Absent: nothing. */
  readonly relayOffer?: RelayOfferStatus;
}

/** Reports on the network of a running node. */
export function nodeReport(network: NodeNetwork): NetcheckReport {
  const { families, stunServers, hint, discovery, portMapping } = network;
  const report = {
    ipv4: families.ipv4 ?? byServers(4, stunServers),
    ipv6: families.ipv6 ?? byServers(6, stunServers),
    hint,
    stunServers,
    discovery: [{
      url: discovery.url,
      reachable: discovery.connected,
      reason: discovery.connected ? null : "not connected",
    }],
    captivePortal: null,
    portMapping,
    relays: network.relays,
    ...(network.relayOffer && { relayOffer: network.relayOffer }),
  };
  return { ...report, meaning: meaningOf(report) };
}

/** What the servers alone tell of a family. */
function byServers(family: 4 | 6, servers: readonly StunServerReport[]): FamilyReport {
  const asked = servers.filter(({ server }) => familyOfText(server) === family);
  const mapped = asked.map((one) => one.mapped).find((text) => text !== null);
  if (mapped === undefined || mapped === null) {
    const failed = asked.length > 0 && asked.every(({ reason }) => reason !== null);
    return { ...FAMILY_UNKNOWN, udp: failed ? false : null };
  }
  return {
    ...FAMILY_UNKNOWN,
    udp: true,
    publicAddress: parseSocketAddress(mapped)?.hostname ?? null,
  };
}

function familyOfText(text: string): 4 | 6 | undefined {
  const address = parseSocketAddress(text);
  return address === undefined ? undefined : familyOf(address.hostname);
}

/** Mappings that die sooner than this need more keepalives than usual. */
const LIFETIME_USUAL_MS = 30_000;

/** Says what the facts mean for connections to peers. */
export function meaningOf(report: Omit<NetcheckReport, "meaning">): string[] {
  const { ipv4, ipv6, discovery, captivePortal, portMapping } = report;
  const said: string[] = [];
  if (captivePortal === true) {
    said.push("Something between answers in Discovery's place: sign in to this network first.");
  }
  if (ipv4.udp !== true && ipv6.udp !== true) said.push(withoutUdp(report));
  else {
    if (ipv6.udp === true && ipv6.nat === false) {
      said.push(
        ipv6.filtering === "endpointIndependent"
          ? "IPv6 without NAT or firewall: direct connections with every peer that has IPv6."
          : "IPv6 without NAT: direct connections with every peer that has IPv6.",
      );
    }
    if (ipv4.udp === true) said.push(overIpv4(ipv4));
    else if (ipv4.udp === false) {
      said.push("UDP over IPv4 is blocked: no direct connections over it.");
    } else if (ipv6.nat === true) said.push(overIpv4(ipv6));
  }
  if (portMapping?.some(({ external }) => external !== null)) {
    said.push("The router gives a port on request, so peers reach this node whatever its NAT.");
  }
  const family = ipv4.udp === true ? ipv4 : ipv6;
  if (family.nat === true && family.hairpin === false) {
    said.push("Peers behind the same NAT reach this node by its local address only.");
  }
  const { lifetime } = family;
  if (
    lifetime?.belowMs !== undefined && lifetime.belowMs !== null &&
    lifetime.belowMs <= LIFETIME_USUAL_MS
  ) {
    said.push(
      `Idle mappings die within ${
        lifetime.belowMs / 1000
      } s: keepalives have to be more frequent than usual.`,
    );
  }
  if (discovery.length > 0 && discovery.every(({ reachable }) => !reachable)) {
    said.push("No Discovery service answers: a node finds no new peers from here.");
  }
  return said;
}

function withoutUdp({ stunServers, discovery }: Omit<NetcheckReport, "meaning">): string {
  if (stunServers.length === 0) {
    return "No STUN server is known, so nothing can be said about UDP: name one with --stun-servers, or a --discovery.";
  }
  return discovery.some(({ reachable }) => reachable)
    ? "UDP is blocked here, though HTTP passes: no direct connections, only by a relay over TCP."
    : "No STUN server answers: UDP is blocked here, or this machine is not on the network.";
}

function overIpv4({ publicAddress, nat, mapping, filtering, allocation }: FamilyReport): string {
  if (publicAddress !== null && scopeOf(publicAddress) !== "global") {
    return "The STUN server is on this network: that tells nothing of the way to the internet.";
  }
  if (nat === false) {
    return filtering === "endpointIndependent" || filtering === "unknown"
      ? "A public address without NAT: direct connections with every peer whose network passes UDP."
      : "A public address behind a firewall: direct connections with most peers; with a peer whose NAT maps by " +
        "destination only by guessing its port, or by a relay.";
  }
  if (mapping === "endpointIndependent") {
    if (filtering === "endpointIndependent") {
      return "The NAT lets everybody in: direct connections with every peer whose network passes UDP.";
    }
    if (filtering === "addressDependent") {
      return "Direct connections with every peer whose network passes UDP: the NAT can be punched.";
    }
    return "Direct connections with most peers; with a peer whose NAT maps by destination only by guessing its " +
      "port, or by a relay.";
  }
  if (mapping === "unknown") {
    return "UDP works, but one STUN address does not tell how the NAT maps: ask a second (--stun-servers).";
  }
  const strategy = allocation?.kind === "sequential"
    ? "The NAT maps by destination, but its ports can be predicted: direct connections with most peers; " +
      "only by relay with peers whose NAT maps by destination to random ports."
    : "The NAT maps by destination (symmetric): direct connections with peers that are reachable or punch " +
      "easily, with others by guessing ports; only by relay with symmetric peers.";
  return strategy;
}
