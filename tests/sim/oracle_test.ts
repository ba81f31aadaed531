/** The oracle against what is known of hole punching (RFC 5128, and the table of the NAT laboratory). */
import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { carrierOf, natOf, type SiteKind, siteOf } from "./net/presets.ts";
import type { SiteDescription } from "./net/topology.ts";
import { judge, type Verdict } from "./oracle.ts";

function verdict(a: SiteDescription, b: SiteDescription, carriers: string[] = []): Verdict {
  const sites = a.name === b.name ? [a] : [a, b];
  return judge({ carriers: carriers.map(carrierOf), sites }, a.name, b.name);
}

const pair = (a: SiteKind, b: SiteKind): Verdict => verdict(siteOf("a", a), siteOf("b", b));

Deno.test("oracle: 13 of the 16 ordered pairs are direct, two need guessing, one a relay", () => {
  const kinds = ["fullcone", "restricted", "portrestricted", "symmetric"] as const;
  const table = kinds.map((a) => kinds.map((b) => pair(a, b)));
  assertEquals(table, [
    ["direct", "direct", "direct", "direct"],
    ["direct", "direct", "direct", "direct"],
    ["direct", "direct", "direct", "guess"],
    ["direct", "direct", "guess", "relay"],
  ]);
});

Deno.test("oracle: allocators that count can be predicted, on both sides", () => {
  assertEquals(pair("symseq", "symseq"), "predict");
  assertEquals(pair("symseq", "portrestricted"), "guess");
  assertEquals(pair("symseq", "symmetric"), "relay");
});

Deno.test("oracle: filtering by address alone lets two symmetric sides meet if mappings vary by address alone", () => {
  assertEquals(pair("symaddr", "restricted"), "direct");
  assertEquals(pair("symaddr", "portrestricted"), "guess");
});

Deno.test("oracle: stateful firewalls do not keep anybody apart", () => {
  assertEquals(pair("fw", "fw"), "direct");
  assertEquals(pair("fw", "symmetric"), "guess", "the firewall filters by port");
  assertEquals(pair("none", "symmetric"), "direct");
});

Deno.test("oracle: without UDP there is nothing but a relay, unless both are on one LAN", () => {
  const blocked = siteOf("a", "portrestricted", { udpBlocked: true });
  assertEquals(verdict(blocked, siteOf("b", "none")), "relay");
  assertEquals(verdict(blocked, blocked), "direct");
});

Deno.test("oracle: neighbours meet on their LAN, whatever the NAT", () => {
  const home = siteOf("a", "symmetric");
  assertEquals(verdict(home, home), "direct");
});

Deno.test("oracle: IPv6 with firewalls is a way where IPv4 has none, and one family alone is none", () => {
  const v6 = { ipv6: "firewall" } as const;
  assertEquals(verdict(siteOf("a", "symmetric", v6), siteOf("b", "symmetric", v6)), "direct");
  const only6 = siteOf("a", "none", { ipv4: { kind: "none" }, ipv6: "open" });
  assertEquals(verdict(only6, siteOf("b", "none")), "relay");
});

Deno.test("oracle: two homes behind one carrier meet by its hairpin, and need it", () => {
  const behind = { carrier: "isp", lan: 1 };
  const a = siteOf("a", "portrestricted", behind);
  const b = siteOf("b", "portrestricted", behind);
  assertEquals(verdict(a, b, ["isp"]), "direct");
  const nat = { ...natOf("portrestricted"), hairpin: false };
  const isp = { ...carrierOf("isp"), nat };
  assertEquals(judge({ carriers: [isp], sites: [a, b] }, "a", "b"), "relay");
});

Deno.test("oracle: a carrier's NAT counts as much as the home's", () => {
  const isp = { ...carrierOf("isp"), nat: natOf("symmetric") };
  const sites = [siteOf("a", "fullcone", { carrier: "isp" }), siteOf("b", "portrestricted")];
  assertEquals(judge({ carriers: [isp], sites }, "a", "b"), "guess");
});

Deno.test("oracle: a port that counts is not known where it depends on one that is drawn by chance", () => {
  type Changes = Partial<ReturnType<typeof natOf>>;
  const of = (name: string, changes: Changes): SiteDescription => {
    const open = { ...natOf("symmetric"), filtering: "endpointIndependent" } as const;
    return siteOf(name, "symmetric", { ipv4: { kind: "nat", nat: { ...open, ...changes } } });
  };
  const counts = { allocation: "sequential" } as const;
  const byAddress = { mapping: "addressDependent" } as const;
  const judged = (a: Changes, b: Changes): Verdict => verdict(of("a", a), of("b", b));
  assertEquals(judged(counts, {}), "relay", "both map by port, one by chance");
  assertEquals(judged({}, counts), "relay");
  assertEquals(judged(counts, counts), "predict");
  const filtered = { filtering: "addressAndPortDependent" } as const;
  const address = { ...counts, ...byAddress };
  assertEquals(judged(address, filtered), "predict", "one port for that address");
  assertEquals(judged(counts, { allocation: "preserve" }), "predict", "a fresh socket's is known");
  assertEquals(judged({ ...counts, ...byAddress, ...filtered }, {}), "relay");
});

Deno.test("oracle: nobody guesses where neither side has a port that the other can know", () => {
  const odd = { ...natOf("symmetric"), filtering: "endpointIndependent" } as const;
  const a = siteOf("a", "symmetric", { ipv4: { kind: "nat", nat: odd } });
  assertEquals(verdict(a, siteOf("b", "symmetric")), "relay");
  assertEquals(verdict(a, siteOf("b", "portrestricted")), "guess");
});
