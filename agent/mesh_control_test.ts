import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { formatBase64, type Instant, type Rng } from "../core/mod.ts";
import type { DiscoveredPeer } from "../discovery/mod.ts";
import { meshIpv6Of } from "./addressing.ts";
import { MeshControl } from "./mesh_control.ts";
import type { MeshControlOptions, MeshEvent, MeshRequest } from "./mesh_messages.ts";
import type { Role } from "./mesh_peers.ts";
import { NameTable } from "./names.ts";
import type { CandidateInfo, CommandBody, NodeEvent } from "./shared/mod.ts";

const MESH = "reef";
const NAT = { mapping: "unknown", filtering: "unknown", hint: "NAT_UNKNOWN" };
const FEATURES = { punch: true, watch: true, deregister: true };
const HOST: CandidateInfo = { kind: "host", address: "192.168.1.9:40000" };
const REFLEXIVE: CandidateInfo = { kind: "serverReflexive", address: "203.0.113.9:40000" };
/** Never makes a wait shorter. */
const STEADY: Rng = { bytes: (length) => new Uint8Array(length) };

const keyOf = (number: number): string => {
  const key = new Uint8Array(32).fill(1);
  new DataView(key.buffer).setUint32(0, number);
  return formatBase64(key);
};

function found(number: number, role: Role, port = 51820): DiscoveredPeer {
  return {
    meshId: MESH,
    publicKey: keyOf(number),
    role,
    agentId: "",
    name: role === "colony" ? "colony" : `agent${number}`,
    endpoints: [{ hostname: "192.168.1.2", port: 51820 }],
    observedEndpoints: [{ hostname: "203.0.113.2", port }],
    nat: "NAT_UNKNOWN",
    meshIpv4: role === "colony" ? "10.42.0.1" : undefined,
    meshIpv6: undefined,
    connectPort: 0,
    metadata: {},
    lastSeenAt: undefined,
    generation: 1,
  };
}

/** A control with a clock that the test moves; what it asks for is kept until it is looked at. */
class World {
  readonly control: MeshControl;
  readonly commands: CommandBody[] = [];
  readonly requests: MeshRequest[] = [];
  readonly events: MeshEvent[] = [];
  now = 0 as Instant;

  constructor(role: Role, more: Partial<MeshControlOptions> = {}) {
    this.control = new MeshControl({
      now: this.now,
      rng: STEADY,
      role,
      mesh: MESH,
      publicKey: keyOf(0),
      meshIpv6: "fd00::1",
      name: "me",
      connectPort: 9000,
      discovery: ["http://198.51.100.1:8080"],
      names: new NameTable(MESH),
      cached: [],
      ...more,
    });
  }

  /** Lets something happen now. */
  do(what: (control: MeshControl, now: Instant) => void): void {
    what(this.control, this.now);
    this.drain();
  }

  drain(): void {
    for (let c; (c = this.control.pollCommand()) !== undefined;) this.commands.push(c);
    for (let r; (r = this.control.pollRequest()) !== undefined;) this.requests.push(r);
    for (let e; (e = this.control.pollEvent()) !== undefined;) this.events.push(e);
  }

  /** Goes on until `until`, wake-up by wake-up; `each` sees every one. */
  run(until: number, each: () => void = () => {}): void {
    for (let i = 0; i < 100_000; i++) {
      const dueAt = this.control.pollTimeout();
      if (dueAt === undefined || dueAt > until) break;
      assert(dueAt >= this.now || i === 0, "time goes forward");
      this.now = Math.max(this.now, dueAt) as Instant;
      this.do((control, now) => control.handleTimeout(now));
      each();
    }
    this.now = until as Instant;
  }

  /** Takes what was asked for since the last time, in kinds. */
  takeRequests(): string[] {
    return this.requests.splice(0).map(({ kind }) => kind);
  }

  takeCommands(): string[] {
    return this.commands.splice(0).map(({ kind }) => kind);
  }

  /** Registers, and answers what is asked at the start. */
  begin({ features = FEATURES, colony = true } = {}): void {
    this.do((c, now) => c.handleDatapath(now, candidates(HOST)));
    this.do((c, now) => c.start(now));
    this.do((c, now) => c.handleAnswer(now, { kind: "serverInfo", features, stun: false }));
    this.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 86_400_000 }));
    if (colony) {
      this.do((c, now) => c.handleAnswer(now, { kind: "colony", peer: found(1, "colony") }));
    }
  }

  /** Answers the punch asked for last. */
  answerPunch(delivered = true): void {
    const request = this.requests.pop();
    assert(request?.kind === "punch", `a punch, not ${request?.kind}`);
    const { publicKey } = request;
    const peer = this.control.peers.find(publicKey)?.record;
    assert(peer !== undefined);
    const punchId = `punch at ${this.now}`;
    this.do((c, now) =>
      c.handleAnswer(now, { kind: "punched", publicKey, punchId, delivered, windowMs: 3000, peer })
    );
  }

  connect(number = 1): void {
    const publicKey = keyOf(number);
    this.do((c, now) =>
      c.handleDatapath(now, { kind: "peerConnected", publicKey, remote: "203.0.113.2:51820" })
    );
  }
}

function candidates(...list: CandidateInfo[]): NodeEvent {
  return { kind: "candidatesChanged", candidates: list, nat: NAT };
}

Deno.test("an agent asks for its colony and for the server at once, registers with its first STUN answer, then punches", () => {
  const world = new World("agent");
  world.do((c, now) => c.start(now));
  assertEquals(world.takeRequests(), ["serverInfo", "lookUpColony"]);
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
  assertEquals(world.takeRequests(), ["serverInfo"]);
  world.run(600);
  assertEquals(world.takeRequests(), ["register"]);
});

Deno.test("a peer that is not reached directly is punched towards for ever, never more than once a minute in the end", () => {
  const world = new World("agent");
  world.begin();
  const times: number[] = [];
  const punch = (): void => {
    if (world.requests.at(-1)?.kind !== "punch") return;
    times.push(world.now);
    world.answerPunch(false);
  };
  punch();
  world.run(3_500_000, () => punch());
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  // Each window of 3 s is waited for.
  assertEquals(gaps.slice(0, 7), [3000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  assert(gaps.slice(5).every((gap) => gap === 60_000) && gaps.length > 60);
  assertEquals(world.control.hintOf(keyOf(1)), "Discovery cannot tell it");
});

Deno.test("a peer that is reached directly is left alone; relayed, it is punched towards", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.takeRequests();
  world.run(3_000_000);
  assertEquals(world.takeRequests().filter((kind) => kind === "punch"), []);
  world.do((c, now) =>
    c.handleDatapath(now, {
      kind: "peerMoved",
      publicKey: keyOf(1),
      remote: "198.51.100.7:3478",
      relayed: true,
    })
  );
  assertEquals(world.takeRequests(), ["punch"]);
});

Deno.test("an agent that lost its colony asks STUN again and punches at once; a colony leaves the agent three seconds", () => {
  for (
    const [role, peer, patience] of [["agent", "colony", 0], ["colony", "agent", 3000]] as const
  ) {
    const world = new World(role);
    world.begin({ colony: false });
    world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: found(1, peer) }));
    if (role === "agent") world.answerPunch();
    world.connect();
    world.run(200_000);
    world.takeRequests();
    world.takeCommands();
    world.do((c, now) => c.handleDatapath(now, { kind: "peerLost", publicKey: keyOf(1) }));
    assertEquals(world.takeCommands(), ["regather"]);
    world.run(200_000 + patience - 1);
    assertEquals(world.takeRequests(), role === "agent" ? ["punch"] : []);
    world.run(200_000 + patience);
    if (role === "colony") assertEquals(world.takeRequests(), ["punch"]);
  }
});

Deno.test("news of a peer's addresses punch while it is not direct, and only renew them while it is", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.run(100_000, () => world.requests.at(-1)?.kind === "punch" && world.answerPunch());
  world.takeCommands();
  world.do((c, now) =>
    c.handlePeerEvent(now, { kind: "upserted", peer: found(1, "colony", 50001) })
  );
  assertEquals(world.takeCommands(), ["setCandidates"]);
  world.answerPunch();
  world.connect();
  world.takeCommands();
  world.takeRequests();
  world.run(200_000);
  const peer = { ...found(1, "colony", 50001), endpoints: [] };
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer }));
  world.run(300_000);
  assertEquals([world.takeCommands(), world.takeRequests()], [["setCandidates"], []]);
});

Deno.test("a doubted path: STUN is asked, the new address is registered first, and the punch carries it", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(60_000);
  world.takeRequests();
  world.takeCommands();
  const publicKey = keyOf(1);
  world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey }));
  assertEquals([world.takeCommands(), world.takeRequests()], [["regather"], []]);
  world.now = 60_040 as Instant;
  world.do((c, now) => c.handleDatapath(now, candidates(HOST, REFLEXIVE)));
  world.run(60_090);
  assertEquals(world.takeRequests(), ["register"]);
  world.run(60_400);
  assertEquals(world.takeRequests(), [], "no punch with the old address");
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 300_000 }));
  assertEquals(world.takeRequests(), ["punch"]);
});

Deno.test("a doubted path that is heard of again is no cause for a punch", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(60_000);
  world.takeRequests();
  const publicKey = keyOf(1);
  world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey }));
  world.do((c, now) => c.handleDatapath(now, { kind: "peerTrusted", publicKey }));
  world.run(120_000);
  assertEquals(world.takeRequests(), []);
});

Deno.test("one silent peer of several is no reason to ask STUN again: the others prove that the mapping stands", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  for (const number of [1, 2]) {
    world.do((c, now) =>
      c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
    );
    world.connect(number);
  }
  world.takeCommands();
  world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey: keyOf(1) }));
  assertEquals(world.takeCommands(), []);
  world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey: keyOf(2) }));
  assertEquals(world.takeCommands(), ["regather"]);
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
  assertEquals(world.takeCommands(), [], "the colony may register again any moment");
  world.run(65_000);
  world.takeRequests();
  world.do((c, now) =>
    c.handlePeerEvent(now, { kind: "upserted", peer: found(1, "colony", 50003) })
  );
  world.run(66_000);
  assertEquals(world.takeRequests().filter((kind) => kind === "punch"), ["punch"]);
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

Deno.test("a colony with a thousand agents connects to them at a bounded pace", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  world.takeCommands();
  for (let number = 1; number <= 1000; number++) {
    world.do((c, now) =>
      c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
    );
  }
  const at = (): number => world.commands.filter(({ kind }) => kind === "connectPeer").length;
  assertEquals(at(), 64);
  world.run(1000);
  assert(at() <= 165, `${at()} in the first second`);
  world.run(10_000);
  assertEquals([at(), world.requests.filter(({ kind }) => kind === "punch").length], [1000, 0]);
});

Deno.test("a colony that loses a thousand agents at once has Discovery punch at a bounded pace, and asks STUN once", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  for (let number = 1; number <= 1000; number++) {
    world.do((c, now) =>
      c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
    );
    world.connect(number);
  }
  world.run(60_000);
  world.takeCommands();
  world.takeRequests();
  for (let number = 1; number <= 1000; number++) {
    const publicKey = keyOf(number);
    world.do((c, now) => c.handleDatapath(now, { kind: "peerLost", publicKey }));
  }
  assertEquals(world.takeCommands(), ["regather"]);
  const perSecond = new Map<number, number>();
  let asked = 0;
  const answer = (): void => {
    while (world.requests.length > 0) {
      if (world.requests.at(-1)?.kind !== "punch") {
        world.requests.pop();
        continue;
      }
      const second = Math.floor(world.now / 1000);
      perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
      asked++;
      world.answerPunch();
    }
  };
  world.run(120_000, answer);
  assert(Math.max(...perSecond.values()) <= 66, `${Math.max(...perSecond.values())} in a second`);
  assert(asked >= 1000, `${asked} punches`);
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
  world.begin({ features: { punch: false, watch: false, deregister: false } });
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

Deno.test("a changed link is a reason to punch although the path seems fine, once; a moved peer too", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(60_000);
  world.takeRequests();
  const punches = (until: number): number => {
    const before = world.now;
    let count = 0;
    world.run(until, () => {
      if (world.requests.at(-1)?.kind !== "punch") return;
      count++;
      world.answerPunch();
    });
    assert(world.now > before);
    return count;
  };
  world.do((c, now) => c.handleLinkChanged(now));
  assertEquals([punches(60_299), punches(60_301), punches(600_000)], [0, 1, 0]);
  const moved = found(1, "colony", 50_001);
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: moved }));
  assertEquals([punches(600_499), punches(600_501), punches(900_000)], [0, 1, 0]);
  // Another address beside the one that stays is no move.
  const { observedEndpoints } = moved;
  const more = [...observedEndpoints, { hostname: "2001:db8::2", port: 51820 }];
  const peer = { ...moved, observedEndpoints: more };
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer }));
  assertEquals(punches(1_200_000), 0);
});

Deno.test("a colony whose link changed leaves its many agents to notice, and punches towards few", () => {
  for (const [count, punched] of [[16, true], [17, false]] as const) {
    const world = new World("colony");
    world.begin({ colony: false });
    for (let number = 1; number <= count; number++) {
      world.do((c, now) =>
        c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
      );
      world.connect(number);
    }
    world.run(60_000);
    world.takeRequests();
    world.do((c, now) => c.handleLinkChanged(now));
    world.run(61_000);
    assertEquals(world.takeRequests().includes("punch"), punched);
  }
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
