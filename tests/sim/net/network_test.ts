/** Networks in a tree, links and hosts: where packets go, and what they meet. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { after, formatSocketAddress, type Instant } from "../../../core/mod.ts";
import { EventQueue } from "../event_queue.ts";
import { chanceOf } from "../random.ts";
import { Host } from "./host.ts";
import { Link, PERFECT } from "./link.ts";
import type { Wire } from "./network.ts";
import type { IcmpError } from "./packet.ts";
import { carrierOf, natOf, siteOf } from "./presets.ts";
import { type SiteDescription, Topology } from "./topology.ts";

/** Networks, and time that passes as told. */
class Lab {
  readonly topology: Topology;
  readonly drops: string[] = [];
  readonly #queue = new EventQueue();
  readonly #wire: Wire;
  #now = 0 as Instant;

  constructor(sites: readonly SiteDescription[], carriers: readonly string[] = []) {
    this.#wire = {
      now: () => this.#now,
      at: (instant, happening) => this.#queue.push(instant, happening),
      dropped: (why) => void this.drops.push(why),
    };
    this.topology = new Topology({ sites, carriers: carriers.map(carrierOf) }, this.#wire, 1);
  }

  /** A host whose socket on port 9000 notes whom it hears and what ICMP says. */
  host(name: string, site: string): { host: Host; heard: string[]; errors: IcmpError[] } {
    const host = new Host(name, this.#wire);
    this.topology.plug(host, site, "eth0");
    const [heard, errors]: [string[], IcmpError[]] = [[], []];
    host.open({
      datagram: ({ source }) => void heard.push(formatSocketAddress(source)),
      icmp: (error) => void errors.push(error),
    }, 9000);
    return { host, heard, errors };
  }

  pass(ms: number): void {
    const end = after(this.#now, ms);
    for (let at; (at = this.#queue.nextAt) !== undefined && at <= end;) {
      this.#now = at;
      this.#queue.pop()?.();
    }
    this.#now = end;
  }
}

const BYTES = new Uint8Array(100);
const addressOf = (host: Host): string => host.interfaces[0]?.address ?? "";

Deno.test("network: a packet leaves a NAT under its address, and neighbours meet without it", () => {
  const lab = new Lab([siteOf("a", "fullcone"), siteOf("b", "none")]);
  const [one, two, far] = [lab.host("1", "a"), lab.host("2", "a"), lab.host("3", "b")];
  one.host.send(9000, { hostname: addressOf(far.host), port: 9000 }, BYTES);
  one.host.send(9000, { hostname: addressOf(two.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals(far.heard, ["203.0.113.1:9000"]);
  assertEquals(two.heard, [`${addressOf(one.host)}:9000`]);
});

Deno.test("network: the same private address is another host in another network", () => {
  const lab = new Lab([siteOf("a", "fullcone"), siteOf("b", "fullcone")]);
  const [one, two] = [lab.host("1", "a"), lab.host("2", "b")];
  assertEquals(addressOf(one.host), addressOf(two.host));
  one.host.send(9000, { hostname: addressOf(two.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals([one.heard.length, two.heard.length], [1, 0], "its own");
});

Deno.test("network: behind a carrier there are two NATs, and its hairpin joins its customers", () => {
  const carrier = "isp";
  const lab = new Lab([
    siteOf("a", "fullcone", { carrier }),
    siteOf("b", "fullcone", { carrier }),
    siteOf("c", "none"),
  ], [carrier]);
  const [one, two, far] = [lab.host("1", "a"), lab.host("2", "b"), lab.host("3", "c")];
  const seen = (from: Host): string => {
    far.heard.length = 0;
    from.send(9000, { hostname: addressOf(far.host), port: 9000 }, BYTES);
    lab.pass(100);
    return far.heard[0] ?? "";
  };
  const [a, b] = [seen(one.host), seen(two.host)];
  const port = (text: string): number => Number(text.split(":")[1]);
  assertEquals([a, b].map((text) => text.split(":")[0]), ["203.0.113.1", "203.0.113.1"]);
  one.host.send(9000, { hostname: "203.0.113.1", port: port(b) }, BYTES);
  two.host.send(9000, { hostname: "203.0.113.1", port: port(a) }, BYTES);
  lab.pass(100);
  assertEquals(one.heard, [b], "the first packet came before the way was open");
});

Deno.test("network: IPv6 passes a NAT's site untranslated, and only what was asked for", () => {
  const v6 = { ipv6: "firewall" } as const;
  const lab = new Lab([siteOf("a", "symmetric", v6), siteOf("b", "symmetric", v6)]);
  const [one, two] = [lab.host("1", "a"), lab.host("2", "b")];
  const v6Of = ({ interfaces }: Host): string => interfaces[1]?.address ?? "";
  one.host.send(9000, { hostname: v6Of(two.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals(two.heard, []);
  two.host.send(9000, { hostname: v6Of(one.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals(one.heard, [`[${v6Of(two.host)}]:9000`]);
});

Deno.test("network: without UDP nothing leaves, and a site without a family says so", () => {
  const lab = new Lab([
    siteOf("a", "fullcone", { udpBlocked: true }),
    siteOf("b", "none", { ipv4: { kind: "none" }, ipv6: "open" }),
    siteOf("c", "none"),
  ]);
  const [one, two, far] = [lab.host("1", "a"), lab.host("2", "b"), lab.host("3", "c")];
  one.host.send(9000, { hostname: addressOf(far.host), port: 9000 }, BYTES);
  two.host.send(9000, { hostname: addressOf(far.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals([far.heard, lab.drops, two.host.unroutable], [[], ["box"], 1]);
});

Deno.test("network: what is too big is dropped, and the sender is told if the router tells", () => {
  const narrow = { ...PERFECT, mtu: 1280 };
  const lab = new Lab([
    siteOf("a", "fullcone", { link: narrow }),
    siteOf("b", "fullcone", { link: { ...narrow, icmp: false } }),
    siteOf("c", "none"),
  ]);
  const [one, two, far] = [lab.host("1", "a"), lab.host("2", "b"), lab.host("3", "c")];
  const to = { hostname: addressOf(far.host), port: 9000 };
  for (const { host } of [one, two]) {
    host.send(9000, to, new Uint8Array(1252));
    host.send(9000, to, new Uint8Array(1253));
  }
  lab.pass(100);
  assertEquals(far.heard.length, 2);
  assertEquals(one.errors, [{ kind: "tooBig", destination: to, mtu: 1280 }]);
  assertEquals(two.errors, []);
});

Deno.test("network: a closed port answers with an ICMP error about where the sender aimed", () => {
  const lab = new Lab([siteOf("a", "fullcone"), siteOf("b", "none")]);
  const [one, far] = [lab.host("1", "a"), lab.host("2", "b")];
  const to = { hostname: addressOf(far.host), port: 9001 };
  one.host.send(9000, to, BYTES);
  lab.pass(100);
  assertEquals(one.errors, [{ kind: "portUnreachable", destination: to }]);
});

Deno.test("network: a NAT with a new address is reached there and no longer at the old one", () => {
  const lab = new Lab([siteOf("a", "fullcone"), siteOf("b", "none")]);
  const [one, far] = [lab.host("1", "a"), lab.host("2", "b")];
  assert(lab.topology.readdress("a"));
  assertEquals(lab.topology.readdress("b"), false);
  one.host.send(9000, { hostname: addressOf(far.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals(far.heard, ["203.0.113.2:9000"]);
  for (const hostname of ["203.0.113.1", "203.0.113.2"]) {
    far.host.send(9000, { hostname, port: 9000 }, BYTES);
  }
  lab.pass(100);
  assertEquals(one.heard.length, 1);
  assertEquals(lab.drops, ["noRoute"]);
});

Deno.test("network: a host that moves has another address, and nobody is at the old one", () => {
  const lab = new Lab([siteOf("a", "none"), siteOf("b", "none")]);
  const [one, two] = [lab.host("1", "a"), lab.host("2", "a")];
  const old = addressOf(one.host);
  one.host.unplug("eth0");
  lab.topology.plug(one.host, "b", "eth1");
  assert(addressOf(one.host) !== old);
  for (const hostname of [old, addressOf(one.host)]) {
    two.host.send(9000, { hostname, port: 9000 }, BYTES);
  }
  lab.pass(100);
  assertEquals(one.heard.length, 1);
});

Deno.test("network: a host with two cards sends by the first, but to neighbours of the second; public addresses are no neighbours", () => {
  const lab = new Lab([siteOf("a", "fullcone"), siteOf("b", "none"), siteOf("c", "none")]);
  const [one, far] = [lab.host("1", "a"), lab.host("2", "c")];
  lab.topology.plug(one.host, "b", "eth1");
  one.host.send(9000, { hostname: addressOf(far.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals(far.heard, ["203.0.113.1:9000"]);
  const [two, near] = [lab.host("3", "c"), lab.host("4", "a")];
  lab.topology.plug(two.host, "a", "eth1");
  two.host.send(9000, { hostname: addressOf(near.host), port: 9000 }, BYTES);
  lab.pass(100);
  assertEquals(near.heard, [`${two.host.interfaces[1]?.address}:9000`]);
});

Deno.test("link: losses come in bursts of the mean length, and in the share that was asked for", () => {
  const quality = { ...PERFECT, loss: 0.2, burst: 4 };
  const link = new Link(quality, chanceOf(1, "link"));
  const count = 200_000;
  let [lost, bursts, before] = [0, 0, false];
  for (let i = 0; i < count; i++) {
    const transit = link.carry(i as Instant, "up", 100);
    const now = transit !== "tooBig" && transit.length === 0;
    if (now) lost++;
    if (now && !before) bursts++;
    before = now;
  }
  assert(Math.abs(lost / count - 0.2) < 0.01, `lost ${lost / count}`);
  assert(Math.abs(lost / bursts - 4) < 0.2, `bursts of ${lost / bursts}`);
});

Deno.test("link: packets keep their order whatever the jitter, unless one is held back", () => {
  const order = (reorder: number): number => {
    const quality = { ...PERFECT, delayMs: 20, jitterMs: 15, reorder, reorderMs: 50 };
    const link = new Link(quality, chanceOf(2, "link"));
    const arrivals = Array.from({ length: 1000 }, (_, i) => link.carry(i as Instant, "down", 9)[0]);
    return arrivals.filter((at, i) => i > 0 && Number(at) < Number(arrivals[i - 1])).length;
  };
  assertEquals(order(0), 0);
  assert(order(0.1) > 50);
});

Deno.test("link: a dead direction passes nothing while the other does, and a duplicate comes twice", () => {
  const link = new Link({ ...PERFECT, duplicate: 1 }, chanceOf(3, "link"));
  link.dead.add("up");
  assertEquals(link.carry(0 as Instant, "up", 9), []);
  assertEquals(link.carry(0 as Instant, "down", 9), [0, 0]);
});

Deno.test("event queue: what is due first comes first, and what is due together in the order of insertion", () => {
  const queue = new EventQueue();
  const chance = chanceOf(4, "queue");
  const [planned, happened]: [number[][], number[][]] = [[], []];
  for (let i = 0; i < 2000; i++) {
    const at = chance.below(100);
    planned.push([at, i]);
    queue.push(at as Instant, () => happened.push([at, i]));
  }
  for (let happening; (happening = queue.pop()) !== undefined;) happening();
  planned.sort(([a = 0, i = 0], [b = 0, j = 0]) => a - b || i - j);
  assertEquals(happened, planned);
});

Deno.test("topology: NATs of the laboratory's kinds can be drawn, and others are refused", () => {
  assertEquals(natOf("symseq").allocation, "sequential");
  let message = "";
  try {
    natOf("fw");
  } catch (error) {
    message = String(error);
  }
  assert(/fw has no NAT/.test(message));
});
