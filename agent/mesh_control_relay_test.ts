import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { CandidateInfo, NodeEvent } from "./shared/mod.ts";
import {
  candidates,
  FEATURES,
  found,
  HOST,
  keyOf,
  REFLEXIVE,
  World,
} from "./testing/mesh_world.ts";

const WITH_RELAYS = { ...FEATURES, relay: true };
const RELAYED: CandidateInfo = { kind: "relayed", address: "198.51.100.7:50000" };
const READY: NodeEvent = {
  kind: "relaysChanged",
  relays: [{
    id: "eu",
    state: "ready",
    transport: "udp",
    relayed: ["198.51.100.7:50000"],
    rttMs: 20,
  }],
};

Deno.test("a node asks for a relay before it is registered, and registers where it listens", () => {
  const world = new World("colony");
  world.do((c, now) => c.start(now));
  assertEquals(world.takeRequests().sort(), ["requestRelay", "serverInfo"]);
  world.requests.push({ kind: "requestRelay", relayId: "", failed: [] });
  world.grantRelay();
  assertEquals(world.takeCommands(), ["setRelays"]);
  const info = { kind: "serverInfo", features: WITH_RELAYS, stun: false } as const;
  world.do((c, now) => c.handleAnswer(now, info));
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 300_000 }));
  world.takeRequests();
  world.do((c, now) => c.handleDatapath(now, candidates(HOST, REFLEXIVE, RELAYED)));
  world.do((c, now) => c.handleDatapath(now, READY));
  world.run(60);
  const register = world.requests.find(({ kind }) => kind === "register");
  assert(register?.kind === "register");
  const { endpoints, observedEndpoints, relayedEndpoints, noRelay } = register.registration;
  assertEquals([endpoints, observedEndpoints, relayedEndpoints, noRelay], [
    [{ hostname: "192.168.1.9", port: 40000 }],
    [{ hostname: "203.0.113.9", port: 40000 }],
    [{ hostname: "198.51.100.7", port: 50000 }],
    undefined,
  ]);
  assertEquals(world.control.relays.sessions, ["session eu"]);
});

Deno.test("a peer's relayed addresses are its last candidates, and of the kind relayed", () => {
  const world = new World("agent");
  world.begin({ features: WITH_RELAYS, colony: false });
  const relayedEndpoints = [{ hostname: "198.51.100.7", port: 50001 }];
  const peer = { ...found(1, "colony"), relayedEndpoints };
  world.do((c, now) => c.handleAnswer(now, { kind: "colony", peer }));
  assertEquals(world.control.peers.find(keyOf(1))?.candidates.at(-1), {
    kind: "relayed",
    address: "198.51.100.7:50001",
  });
});

Deno.test("a peer that wants no relay is told of to the datapath, and an agent of such a colony gives its own back", () => {
  const world = new World("agent");
  world.begin({ features: WITH_RELAYS, colony: false });
  world.grantRelay();
  world.takeRequests();
  const relayedEndpoints = [{ hostname: "198.51.100.7", port: 50001 }];
  const peer = { ...found(1, "colony"), relayedEndpoints, noRelay: true };
  world.commands.length = 0;
  world.do((c, now) => c.handleAnswer(now, { kind: "colony", peer }));
  const add = world.commands.find(({ kind }) => kind === "addPeer");
  assert(add?.kind === "addPeer" && add.relay === false);
  assert(!world.control.peers.find(keyOf(1))?.candidates.some(({ kind }) => kind === "relayed"));
  const set = world.commands.find(({ kind }) => kind === "setRelays");
  assert(set?.kind === "setRelays");
  assertEquals(set.relays, []);
  assertEquals(world.takeRequests().includes("releaseRelay"), true);
  assertEquals(world.control.relays.reason, "the colony wants no relay");

  // It changes its mind.
  world.commands.length = 0;
  const willing = { ...peer, noRelay: false };
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: willing }));
  const where = world.commands.find(({ kind }) => kind === "setCandidates");
  assert(where?.kind === "setCandidates" && where.relay === true);
  assertEquals(where.candidates.at(-1)?.kind, "relayed");
  assertEquals(world.takeRequests().includes("requestRelay"), true);
});

Deno.test("a node without relays says so in its record, asks for none, and sends to no relay of a peer", () => {
  const world = new World("agent", { noRelay: true });
  world.do((c, now) => c.start(now));
  const info = { kind: "serverInfo", features: WITH_RELAYS, stun: false } as const;
  world.do((c, now) => c.handleAnswer(now, info));
  const register = world.requests.find(({ kind }) => kind === "register");
  assert(register?.kind === "register");
  assertEquals([register.registration.noRelay, register.registration.relayedEndpoints], [
    true,
    undefined,
  ]);
  const relayedEndpoints = [{ hostname: "198.51.100.7", port: 50001 }];
  const peer = { ...found(1, "colony"), relayedEndpoints };
  world.do((c, now) => c.handleAnswer(now, { kind: "colony", peer }));
  const add = world.commands.find(({ kind }) => kind === "addPeer");
  assert(add?.kind === "addPeer" && add.relay === false);
  assert(!world.control.peers.find(keyOf(1))?.candidates.some(({ kind }) => kind === "relayed"));
  assert(!world.takeRequests().includes("requestRelay"));
  assertEquals(world.control.relays.reason, "relays are switched off here");
});

Deno.test("a Discovery without relays is no reason to wait or to warn", () => {
  const world = new World("agent");
  world.begin();
  const request = world.requests.find(({ kind }) => kind === "requestRelay");
  assert(request !== undefined);
  const failed = { kind: "failed", request, code: "unsupported", message: "not here" } as const;
  world.events.length = 0;
  world.do((c, now) => c.handleAnswer(now, failed));
  assertEquals(world.events.map((event) => event.kind === "log" ? event.level : event.kind), [
    "debug",
  ]);
  assertEquals(world.control.relays.reason, "this Discovery has no relays");
});

Deno.test("a node that got no relay asks again once it is registered, where nodes relay for their mesh", () => {
  for (const volunteers of [true, false]) {
    const world = new World("agent");
    world.do((c, now) => c.start(now));
    const request = { kind: "requestRelay", relayId: "", failed: [] } as const;
    const none = { kind: "failed", request, code: "refused", message: "none" } as const;
    world.do((c, now) => c.handleAnswer(now, none));
    const features = { ...FEATURES, ...(volunteers && { volunteers }) };
    world.do((c, now) => c.handleAnswer(now, { kind: "serverInfo", features, stun: false }));
    world.takeRequests();
    world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 300_000 }));
    assertEquals(world.takeRequests().includes("requestRelay"), volunteers);
  }
});

Deno.test("a doubt about a relayed peer has a second relay prepared, one about a direct peer does not", () => {
  for (const relayed of [true, false]) {
    const world = new World("agent");
    world.begin({ features: WITH_RELAYS });
    const request = { kind: "requestRelay", relayId: "", failed: [] } as const;
    const relay = {
      id: "eu",
      sessionId: "s",
      transports: [],
      username: "1:s",
      password: "secret",
      expiresAtMs: 0,
    };
    const choices = ["eu", "us"].map((relayId) => ({ relayId, region: "", load: 0 }));
    const granted = { relay, lifeMs: 3_600_000, choices };
    world.do((c, now) => c.handleAnswer(now, { kind: "relayGranted", request, granted }));
    world.do((c, now) => c.handleDatapath(now, READY));
    const where = { publicKey: keyOf(1), remote: "198.51.100.7:50001", relayed };
    world.do((c, now) => c.handleDatapath(now, { kind: "peerConnected", ...where }));
    world.takeRequests();
    world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey: keyOf(1) }));
    assertEquals(world.takeRequests().includes("requestRelay"), relayed);
  }
});
