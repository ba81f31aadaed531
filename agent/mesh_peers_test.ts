import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatBase64, type Instant } from "../core/mod.ts";
import type { DiscoveredPeer } from "../discovery/mod.ts";
import { meshIpv6Of } from "./addressing.ts";
import { MeshPeers, type Role } from "./mesh_peers.ts";
import { NameTable } from "./names.ts";
import type { PeerCommand } from "./peer_commands.ts";

const MESH = "reef";
const at = (ms: number): Instant => ms as Instant;

function key(fill: number): Uint8Array {
  return new Uint8Array(32).fill(fill);
}

function found(fill: number, role: Role, more: Partial<DiscoveredPeer> = {}): DiscoveredPeer {
  return {
    meshId: MESH,
    publicKey: formatBase64(key(fill)),
    role,
    agentId: "",
    name: `node${fill}`,
    endpoints: [{ hostname: "192.168.1.2", port: 51820 }],
    observedEndpoints: [{ hostname: "203.0.113.2", port: 40000 }],
    relayedEndpoints: [],
    noRelay: false,
    nat: "NAT_UNKNOWN",
    meshIpv4: undefined,
    meshIpv6: undefined,
    connectPort: 0,
    metadata: {},
    lastSeenAt: undefined,
    generation: 1,
    sequence: 0,
    ...more,
  };
}

function setUp(role: Role, discovery = "http://198.51.100.1:8080"): {
  peers: MeshPeers;
  names: NameTable;
  sent: PeerCommand[];
  warnings: string[];
} {
  const sent: PeerCommand[] = [];
  const warnings: string[] = [];
  const names = new NameTable(MESH);
  const peers = new MeshPeers({
    role,
    mesh: MESH,
    publicKey: formatBase64(key(1)),
    discovery: [discovery],
    names,
    send: (command) => void sent.push(command),
    log: (_level, message) => void warnings.push(message),
  });
  return { peers, names, sent, warnings };
}

Deno.test("MeshPeers adds an agent once, by the address of its key, and renews its candidates", () => {
  const { peers, names, sent } = setUp("colony");
  const address = meshIpv6Of(MESH, key(2));
  // What an agent claims to live at does not count.
  peers.learn(found(2, "agent", { meshIpv6: "fd00::bad", meshIpv4: "10.42.0.1" }));
  peers.learn(found(2, "agent"));
  assertEquals(sent.map(({ kind }) => kind), ["addPeer", "setCandidates"]);
  peers.learn(found(2, "agent", { observedEndpoints: [] }));
  assertEquals(sent.slice(2), [{
    kind: "setCandidates",
    publicKey: found(2, "agent").publicKey,
    candidates: [{ kind: "host", address: "192.168.1.2:51820" }],
    nat: "NAT_UNKNOWN",
  }]);
  peers.learn(found(2, "agent", { observedEndpoints: [], nat: "NAT_SYMMETRIC" }));
  peers.learn(found(2, "agent", { observedEndpoints: [], nat: "NAT_SYMMETRIC" }));
  assertEquals(sent.length, 4, "news of its NAT, once");
  const [add, set] = sent;
  assert(add?.kind === "addPeer" && set?.kind === "setCandidates");
  assertEquals(add.allowedIps, [`${address}/128`]);
  assertEquals(set.candidates, [
    { kind: "host", address: "192.168.1.2:51820" },
    { kind: "serverReflexive", address: "203.0.113.2:40000" },
  ]);
  assertEquals(names.resolve("node2.reef.internal"), address);
  assertEquals(peers.withAddress(address)?.name, "node2");
});

Deno.test("MeshPeers punches with the candidates that the punch brought", () => {
  const { peers, sent } = setUp("agent");
  peers.learn(found(3, "colony", { meshIpv4: "10.42.0.1" }), { windowMs: 3000, coin: 0.5 });
  const punch = sent.find(({ kind }) => kind === "punch");
  assert(punch?.kind === "punch");
  assertEquals([punch.windowMs, punch.candidates.length], [3000, 2]);
  const add = sent[0];
  assert(add?.kind === "addPeer");
  assertEquals(add.allowedIps[1], "10.42.0.1/32");
});

Deno.test("MeshPeers ignores its own record, its own role, and keys that are none", () => {
  for (const role of ["colony", "agent"] as const) {
    const { peers, sent } = setUp(role);
    peers.learn(found(1, role === "colony" ? "agent" : "colony"));
    peers.learn(found(2, role));
    peers.learn(found(2, role === "colony" ? "agent" : "colony", { publicKey: "AAAA" }));
    assertEquals(sent, [], role);
  }
});

Deno.test("MeshPeers takes loopback endpoints only where Discovery is on this machine", () => {
  const local = { endpoints: [{ hostname: "127.0.0.1", port: 9 }], observedEndpoints: [] };
  for (
    const [url, count] of [["http://127.0.0.1:1", 1], ["http://[::1]:1", 1], [
      "http://localhost",
      1,
    ], ["http://198.51.100.1", 0]] as const
  ) {
    const { peers, sent } = setUp("colony", url);
    peers.learn(found(2, "agent", local));
    const set = sent.find((command) => command.kind === "setCandidates");
    assertEquals(set?.candidates.length ?? 0, count, url);
    assertEquals(peers.unusable, 1 - count, url);
  }
});

Deno.test("MeshPeers keeps a peer that is gone while its session lives, and forgets it afterwards", () => {
  const { peers, names, sent } = setUp("colony");
  peers.learn(found(2, "agent"));
  const peer = peers.find(formatBase64(key(2)));
  assert(peer !== undefined);
  peer.connected = true;
  peers.gone(peer.publicKey, at(0));
  peers.gone(peer.publicKey, at(1));
  const { publicKey, candidates } = peer;
  const told = [{ kind: "setCandidates", publicKey, candidates, gone: true }];
  assertEquals(sent.splice(2), told, "nothing is guessed for it any more");
  peers.learn(found(2, "agent"));
  assertEquals(sent.splice(2).map((command) => "gone" in command), [false], "it is back");
  peers.gone(peer.publicKey, at(0));
  assertEquals(peers.sweep(at(0)), []);
  peer.connected = false;
  assertEquals(peers.sweep(at(30_000)), [peer]);
  assertEquals(peers.all.length, 0);
  assertEquals(sent.at(-1), { kind: "removePeer", publicKey: peer.publicKey });
  assertEquals(names.resolve("node2"), undefined);
});

Deno.test("MeshPeers keeps an agent that was connected and that Discovery does not name for half a minute, so that its streams outlive a lost memory", () => {
  const { peers } = setUp("colony");
  peers.learn(found(2, "agent"));
  const { publicKey } = found(2, "agent");
  const peer = peers.find(publicKey);
  assert(peer !== undefined);
  peer.connected = true;
  peers.gone(publicKey, at(1_000));
  assertEquals(peers.sweepAt, undefined, "a session lives");
  peer.connected = false;
  assertEquals(peers.sweepAt, at(31_000));
  assertEquals(peers.sweep(at(30_999)), []);
  peers.learn(found(2, "agent"));
  assertEquals([peers.sweepAt, peers.sweep(at(31_000))], [undefined, []], "it is back");
  peers.gone(publicKey, at(40_000));
  assertEquals(peers.sweep(at(40_000)), [peer], "there was no session to come back to");
});

Deno.test("MeshPeers keeps a colony that Discovery lost for three minutes, and a known one that came back", () => {
  const { peers } = setUp("agent");
  peers.learn(found(2, "colony"));
  const { publicKey } = found(2, "colony");
  peers.gone(publicKey, at(0));
  peers.sweep(at(179_999));
  assertEquals(peers.all.length, 1);
  peers.learn(found(2, "colony"));
  peers.sweep(at(400_000));
  assertEquals(peers.all.length, 1);
  peers.gone(publicKey, at(400_000));
  peers.sweep(at(580_000));
  assertEquals(peers.all.length, 0);
});

Deno.test("MeshPeers replaces a colony whose key has changed, and says so", () => {
  const { peers, sent, warnings } = setUp("agent");
  peers.learn(found(2, "colony", { name: "colony" }));
  peers.learn(found(3, "colony", { name: "colony" }));
  assertEquals(peers.all.map(({ publicKey }) => publicKey), [formatBase64(key(3))]);
  assert(sent.some((c) => c.kind === "removePeer" && c.publicKey === formatBase64(key(2))));
  assertEquals(warnings, ["the colony of mesh reef has another key now"]);
});

Deno.test("MeshPeers lets the first holder keep a name", () => {
  const { peers, names, warnings } = setUp("colony");
  peers.learn(found(2, "agent", { name: "web" }));
  peers.learn(found(3, "agent", { name: "web" }));
  assertEquals(names.resolve("web"), meshIpv6Of(MESH, key(2)));
  assertEquals(warnings.length, 1);
});

Deno.test("MeshPeers takes no candidate inside the tunnel, where a packet would chase its own tail", () => {
  const { peers, sent } = setUp("agent");
  const inside = meshIpv6Of(MESH, key(9));
  peers.learn(found(3, "colony", {
    meshIpv4: "10.42.0.1",
    endpoints: [
      { hostname: "10.42.0.1", port: 51820 },
      { hostname: inside, port: 51820 },
      { hostname: "10.42.0.9", port: 51820 },
    ],
    observedEndpoints: [{ hostname: meshIpv6Of(MESH, key(3)), port: 51820 }],
  }));
  const set = sent.find(({ kind }) => kind === "setCandidates");
  assert(set?.kind === "setCandidates");
  // A network beyond the tunnel may have the colony's IPv4 neighbours.
  assertEquals(set.candidates, [{ kind: "host", address: "10.42.0.9:51820" }]);
  assertEquals(peers.unusable, 3);
});

Deno.test("MeshPeers tells where a peer was last reached, which Discovery may not know", () => {
  const { peers, sent } = setUp("colony");
  peers.learn(found(2, "agent"));
  const peer = peers.find(formatBase64(key(2)));
  assert(peer !== undefined);
  peer.lastRemote = { hostname: "203.0.113.2", port: 41000 };
  assertEquals(peers.records()[0]?.observedEndpoints.map(({ port }) => port), [40000, 41000]);
  peers.learn(found(2, "agent", { generation: 2 }));
  const set = sent.at(-1);
  assert(set?.kind === "setCandidates");
  assertEquals(set.candidates.at(-1), { kind: "peerReflexive", address: "203.0.113.2:41000" });
  peer.lastRemote = { hostname: "203.0.113.2", port: 40000 };
  assertEquals(peers.records()[0], peer.record);
});

Deno.test("MeshPeers takes no relay's address for one of the peer, heard there before it was told or after it was offered no more", () => {
  const { peers, sent } = setUp("colony");
  const relayed = { hostname: "198.51.100.7", port: 50_000 };
  const offering = found(2, "agent", { generation: 2, relayedEndpoints: [relayed] });
  const withdrawn = found(2, "agent", { generation: 3 });
  for (const heardAfter of [false, true]) {
    peers.learn(found(2, "agent"));
    const peer = peers.find(formatBase64(key(2)));
    assert(peer !== undefined);
    if (!heardAfter) peer.lastRemote = relayed;
    peers.learn(offering);
    if (heardAfter) peer.lastRemote = relayed;
    peers.learn(withdrawn);
    const set = sent.at(-1);
    assert(set?.kind === "setCandidates");
    assertEquals(set.candidates?.map(({ kind }) => kind), ["host", "serverReflexive"]);
    assertEquals(peers.records(), [withdrawn]);
  }
});

Deno.test("MeshPeers of a colony knows an agent that goes on with another key by that alone, under its name", () => {
  const { peers, names, sent } = setUp("colony");
  peers.learn(found(2, "agent", { name: "web" }));
  peers.learn(found(3, "agent"));
  const earlierKeys = [formatBase64(key(8)), formatBase64(key(2))];
  const learned = peers.learn(found(4, "agent", { name: "web", earlierKeys }));
  assertEquals([learned?.added, peers.find(formatBase64(key(2)))], [true, undefined]);
  assertEquals(peers.all.map(({ name }) => name), ["node3", "web"]);
  assertEquals(names.resolve("web"), meshIpv6Of(MESH, key(4)));
  const removed = sent.filter(({ kind }) => kind === "removePeer");
  assertEquals(removed, [{ kind: "removePeer", publicKey: formatBase64(key(2)) }]);
  // Whoever is known already takes nobody's place by what it says later.
  peers.learn(found(4, "agent", { name: "web", earlierKeys: [formatBase64(key(3))] }));
  assert(peers.find(formatBase64(key(3))) !== undefined);
});
