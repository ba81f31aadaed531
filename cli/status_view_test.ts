import { deepStrictEqual as assertEquals, match as assertMatch, ok } from "node:assert/strict";
import type { NodeStatus, PeerStatus, PingReply } from "../agent/mod.ts";
import { formatPingStatistics, formatReply, pingStatistics, sendPings } from "./ping_view.ts";
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
    datapath: "portable",
    tun: null,
  },
  discovery: { url: "https://d.example.com", connected: true },
  peers: [DIRECT, RELAYED, LOST],
  counters: { "udp.unknown": 3, "queue.dropped": 1 },
};

Deno.test("status shows the node, then each peer with its path and reason", () => {
  assertEquals(
    formatStatus(STATUS, { now: NOW, paint }),
    `Node       agent  GtL7fZc/bLnqZldpVofMCD6hDjrK28SsdLxevJ+qtKU=
Addresses  10.42.0.2, fd00::2
NAT        cone (mapping endpointIndependent, filtering unknown)
Endpoints  203.0.113.9:40000, 192.168.1.5:40000
Datapath   portable
Discovery  https://d.example.com  connected
Counters   udp.unknown=3 queue.dropped=1

PEER      ADDRESS    PATH     REMOTE                 RTT      HANDSHAKE  RX       TX
colony    10.42.0.1  direct   203.0.113.7:51820      0.42 ms  42 s ago   1.5 KiB  64.0 MiB
laptop    fd00::1    relayed  via 198.51.100.1:3478  81.3 ms  42 s ago   1.5 KiB  64.0 MiB
  because mapping varies by destination on both sides
evil?[2J  -          none     -                      -        never      0 B      0 B
  because 412 probes, 0 replies
`,
  );
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

const reply = (sequence: number, rttMs: number | null): PingReply => ({
  sequence,
  rttMs,
  path: rttMs === null ? LOST.path : DIRECT.path,
});

Deno.test("ping counts answers and losses", () => {
  const statistics = pingStatistics([reply(1, 1), reply(2, null), reply(3, 2), reply(4, 6)]);
  assertEquals(statistics, {
    sent: 4,
    received: 3,
    lossPercent: 25,
    minMs: 1,
    avgMs: 3,
    maxMs: 6,
  });
  assertEquals(
    formatPingStatistics(statistics),
    "4 sent, 3 received, 25 % lost, min/avg/max 1.00 ms / 3.00 ms / 6.00 ms",
  );
  const none = pingStatistics([reply(1, null)]);
  assertEquals(formatPingStatistics(none), "1 sent, 0 received, 100 % lost");
  assertEquals(pingStatistics([]).lossPercent, 0);
});

Deno.test("ping shows the path of each answer", () => {
  assertEquals(
    formatReply("colony", reply(7, 0.42), paint),
    "reply from colony: seq=7 direct 203.0.113.7:51820 time=0.42 ms",
  );
  assertEquals(formatReply("colony", reply(8, null), paint), "no reply from colony: seq=8");
});

Deno.test("ping pauses between echoes, never behind the last", async () => {
  const events: string[] = [];
  const replies = await sendPings({
    send: (sequence) => Promise.resolve(reply(sequence, 1)),
    onReply: ({ sequence }) => void events.push(`reply ${sequence}`),
    count: 2,
    pause: () => Promise.resolve(void events.push("pause")),
    signal: new AbortController().signal,
  });
  assertEquals(events, ["reply 1", "pause", "reply 2"]);
  assertEquals(replies.length, 2);
});

Deno.test("ping ends at once when asked, and the echo in flight does not count", async () => {
  const stop = new AbortController();
  const replies = await sendPings({
    send: (sequence) => {
      if (sequence === 1) return Promise.resolve(reply(1, 1));
      stop.abort();
      return new Promise(() => {});
    },
    onReply: () => {},
    count: 9,
    pause: () => Promise.resolve(),
    signal: stop.signal,
  });
  assertEquals(pingStatistics(replies).sent, 1);
});

Deno.test("status names the kernel's interface where there is one", () => {
  const node = { ...STATUS.node, tun: "moray0" };
  assertMatch(formatStatus({ ...STATUS, node }, { now: NOW, paint }), /^Interface {2}moray0$/m);
});
