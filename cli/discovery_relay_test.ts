import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
  throws as assertThrows,
} from "node:assert/strict";
import { DiscoveryClient } from "../discovery/mod.ts";
import { identityOf } from "../discovery/testing/identity.ts";
import { relayServers, relaySettings, startDiscoveryService } from "./discovery_relay.ts";

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };
const IDENTITY = await identityOf(2);
const AGENT = { meshId: "reef", publicKey: IDENTITY.text, role: "agent" } as const;

function start(
  flags: Parameters<typeof relaySettings>[0],
  log: string[] = [],
): ReturnType<typeof startDiscoveryService> {
  return startDiscoveryService({
    listen: LOOPBACK,
    stunListen: [],
    store: ":memory:",
    log: (level, message) => log.push(`${level} ${message}`),
  }, relaySettings(flags));
}

Deno.test("discovery --relay offers the relay in its process by UDP, TCP and its own HTTP listener", async () => {
  const service = await start({
    relay: true,
    relayListen: ["127.0.0.1:0"],
    relayId: "own",
    relayBandwidth: "2M",
    relayAllowPrivatePeers: true,
  });
  try {
    assertEquals(service.listening.map((one) => one.replace(/\d+$/, "N")), [
      "http=127.0.0.1:N",
      "relay-udp=127.0.0.1:N",
      "relay-tcp=127.0.0.1:N",
    ]);
    const client = new DiscoveryClient({ urls: [service.url], identity: IDENTITY, log: () => {} });
    const grant = await client.requestRelay(AGENT);
    assertEquals([grant.relayId, grant.bandwidthBytesPerSecond], ["own", 2_000_000]);
    assertEquals(grant.transports.map(({ kind }) => kind), ["udp", "tcp", "websocket"]);
    const { hostname, port } = new URL(service.url);
    assertEquals(grant.transports[2]?.endpoint, `ws://${hostname}:${port}/turn`);
    const answer = await fetch(`${service.url}/turn`);
    await answer.body?.cancel();
    assertEquals(answer.status, 426);
  } finally {
    await service.stop();
  }
});

Deno.test("discovery names relays elsewhere, and takes reports only with a secret that somebody may know", async () => {
  const service = await start({
    relayServer: [
      "eu@europe=turn:192.0.2.1:3478",
      "eu=turns:turn.example.com",
      "us=turn:192.0.2.2",
    ],
    relayServerSecret: ["eu=one"],
    relaySecret: "two",
  });
  try {
    const client = new DiscoveryClient({ urls: [service.url], identity: IDENTITY, log: () => {} });
    const grant = await client.requestRelay({ ...AGENT, relayId: "eu" });
    assertEquals([grant.realm, grant.transports], ["", [
      { kind: "udp", endpoint: "192.0.2.1:3478" },
      { kind: "tls", endpoint: "turn.example.com:5349" },
    ]]);
    assertEquals(grant.relays.map(({ relayId, region }) => [relayId, region]), [
      ["eu", "europe"],
      ["us", ""],
    ]);
  } finally {
    await service.stop();
  }
});

Deno.test("flags of a relay that is not there, and servers without a secret, are mistakes", async () => {
  await assertRejects(start({ relayListen: ["127.0.0.1:0"] }), {
    code: "usage",
    message: "--relay-listen is for the relay of --relay: add that",
  });
  await assertRejects(start({ relayAllowPrivatePeers: true }), { code: "usage" });
  assertThrows(() => relayServers(relaySettings({ relayServer: ["eu=turn:192.0.2.1"] })), {
    code: "usage",
    message: "Relay eu has no secret: give --relay-server-secret eu=SECRET, or --relay-secret",
  });
  assertThrows(() => relayServers(relaySettings({ relayServerSecret: ["eu=s"] })), {
    message: "--relay-server-secret is for relay eu, which no --relay-server names",
  });
});

Deno.test("a relay at a private address that refuses private peers says so", async () => {
  const log: string[] = [];
  const service = await start({ relay: true, relayListen: ["127.0.0.1:0"] }, log);
  await service.stop();
  assertMatch(log.join("\n"), /^warn the relay is at a private address/m);
  assert(!log.some((line) => line.includes("SECRET")));
});
