/**
 * The networks of one world, from a description: carriers, sites below them or on the Internet, and STUN servers.
 *
 * | what | address |
 * |------|---------|
 * | STUN server | 198.51.100.1 and .2, 2001:db8:ffff::1 and ::2, ports 3478 and 3479 each |
 * | NAT of a site or a carrier | 203.0.113.n; behind carrier i 100.64.i.n |
 * | host of a site with a NAT | 192.168.(lan).n |
 * | host of a site without a NAT | 192.0.2.n |
 * | host of a site with IPv6 | 2001:db8:(site)::n |
 *
 * @module
 */
import type { SocketAddress } from "../../../core/mod.ts";
import { chanceOf } from "../random.ts";
import { Firewall, OPEN, withoutUdp } from "./firewall.ts";
import type { Host } from "./host.ts";
import { Link, type LinkQuality, PERFECT } from "./link.ts";
import { Nat, type NatBehaviour } from "./nat.ts";
import { Network, type Wire } from "./network.ts";
import type { Middlebox } from "./packet.ts";
import { serveStun, Service } from "./service.ts";

/** How a site is joined to IPv4. */
export type Ipv4Access =
  | { readonly kind: "nat"; readonly nat: NatBehaviour }
  /** Public addresses behind a stateful firewall whose flows live so long. */
  | { readonly kind: "firewall"; readonly timeoutMs: number }
  /** Public addresses. */
  | { readonly kind: "open" }
  /** Not at all. */
  | { readonly kind: "none" };

/** How a site is joined to IPv6. */
export type Ipv6Access = "none" | "open" | "firewall";

/** A network with hosts. */
export interface SiteDescription {
  /** Unique among sites and carriers. */
  readonly name: string;
  /** IPv4. */
  readonly ipv4: Ipv4Access;
  /** IPv6. */
  readonly ipv6: Ipv6Access;
  /** Whether no UDP leaves it. */
  readonly udpBlocked: boolean;
  /** The carrier it is behind. Absent: on the Internet. */
  readonly carrier?: string;
  /** Third octet of its LAN; sites may have the same. */
  readonly lan: number;
  /** The link above. */
  readonly link: LinkQuality;
}

/** A carrier-grade NAT with sites behind it. */
export interface CarrierDescription {
  /** Unique among sites and carriers. */
  readonly name: string;
  /** Its NAT. */
  readonly nat: NatBehaviour;
  /** The link above. */
  readonly link: LinkQuality;
}

/** Every network of a world. */
export interface TopologyDescription {
  /** Carriers. */
  readonly carriers: readonly CarrierDescription[];
  /** Sites. */
  readonly sites: readonly SiteDescription[];
}

/** Life of a flow in an IPv6 firewall (RFC 6092 section 3.2.3: at least two minutes). */
const IPV6_FLOW_MS = 120_000;
/** Where STUN is, primary ports: what Discovery tells of. */
export const STUN_SERVERS: readonly SocketAddress[] = [
  { hostname: "198.51.100.1", port: 3478 },
  { hostname: "198.51.100.2", port: 3478 },
  { hostname: "2001:db8:ffff::1", port: 3478 },
];

/** One site as built. */
export interface Site {
  /** What it was built from. */
  readonly description: SiteDescription;
  /** Its network. */
  readonly network: Network;
  /** The link above. */
  readonly link: Link;
}

/** The networks, built. */
export class Topology {
  /** The root. */
  readonly internet: Network;
  /** STUN servers. */
  readonly stun: Service;
  readonly #wire: Wire;
  readonly #seed: number;
  readonly #carriers = new Map<string, { network: Network; link: Link; index: number }>();
  readonly #sites = new Map<string, Site>();
  readonly #numbers = new Map<string, number>();
  /** How often each site's or carrier's box has lost its state. */
  readonly #epochs = new Map<string, number>();

  /** Builds the networks. `seed` is for their NATs and links. */
  constructor(description: TopologyDescription, wire: Wire, seed: number) {
    this.#wire = wire;
    this.#seed = seed;
    this.internet = new Network({ name: "internet", wire });
    this.stun = new Service({
      name: "stun",
      wire,
      network: this.internet,
      addresses: ["198.51.100.1", "198.51.100.2", "2001:db8:ffff::1", "2001:db8:ffff::2"],
      ports: [3478, 3479],
      serve: serveStun,
    });
    for (const carrier of description.carriers) this.#addCarrier(carrier);
    for (const site of description.sites) this.#addSite(site);
  }

  /** Every site. */
  get sites(): Iterable<Site> {
    return this.#sites.values();
  }

  /** The site of a name. */
  site(name: string): Site {
    const site = this.#sites.get(name);
    if (site === undefined) throw new RangeError(`There is no site ${name}`);
    return site;
  }

  /** The links between a site and the Internet, lowest first. */
  linksOf(name: string): readonly Link[] {
    const links: Link[] = [];
    for (
      let { above } = this.site(name).network;
      above !== undefined;
      above = above.network.above
    ) {
      links.push(above.link);
    }
    return links;
  }

  /** Plugs a host into a site with addresses that nobody has had there. */
  plug(host: Host, name: string, card: string): void {
    const { description, network } = this.site(name);
    const { ipv4, ipv6, lan } = description;
    const addresses: string[] = [];
    if (ipv4.kind === "nat") addresses.push(`192.168.${lan}.${this.#number(`lan ${name}`, 10)}`);
    else if (ipv4.kind !== "none") addresses.push(`192.0.2.${this.#number("public", 1)}`);
    if (ipv6 !== "none") {
      const number = this.#number(`v6 ${name}`, 10).toString(16);
      addresses.push(`2001:db8:${siteNumber(description)}::${number}`);
    }
    host.plug({ name: card, network, addresses });
  }

  /** Restarts a site's boxes: every mapping and flow is forgotten. */
  reboot(name: string): void {
    const { boxes } = this.site(name).network;
    boxes[4]?.reboot();
    boxes[6]?.reboot();
    this.#passEpoch(name);
  }

  /** Restarts a carrier's box. */
  rebootCarrier(name: string): void {
    this.#carriers.get(name)?.network.boxes[4]?.reboot();
    this.#passEpoch(name);
  }

  /** Names the state of the boxes in front of a site: a connection made in another one is dead. */
  epochOf(name: string): string {
    const { carrier } = this.site(name).description;
    return [name, carrier ?? ""].map((box) => `${box} ${this.#epochs.get(box) ?? 0}`).join(" ");
  }

  /** Gives a site's NAT another external address. Returns false where there is none. */
  readdress(name: string): boolean {
    const { description, network } = this.site(name);
    if (!(network.boxes[4] instanceof Nat)) return false;
    network.readdress(this.#externalAddress(description.carrier));
    this.#passEpoch(name);
    return true;
  }

  #passEpoch(name: string): void {
    this.#epochs.set(name, (this.#epochs.get(name) ?? 0) + 1);
  }

  #addCarrier({ name, nat, link: quality }: CarrierDescription): void {
    const box = this.#nat(name, nat, undefined);
    const link = new Link(quality, chanceOf(this.#seed, `link ${name}`));
    const above = { network: this.internet, link };
    const network = new Network({
      name,
      wire: this.#wire,
      above,
      boxes: { 4: box, 6: OPEN },
    });
    this.#carriers.set(name, { network, link, index: this.#carriers.size + 1 });
  }

  #addSite(description: SiteDescription): void {
    const { name, ipv4, ipv6, udpBlocked, carrier, link: quality } = description;
    const v4 = this.#ipv4Box(name, ipv4, carrier);
    const v6 = ipv6 === "none" ? undefined : ipv6 === "open" ? OPEN : new Firewall(IPV6_FLOW_MS);
    const closed = (box: Middlebox | undefined): Middlebox | undefined =>
      box !== undefined && udpBlocked ? withoutUdp(box) : box;
    const [box4, box6] = [closed(v4), closed(v6)];
    const link = new Link(quality, chanceOf(this.#seed, `link ${name}`));
    const network = new Network({
      name,
      wire: this.#wire,
      above: { network: this.#above(carrier), link },
      boxes: { ...(box4 && { 4: box4 }), ...(box6 && { 6: box6 }) },
    });
    this.#sites.set(name, { description, network, link });
  }

  #ipv4Box(name: string, access: Ipv4Access, carrier?: string): Middlebox | undefined {
    switch (access.kind) {
      case "nat":
        return this.#nat(name, access.nat, carrier);
      case "firewall":
        return new Firewall(access.timeoutMs);
      case "open":
        return OPEN;
      case "none":
        return undefined;
    }
  }

  #nat(name: string, behaviour: NatBehaviour, carrier: string | undefined): Nat {
    const rng = chanceOf(this.#seed, `nat ${name}`);
    return new Nat({ ...behaviour, address: this.#externalAddress(carrier), rng });
  }

  #externalAddress(carrier: string | undefined): string {
    if (carrier === undefined) return `203.0.113.${this.#number("external", 1)}`;
    const index = this.#carriers.get(carrier)?.index ?? 0;
    return `100.64.${index}.${this.#number(`carrier ${carrier}`, 10)}`;
  }

  #above(carrier: string | undefined): Network {
    if (carrier === undefined) return this.internet;
    const found = this.#carriers.get(carrier);
    if (found === undefined) throw new RangeError(`There is no carrier ${carrier}`);
    return found.network;
  }

  /** Counts up from `first`, by name. */
  #number(name: string, first: number): number {
    const number = this.#numbers.get(name) ?? first;
    this.#numbers.set(name, number + 1);
    return number;
  }
}

/** A description with perfect links, for questions about its boxes alone. */
export function withPerfectLinks(description: TopologyDescription): TopologyDescription {
  const perfect = <T extends { readonly link: LinkQuality }>(part: T): T => ({
    ...part,
    link: { ...PERFECT, delayMs: 1 },
  });
  return { carriers: description.carriers.map(perfect), sites: description.sites.map(perfect) };
}

/** A number for a site's IPv6 network: a hash of its name, as hexadecimal digits. */
function siteNumber({ name }: SiteDescription): string {
  let hash = 7;
  for (let i = 0; i < name.length; i++) hash = (hash * 31 + name.charCodeAt(i)) & 0xffff;
  return hash.toString(16);
}
