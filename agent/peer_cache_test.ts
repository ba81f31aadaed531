import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatBase64 } from "../core/mod.ts";
import type { DiscoveredPeer, RememberedRecords } from "../discovery/mod.ts";
import {
  CACHED_PEERS_MAX,
  formatPeerCache,
  parsePeerCache,
  peerCachePath,
  readPeerCache,
  writePeerCache,
} from "./peer_cache.ts";

const COLONY: DiscoveredPeer = {
  meshId: "reef",
  publicKey: formatBase64(new Uint8Array(32).fill(3)),
  role: "colony",
  agentId: "",
  name: "colony",
  endpoints: [{ hostname: "2001:db8::3", port: 51820 }],
  observedEndpoints: [{ hostname: "203.0.113.3", port: 40000 }],
  relayedEndpoints: [],
  noRelay: false,
  nat: "NAT_UNKNOWN",
  meshIpv4: "10.42.0.1",
  meshIpv6: undefined,
  connectPort: 9000,
  metadata: {},
  lastSeenAt: undefined,
  generation: 0,
  sequence: 5,
};
const GONE = formatBase64(new Uint8Array(32).fill(4));
const REEF: RememberedRecords = {
  meshId: "reef",
  peers: [COLONY],
  sequences: new Map([[COLONY.publicKey, 5], [GONE, 7]]),
  colonyKey: COLONY.publicKey,
};

Deno.test("the peer cache gives back what it was given, for the same mesh only", () => {
  const text = formatPeerCache(REEF);
  assertEquals(parsePeerCache(text, "reef"), REEF);
  assertEquals(parsePeerCache(text, "atoll"), {
    meshId: "atoll",
    peers: [],
    sequences: new Map(),
  });
});

Deno.test("the peer cache leaves out what is no peer, and does not throw whatever the file holds", () => {
  const bad = [
    "",
    "null",
    "[]",
    "{}",
    '{"version":2,"mesh":"reef","peers":[]}',
    '{"version":1,"mesh":"reef","peers":7}',
  ];
  for (const text of bad) assertEquals(parsePeerCache(text, "reef"), undefined, text);
  const peers = [
    null,
    7,
    {},
    { publicKey: "AAAA", role: "agent" },
    { publicKey: COLONY.publicKey, role: "king" },
    {
      publicKey: COLONY.publicKey,
      role: "agent",
      name: "Not a label",
      endpoints: ["nowhere", 7, "192.0.2.1:1"],
      observedEndpoints: "x",
      meshIpv4: "ten",
    },
  ];
  const parsed = parsePeerCache(JSON.stringify({ version: 1, mesh: "reef", peers }), "reef");
  assertEquals(parsed?.peers.length, 1);
  const [peer] = parsed?.peers ?? [];
  assertEquals([peer?.name, peer?.meshIpv4, peer?.observedEndpoints], ["", undefined, []]);
  assertEquals(peer?.endpoints, [{ hostname: "192.0.2.1", port: 1 }]);
  assertEquals([peer?.sequence, parsed?.sequences.size, parsed?.colonyKey], [0, 0, undefined]);
});

Deno.test("the peer cache takes sequences that are some only, and the colony's key only if it is one", () => {
  const sequences = { [GONE]: 7, "no key": 8, [COLONY.publicKey]: "9" };
  const file = { version: 1, mesh: "reef", peers: [], sequences, colonyKey: "no key" };
  assertEquals(parsePeerCache(JSON.stringify(file), "reef"), {
    meshId: "reef",
    peers: [],
    sequences: new Map([[GONE, 7]]),
  });
  for (const sequence of [0, -1, 1.5, 2 ** 53, null]) {
    const text = JSON.stringify({ ...file, sequences: { [GONE]: sequence } });
    assertEquals(parsePeerCache(text, "reef")?.sequences.size, 0, String(sequence));
  }
  const without = JSON.stringify({ ...file, sequences: [] });
  assertEquals(parsePeerCache(without, "reef")?.sequences.size, 0, "of an older version");
});

Deno.test("the peer cache keeps at most its limit", () => {
  const many = Array.from({ length: CACHED_PEERS_MAX + 5 }, () => COLONY);
  const text = formatPeerCache({ ...REEF, peers: many });
  assertEquals(parsePeerCache(text, "reef")?.peers.length, CACHED_PEERS_MAX);
});

Deno.test("the peer cache is a private file, and its absence or damage is no error", async () => {
  const state = await Deno.makeTempDir();
  try {
    const warnings: string[] = [];
    const where = {
      state,
      mesh: "reef",
      log: (level: string, message: string) => void (level === "warn" && warnings.push(message)),
    };
    const nothing = { meshId: "reef", peers: [], sequences: new Map() };
    assertEquals(await readPeerCache(where), nothing);
    await writePeerCache(where, REEF);
    assertEquals(await readPeerCache(where), REEF);
    const { mode } = await Deno.stat(peerCachePath(state));
    if (Deno.build.os !== "windows") assertEquals((mode ?? 0) & 0o777, 0o600);
    assertEquals(warnings, []);
    await Deno.writeTextFile(peerCachePath(state), "{");
    assertEquals(await readPeerCache(where), nothing);
    assert(warnings.join().endsWith("is damaged: starting without it"), warnings.join());
    await writePeerCache({ ...where, state: `${state}/absent` }, REEF);
    assertEquals(warnings.length, 2);
  } finally {
    await Deno.remove(state, { recursive: true });
  }
});
