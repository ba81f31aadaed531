import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant, SocketAddress } from "../core/mod.ts";
import type { Candidate, CandidateKind } from "./candidate.ts";
import { formatPath, ownPath } from "./path.ts";
import { PathAgent } from "./path_agent.ts";
import type { PathEvent } from "./path_report.ts";
import { FAN_OUT_MAX } from "./path_table.ts";
import type { NatFacts } from "./nat.ts";
import { seeded } from "./testing/fuzz.ts";

const HOST = of("host", "192.168.1.5");
const REFLEXIVE = of("serverReflexive", "203.0.113.9");
const OTHER = of("serverReflexive", "203.0.113.10");
const SYMMETRIC: NatFacts = {
  mapping: "addressAndPortDependent",
  filtering: "addressAndPortDependent",
  hint: "NAT_SYMMETRIC",
};
const BURST = [0, 200, 500, 1000, 2000];
const STEADY = [7000, 12_000, 17_000, 22_000, 27_000, 32_000];
const BACK_OFF = [42_000, 62_000, 102_000, 162_000, 222_000, 282_000];

Deno.test("PathAgent tries on its schedule, for ever, to every candidate", () => {
  const agent = trying(HOST, REFLEXIVE);
  const sent = initiations(agent, 0, 300_000);
  assertEquals(sent.map(({ at }) => at), [...BURST, ...STEADY, ...BACK_OFF]);
  for (const { to } of sent) assertEquals(to, ["192.168.1.5:1", "203.0.113.9:1"]);
  const late = initiations(agent, 300_000, 10_000_000).map(({ at }) => at);
  assertEquals(late.slice(0, 2), [342_000, 402_000]);
  assertEquals(late.length, Math.floor((10_000_000 - 342_000) / 60_000) + 1);
});

Deno.test("PathAgent makes the first initiation due within connect itself, once", () => {
  const agent = trying(REFLEXIVE);
  assertEquals(agent.pollInitiation(), { destinations: [ownPath(REFLEXIVE.address)], fresh: true });
  assertEquals(agent.pollInitiation(), undefined);
  agent.connect(at(10));
  assertEquals(agent.pollInitiation(), undefined);
  assertEquals(agent.pollTimeout(), at(200));
});

Deno.test("PathAgent does nothing early and one step late", () => {
  const agent = trying(REFLEXIVE);
  agent.pollInitiation();
  agent.handleTimeout(at(199));
  assertEquals(agent.pollInitiation(), undefined);
  agent.handleTimeout(at(1_000));
  assert(agent.pollInitiation() !== undefined);
  assertEquals(agent.pollInitiation(), undefined);
  assertEquals(agent.pollTimeout(), at(1_300));
});

Deno.test("PathAgent without a candidate sends nothing, wakes for nothing, and says why", () => {
  const agent = new PathAgent({ now: at(0) });
  agent.connect(at(0));
  agent.punch(at(0), 5000);
  agent.restart(at(0));
  for (const ms of [0, 100, 10_000, 1_000_000]) {
    agent.handleTimeout(at(ms));
    assertEquals([agent.pollInitiation(), agent.pollEvent(), agent.pollTimeout()], [
      undefined,
      undefined,
      undefined,
    ]);
  }
  assertEquals(agent.destinations(at(0)), []);
  assertEquals(agent.status(at(0)), {
    connected: false,
    path: undefined,
    relayed: false,
    rttMs: undefined,
    mtu: undefined,
    lastHeardAt: undefined,
    attempts: 0,
    reason: "no endpoint of this peer is known",
    paths: [],
  });
  agent.setCandidates(at(2_000_000), [REFLEXIVE]);
  assertEquals(initiations(agent, 2_000_000, 2_001_000).map(({ at }) => at - 2_000_000), [
    0,
    200,
    500,
    1000,
  ]);
});

Deno.test("PathAgent with candidates but without a wish only listens", () => {
  const agent = new PathAgent({ now: at(0) });
  agent.setCandidates(at(0), [REFLEXIVE]);
  assertEquals(agent.pollInitiation(), undefined);
  assertEquals(agent.pollTimeout(), undefined);
  assertEquals(agent.status(at(0)).reason, "1 endpoint known, no session was asked for");
});

Deno.test("PathAgent starts again at once for an unseen candidate, not for a known one", () => {
  const agent = trying(REFLEXIVE);
  initiations(agent, 0, 40_000);
  agent.setCandidates(at(40_000), [REFLEXIVE]);
  assertEquals(agent.pollInitiation(), undefined);
  agent.setCandidates(at(41_000), [REFLEXIVE, HOST]);
  const sent = initiations(agent, 41_000, 42_000);
  assertEquals(sent.map(({ at }) => at), [41_000, 41_200, 41_500, 42_000]);
  assertEquals(sent[0]?.to.length, 2);
  agent.setCandidates(at(42_100), [HOST]);
  assertEquals(initiations(agent, 42_100, 43_100).map(({ at, to }) => [at, ...to]), [
    [43_000, "192.168.1.5:1"],
  ]);
});

Deno.test("PathAgent cannot be made to flood by ever new candidates", () => {
  const agent = trying(REFLEXIVE);
  let count = initiations(agent, 0, 60_000).length;
  for (let ms = 60_000; ms < 120_000; ms += 10) {
    agent.setCandidates(at(ms), [of("serverReflexive", `198.51.${ms >> 8 & 255}.${ms & 255}`)]);
    count += initiations(agent, ms, ms).length;
  }
  // Ten restarts at once and one per 6 s, of at most five fan-outs each.
  assert(count < 20 + 20 * 5, `${count} initiations`);
  assert(agent.dropped > 5000);
});

Deno.test("PathAgent keeps 50 ms between initiations", () => {
  const agent = trying(REFLEXIVE);
  assert(agent.pollInitiation() !== undefined);
  agent.setCandidates(at(10), [REFLEXIVE, HOST]);
  assertEquals(agent.pollInitiation(), undefined);
  assertEquals(agent.pollTimeout(), at(50));
  assertEquals(initiations(agent, 10, 300).map(({ at }) => at), [50, 250]);
});

Deno.test("PathAgent punches every 250 ms within the window, beginning now", () => {
  const agent = new PathAgent({ now: at(0) });
  agent.setCandidates(at(0), [HOST, REFLEXIVE]);
  agent.punch(at(1000), 1000);
  const sent = initiations(agent, 1000, 10_000);
  assertEquals(sent.map(({ at }) => at), [1000, 1250, 1500, 1750, 2000]);
  assertEquals(sent[0]?.to.length, 2);
  assertEquals(agent.pollTimeout(), undefined);
});

Deno.test("PathAgent ignores a window that makes no sense and cuts one that is too long", () => {
  const agent = new PathAgent({ now: at(0) });
  agent.setCandidates(at(0), [REFLEXIVE]);
  for (const windowMs of [0, -1, NaN]) {
    agent.punch(at(0), windowMs);
    assertEquals(agent.pollInitiation(), undefined);
  }
  agent.punch(at(0), Infinity);
  assertEquals(initiations(agent, 0, 100_000).at(-1)?.at, 30_000);
});

Deno.test("PathAgent uses a candidate that arrives within the window, and forgets a window that is over", () => {
  const agent = new PathAgent({ now: at(0) });
  agent.punch(at(0), 1000);
  agent.setCandidates(at(400), [REFLEXIVE]);
  assertEquals(initiations(agent, 400, 5000).map(({ at }) => at), [400, 650, 900]);
  const late = new PathAgent({ now: at(0) });
  late.punch(at(0), 1000);
  late.setCandidates(at(1001), [REFLEXIVE]);
  assertEquals(initiations(late, 1001, 5000), []);
});

Deno.test("PathAgent connects on the first answer and stops trying", () => {
  const agent = trying(HOST, REFLEXIVE);
  initiations(agent, 0, 200);
  agent.punch(at(250), 5000);
  agent.handleAuthenticated(at(260), ownPath(REFLEXIVE.address), "handshake");
  const path = ownPath(REFLEXIVE.address);
  assertEquals(events(agent), [
    { kind: "connected", path },
    { kind: "mtu", path, mtu: 1280 },
  ]);
  assertEquals(agent.pollInitiation(), undefined);
  const { paths, ...status } = agent.status(at(300));
  assertEquals(paths.length, 2);
  assertEquals(status, {
    connected: true,
    path,
    relayed: false,
    rttMs: undefined,
    mtu: 1280,
    lastHeardAt: at(260),
    attempts: 0,
    reason: undefined,
  });
  assertEquals(initiations(agent, 260, 100_000), []);
});

Deno.test("PathAgent connects to a peer that comes by itself, from an unknown address", () => {
  const agent = new PathAgent({ now: at(0) });
  agent.handleAuthenticated(at(5), ownPath(OTHER.address), "handshake");
  assertEquals(agent.pollEvent(), { kind: "connected", path: ownPath(OTHER.address) });
  assertEquals(agent.destinations(at(100_000)), [ownPath(OTHER.address)]);
});

Deno.test("PathAgent follows a peer without probes where it completes a handshake, and its data when the path is silent for 1 s", () => {
  const agent = connected(REFLEXIVE);
  const moved = (ms: number, to: Candidate, what: "handshake" | "data"): boolean => {
    agent.handleAuthenticated(at(ms), ownPath(to.address), what);
    const event = agent.pollEvent();
    if (event !== undefined) assertEquals(event, { kind: "moved", path: ownPath(to.address) });
    return event !== undefined;
  };
  assertEquals(moved(1000, REFLEXIVE, "data"), false);
  assertEquals(moved(1999, OTHER, "data"), false);
  assertEquals(moved(2000, OTHER, "data"), true);
  assertEquals(moved(2001, REFLEXIVE, "data"), false);
  assertEquals(moved(2002, REFLEXIVE, "handshake"), true);
  assertEquals(agent.status(at(2003)).path, ownPath(REFLEXIVE.address));
});

Deno.test("PathAgent prefers the host candidate of a peer without probes when two answer within 300 ms", () => {
  for (const what of ["handshake", "data"] as const) {
    const agent = connected(REFLEXIVE);
    agent.handleAuthenticated(at(300), ownPath(HOST.address), what);
    assertEquals(agent.pollEvent(), { kind: "moved", path: ownPath(HOST.address) });
    agent.handleAuthenticated(at(300), ownPath(REFLEXIVE.address), "handshake");
    assertEquals(agent.pollEvent(), undefined);
    agent.handleAuthenticated(at(301), ownPath(REFLEXIVE.address), "handshake");
    assertEquals(agent.pollEvent(), { kind: "moved", path: ownPath(REFLEXIVE.address) });
  }
  const late = connected(REFLEXIVE);
  late.handleAuthenticated(at(301), ownPath(HOST.address), "data");
  assertEquals(late.pollEvent(), undefined);
});

Deno.test("PathAgent sends the engine's initiations to the remote alone while it is heard", () => {
  const agent = connected(REFLEXIVE);
  assertEquals(agent.destinations(at(15_000)).map(formatPath), ["203.0.113.9:1"]);
  assertEquals(agent.destinations(at(15_001)).map(formatPath), [
    "203.0.113.9:1",
    "192.168.1.5:1",
  ]);
  // Heard from elsewhere is not heard from the remote.
  agent.handleAuthenticated(at(800), ownPath(OTHER.address), "data");
  assertEquals(agent.destinations(at(15_500)).length, 2);
});

Deno.test("PathAgent loses a silent peer after 180 s and tries again by itself, where it last was, too", () => {
  const agent = connected(REFLEXIVE);
  agent.handleAuthenticated(at(1000), ownPath(REFLEXIVE.address), "data");
  agent.setCandidates(at(2000), [HOST]);
  assertEquals(initiations(agent, 2000, 180_999), []);
  assertEquals(agent.pollEvent(), undefined);
  const sent = initiations(agent, 181_000, 182_000);
  assertEquals(events(agent), [{ kind: "lost" }]);
  assertEquals(sent.map(({ at }) => at), [181_000, 181_200, 181_500, 182_000]);
  assertEquals(sent[0]?.to, ["203.0.113.9:1", "192.168.1.5:1"]);
  const { connected: isConnected, path, reason } = agent.status(at(182_000));
  assertEquals([isConnected, path], [false, undefined]);
  assertEquals(reason, "4 handshakes to 2 endpoints, no answer; last heard of 181 s ago");
  agent.handleAuthenticated(at(183_000), ownPath(HOST.address), "handshake");
  assertEquals(agent.pollEvent(), { kind: "connected", path: ownPath(HOST.address) });
});

Deno.test("PathAgent punches while connected, until a handshake completes", () => {
  const agent = connected(REFLEXIVE);
  agent.punch(at(1000), 5000);
  assertEquals(initiations(agent, 1000, 1250).length, 2);
  agent.handleAuthenticated(at(1300), ownPath(REFLEXIVE.address), "data");
  assertEquals(initiations(agent, 1300, 1500).length, 1);
  agent.handleAuthenticated(at(1600), ownPath(OTHER.address), "handshake");
  assertEquals(initiations(agent, 1600, 9000), []);
});

Deno.test("PathAgent tries everything again after a link change, until a handshake completes", () => {
  const agent = connected(REFLEXIVE);
  agent.restart(at(1000));
  const sent = initiations(agent, 1000, 1500);
  assertEquals(sent.map(({ at }) => at), [1000, 1200, 1500]);
  assertEquals(sent[0]?.to.length, 2);
  agent.handleAuthenticated(at(1600), ownPath(REFLEXIVE.address), "handshake");
  assertEquals(initiations(agent, 1600, 100_000), []);
  const idle = new PathAgent({ now: at(0) });
  idle.setCandidates(at(0), [REFLEXIVE]);
  idle.restart(at(1));
  assertEquals(idle.pollInitiation(), undefined);
});

Deno.test("PathAgent looks for a peer that left a silent remote, and stays connected until it is found", () => {
  const agent = connected(REFLEXIVE);
  agent.handleUnreachable(at(900), ownPath(REFLEXIVE.address));
  assertEquals(initiations(agent, 900, 999), [], "it was heard of just now");
  agent.handleUnreachable(at(1000), ownPath(OTHER.address));
  assertEquals(initiations(agent, 1000, 1000), [], "nothing goes there");
  agent.handleUnreachable(at(1000), ownPath(REFLEXIVE.address));
  const sent = initiations(agent, 1000, 1500);
  assertEquals(sent.map(({ at }) => at), [1000, 1200, 1500]);
  assertEquals(sent[0]?.to.length, 2);
  assert(agent.status(at(1500)).connected);
  agent.handleAuthenticated(at(1600), ownPath(OTHER.address), "handshake");
  assertEquals(agent.pollEvent(), { kind: "moved", path: ownPath(OTHER.address) });
  assertEquals(initiations(agent, 1600, 100_000), []);
});

Deno.test("PathAgent is not driven by a flood of forged hints", () => {
  const agent = connected(REFLEXIVE);
  const budget = 10 + 60 / 6;
  let sent = 0;
  for (let ms = 1000; ms < 61_000; ms += 10) {
    agent.handleUnreachable(at(ms), ownPath(REFLEXIVE.address));
    const tried = initiations(agent, ms, ms).length;
    sent += tried;
    // The peer is there and answers.
    if (tried > 0) agent.handleAuthenticated(at(ms), ownPath(REFLEXIVE.address), "handshake");
  }
  assert(sent > 1 && sent <= budget, `${sent}`);
});

Deno.test("PathAgent asks on the path in use when the peer wants a punch or has new addresses", () => {
  const used = formatPath(ownPath(REFLEXIVE.address));
  const asks: readonly ((agent: PathAgent) => void)[] = [
    (agent) => agent.punch(at(10_000), 1000),
    (agent) => agent.setCandidates(at(10_000), [REFLEXIVE, OTHER]),
  ];
  for (const ask of asks) {
    const agent = connected(REFLEXIVE);
    const asked = (): boolean => {
      let found = false;
      for (let probe; (probe = agent.pollProbe()) !== undefined;) {
        found ||= formatPath(probe.path) === used;
        if (formatPath(probe.path) === used) {
          agent.handleProbeReply(at(10_000), probe.path, probe.sequence);
        }
      }
      return found;
    };
    agent.handleTimeout(at(10_000));
    asked();
    assertEquals(asked(), false);
    ask(agent);
    assertEquals(asked(), true);
  }
});

Deno.test("PathAgent says what it has tried", () => {
  const agent = new PathAgent({ now: at(0) });
  agent.setCandidates(at(0), [HOST, REFLEXIVE, OTHER]);
  agent.connect(at(0));
  assertEquals(agent.status(at(0)).reason, "about to try 3 endpoints");
  initiations(agent, 0, 0);
  assertEquals(agent.status(at(0)).reason, "1 handshake to 3 endpoints, no answer");
  initiations(agent, 1, 42_000);
  assertEquals(agent.status(at(42_000)).reason, "12 handshakes to 3 endpoints, no answer");
  assertEquals(agent.status(at(42_000)).attempts, 12);
});

Deno.test("PathAgent asks no ever new addresses that a peer's probes come from while the path in use is direct", () => {
  for (const relayed of [false, true]) {
    const agent = new PathAgent({ now: at(0) });
    const used = of(relayed ? "relayed" : "host", "192.168.1.5");
    agent.setCandidates(at(0), [used]);
    agent.handleAuthenticated(at(0), ownPath(used.address), "handshake");
    const asked = new Set<string>();
    for (let ms = 0; ms < 60_000; ms += 100) {
      agent.handleTimeout(at(ms));
      for (let probe; (probe = agent.pollProbe()) !== undefined;) {
        if (probe.path.remote.hostname === "203.0.113.9") asked.add(formatPath(probe.path));
        else agent.handleProbeReply(at(ms), probe.path, probe.sequence);
      }
      agent.handleSent(at(ms));
      agent.handleAuthenticated(at(ms), ownPath(used.address), "data");
      const mapped = { hostname: "203.0.113.9", port: 1024 + ms / 100 };
      agent.handleAuthenticated(at(ms), ownPath(mapped), "data");
    }
    // Behind a relay each may be the direct path: four at once and one in two seconds.
    assertEquals(asked.size, relayed ? 33 : 0);
    assertEquals(events(agent).map(({ kind }) => kind), ["connected", "mtu"]);
  }
});

Deno.test("PathAgent sends one initiation to at most 24 paths, and gives every address its turn", () => {
  const many = Array.from({ length: 40 }, (_, i) => of("serverReflexive", `203.0.113.${i}`));
  const agent = trying(...many);
  const sent = initiations(agent, 0, 1000);
  const best = sent[0]?.to.slice(0, 12);
  const reached = new Set<string>();
  for (const { to } of sent) {
    assertEquals(to.length, FAN_OUT_MAX);
    assertEquals(new Set(to).size, FAN_OUT_MAX);
    assertEquals(to.slice(0, 12), best);
    for (const address of to) reached.add(address);
  }
  assertEquals(reached.size, 32);
});

Deno.test("PathAgent guesses for no peer that Discovery does not know, and gives up what it has guessed when that is silent", () => {
  const nat = { own: SYMMETRIC, peer: "NAT_RESTRICTED", udpBlocked: false } as const;
  const agent = new PathAgent({ now: at(0), rng: seeded(1) });
  agent.setCandidates(at(0), [REFLEXIVE]);
  agent.setNat(at(0), nat);
  agent.connect(at(0));
  agent.setRegistered(at(1_000), false);
  assertEquals(agent.pollLocal(), { kind: "sample" });
  agent.handleTimeout(at(30_000));
  assertEquals(agent.pollLocal(), undefined);
  agent.setRegistered(at(30_000), true);
  assertEquals(agent.pollLocal(), { kind: "sample" });
  agent.handleTimeout(at(31_500));
  assertEquals(agent.pollLocal(), { kind: "open", count: 256, urgent: false });
  agent.handleLocals(at(31_500), [1, 2, 3]);
  const guessed = { local: 2, remote: REFLEXIVE.address };
  agent.handleAuthenticated(at(31_600), guessed, "handshake");
  agent.handleTimeout(at(31_700));
  answerAll(agent, at(31_700));
  assertEquals(agent.pollLocal(), { kind: "close", locals: [1, 3] });
  runTimers(agent, { from: 31_700, until: 40_000, answered: true });
  assertEquals(agent.status(at(40_000)).path, guessed);
  // It is still there, whatever Discovery says.
  agent.setRegistered(at(40_000), false);
  runTimers(agent, { from: 40_000, until: 60_000, answered: true });
  assertEquals(agent.status(at(60_000)).path, guessed);
  agent.setRegistered(at(60_000), true);
  agent.setRegistered(at(60_000), false);
  runTimers(agent, { from: 60_000, until: 66_500, answered: false });
  assertEquals([agent.status(at(66_499)).path, agent.pollLocal()], [guessed, undefined]);
  agent.handleTimeout(at(66_500));
  assertEquals(agent.status(at(66_500)).connected, false);
  assertEquals(agent.pollLocal(), { kind: "close", locals: [2] });
});

Deno.test("PathAgent drops its oldest events when nobody takes them", () => {
  const agent = connected(REFLEXIVE);
  for (let i = 0; i < 20; i++) {
    agent.handleAuthenticated(
      at(1000 + i),
      ownPath((i % 2 ? REFLEXIVE : OTHER).address),
      "handshake",
    );
  }
  const taken = events(agent);
  assertEquals([taken.length, agent.dropped], [16, 4]);
  assertEquals(taken.at(-1), { kind: "moved", path: ownPath(REFLEXIVE.address) });
});

interface Sent {
  readonly at: number;
  readonly to: readonly string[];
}

/** Runs the agent's timers from one instant to another and lists what it wanted sent. */
function initiations(agent: PathAgent, from: number, until: number): readonly Sent[] {
  const sent: Sent[] = [];
  for (let now = from;;) {
    const due = agent.pollInitiation();
    if (due !== undefined) sent.push({ at: now, to: due.destinations.map(formatPath) });
    const next = agent.pollTimeout();
    if (next === undefined || next > until) return sent;
    now = Math.max(now, next);
    agent.handleTimeout(at(now));
  }
}

function trying(...candidates: Candidate[]): PathAgent {
  const agent = new PathAgent({ now: at(0) });
  agent.setCandidates(at(0), candidates);
  agent.connect(at(0));
  return agent;
}

/** Connected at 0 to the address of a candidate; HOST and REFLEXIVE are known. */
function connected({ address }: { address: SocketAddress }): PathAgent {
  const agent = new PathAgent({ now: at(0) });
  agent.setCandidates(at(0), [HOST, REFLEXIVE]);
  agent.connect(at(0));
  agent.handleAuthenticated(at(0), ownPath(address), "handshake");
  assertEquals(events(agent).map(({ kind }) => kind), ["connected", "mtu"]);
  // The host cannot send probes, so the peer counts as one that answers none.
  for (let probe; (probe = agent.pollProbe()) !== undefined;) {
    agent.handleProbeRefused(probe.path, probe.sequence);
  }
  return agent;
}

/** Answers every probe that is due, or lets them go unheard. */
function answerAll(agent: PathAgent, now: Instant, answered = true): void {
  for (let probe; (probe = agent.pollProbe()) !== undefined;) {
    if (!answered || probe.path.local === 0) continue;
    agent.handleAuthenticated(now, probe.path, "data");
    agent.handleProbeReply(now, probe.path, probe.sequence);
  }
}

/** Runs the timers until just before an instant; probes of extra ends are answered, or not. */
function runTimers(
  agent: PathAgent,
  { from, until, answered }: { from: number; until: number; answered: boolean },
): void {
  answerAll(agent, at(from), answered);
  for (let dueAt; (dueAt = agent.pollTimeout()) !== undefined && dueAt < until;) {
    agent.handleTimeout(dueAt);
    while (agent.pollInitiation() !== undefined);
    answerAll(agent, dueAt, answered);
  }
}

function events(agent: PathAgent): PathEvent[] {
  const taken: PathEvent[] = [];
  for (let event; (event = agent.pollEvent()) !== undefined;) taken.push(event);
  return taken;
}

function of(kind: CandidateKind, hostname: string): Candidate {
  return { kind, address: { hostname, port: 1 } };
}

function at(ms: number): Instant {
  return ms as Instant;
}
