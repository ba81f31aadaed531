import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  FAMILY_UNKNOWN,
  type FamilyReport,
  familyReport,
  meaningOf,
  type NetcheckReport,
  nodeReport,
} from "./report.ts";

const IPV4: FamilyReport = {
  ...FAMILY_UNKNOWN,
  udp: true,
  publicAddress: "203.0.113.2",
  nat: true,
  mapping: "endpointIndependent",
  filtering: "addressAndPortDependent",
};
const SERVER = {
  server: "198.51.100.1:3478",
  origin: "configured",
  rttMs: 10,
  mapped: null,
  reason: null,
};

Deno.test("meaningOf says how far direct connections go for each kind of NAT", () => {
  const starts: [Partial<FamilyReport>, string][] = [
    [{}, "Direct connections with most peers; with a peer whose NAT maps by destination"],
    [{ filtering: "unknown" }, "Direct connections with most peers"],
    [{ filtering: "addressDependent" }, "Direct connections with every peer"],
    [{ filtering: "endpointIndependent" }, "The NAT lets everybody in"],
    [{ mapping: "addressAndPortDependent" }, "The NAT maps by destination (symmetric)"],
    [{ mapping: "addressDependent" }, "The NAT maps by destination (symmetric)"],
    [
      { mapping: "addressDependent", allocation: { kind: "sequential", delta: 1 } },
      "The NAT maps by destination, but its ports can be predicted",
    ],
    [{ mapping: "unknown" }, "UDP works, but one STUN address"],
    [{ nat: false }, "A public address behind a firewall"],
    [{ nat: false, filtering: "endpointIndependent" }, "A public address without NAT"],
    [{ publicAddress: "192.168.1.10" }, "The STUN server is on this network"],
  ];
  for (const [facts, start] of starts) {
    const [first = ""] = meaningOf(report({ ipv4: { ...IPV4, ...facts } }));
    assert(first.startsWith(start), `${start}: ${first}`);
  }
});

Deno.test("meaningOf tells IPv6 without NAT first, since it goes further than IPv4 behind one", () => {
  const ipv6 = { ...IPV4, publicAddress: "2001:db8::1", nat: false };
  const said = meaningOf(report({ ipv6 }));
  assertEquals(said.map((sentence) => sentence.split(":")[0]), [
    "IPv6 without NAT",
    "Direct connections with most peers; with a peer whose NAT maps by destination only by guessing its port, or by a relay.",
  ]);
});

Deno.test("meaningOf tells blocked UDP from no network, and from no server to ask", () => {
  const blocked = { ...FAMILY_UNKNOWN, udp: false };
  const discovery = [{ url: "https://d.example", reachable: true, reason: null }];
  const first = (part: Partial<NetcheckReport>): string => meaningOf(report(part))[0] ?? "";
  assert(first({ ipv4: blocked, discovery }).startsWith("UDP is blocked here, though HTTP passes"));
  assert(first({ ipv4: blocked }).startsWith("No STUN server answers"));
  assert(first({ ipv4: FAMILY_UNKNOWN, stunServers: [] }).startsWith("No STUN server is known"));
});

Deno.test("meaningOf puts a captive portal first, and mentions what else is unusual", () => {
  const discovery = [{ url: "http://d.example", reachable: false, reason: "something else" }];
  const said = meaningOf(report({
    discovery,
    captivePortal: true,
    ipv4: { ...IPV4, hairpin: false, lifetime: { atLeastMs: 10_000, belowMs: 30_000 } },
    portMapping: [{ protocol: "pcp", gateway: null, external: "203.0.113.2:5", reason: null }],
  }));
  assertEquals(said.map((sentence) => sentence.split(/[ ,:]/)[0]), [
    "Something",
    "Direct",
    "The",
    "Peers",
    "Idle",
    "No",
  ]);
});

Deno.test("familyReport turns absent facts into null", () => {
  const facts = { mapping: "unknown", filtering: "unknown", hint: "NAT_UNKNOWN" } as const;
  const nothing = {
    family: 4,
    server: undefined,
    mapped: undefined,
    translated: undefined,
    facts,
    allocation: undefined,
    hairpin: undefined,
  } as const;
  assertEquals(familyReport(nothing, undefined), { ...FAMILY_UNKNOWN, udp: false });
  const lifetime = { atLeastMs: 120_000, belowMs: undefined };
  assertEquals(familyReport(nothing, lifetime).lifetime, { atLeastMs: 120_000, belowMs: null });
  const sequential = { ...nothing, allocation: { kind: "sequential", delta: -2 } } as const;
  assertEquals(familyReport(sequential, undefined).allocation, { kind: "sequential", delta: -2 });
});

Deno.test("nodeReport goes by the node's own servers until the network has been examined", () => {
  const server = (text: string, mapped: string | null): NetcheckReport["stunServers"][number] => ({
    server: text,
    origin: "discovery",
    rttMs: null,
    mapped,
    reason: mapped === null ? "no answer" : null,
  });
  const network = {
    families: {},
    stunServers: [server("198.51.100.1:3478", "203.0.113.2:5"), server("[2001:db8::1]:3478", null)],
    hint: "NAT_RESTRICTED",
    discovery: { url: "http://d", connected: false },
    portMapping: null,
    relays: [],
  } as const;
  const first = nodeReport(network);
  assertEquals([first.ipv4.udp, first.ipv4.publicAddress, first.ipv6.udp], [
    true,
    "203.0.113.2",
    false,
  ]);
  assertEquals(first.discovery, [{ url: "http://d", reachable: false, reason: "not connected" }]);
  const examined = nodeReport({ ...network, families: { ipv4: IPV4, ipv6: FAMILY_UNKNOWN } });
  assertEquals(examined.ipv4, IPV4);
  assertEquals(examined.ipv6, FAMILY_UNKNOWN);
});

function report(part: Partial<NetcheckReport>): Omit<NetcheckReport, "meaning"> {
  return {
    ipv4: IPV4,
    ipv6: FAMILY_UNKNOWN,
    hint: "NAT_UNKNOWN",
    stunServers: [SERVER],
    discovery: [],
    captivePortal: null,
    portMapping: null,
    ...part,
  };
}
