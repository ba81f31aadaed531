import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { pathOf, peerStatus, reasonOf } from "./peer_status.ts";
import type { DatapathPeerStatus } from "./shared/mod.ts";

const PEER: DatapathPeerStatus = {
  publicKey: "2hpJTCyrDEZqnLRwzCMzEK34V4kTECGi2cLQb4/lqmc=",
  endpoint: "203.0.113.7:51820",
  lastHandshakeAtMs: 1_735_787_003_000,
  rxBytes: 1,
  txBytes: 2,
  connected: true,
  reason: null,
  rttMs: 12,
};

Deno.test("a path is direct, relayed or none, with its own MTU where that is known", () => {
  const figures = { rttMs: 12, mtu: 1280 };
  assertEquals(pathOf(PEER, 1280), {
    kind: "direct",
    remote: "203.0.113.7:51820",
    relay: null,
    ...figures,
  });
  assertEquals(pathOf({ ...PEER, relayed: true, mtu: 1400 }, 1280), {
    kind: "relayed",
    remote: null,
    relay: "203.0.113.7:51820",
    ...figures,
    mtu: 1400,
  });
  const none = { kind: "none", remote: null, relay: null, rttMs: null, mtu: null };
  assertEquals([pathOf({ ...PEER, connected: false }, 1280), pathOf(undefined, 1280)], [
    none,
    none,
  ]);
});

Deno.test("the reason joins what was tried and what Discovery knows; a direct path has none", () => {
  const lost = { ...PEER, connected: false, reason: "12 handshakes to 4 endpoints, no answer" };
  assertEquals(
    reasonOf(lost, "Discovery cannot tell it"),
    "12 handshakes to 4 endpoints, no answer; Discovery cannot tell it",
  );
  assertEquals(reasonOf(lost, undefined), "12 handshakes to 4 endpoints, no answer");
  const relayed = { ...PEER, relayed: true, reason: "mapping varies by destination on both sides" };
  assertEquals(reasonOf(relayed, undefined), "mapping varies by destination on both sides");
  assertEquals(reasonOf(PEER, "Discovery does not answer"), null);
  assertEquals(reasonOf(undefined, undefined), null);
});

Deno.test("a peer's status has every way to it", () => {
  const path = {
    remote: "203.0.113.7:51820",
    local: 0,
    kind: "host",
    state: "proven",
    rttMs: 12,
    mtu: 1280,
    probes: 4,
    replies: 3,
  };
  const identity = { name: "colony", meshIpv4: null, meshIpv6: "fd00::1", mtu: 1280 };
  const status = peerStatus({ ...PEER, paths: [path] }, identity);
  assertEquals([status.paths, status.candidates], [[path], []]);
  assertEquals(status.lastHandshakeAt, "2025-01-02T03:03:23.000Z");
});
