import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { NetcheckReport } from "../agent/mod.ts";
import { FAMILY_UNKNOWN } from "../agent/netcheck/report.ts";
import { formatNetcheck } from "./netcheck_view.ts";
import { painter } from "./text_format.ts";

const REPORT: NetcheckReport = {
  ipv4: {
    udp: true,
    publicAddress: "203.0.113.2",
    nat: true,
    mapping: "addressAndPortDependent",
    filtering: "addressAndPortDependent",
    hairpin: false,
    allocation: { kind: "sequential", delta: 2 },
    lifetime: { atLeastMs: 30_000, belowMs: 60_000 },
  },
  ipv6: FAMILY_UNKNOWN,
  hint: "NAT_SYMMETRIC",
  stunServers: [
    {
      server: "198.51.100.1:3478",
      origin: "discovery",
      rttMs: 12.34,
      mapped: "203.0.113.2:40000",
      reason: null,
    },
    {
      server: "stun.example.com:3478",
      origin: "configured",
      rttMs: null,
      mapped: null,
      reason: "no answer",
    },
  ],
  discovery: [
    { url: "https://d.example.com", reachable: true, reason: null },
    { url: "https://e.example.com", reachable: true, relay: true, reason: null },
  ],
  captivePortal: false,
  portMapping: [
    { protocol: "upnp", gateway: "192.168.1.1", external: "203.0.113.2:51820", reason: null },
    { protocol: "pcp", gateway: null, external: null, reason: "no answer" },
  ],
  relays: [{
    id: "eu",
    state: "ready",
    transport: "tls",
    relayed: ["198.51.100.7:50000"],
    rttMs: 20,
    reason: null,
  }],
  meaning: ["First.", "Second."],
};

Deno.test("netcheck shows the facts, the servers and what they mean", () => {
  assertEquals(formatNetcheck(REPORT, painter(false)).split("\n"), [
    "IPv4             UDP passes, seen as 203.0.113.2, behind a NAT",
    "  mapping        another outside address for each destination (symmetric)",
    "  filtering      lets in addresses that were sent to",
    "  ports          sequential, in steps of 2",
    "  hairpin        does not turn packets around",
    "  idle mappings  live 30 to 60 s",
    "IPv6             not available here, or no server to ask",
    "Hint for peers   symmetric",
    "Discovery        https://d.example.com  answers",
    "Discovery        https://e.example.com  answers, has relays",
    "Port mapping     upnp of 192.168.1.1  203.0.113.2:51820",
    "Port mapping     pcp  no answer",
    "Relay            eu by tls  ready  20.0 ms  198.51.100.7:50000",
    "",
    "STUN SERVER            FROM        RTT      SEES US AS",
    "198.51.100.1:3478      discovery   12.3 ms  203.0.113.2:40000",
    "stun.example.com:3478  configured  -        no answer",
    "",
    "What this means",
    "  First.",
    "  Second.",
    "",
  ]);
});

Deno.test("netcheck shows a network without UDP, and prints nothing that a terminal would obey", () => {
  const evil = "evil\x1b[2J";
  const text = formatNetcheck({
    ...REPORT,
    ipv4: { ...FAMILY_UNKNOWN, udp: false },
    stunServers: [],
    discovery: [{ url: "http://d", reachable: false, reason: evil }],
    captivePortal: true,
    portMapping: null,
    meaning: [evil],
  }, painter(false));
  assert(text.includes("UDP does not pass"));
  assert(text.includes("No STUN server is known."));
  assert(text.includes("Captive portal"));
  assert(!text.includes("\x1b"));
});
