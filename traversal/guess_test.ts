import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Candidate, CandidateKind } from "./candidate.ts";
import {
  GUESS_ENDS,
  GUESS_PORTS,
  type GuessClues,
  type GuessPlan,
  planGuess,
  sequenceOf,
} from "./guess.ts";
import type { NatFacts, NatHint } from "./nat.ts";
import { seeded } from "./testing/fuzz.ts";

const CONE: NatFacts = {
  mapping: "endpointIndependent",
  filtering: "addressAndPortDependent",
  hint: "NAT_RESTRICTED",
};
const SYMMETRIC: NatFacts = { ...CONE, mapping: "addressAndPortDependent", hint: "NAT_SYMMETRIC" };
const OWN_PORTS = [{ hostname: "203.0.113.8", port: 7_000 }];
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
  assertEquals([plan?.targets.length, plan?.targets[0]?.port], [288, 40_006]);
  const again = clues(SYMMETRIC, "NAT_SYMMETRIC", NEXT_PORTS, { attempt: 1 });
  assertEquals(planGuess(again, seeded(1))?.aims[0]?.port, 40_004 + 2 * (128 + 96));
});

Deno.test("a side that counts opens 128 ends towards a random one, which looks for their ports", () => {
  const own = { ...SYMMETRIC, filtering: "endpointIndependent" } as const;
  const here = clues(own, "NAT_SYMMETRIC", RANDOM_PORTS, { ownPorts: OWN_PORTS });
  const plan = planGuess(here, seeded(1));
  assertEquals([plan?.kind, plan?.ends, plan?.targets, plan?.once], ["show", 128, [], undefined]);
  assertEquals(plan?.aims, [RANDOM_PORTS[0]?.address]);
  assertEquals(planGuess({ ...here, ownPorts: [] }, seeded(1)), undefined, "nobody counts");
  assertEquals(planGuess({ ...here, candidates: [] }, seeded(1)), undefined);
});

Deno.test("where its filter may let in nothing but what was asked, it tries ports that the other's ends may have as well", () => {
  for (const filtering of ["addressAndPortDependent", "addressDependent", "unknown"] as const) {
    const own = { ...SYMMETRIC, filtering };
    const here = clues(own, "NAT_SYMMETRIC", RANDOM_PORTS, { ownPorts: OWN_PORTS });
    const plan = planGuess(here, seeded(1));
    assertEquals([plan?.kind, plan?.ends, plan?.targets, plan?.once?.length], [
      ...["show", 128, [], 1024],
    ]);
    assert(plan?.once?.every(({ hostname }) => hostname === RANDOM_PORTS[0]?.address.hostname));
    assertEquals(planGuess({ ...here, ownPorts: [] }, seeded(1)), undefined, "nobody counts");
  }
});

Deno.test("the port from which an open NAT answers is looked for too: it comes after those of all ends and of what is sent besides", () => {
  const plan = planGuess(clues(SYMMETRIC, "NAT_SYMMETRIC", NEXT_PORTS), seeded(1));
  const answering = 40_004 + 2 * (128 + 128 + 1);
  assert(plan?.targets.some(({ port }) => port === answering));
});

Deno.test("two sides behind one NAT that counts open their ends one after the other, and meet whatever was taken meanwhile", () => {
  const looked = [[50_000, 50_001], [50_002, 50_003]] as const;
  for (const [a, b] of [looked, looked.toReversed()]) {
    for (const taken of [0, 1, 40, 63]) {
      const plans = [shared(a, b), shared(b, a)];
      const [first, second] = plans.toSorted((x, y) => (x.delayMs ?? 0) - (y.delayMs ?? 0));
      assert(first !== undefined && second !== undefined);
      assertEquals([first.delayMs, second.delayMs], [0, 1_500]);
      assertEquals([first.ends, first.targets, first.aims.length], [128, [], 1]);
      // What the NAT gives: others take some, the first side's ends, then the other's.
      const from = 50_004 + taken;
      const ports = { first: from, second: from + first.ends };
      const [there, back] = [first.aims[0]?.port ?? 0, second.aims[0]?.port ?? 0];
      assert(back >= ports.first && back < ports.second, `${back} is one of the first's`);
      assert(there >= ports.second && there < ports.second + second.ends, `${there}`);
    }
  }
});

Deno.test("which of two sides behind one NAT is first they know also where its numbers begin again, and who looked between", () => {
  const around = [
    shared([65_534, 65_535], [1_024, 1_025]),
    shared([1_024, 1_025], [65_534, 65_535]),
  ];
  assertEquals(around.map(({ delayMs }) => delayMs), [0, 1_500]);
  assertEquals(around.map(({ aims }) => aims[0]?.port), [1_025 + 192 + 1, 1_025 + 64 + 1]);
  // Turn by turn each side sees every second port.
  const turns = [
    shared([60_000, 60_002], [60_001, 60_003]),
    shared([60_001, 60_003], [60_000, 60_002]),
  ];
  assertEquals(turns.map(({ aims }) => aims[0]?.port), [60_003 + 193, 60_003 + 65]);
  // What the NAT gave before is listed too, and is no matter.
  const more = [reflexive(60_004), reflexive(60_005), reflexive(60_001), reflexive(60_003)];
  const plan = planGuess(
    clues(SYMMETRIC, "NAT_SYMMETRIC", more, { ownPorts: ownPorts([60_000, 60_002]) }),
    seeded(1),
  );
  assertEquals(plan, turns[0]);
  // A failed guess has used up both blocks.
  const again = shared([50_000, 50_001], [50_002, 50_003], 1);
  assertEquals(again.aims[0]?.port, 50_003 + 256 + 193);
});

Deno.test("two sides behind one address whose ports are far apart count each for itself, and meet at each other's next ports", () => {
  const near = shared([13_037, 13_038], [15_085, 15_086]);
  assertEquals([near.delayMs, near.targets.length], [0, 0]);
  const [own, peer] = [[13_037, 13_038], [15_086, 15_087]] as const;
  const [here, there] = [shared(own, peer), shared(peer, own)];
  assertEquals([here.delayMs, there.delayMs], [undefined, undefined]);
  assertEquals(here.aims.map(({ port }) => port), [15_087 + 96]);
  assertEquals(there.aims.map(({ port }) => port), [13_038 + 96]);
  assertEquals(here.targets.map(({ port }) => port).slice(0, 2), [15_088, 15_089]);
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
  const even = { hostname: "203.0.113.9", last: 40_004, stride: 2, newest: [40_000, 40_004] };
  assertEquals(sequenceOf(NEXT_PORTS), even);
  assertEquals(sequenceOf(RANDOM_PORTS), undefined);
  assertEquals(sequenceOf(ONE_PORT), undefined);
  const grown = [...NEXT_PORTS, reflexive(41_001), reflexive(41_000), reflexive(39_000)];
  assertEquals(
    sequenceOf(grown),
    { hostname: "203.0.113.9", last: 41_001, stride: 1, newest: [41_001, 41_000] },
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

function ownPorts(ports: readonly number[]): GuessClues["ownPorts"] & object {
  return ports.map((port) => ({ hostname: "203.0.113.9", port }));
}

/** The plan of a side whose ports and whose peer's ports were looked at, behind one address. */
function shared(own: readonly number[], peer: readonly number[], attempt = 0): GuessPlan {
  const more = { ownPorts: ownPorts(own), attempt };
  const plan = planGuess(
    clues(SYMMETRIC, "NAT_SYMMETRIC", peer.map((port) => reflexive(port)), more),
    seeded(1),
  );
  assert(plan?.kind === "predict");
  return plan;
}

function reflexive(port: number): Candidate {
  return of("serverReflexive", "203.0.113.9", port);
}

function of(kind: CandidateKind, hostname: string, port: number): Candidate {
  return { kind, address: { hostname, port } };
}
