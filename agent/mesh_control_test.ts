import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { meshIpv6Of } from "./addressing.ts";
import type { MeshRequest } from "./mesh_messages.ts";
import type { CandidateInfo } from "./shared/mod.ts";
import {
  candidates,
  FEATURES,
  found,
  HOST,
  keyOf,
  MESH,
  REFLEXIVE,
  World,
} from "./testing/mesh_world.ts";

Deno.test("an agent asks for its colony and for the server at once, registers with its first STUN answer, then punches", () => {
  const world = new World("agent");
  world.do((c, now) => c.start(now));
  assertEquals(world.takeRequests(), ["serverInfo", "lookUpColony", "requestRelay"]);
  world.now = 20 as Instant;
  world.do((c, now) => c.handleAnswer(now, { kind: "colony", peer: found(1, "colony") }));
  assertEquals(world.takeCommands(), ["addPeer", "setCandidates", "connectPeer"]);
  world.do((c, now) => c.handleAnswer(now, { kind: "serverInfo", features: FEATURES, stun: true }));
  assertEquals(world.takeRequests(), [], "STUN first");
  world.now = 40 as Instant;
  world.do((c, now) => c.handleDatapath(now, candidates(HOST, REFLEXIVE)));
  const [register] = world.requests;
  assert(register?.kind === "register");
  assertEquals(register.registration.observedEndpoints, [{ hostname: "203.0.113.9", port: 40000 }]);
  assertEquals(world.takeRequests(), ["register"]);
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 300_000 }));
  assertEquals(world.takeRequests(), ["punch"]);
});

Deno.test("a node registers without a STUN answer after 600 ms", () => {
  const world = new World("colony");
  world.do((c, now) => c.start(now));
  world.do((c, now) => c.handleAnswer(now, { kind: "serverInfo", features: FEATURES, stun: true }));
  world.run(599);
  assertEquals(world.takeRequests(), ["serverInfo", "requestRelay"]);
  world.run(600);
  assertEquals(world.takeRequests(), ["register"]);
});

Deno.test("Discovery killed and started without its memory: the node registers again, peers stay, a lost one is punched", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(60_000);
  world.takeRequests();
  world.takeCommands();
  const away = { connected: false, reason: "connection refused", notRegistered: false } as const;
  world.do((c, now) => c.handleWatchState(now, away));
  world.do((c, now) => c.handleDatapath(now, { kind: "peerLost", publicKey: keyOf(1) }));
  assertEquals(world.takeRequests(), ["punch"]);
  const failed = (request: MeshRequest, code: "unreachable" | "refused"): void =>
    world.do((c, now) => c.handleAnswer(now, { kind: "failed", request, code, message: code }));
  const punch: MeshRequest = { kind: "punch", publicKey: keyOf(1) };
  failed(punch, "unreachable");
  assertEquals(world.control.hintOf(keyOf(1)), "Discovery does not answer");
  assertEquals(world.takeCommands(), ["regather"], "the peer and its addresses are kept");
  world.run(62_000);
  assertEquals(world.takeRequests(), ["punch"]);
  assertEquals(world.commands.splice(0), [{ kind: "regather", recheck: true }], "it is missed");
  world.do((c, now) => c.handleWatchState(now, { ...away, notRegistered: true }));
  assertEquals(world.takeRequests(), ["register"]);
  failed(punch, "refused");
  world.events.length = 0;
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 300_000 }));
  assert(world.events.some(({ kind }) => kind === "reconnect"), "the stream is asked for at once");
  const url = "http://198.51.100.1:8080";
  world.do((c, now) => c.handleWatchState(now, { connected: true, url }));
  world.do((c, now) => c.handlePeerEvent(now, { kind: "removed", publicKey: keyOf(1) }));
  world.do((c, now) => c.handlePeerEvent(now, { kind: "synchronized" }));
  const untilItReturns = "the colony may register again any moment: only guesses wait for that";
  assertEquals(world.takeCommands(), ["setCandidates"], untilItReturns);
  world.run(65_000);
  world.takeRequests();
  world.do((c, now) =>
    c.handlePeerEvent(now, { kind: "upserted", peer: found(1, "colony", 50003) })
  );
  world.run(66_000);
  assertEquals(world.takeRequests().filter((kind) => kind === "punch"), ["punch"]);
});

Deno.test("while Discovery is away and a peer is not reached, its stream is tried every few seconds, and it hears at once of what it missed", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(10_000);
  const reason = "connection refused";
  const events = (): number[] => {
    const kinds = world.events.splice(0).map(({ kind }) => kind);
    return ["reconnect", "hurry"].map((wanted) => kinds.filter((kind) => kind === wanted).length);
  };
  events();
  world.do((c, now) => c.handleWatchState(now, { connected: false, reason, notRegistered: false }));
  world.run(60_000);
  assertEquals(events(), [0, 0], "the peer is reached");
  world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey: keyOf(1) }));
  assertEquals(events(), [1, 0], "the way to Discovery may have changed too");
  world.run(80_000);
  assertEquals(events(), [0, 5], "after 2 s, then every 4 s");
  world.do((c, now) => c.handleDatapath(now, candidates(HOST, REFLEXIVE)));
  world.run(80_100);
  const request = world.requests.findLast(({ kind }) => kind === "register");
  assert(request !== undefined, "the new address is registered");
  const failed = { kind: "failed", request, code: "unreachable", message: "refused" } as const;
  world.do((c, now) => c.handleAnswer(now, failed));
  world.takeRequests();
  const url = "http://198.51.100.1:8080";
  world.do((c, now) => c.handleWatchState(now, { connected: true, url }));
  assertEquals(world.takeRequests().includes("register"), true, "without waiting for its turn");
  events();
  world.run(100_000);
  assertEquals(events(), [0, 0]);
});

Deno.test("peers of an earlier run are tried before Discovery has answered, and go when it does not know them", () => {
  const cached = [found(1, "agent"), found(2, "agent")];
  const world = new World("colony", { cached });
  world.do((c, now) => c.start(now));
  const both = ["addPeer", "setCandidates", "connectPeer"];
  assertEquals(world.takeCommands(), [...both, ...both]);
  world.begin({ colony: false });
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: found(2, "agent") }));
  assertEquals(world.takeCommands(), []);
  world.do((c, now) => c.handlePeerEvent(now, { kind: "synchronized" }));
  assertEquals(world.commands.splice(0), [{ kind: "removePeer", publicKey: keyOf(1) }]);
  assertEquals(world.control.peers.all.map(({ publicKey }) => publicKey), [keyOf(2)]);
});

Deno.test("a start without Discovery says so once per attempt, and goes on asking", () => {
  const world = new World("agent", { cached: [found(1, "colony")] });
  world.do((c, now) => c.start(now));
  const failed = {
    kind: "failed",
    code: "unreachable",
    message: "Cannot reach Discovery",
  } as const;
  const request = { kind: "serverInfo" } as const;
  world.do((c, now) => c.handleAnswer(now, { ...failed, request }));
  assert(world.events.some(({ kind }) => kind === "notRegistered"));
  world.takeRequests();
  world.run(2000);
  assertEquals(world.takeRequests(), ["serverInfo"]);
});

Deno.test("a colony looks a stranger up once, and admits it if it is registered", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  world.takeCommands();
  world.takeRequests();
  const publicKey = keyOf(5);
  const knock = { kind: "unknownPeer", publicKey, source: "203.0.113.2:51820" } as const;
  world.do((c, now) => c.handleDatapath(now, knock));
  world.do((c, now) => c.handleDatapath(now, knock));
  assertEquals(world.takeRequests(), ["lookUpAgent"]);
  world.do((c, now) => c.handleAnswer(now, { kind: "agent", publicKey, peer: undefined }));
  assertEquals(world.takeCommands(), []);
  world.do((c, now) => c.handleDatapath(now, knock));
  world.do((c, now) => c.handleAnswer(now, { kind: "agent", publicKey, peer: found(5, "agent") }));
  assertEquals(world.takeCommands(), ["addPeer", "setCandidates", "connectPeer"]);
  for (let number = 100; number < 200; number++) {
    world.do((c, now) => c.handleDatapath(now, { ...knock, publicKey: keyOf(number) }));
  }
  assertEquals(world.requests.filter(({ kind }) => kind === "lookUpAgent").length, 65);
  assertEquals(world.control.counters()["strangersIgnored"], 36);
});

Deno.test("on a plain Coral Discovery an agent looks its colony up instead, often at first and rarely once it is direct", () => {
  const world = new World("agent");
  world.begin({ features: { punch: false, watch: false, deregister: false, relay: false } });
  world.takeRequests();
  const answers: number[] = [];
  const answer = (): void => {
    const kinds = world.takeRequests().filter((kind) => kind !== "register");
    if (kinds.length === 0) return;
    assertEquals(kinds, ["lookUpColony"]);
    answers.push(world.now);
    world.do((c, now) => c.handleAnswer(now, { kind: "colony", peer: found(1, "colony") }));
  };
  world.run(30_000, answer);
  assert(answers.length >= 3 && answers.length <= 8, answers.join());
  world.connect();
  world.run(31_000, answer);
  answers.length = 0;
  world.run(400_000, answer);
  assert(answers.length >= 4 && answers.length <= 8, answers.join());
});

Deno.test("a changed link: everything is gathered again and a peer that is not direct is punched; after sleep the node registers", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.run(50_000, () => world.requests.at(-1)?.kind === "punch" && world.answerPunch());
  world.takeCommands();
  world.takeRequests();
  world.do((c, now) => c.handleLinkChanged(now));
  assertEquals(world.takeCommands(), ["linkChanged"]);
  assert(world.events.some(({ kind }) => kind === "reconnect"));
  // An address after its carrier, a route after its address: they are taken up together, not one by one.
  for (const kind of ["linksChanged", "linksChanged"] as const) {
    world.do((c, now) => c.handleDatapath(now, { kind }));
  }
  assertEquals(world.takeCommands(), []);
  world.run(50_250);
  assertEquals(world.takeCommands(), ["linkChanged"]);
  world.run(50_300);
  assertEquals(world.takeRequests(), ["punch"]);
  world.do((c, now) => c.handleLinkChanged(now, { sleptMs: 600_000 }));
  assertEquals(world.takeRequests(), ["register"]);
});

Deno.test("a colony with another public address registers it and punches at once, before any agent has noticed", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: found(1, "agent") }));
  world.connect();
  world.do((c, now) => c.handleDatapath(now, candidates(HOST, REFLEXIVE)));
  world.run(100);
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 86_400_000 }));
  world.run(60_000);
  world.takeRequests();
  const other: CandidateInfo = { kind: "serverReflexive", address: "198.51.100.3:40000" };
  world.do((c, now) => c.handleDatapath(now, candidates(HOST, other)));
  world.run(60_050);
  assertEquals(world.takeRequests(), ["register"]);
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 86_400_000 }));
  assertEquals(world.takeRequests(), ["punch"]);
});

Deno.test("another public address, and nothing less, gives up connections to Discovery", () => {
  const world = new World("agent");
  world.begin();
  const reconnects = (...list: CandidateInfo[]): number => {
    world.events.length = 0;
    world.do((c, now) => c.handleDatapath(now, candidates(HOST, ...list)));
    return world.events.filter(({ kind }) => kind === "reconnect").length;
  };
  const other: CandidateInfo = { kind: "serverReflexive", address: "198.51.100.3:40000" };
  assertEquals(
    [reconnects(REFLEXIVE), reconnects(REFLEXIVE, other), reconnects(REFLEXIVE), reconnects(other)],
    [0, 0, 0, 1],
  );
});

Deno.test("an own address inside the mesh is not announced; one that a peer has seen is", () => {
  const world = new World("colony");
  const inside = meshIpv6Of(MESH, new Uint8Array(32).fill(7));
  world.do((c, now) =>
    c.handleDatapath(
      now,
      candidates(
        { kind: "host", address: `[${inside}]:40000` },
        { kind: "host", address: "10.42.0.1:40000" },
        HOST,
        { kind: "peerReflexive", address: "203.0.113.77:41000" },
      ),
    )
  );
  world.do((c, now) => c.start(now));
  world.do((c, now) =>
    c.handleAnswer(now, { kind: "serverInfo", features: FEATURES, stun: false })
  );
  const register = world.requests.find((request) => request.kind === "register");
  assertEquals(register?.registration.endpoints, [{ hostname: "192.168.1.9", port: 40000 }]);
  assertEquals(register?.registration.observedEndpoints, [
    { hostname: "203.0.113.77", port: 41000 },
  ]);
  assertEquals(register?.registration.meshIpv4, "10.42.0.1");
});

Deno.test("an agent that goes on with another key takes its own place at the colony", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: found(2, "agent") }));
  world.takeCommands();
  const peer = { ...found(3, "agent"), earlierKeys: [keyOf(2)] };
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer }));
  const kinds = world.takeCommands();
  assertEquals(kinds.slice(0, 2), ["removePeer", "addPeer"]);
  assertEquals(world.control.peers.all.map(({ publicKey }) => publicKey), [keyOf(3)]);
  const code = "unreachable";
  const request = { kind: "serverInfo" } as const;
  world.do((c, now) => c.handleAnswer(now, { kind: "failed", request, code, message: "away" }));
  // Of whom there is a link something can be said.
  const hints = [2, 3].map((number) => world.control.hintOf(keyOf(number)));
  assertEquals(hints, [undefined, "Discovery does not answer"]);
});

Deno.test("a node that is refused says so once, and asks again in its turn, whatever else is refused with it", () => {
  const world = new World("agent");
  world.begin();
  const message = "mesh reef has thrown this node out";
  const refuse = (): void => {
    const request = world.requests.findLast(({ kind }) => kind === "register");
    assert(request !== undefined, "it registers");
    world.requests.length = 0;
    world.do((c, now) =>
      c.handleAnswer(now, { kind: "failed", request, code: "refused", message })
    );
  };
  const said = (): string[] =>
    world.events.splice(0).flatMap((event) =>
      event.kind === "log" && event.level === "warn" ? [event.message] : []
    );
  const forget = (): void =>
    world.do((c, now) =>
      c.handleWatchState(now, { connected: false, reason: "gone", notRegistered: true })
    );
  forget();
  assertEquals(world.requests.some(({ kind }) => kind === "register"), true);
  said();
  refuse();
  assertEquals(said(), [`registration: ${message}`]);
  const from = world.now;
  for (let times = 0; times < 5; times++) {
    forget();
    assertEquals(world.requests.some(({ kind }) => kind === "register"), false, "not at once");
    while (!world.requests.some(({ kind }) => kind === "register")) world.run(world.now + 100);
    said();
    refuse();
    assertEquals(said(), []);
  }
  // 1, 2, 4, 8 and 16 s, each up to a third shorter.
  assert(world.now - from > 20_000, `${world.now - from} ms`);
  world.run(world.now + 40_000);
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 86_400_000 }));
  forget();
  said();
  refuse();
  assertEquals(said(), [`registration: ${message}`], "it was registered in between");
});
