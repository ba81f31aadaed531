/** What a seed stands for: networks, nodes in them, who talks, and what goes wrong when. @module */
import type { Role } from "../../agent/mesh_peers.ts";
import type { Direction, LinkQuality } from "./net/link.ts";
import { PERFECT } from "./net/link.ts";
import type { Allocation, Dependence, NatBehaviour } from "./net/nat.ts";
import { natOf } from "./net/presets.ts";
import type {
  CarrierDescription,
  Ipv4Access,
  SiteDescription,
  TopologyDescription,
} from "./net/topology.ts";
import type { Sleep } from "./node.ts";
import { type Chance, chanceOf } from "./random.ts";
import { drawRelays, type RelayFault, type RelayScenario } from "./relay_plan.ts";

/** A node and where it begins. */
export interface NodePlan {
  /** Its name. */
  readonly name: string;
  /** Colony or agent. */
  readonly role: Role;
  /** Its UDP port. */
  readonly port: number;
  /** Its first site. */
  readonly site: string;
  /** Whether its system tells of changed interfaces at once. */
  readonly watchesLinks: boolean;
  /** When its program starts. */
  readonly startAt: number;
  /** How often it pings its colony before the world is healed; 0 for never. */
  readonly chatterMs: number;
}

/** Something that goes wrong. What lasts ends after `ms`, or when the world is healed. */
export type Fault =
  | { readonly kind: "natReboot"; readonly site: string }
  | { readonly kind: "roam"; readonly site: string }
  | { readonly kind: "carrierReboot"; readonly carrier: string }
  | { readonly kind: "move"; readonly node: string; readonly site: string }
  | { readonly kind: "attach"; readonly node: string; readonly site: string }
  | { readonly kind: "handOver"; readonly node: string }
  | {
    readonly kind: "cut";
    readonly site: string;
    readonly directions: readonly Direction[];
    readonly ms: number;
  }
  | {
    readonly kind: "degrade";
    readonly site: string;
    readonly quality: LinkQuality;
    readonly ms: number;
  }
  | { readonly kind: "sleep"; readonly node: string; readonly how: Sleep; readonly ms: number }
  | { readonly kind: "restart"; readonly node: string; readonly ms: number }
  | { readonly kind: "discoveryDown"; readonly forgetful: boolean; readonly ms: number }
  | { readonly kind: "stunDown"; readonly ms: number }
  | { readonly kind: "attack"; readonly ms: number }
  | RelayFault;

/** A fault and when it happens. */
export interface PlannedFault {
  /** Milliseconds after the beginning. */
  readonly at: number;
  /** What happens. */
  readonly fault: Fault;
}

/** A world before it runs. */
export interface Scenario {
  /** The seed. */
  readonly seed: number;
  /** Networks. */
  readonly topology: TopologyDescription;
  /** Nodes; the first is the colony. */
  readonly nodes: readonly NodePlan[];
  /** Faults by time. */
  readonly faults: readonly PlannedFault[];
  /** Relays. Absent: none. */
  readonly relays?: RelayScenario;
  /** When everything is mended. */
  readonly healAt: number;
  /** When it is over. */
  readonly endAt: number;
}

/** Ten minutes, of which the last three and a half are for what heals. */
const HEAL_AT = 390_000;
const END_AT = 600_000;
const FAULTS_FROM = 20_000;
const AGENTS_MAX = 3;
const FAULTS_MAX = 9;
const PORT = 51_820;

/** Draws the world of a seed. With `relays`, the same world with its relays, if it has any. */
export function scenarioOf(
  seed: number,
  { relays: withRelays = false }: { readonly relays?: boolean } = {},
): Scenario {
  const chance = chanceOf(seed, "scenario");
  const topology = drawTopology(chance);
  const names = topology.sites.map(({ name }) => name);
  const nodes = drawNodes(chance, names);
  const count = chance.below(FAULTS_MAX + 1);
  const planned = Array.from({ length: count }, (): PlannedFault => ({
    at: Math.floor(chance.between(FAULTS_FROM, HEAL_AT)),
    fault: drawFault(chance, topology, nodes),
  }));
  const times = { from: FAULTS_FROM, until: HEAL_AT };
  const relays = withRelays ? drawRelays(seed, nodes, times) : undefined;
  const faults = [...planned, ...relays?.faults ?? []].sort((a, b) => a.at - b.at);
  const world = { seed, topology, nodes, faults, healAt: HEAL_AT, endAt: END_AT };
  return relays === undefined ? world : { ...world, relays };
}

function drawTopology(chance: Chance): TopologyDescription {
  const carriers: CarrierDescription[] = [];
  if (chance.chance(0.3)) {
    const link = drawQuality(chance);
    carriers.push({ name: "isp", nat: { ...drawNat(chance), hairpin: chance.chance(0.7) }, link });
  }
  const count = 2 + chance.below(4);
  const sites = Array.from({ length: count }, (_, i): SiteDescription => ({
    name: `site${i}`,
    ipv4: drawIpv4(chance),
    ipv6: chance.chance(0.25) ? chance.pick(["firewall", "open"]) : "none",
    udpBlocked: chance.chance(0.05),
    ...(carriers.length > 0 && chance.chance(0.5) && { carrier: "isp" }),
    lan: chance.below(3),
    link: drawQuality(chance),
  })).map(withSomeFamily).map(behindNat);
  return { carriers, sites };
}

/** A site without either family is no site. */
function withSomeFamily(site: SiteDescription): SiteDescription {
  const none = site.ipv4.kind === "none" && site.ipv6 === "none";
  return none ? { ...site, ipv6: "firewall" } : site;
}

/** A carrier gives its customers one address each. */
function behindNat(site: SiteDescription): SiteDescription {
  if (site.carrier === undefined || site.ipv4.kind === "nat") return site;
  return { ...site, ipv4: { kind: "nat", nat: natOf("portrestricted") } };
}

function drawIpv4(chance: Chance): Ipv4Access {
  const roll = chance.below(20);
  if (roll === 0) return { kind: "open" };
  if (roll === 1) return { kind: "firewall", timeoutMs: chance.pick([30_000, 120_000]) };
  if (roll === 2) return { kind: "none" };
  return { kind: "nat", nat: drawNat(chance) };
}

const DEPENDENCES: readonly Dependence[] = [
  "endpointIndependent",
  "addressDependent",
  "addressAndPortDependent",
];
const ALLOCATIONS: readonly Allocation[] = ["preserve", "sequential", "random"];

function drawNat(chance: Chance): NatBehaviour {
  // Most NATs are like the first; the rest is every combination that there is.
  const usual = chance.chance(0.4);
  return {
    mapping: usual || chance.chance(0.4) ? "endpointIndependent" : chance.pick(DEPENDENCES),
    filtering: usual ? "addressAndPortDependent" : chance.pick(DEPENDENCES),
    allocation: usual ? "preserve" : chance.pick(ALLOCATIONS),
    timeoutMs: chance.pick([30_000, 60_000, 120_000, 300_000]),
    refresh: chance.pick(["outbound", "both"]),
    hairpin: chance.chance(0.4),
  };
}

function drawQuality(chance: Chance): LinkQuality {
  const mtu = chance.pick([1500, 1500, 1500, 1492, 1420, 1280]);
  return {
    ...PERFECT,
    delayMs: Math.round(chance.between(1, 60)),
    jitterMs: chance.chance(0.5) ? Math.round(chance.between(0, 20)) : 0,
    loss: chance.chance(0.5) ? chance.between(0, 0.03) : 0,
    burst: chance.chance(0.5) ? chance.between(1, 4) : 1,
    reorder: chance.chance(0.3) ? chance.between(0, 0.05) : 0,
    reorderMs: 10,
    duplicate: chance.chance(0.2) ? chance.between(0, 0.02) : 0,
    mtu,
    icmp: chance.chance(0.6),
  };
}

function drawNodes(chance: Chance, sites: readonly string[]): NodePlan[] {
  const count = 1 + chance.below(AGENTS_MAX);
  const plan = (name: string, role: Role): NodePlan => ({
    name,
    role,
    port: chance.chance(0.7) ? PORT : 20_000 + chance.below(40_000),
    site: chance.pick(sites),
    watchesLinks: chance.chance(0.6),
    startAt: Math.floor(chance.between(0, 10_000)),
    chatterMs: chance.chance(0.6) ? Math.floor(chance.between(500, 10_000)) : 0,
  });
  const agents = Array.from({ length: count }, (_, i) => plan(`agent${i}`, "agent"));
  return [plan("colony", "colony"), ...agents];
}

function drawFault(
  chance: Chance,
  { sites, carriers }: TopologyDescription,
  nodes: readonly NodePlan[],
): Fault {
  const { name: site } = chance.pick(sites);
  const { name: node } = chance.pick(nodes);
  switch (chance.below(13)) {
    case 0:
      return { kind: "natReboot", site };
    case 1:
      return { kind: "roam", site };
    case 2: {
      const [carrier] = carriers;
      return carrier === undefined
        ? { kind: "natReboot", site }
        : { kind: "carrierReboot", carrier: carrier.name };
    }
    case 3:
      return { kind: "move", node, site };
    case 4: {
      const directions = chance.pick<readonly Direction[]>([["up", "down"], ["up"], ["down"]]);
      return { kind: "cut", site, directions, ms: Math.floor(chance.between(500, 60_000)) };
    }
    case 5: {
      const loss = chance.between(0.05, 0.4);
      const quality = { ...drawQuality(chance), loss, burst: chance.between(1, 10) };
      return { kind: "degrade", site, quality, ms: Math.floor(chance.between(5000, 60_000)) };
    }
    case 6: {
      const how = chance.pick<Sleep>(["suspended", "stopped"]);
      return { kind: "sleep", node, how, ms: Math.floor(chance.between(1000, 120_000)) };
    }
    case 7:
      return { kind: "restart", node, ms: Math.floor(chance.between(100, 20_000)) };
    case 8: {
      const ms = Math.floor(chance.between(1000, 90_000));
      return { kind: "discoveryDown", forgetful: chance.chance(0.3), ms };
    }
    case 9:
      return { kind: "stunDown", ms: Math.floor(chance.between(1000, 120_000)) };
    case 10:
      return { kind: "attach", node, site };
    case 11:
      return { kind: "handOver", node };
    default:
      return { kind: "attack", ms: Math.floor(chance.between(5000, 60_000)) };
  }
}
