import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { NatHint, PeerRecordSchema, PeerRole } from "../../proto/mod.ts";
import { key } from "../testing/nodes.ts";
import { parsePeer } from "./peer.ts";

const NOW = Date.UTC(2026, 0, 2);

Deno.test("parsePeer keeps what can be used of a record", () => {
  const record = create(PeerRecordSchema, {
    meshId: "reef",
    pubkey: key(2),
    role: PeerRole.AGENT,
    agentId: "a2",
    name: "a2",
    endpoints: ["192.0.2.1:5", "192.0.2.1:0", "host:7", "[2001:DB8::1]:6", "192.0.2.1:5", ""],
    observedEndpoints: [
      { ip: "::ffff:203.0.113.1", port: 7, protocol: "udp" },
      { ip: "203.0.113.1", port: 0, protocol: "udp" },
      { ip: "203.0.113.2", port: 70000, protocol: "udp" },
      { ip: "203.0.113.3", port: 7, protocol: "tcp" },
      { ip: "203.0.113.4", port: 7, protocol: "udp", viaRelay: true },
      { ip: "x", port: 7, protocol: "udp" },
    ],
    nat: NatHint.NAT_SYMMETRIC,
    meshIpv4: "10.42.0.2",
    meshIpv6: "10.42.0.2",
    metadata: { a: "1" },
    lastSeen: { seconds: BigInt(NOW / 1000) },
    generation: 9n,
    noRelay: true,
  });
  assertEquals(parsePeer(record, NOW), {
    meshId: "reef",
    publicKey: key(2),
    role: "agent",
    agentId: "a2",
    name: "a2",
    endpoints: [{ hostname: "192.0.2.1", port: 5 }, { hostname: "2001:db8::1", port: 6 }],
    observedEndpoints: [{ hostname: "203.0.113.1", port: 7 }],
    relayedEndpoints: [{ hostname: "203.0.113.4", port: 7 }],
    noRelay: true,
    nat: "NAT_SYMMETRIC",
    meshIpv4: "10.42.0.2",
    meshIpv6: undefined,
    connectPort: 0,
    metadata: { a: "1" },
    lastSeenAt: NOW,
    generation: 9,
    sequence: 0,
  });
});

Deno.test("parsePeer gives up on a record without key or role, and ignores absurd times and names", () => {
  const good = { meshId: "reef", pubkey: key(2), role: PeerRole.COLONY };
  const parse = (part: object): ReturnType<typeof parsePeer> =>
    parsePeer(create(PeerRecordSchema, { ...good, ...part }), NOW);
  assertEquals(parse({ pubkey: "x" }), undefined);
  assertEquals(parse({ pubkey: "" }), undefined);
  assertEquals(parse({ role: PeerRole.UNSPECIFIED }), undefined);
  for (const seconds of [0n, 1n, BigInt(NOW / 1000 + 2 * 86_400), -5n, 1n << 62n]) {
    assertEquals(parse({ lastSeen: { seconds } })?.lastSeenAt, undefined);
  }
  assertEquals(parse({ name: "../etc" })?.name, "");
  assertEquals(parse({ nat: 77 })?.nat, "NAT_UNKNOWN");
  const endpoints = Array.from({ length: 500 }, (_, i) => `192.0.2.1:${i + 1}`);
  assertEquals(parse({ endpoints })?.endpoints.length, 64);
});
