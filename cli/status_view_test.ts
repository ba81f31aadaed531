import { deepStrictEqual as assertEquals, match as assertMatch, ok } from "node:assert/strict";
import type { NodeStatus, PeerStatus } from "../agent/mod.ts";
import { formatPeers, formatStatus } from "./status_view.ts";
import { painter } from "./text_format.ts";

const NOW = Date.parse("2025-01-02T03:04:05Z");
const paint = painter(false);

const DIRECT: PeerStatus = {
  name: "colony",
  publicKey: "2hpJTCyrDEZqnLRwzCMzEK34V4kTECGi2cLQb4/lqmc=",
  meshIpv4: "10.42.0.1",
  meshIpv6: "fd00::1",
  path: { kind: "direct", remote: "203.0.113.7:51820", relay: null, rttMs: 0.42, mtu: 1420 },
  paths: [],
  candidates: [],
  reason: null,
  lastHandshakeAt: "2025-01-02T03:03:23Z",
  rxBytes: 1536,
  txBytes: 67_108_864,
};

const RELAYED: PeerStatus = {
  ...DIRECT,
  name: "laptop",
  meshIpv4: null,
  path: { kind: "relayed", remote: null, relay: "198.51.100.1:3478", rttMs: 81.26, mtu: 1280 },
  reason: "mapping varies by destination on both sides",
};

const LOST: PeerStatus = {
  ...DIRECT,
  name: "evil\x1b[2J",
  meshIpv4: null,
  meshIpv6: null,
  path: { kind: "none", remote: null, relay: null, rttMs: null, mtu: null },
  reason: "412 probes, 0 replies",
  lastHandshakeAt: null,
  rxBytes: 0,
  txBytes: 0,
};

const STATUS: NodeStatus = {
  node: {
    name: "agent",
    publicKey: "GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=",
    meshIpv4: "10.42.0.2",
    meshIpv6: "fd00::2",
    nat: { mapping: "endpointIndependent", filtering: "unknown", hint: "NAT_CONE" },
    endpoints: ["203.0.113.9:40000", "192.168.1.5:40000"],
    candidates: [
      { kind: "serverReflexive", address: "203.0.113.9:40000" },
      { kind: "host", address: "192.168.1.5:40000" },
    ],
    datapath: "portable",
    cipher: "wasm",
    tun: null,
  },
  discovery: { url: "https://d.example.com", connected: true },
  peers: [DIRECT, RELAYED, LOST],
  counters: { "udp.unknown": 3, "queue.dropped": 1 },
};

/** The rows about relays. */
function rowsOf(more: Partial<NodeStatus>): string[] {
  return formatStatus({ ...STATUS, ...more }, { now: NOW, paint }).split("\n")
    .filter((line) => line.startsWith("Relay"));
}

Deno.test("status shows the relays, or why there is none", () => {
  const relay = {
    id: "eu",
    state: "ready",
    transport: "udp",
    relayed: ["198.51.100.1:50000"],
    rttMs: 20.4,
    reason: null,
  };
  const failed = {
    ...relay,
    id: "us",
    state: "failed",
    relayed: [],
    rttMs: null,
    reason: "no\x1b",
  };
  const limited = { ...relay, limited: { scope: "session", packets: 512 } };
  assertEquals(rowsOf({ relays: [limited], relayReason: null }), [
    "Relay      eu by udp  ready  20.4 ms  198.51.100.1:50000  " +
    "limited: 512 packets dropped by its limit for one session",
  ]);
  assertEquals(rowsOf({ relays: [relay, failed], relayReason: null }), [
    "Relay      eu by udp  ready  20.4 ms  198.51.100.1:50000",
    "Relay      us by udp  failed  no?",
  ]);
  const relayReason = "this Discovery has no relays";
  assertEquals(rowsOf({ relays: [], relayReason }), [`Relay      none  ${relayReason}`]);
  assertEquals(rowsOf({ relays: [], relayReason: null }), ["Relay      none  asking for one"]);
  assertEquals(rowsOf({}), []);
});

Deno.test("status says whether the node relays for others, or why nobody is sent to it", () => {
  const relayOffer = {
    id: "node-1",
    offered: true,
    reason: null,
    addresses: ["203.0.113.9:3478"],
    sessions: 1,
    rxBytes: 1024,
    txBytes: 512,
  };
  assertEquals(rowsOf({ relays: [], relayReason: "none", relayOffer }), [
    "Relay      none  none",
    "Relaying   offered  203.0.113.9:3478  1 session  1.5 KiB carried",
  ]);
  const refused = { ...relayOffer, offered: false, addresses: [], reason: "no\x1b address" };
  assertEquals(rowsOf({ relays: [], relayReason: "none", relayOffer: refused }), [
    "Relay      none  none",
    "Relaying   not offered  no? address",
  ]);
});

Deno.test("status shows the node, then each peer with its path and reason", () => {
  assertEquals(
    formatStatus(STATUS, { now: NOW, paint }),
    `Node       agent  GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=
Addresses  10.42.0.2, fd00::2
NAT        cone (mapping endpointIndependent, filtering unknown)
Endpoints  203.0.113.9:40000, 192.168.1.5:40000
Datapath   portable, cipher wasm
Discovery  https://d.example.com  connected
Counters   udp.unknown=3 queue.dropped=1

PEER      ADDRESS    PATH     REMOTE                 RTT      MTU   HANDSHAKE  RX       TX
colony    10.42.0.1  direct   203.0.113.7:51820      0.42 ms  1420  42 s ago   1.5 KiB  64.0 MiB
laptop    fd00::1    relayed  via 198.51.100.1:3478  81.3 ms  1280  42 s ago   1.5 KiB  64.0 MiB
  because mapping varies by destination on both sides
evil?[2J  -          none     -                      -        -     never      0 B      0 B
  because 412 probes, 0 replies
`,
  );
});

Deno.test("status says what each router does for the node, or why it does nothing", () => {
  const none = { protocol: null, external: null, lifetimeSeconds: null, offered: false };
  const portMapping = [
    {
      family: 4,
      gateway: "192.168.1.1",
      protocol: "upnp",
      external: "203.0.113.9:51820",
      lifetimeSeconds: 7100,
      offered: true,
      reason: null,
    },
    {
      family: 4,
      gateway: "10.0.0.1",
      protocol: "nat-pmp",
      external: "100.64.0.7:51820",
      lifetimeSeconds: 60,
      offered: false,
      reason: "another NAT is in front of it",
    },
    { ...none, family: 6, gateway: "fe80::1", reason: "PCP: no answer\x1b[2J" },
  ] as const;
  const text = formatStatus({ ...STATUS, node: { ...STATUS.node, portMapping } }, {
    now: NOW,
    paint,
  });
  const rows = text.split("\n").filter((line) => line.startsWith("Port mapping"));
  assertEquals(rows, [
    "Port mapping  upnp of 192.168.1.1  203.0.113.9:51820  for 7100 s",
    "Port mapping  nat-pmp of 10.0.0.1  100.64.0.7:51820  another NAT is in front of it",
    "Port mapping  fe80::1  PCP: no answer?[2J",
  ]);
});

Deno.test("status of a plain WireGuard peer without peers", () => {
  const { node } = STATUS;
  const alone = { ...node, meshIpv4: null, meshIpv6: null, endpoints: [] };
  const text = formatStatus({ node: alone, discovery: null, peers: [], counters: {} }, {
    now: NOW,
    paint,
  });
  ok(text.includes("Addresses  none\n"), text);
  ok(text.includes("Discovery  none (plain WireGuard)\n"), text);
  ok(text.endsWith("\n\nNo peers yet.\n"), text);
  ok(!text.includes("Counters"), text);
});

Deno.test("a handshake that the clock puts in the future is now", () => {
  ok(formatPeers([DIRECT], { now: NOW - 3_600_000, paint }).includes("  now  "));
});

Deno.test("status names the kernel's interface where there is one", () => {
  const node = { ...STATUS.node, tun: "moray0" };
  assertMatch(formatStatus({ ...STATUS, node }, { now: NOW, paint }), /^Interface {2}moray0$/m);
});

Deno.test("status --verbose shows every candidate and every path, the one in use marked", () => {
  const path = { local: 0, state: "proven", rttMs: 0.42, mtu: 1420, probes: 12, replies: 12 };
  const peer: PeerStatus = {
    ...DIRECT,
    paths: [
      { ...path, remote: "203.0.113.7:51820", kind: "serverReflexive" },
      {
        ...path,
        remote: "192.168.1.7:51820",
        kind: "host",
        state: "unknown",
        local: 7,
        rttMs: null,
        mtu: null,
        replies: 0,
      },
    ],
    candidates: [{ kind: "host", address: "192.168.1.7:51820" }],
  };
  const text = formatStatus({ ...STATUS, peers: [peer] }, { now: NOW, paint, verbose: true });
  ok(text.includes("Endpoints  203.0.113.9:40000 (serverReflexive), 192.168.1.5:40000 (host)\n"));
  ok(
    text.endsWith(`
  path  203.0.113.7:51820                   serverReflexive  in use   0.42 ms  MTU 1420  12 of 12 probes answered
  path  192.168.1.7:51820 from local end 7  host             unknown  -        -         0 of 12 probes answered
  candidates 192.168.1.7:51820 (host)
`),
    text,
  );
});

Deno.test("status says whose policy holds, and what it has refused of whom", () => {
  const at = "2025-01-02T03:04:05Z";
  const refused = {
    policy: 3,
    fragment: 1,
    malformed: 0,
    stray: 0,
    last: [{ what: "tcp/22", at }, { what: "icmp", at }],
  };
  const peers = [{ ...DIRECT, refused }, {
    ...RELAYED,
    refused: { ...refused, policy: 1, fragment: 0, last: [] },
  }];
  const policy = { origin: "file", rules: 1 } as const;
  const text = formatStatus({ ...STATUS, policy, peers }, { now: NOW, paint });
  assertMatch(text, /^Policy +of the colony's file {2}1 rule for this node$/m);
  assertMatch(text, /^colony .*\n {2}refused by policy: 4 packets, last tcp\/22, icmp$/m);
  assertMatch(text, /^ {2}because .*\n {2}refused by policy: 1 packet$/m);
});
