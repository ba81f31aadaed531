import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { relayOf, relayStatuses } from "./relay_status.ts";
import type { DatapathPeerStatus, RelayStatus } from "./shared/mod.ts";

Deno.test("a relay that drops what a limit does not let through is shown with whose it was", () => {
  const limited = { scope: "total", packets: 7 };
  assertEquals(relayStatuses([{ ...RELAY, limited }])[0]?.limited, limited);
  assertEquals(Object.hasOwn(relayStatuses([RELAY])[0] ?? {}, "limited"), false);
});

const RELAY: RelayStatus = {
  id: "eu",
  state: "ready",
  transport: "udp",
  relayed: ["198.51.100.7:50000"],
  rttMs: 20,
  locals: [5],
};

function peer(endpoint: string | null, local: number): DatapathPeerStatus {
  return {
    publicKey: "",
    endpoint,
    lastHandshakeAtMs: null,
    rxBytes: 0,
    txBytes: 0,
    connected: true,
    reason: null,
    rttMs: null,
    relayed: true,
    paths: [{
      remote: endpoint ?? "",
      local,
      kind: "host",
      state: "proven",
      rttMs: null,
      mtu: null,
      probes: 0,
      replies: 0,
    }],
  };
}

Deno.test("a relayed path names the own relay, the same one at the peer's end, or an address", () => {
  assertEquals(relayOf(peer("203.0.113.2:40000", 5), [RELAY]), "eu");
  assertEquals(relayOf(peer("198.51.100.7:50001", 0), [RELAY]), "eu");
  assertEquals(relayOf(peer("198.51.100.8:50001", 0), [RELAY]), "198.51.100.8:50001");
  assertEquals(relayOf(peer(null, 0), []), null);
});

Deno.test("a relay that drains is called so, and none tells of local ends", () => {
  const [draining] = relayStatuses([{ ...RELAY, draining: true, reason: "ends in 20 s" }]);
  assertEquals(draining, {
    id: "eu",
    state: "draining",
    transport: "udp",
    relayed: ["198.51.100.7:50000"],
    rttMs: 20,
    reason: "ends in 20 s",
  });
});
