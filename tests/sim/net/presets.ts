/** Kinds of site by the names that the NAT laboratory gives them (tests/natlab/README.md). @module */
import { type LinkQuality, PERFECT } from "./link.ts";
import type { Allocation, Dependence, NatBehaviour } from "./nat.ts";
import type { CarrierDescription, Ipv4Access, SiteDescription } from "./topology.ts";

/** What the laboratory calls its types. */
export type SiteKind =
  | "none"
  | "fw"
  | "fullcone"
  | "restricted"
  | "portrestricted"
  | "symmetric"
  | "symseq"
  | "symaddr";

const TIMEOUT_MS = 30_000;

/** Mapping, filtering and allocation of each type with a NAT. */
const NATS: Readonly<Record<string, readonly [Dependence, Dependence, Allocation]>> = {
  fullcone: ["endpointIndependent", "endpointIndependent", "preserve"],
  restricted: ["endpointIndependent", "addressDependent", "preserve"],
  portrestricted: ["endpointIndependent", "addressAndPortDependent", "preserve"],
  symmetric: ["addressAndPortDependent", "addressAndPortDependent", "random"],
  symseq: ["addressAndPortDependent", "addressAndPortDependent", "sequential"],
  symaddr: ["addressDependent", "addressDependent", "random"],
};

/** A NAT of one of the laboratory's types. */
export function natOf(kind: SiteKind, changes: Partial<NatBehaviour> = {}): NatBehaviour {
  const [mapping, filtering, allocation] = NATS[kind] ?? [];
  if (mapping === undefined || filtering === undefined || allocation === undefined) {
    throw new RangeError(`${kind} has no NAT`);
  }
  return {
    mapping,
    filtering,
    allocation,
    timeoutMs: TIMEOUT_MS,
    refresh: "outbound",
    hairpin: false,
    ...changes,
  };
}

/** A carrier as the laboratory has it: endpoint-independent mapping, strict filtering, random ports, hairpin. */
export function carrierOf(name: string): CarrierDescription {
  const nat = natOf("portrestricted", { allocation: "random", hairpin: true });
  return { name, nat, link: PERFECT };
}

/** A site of one of the laboratory's types, without IPv6 and with a perfect link. */
export function siteOf(
  name: string,
  kind: SiteKind,
  changes: Partial<SiteDescription> = {},
): SiteDescription {
  const link: LinkQuality = PERFECT;
  return {
    name,
    ipv4: accessOf(kind),
    ipv6: "none",
    udpBlocked: false,
    lan: 1,
    link,
    ...changes,
  };
}

function accessOf(kind: SiteKind): Ipv4Access {
  if (kind === "none") return { kind: "open" };
  return kind === "fw"
    ? { kind: "firewall", timeoutMs: TIMEOUT_MS }
    : { kind: "nat", nat: natOf(kind) };
}
