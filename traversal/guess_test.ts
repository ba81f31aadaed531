import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Candidate, CandidateKind } from "./candidate.ts";
import { GUESS_ENDS, GUESS_PORTS, type GuessClues, planGuess, sequenceOf } from "./guess.ts";
import type { NatFacts, NatHint } from "./nat.ts";
import { seeded } from "./testing/fuzz.ts";

const CONE: NatFacts = {
  mapping: "endpointIndependent",
  filtering: "addressAndPortDependent",
  hint: "NAT_RESTRICTED",
};
const SYMMETRIC: NatFacts = { ...CONE, mapping: "addressAndPortDependent", hint: "NAT_SYMMETRIC" };
const ONE_PORT = [reflexive(40_000)];
const RANDOM_PORTS = [reflexive(40_000), reflexive(12_345)];
const NEXT_PORTS = [reflexive(40_002), reflexive(40_000), reflexive(40_004)];

Deno.test("a port-restricted side sprays 1,024 different ports of a symmetric one", () => {
  const plan = planGuess(clues(CONE, "NAT_SYMMETRIC", RANDOM_PORTS), seeded(1));
  assert(plan !== undefined);
  assertEquals([plan.kind, plan.ends, plan.targets.length], ["spray", 0, GUESS_PORTS]);
  assertEquals(new Set(plan.targets.map(({ port }) => port)).size, GUESS_PORTS);
  for (const { hostname, port } of plan.targets) {
    assertEquals(hostname, "203.0.113.9");
    assert(port >= 1024 && port <= 65_535);
  }
});

Deno.test("a symmetric side opens 256 ends towards the one port of a port-restricted one", () => {
  for (const hint of ["NAT_RESTRICTED", "NAT_UNKNOWN", "NAT_CONE"] as const) {
    const plan = planGuess(clues(SYMMETRIC, hint, ONE_PORT), seeded(1));
    assertEquals(plan?.kind, "open");
    assertEquals([plan?.ends, plan?.aims], [GUESS_ENDS, [ONE_PORT[0]?.address]]);
    assertEquals(plan?.targets, []);
  }
});

Deno.test("a symmetric side opens 256 ends towards a public host behind a firewall, which no server sees elsewhere", () => {
  const own = of("host", "203.0.113.100", 51_820);
  const candidates = [of("host", "192.168.1.5", 51_820), own];
  const plan = planGuess(clues(SYMMETRIC, "NAT_RESTRICTED", candidates), seeded(1));
  assertEquals([plan?.kind, plan?.ends, plan?.aims], ["open", GUESS_ENDS, [own.address]]);
  const hidden = clues(SYMMETRIC, "NAT_RESTRICTED", candidates.slice(0, 1));
  assertEquals(planGuess(hidden, seeded(1)), undefined);
});

Deno.test("the ports that come next are sprayed first", () => {
  const plan = planGuess(clues(CONE, "NAT_SYMMETRIC", NEXT_PORTS), seeded(1));
  assertEquals(plan?.targets.slice(0, 3).map(({ port }) => port), [40_006, 40_008, 40_010]);
  assertEquals(plan?.targets.length, GUESS_PORTS);
  const again = planGuess(clues(CONE, "NAT_SYMMETRIC", NEXT_PORTS, { attempt: 1 }), seeded(1));
  assertEquals(again?.targets[0]?.port, 40_004 + 2 * 129);
});

Deno.test("two symmetric sides predict where ports come in order", () => {
  const plan = planGuess(clues(SYMMETRIC, "NAT_SYMMETRIC", NEXT_PORTS), seeded(1));
  assertEquals([plan?.kind, plan?.ends], ["predict", 128]);
  assertEquals(plan?.aims, [{ hostname: "203.0.113.9", port: 40_004 + 2 * 96 }]);
  assertEquals([plan?.targets.length, plan?.targets[0]?.port], [128, 40_006]);
  const again = clues(SYMMETRIC, "NAT_SYMMETRIC", NEXT_PORTS, { attempt: 1 });
  assertEquals(planGuess(again, seeded(1))?.aims[0]?.port, 40_004 + 2 * (128 + 96));
});

Deno.test("a side that counts opens 128 ends towards a random one, which looks for their ports", () => {
  for (const filtering of ["endpointIndependent", "addressDependent", "unknown"] as const) {
    const own = { ...SYMMETRIC, filtering };
    const here = clues(own, "NAT_SYMMETRIC", RANDOM_PORTS, { ownCounts: true });
    const plan = planGuess(here, seeded(1));
    assertEquals([plan?.kind, plan?.ends, plan?.targets], ["show", 128, []]);
    assertEquals(plan?.aims, [RANDOM_PORTS[0]?.address]);
    assertEquals(planGuess({ ...here, ownCounts: false }, seeded(1)), undefined, "nobody counts");
    assertEquals(planGuess({ ...here, candidates: [] }, seeded(1)), undefined);
  }
  const filtered = clues(SYMMETRIC, "NAT_SYMMETRIC", RANDOM_PORTS, { ownCounts: true });
  assertEquals(
    planGuess(filtered, seeded(1)),
    undefined,
    "which lets in only a port that is asked",
  );
});

Deno.test("nothing is guessed where it cannot hit or is not needed", () => {
  const nothing: readonly GuessClues[] = [
    clues(SYMMETRIC, "NAT_SYMMETRIC", RANDOM_PORTS),
    clues(CONE, "NAT_RESTRICTED", ONE_PORT),
    clues(CONE, "NAT_CONE", ONE_PORT),
    clues(CONE, "NAT_SYMMETRIC", []),
    clues(CONE, "NAT_SYMMETRIC", [of("relayed", "203.0.113.9", 3478)]),
    clues(CONE, "NAT_SYMMETRIC", [of("serverReflexive", "2001:db8::9", 3478)]),
    clues(CONE, "NAT_SYMMETRIC", RANDOM_PORTS, { udpBlocked: true }),
  ];
  for (const each of nothing) assertEquals(planGuess(each, seeded(1)), undefined);
});

Deno.test("ports in order are told by close ones of one address, wherever they are listed", () => {
  assertEquals(sequenceOf(NEXT_PORTS), { hostname: "203.0.113.9", last: 40_004, stride: 2 });
  assertEquals(sequenceOf(RANDOM_PORTS), undefined);
  assertEquals(sequenceOf(ONE_PORT), undefined);
  const grown = [...NEXT_PORTS, reflexive(41_001), reflexive(41_000), reflexive(39_000)];
  assertEquals(
    sequenceOf(grown),
    { hostname: "203.0.113.9", last: 41_001, stride: 1 },
    "the newest count",
  );
  const again = [reflexive(65_530), reflexive(65_531), reflexive(1_025), reflexive(1_024)];
  assertEquals(sequenceOf(again)?.last, 1_025, "also where the NAT began again at its lowest port");
  const three = sequenceOf([reflexive(7_000), reflexive(7_001), reflexive(7_017)]);
  assertEquals([three?.last, three?.stride], [7_017, 1]);
  assertEquals(
    sequenceOf([reflexive(40_000), of("serverReflexive", "203.0.113.8", 40_001)]),
    undefined,
  );
});

Deno.test("predicted ports wrap around and stay above the services'", () => {
  const last = [reflexive(65_530), reflexive(65_534)];
  const plan = planGuess(clues(SYMMETRIC, "NAT_SYMMETRIC", last), seeded(1));
  for (const { port } of plan?.targets ?? []) assert(port >= 1024 && port <= 65_535, `${port}`);
  assertEquals(plan?.targets[0]?.port, 1026);
});

function clues(
  own: NatFacts,
  peer: NatHint,
  candidates: readonly Candidate[],
  more: Partial<GuessClues> = {},
): GuessClues {
  return { own, peer, candidates, udpBlocked: false, attempt: 0, ...more };
}

function reflexive(port: number): Candidate {
  return of("serverReflexive", "203.0.113.9", port);
}

function of(kind: CandidateKind, hostname: string, port: number): Candidate {
  return { kind, address: { hostname, port } };
}
