import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { GuessRun, type GuessSituation, type LocalRequest } from "./guess_run.ts";
import type { NatFacts } from "./nat.ts";
import { formatPath, OWN_SOCKETS, type Path } from "./path.ts";
import { seeded } from "./testing/fuzz.ts";

const CONE: NatFacts = {
  mapping: "endpointIndependent",
  filtering: "addressAndPortDependent",
  hint: "NAT_RESTRICTED",
};
const SYMMETRIC: NatFacts = { ...CONE, mapping: "addressAndPortDependent", hint: "NAT_SYMMETRIC" };
const OWN_PORTS = [{ hostname: "203.0.113.8", port: 7_000 }];
const REMOTE = { hostname: "203.0.113.9", port: 40_000 };
const MISSING: GuessSituation = {
  missingSince: at(0),
  candidates: [{ kind: "serverReflexive", address: REMOTE }],
  used: new Set([0]),
};
const FOUND: GuessSituation = { ...MISSING, missingSince: undefined };

Deno.test("a GuessRun begins after 1.5 s, sends 160 a second, and then waits ever longer", () => {
  const run = spraying();
  const sent = runFor(run, 7_200_000);
  const starts = sent.filter(({ at }, i) => at - (sent[i - 1]?.at ?? -Infinity) > 1000);
  assertEquals(starts.map(({ at }) => at), [1_500, 21_500, 81_500, 321_500, 1_281_500, 4_881_500]);
  assertEquals(sent.length, 6 * 64);
  assert(sent.every(({ paths }) => paths.length === 16));
  const first = sent.slice(0, 64);
  assertEquals(first.at(-1)?.at, 1_500 + 63 * 100);
  assertEquals(new Set(first.flatMap(({ paths }) => paths.map(formatPath))).size, 1024);
});

Deno.test("a GuessRun does nothing without a missing path, a NAT, entropy, or leave", () => {
  const nat = { own: CONE, peer: "NAT_SYMMETRIC", udpBlocked: false } as const;
  const none = new GuessRun({ rng: seeded(1), noGuess: false });
  const withoutRng = new GuessRun({ noGuess: false });
  withoutRng.setNat(nat);
  const forbidden = new GuessRun({ rng: seeded(1), noGuess: true });
  forbidden.setNat(nat);
  for (const run of [none, withoutRng, forbidden]) {
    assertEquals(runFor(run, 100_000), []);
    assertEquals(run.dueAt(), undefined);
  }
  assertEquals(runFor(spraying(), 100_000, FOUND), []);
});

Deno.test("a GuessRun opens ends, sends from each in rounds, and closes all but the one in use", () => {
  const run = opening();
  run.handle(at(1500), MISSING);
  assertEquals(run.pollLocal(), { kind: "open", count: 256, urgent: false });
  assertEquals(run.pollBatch(), undefined);
  const ends = Array.from({ length: 256 }, (_, i) => i + 1);
  run.handleLocals(at(1510), ends);
  const sent = runFor(run, 14_000, MISSING, 1_510);
  assertEquals(sent.length, 16);
  const firstRound = sent.slice(0, 4).flatMap(({ paths }) => paths);
  assertEquals(firstRound.map(({ local }) => local), ends);
  assert(firstRound.every(({ remote }) => remote === REMOTE));
  run.handle(at(14_100), { ...FOUND, used: new Set([0, 77]) });
  assertEquals(requests(run), [{ kind: "close", locals: ends.filter((end) => end !== 77) }]);
  run.handle(at(900_000), FOUND);
  assertEquals(requests(run), [{ kind: "close", locals: [77] }]);
});

Deno.test("a GuessRun makes do with few ends, and ends at once without any", () => {
  const few = opening();
  few.handle(at(1500), MISSING);
  few.handleLocals(at(1500), [3, 4]);
  assertEquals(runFor(few, 3_000, MISSING, 1_500)[0]?.paths.map(({ local }) => local), [3, 4]);
  const none = opening();
  none.handle(at(1500), MISSING);
  assertEquals(requests(none).map(({ kind }) => kind), ["open"]);
  none.handleLocals(at(1500), []);
  none.handle(at(1501), MISSING);
  assertEquals([none.running, none.attempts], [false, 0]);
  assertEquals(none.dueAt(), at(4000), "the ports are looked at again");
  none.handle(at(4000), MISSING);
  assertEquals(requests(none), [{ kind: "sample" }]);
  assertEquals(none.dueAt(), at(5500), "another peer's guess is over then");
});

Deno.test("a GuessRun that counts opens ends to be found 3 s later, and predicts if the peer's ports come before that", () => {
  const own = { ...SYMMETRIC, filtering: "unknown" } as const;
  const nat = { own, peer: "NAT_SYMMETRIC", udpBlocked: false, ownPorts: OWN_PORTS } as const;
  const begun = (): GuessRun => {
    const run = new GuessRun({ rng: seeded(1), noGuess: false });
    run.setNat(nat);
    run.handle(at(0), MISSING);
    assertEquals(requests(run), [{ kind: "sample" }]);
    run.handle(at(1500), MISSING);
    return run;
  };
  const random = begun();
  assertEquals([random.attempts, random.dueAt()], [0, at(3000)], "to look at the ports again");
  random.handle(at(3000), MISSING);
  assertEquals(requests(random), [{ kind: "sample" }]);
  random.reconsider(MISSING.candidates);
  random.handle(at(4499), MISSING);
  assertEquals(random.attempts, 0, "also if other candidates have come");
  random.handle(at(4500), MISSING);
  assertEquals(requests(random), [{ kind: "open", count: 128, urgent: false }]);
  random.handleLocals(at(4500), [1, 2]);
  assertEquals(
    runFor(random, 5_000, MISSING, 4_500)[0]?.paths,
    [1, 2].map((local) => ({ local, remote: REMOTE })),
  );
  const counting = begun();
  const next = { hostname: REMOTE.hostname, port: REMOTE.port + 1 };
  const candidates = [...MISSING.candidates, { kind: "serverReflexive", address: next } as const];
  counting.reconsider(candidates);
  counting.handle(at(1700), { ...MISSING, candidates });
  counting.handleLocals(at(1700), [1]);
  const [first] = runFor(counting, 2_000, { ...MISSING, candidates }, 1_700);
  assertEquals(first?.paths[0], { local: 1, remote: { ...next, port: next.port + 96 } });
});

Deno.test("a GuessRun lets its own sockets be first in every second round, and tries many ports once, in the fourth", () => {
  const run = new GuessRun({ rng: seeded(1), noGuess: false });
  const own = { ...SYMMETRIC, filtering: "unknown" } as const;
  run.setNat({ own, peer: "NAT_SYMMETRIC", udpBlocked: false, ownPorts: OWN_PORTS });
  runFor(run, 4_499, MISSING);
  run.handle(at(4_500), MISSING);
  assertEquals(requests(run).at(-1), { kind: "open", count: 128, urgent: false });
  run.handleLocals(at(4_500), [1, 2]);
  const shown = runFor(run, 20_000, MISSING, 4_500).map(({ paths }) => paths);
  const ends = [1, 2].map((local) => ({ local, remote: REMOTE }));
  assertEquals(shown.slice(0, 3), [ends, ends, ends]);
  const many = shown.flat().filter(({ local }) => local === OWN_SOCKETS);
  assertEquals(many.length, 1024);
  assertEquals(new Set(many.map(({ remote: { port } }) => port)).size, 1024);
  assertEquals(shown[3]?.[0]?.local, OWN_SOCKETS, "the fourth begins with them");
  const predicting = new GuessRun({ rng: seeded(1), noGuess: false });
  predicting.setNat({ own: SYMMETRIC, peer: "NAT_SYMMETRIC", udpBlocked: false });
  const next = { hostname: REMOTE.hostname, port: REMOTE.port + 1 };
  const candidates = [...MISSING.candidates, { kind: "serverReflexive", address: next } as const];
  const both = { ...MISSING, candidates };
  runFor(predicting, 1_499, both);
  predicting.handle(at(1_500), both);
  predicting.handleLocals(at(1_500), [1]);
  const rounds = runFor(predicting, 12_000, both, 1_500);
  const order = rounds.flatMap(({ paths }) => paths).map(({ local }) => local);
  assertEquals([order[0], order[289], order.indexOf(1, 1)], [1, OWN_SOCKETS, 577]);
});

Deno.test("a GuessRun whose network changes while it waits for ends goes on as usual", () => {
  const run = opening();
  run.handle(at(1500), MISSING);
  run.renew();
  run.handleLocals(at(1600), []);
  run.handle(at(1600), MISSING);
  assertEquals(run.attempts, 0);
  run.handle(at(5600), MISSING);
  assertEquals(run.attempts, 1);
  run.handleLocals(at(5600), [7]);
  runFor(run, 24_000, MISSING, 5_600);
  assertEquals(run.running, false);
  assertEquals(run.dueAt(), at(25_600 - 1_500), "not at once: the ports are looked at first");
});

Deno.test("ends that come when nobody waits for them any more are closed", () => {
  const run = opening();
  run.handle(at(1500), MISSING);
  assertEquals(requests(run).map(({ kind }) => kind), ["open"]);
  run.handle(at(1600), FOUND);
  run.handleLocals(at(1700), [5, 6]);
  assertEquals(requests(run), [{ kind: "close", locals: [5, 6] }]);
  const late = opening();
  late.handle(at(1500), MISSING);
  late.handle(at(1600), FOUND);
  assertEquals(requests(late), [], "none are asked for any more");
  const silent = opening();
  silent.handle(at(1500), MISSING);
  assertEquals(silent.dueAt(), at(3500));
  silent.handle(at(3500), MISSING);
  assertEquals(silent.running, false);
});

Deno.test("a GuessRun gives its ends to another peer after 8 s, and before that to one that was just told to try", () => {
  const ends = [1, 2, 3];
  const begun = (punchedAt?: Instant): GuessRun => {
    const run = opening();
    if (punchedAt !== undefined) run.punch(punchedAt, 0);
    run.handle(at(1500), MISSING);
    assertEquals(run.pollLocal(), { kind: "open", count: 256, urgent: punchedAt !== undefined });
    run.handleLocals(at(1500), ends);
    return run;
  };
  const { used } = MISSING;
  const asked = begun();
  assertEquals(asked.yieldEnds(at(9_499), { urgent: false, used }), false);
  assertEquals(asked.yieldEnds(at(9_500), { urgent: false, used: new Set([0, 2]) }), true);
  assertEquals(requests(asked), [{ kind: "close", locals: [1, 3] }]);
  assertEquals(asked.attempts, 1, "it had its time");
  const idle = begun();
  assertEquals(idle.yieldEnds(at(2_000), { urgent: true, used }), true);
  assertEquals(requests(idle), [{ kind: "close", locals: ends }]);
  idle.handle(at(2_000), MISSING);
  assertEquals([idle.attempts, idle.dueAt()], [0, at(4_500)], "and it goes on soon");
  const told = begun(at(1_000));
  assertEquals(told.yieldEnds(at(2_000), { urgent: true, used }), false);
  assertEquals(told.yieldEnds(at(9_500), { urgent: true, used }), true);
  assertEquals(told.yieldEnds(at(9_600), { urgent: true, used }), false, "nothing is left");
});

Deno.test("a punch has both sides begin together, whenever each began before", () => {
  const early = spraying();
  const late = opening();
  runFor(early, 35_000);
  late.handle(at(10_000), MISSING);
  late.handleLocals(at(10_000), [1]);
  runFor(late, 28_000, MISSING, 10_000);
  assertEquals([early.dueAt(), late.dueAt()], [at(81_500), at(28_500)], "each by its own clock");
  requests(late);
  for (const run of [early, late]) {
    run.punch(at(36_000), 0.5);
    run.handle(at(36_000), MISSING);
  }
  assertEquals(requests(late), [{ kind: "sample" }], "of ports as they are now");
  assertEquals([early.dueAt(), late.dueAt()], [at(37_500), at(37_500)]);
  for (const run of [early, late]) run.handle(at(37_500), MISSING);
  assert(early.running && late.running);
  assertEquals(requests(late), [{ kind: "open", count: 256, urgent: true }]);
});

Deno.test("a punch has a guess that is under way begin again, unless it has just begun", () => {
  const run = opening();
  run.handle(at(1500), MISSING);
  run.handleLocals(at(1500), [1, 2]);
  requests(run);
  run.punch(at(9_499), 0);
  run.handle(at(9_499), MISSING);
  assertEquals([run.running, requests(run)], [true, []]);
  run.punch(at(29_000), 0);
  run.handle(at(29_000), MISSING);
  assertEquals(requests(run), [{ kind: "close", locals: [1, 2] }, { kind: "sample" }]);
  run.handle(at(30_500), MISSING);
  assertEquals([requests(run).map(({ kind }) => kind), run.attempts], [["open"], 2]);
});

Deno.test("a GuessRun left without punches goes by its own clock", () => {
  const run = spraying();
  runFor(run, 40_000);
  run.punch(at(40_000), 1);
  runFor(run, 100_000, MISSING, 40_000);
  assertEquals([run.attempts, run.dueAt()], [3, at(281_500)]);
  for (const ms of [69_000, 98_000, 127_000, 156_000, 185_000, 214_000, 243_000]) {
    run.punch(at(ms), 1);
    run.handle(at(ms), MISSING);
  }
  assertEquals(run.dueAt(), at(333_000), "90 s after the last one");
  run.handle(at(333_000), MISSING);
  assertEquals(run.attempts, 4);
});

Deno.test("two sides that were told the same punches for hours guess with the same ones, ever more rarely", () => {
  const coins = seeded(7);
  const runs = [spraying(), spraying()] as const;
  // One began long before the other.
  runFor(runs[0], 50_000);
  const starts: number[][] = [[], []];
  for (let minute = 1; minute < 240; minute++) {
    const [from, until] = [minute * 60_000, (minute + 1) * 60_000];
    const coin = coins.below(1000) / 1000;
    for (const [i, run] of runs.entries()) {
      run.punch(at(from), coin);
      run.handle(at(from), MISSING);
      const [first] = runFor(run, until - 1, MISSING, from + 1);
      if (first !== undefined) starts[i]?.push(first.at);
    }
  }
  const [begun = [], others = []] = starts;
  const alone = [...begun, ...others].filter((ms) => !begun.includes(ms) || !others.includes(ms));
  assert(alone.length <= 2, `${alone}: only because one has known of the networks for longer`);
  const quick = begun.filter((ms) => ms < 600_000);
  const later = begun.filter((ms) => ms >= 3_600_000);
  assert(quick.length >= 5, `${begun}`);
  assert(later.length >= 6 && later.length <= 180 / 16 + 4, `${begun}`);
});

Deno.test("punches bring about 24 guesses at most, and one every 8 minutes, whatever coins come with them", () => {
  const run = spraying();
  let batches = 0;
  for (let second = 0; second < 7_200; second += 4) {
    run.punch(at(second * 1000), 0);
    run.handle(at(second * 1000), MISSING);
    batches += runFor(run, second * 1000 + 3_999, MISSING, second * 1000).length;
  }
  const most = 1 + 24 + 7_200 / 480;
  assert(batches <= most * 64, `${batches}`);
  assert(batches >= 24 * 64, `${batches}`);
});

Deno.test("a GuessRun on another network guesses at once", () => {
  const run = spraying();
  runFor(run, 400_000);
  run.renew();
  run.handle(at(400_002), MISSING);
  assert(run.running);
});

Deno.test("what was guessed while UDP was blocked does not count", () => {
  const run = spraying();
  runFor(run, 400_000);
  const nat = { own: CONE, peer: "NAT_SYMMETRIC" } as const;
  run.setNat({ ...nat, udpBlocked: true });
  assertEquals(run.attempts, 4);
  run.setNat({ ...nat, udpBlocked: false });
  assertEquals(run.attempts, 0);
});

function spraying(): GuessRun {
  const run = new GuessRun({ rng: seeded(1), noGuess: false });
  run.setNat({ own: CONE, peer: "NAT_SYMMETRIC", udpBlocked: false });
  return run;
}

/** One whose NAT's ports were looked at. */
function opening(): GuessRun {
  const run = new GuessRun({ rng: seeded(1), noGuess: false });
  run.setNat({ own: SYMMETRIC, peer: "NAT_RESTRICTED", udpBlocked: false });
  run.handle(at(0), MISSING);
  assertEquals(requests(run), [{ kind: "sample" }]);
  assertEquals(run.dueAt(), at(1_500));
  return run;
}

function requests(run: GuessRun): LocalRequest[] {
  const taken: LocalRequest[] = [];
  for (let request; (request = run.pollLocal()) !== undefined;) taken.push(request);
  return taken;
}

interface Batch {
  readonly at: number;
  readonly paths: readonly Path[];
}

/** Runs the timers until an instant and lists what goes out. */
function runFor(run: GuessRun, until: number, situation = MISSING, from = 0): Batch[] {
  const batches: Batch[] = [];
  for (let now = from; now <= until;) {
    run.handle(at(now), situation);
    const paths = run.pollBatch();
    if (paths !== undefined) batches.push({ at: now, paths });
    const dueAt = run.dueAt();
    if (dueAt === undefined) break;
    assert(dueAt > now, `due at ${dueAt}, it is ${now}`);
    now = dueAt;
  }
  return batches;
}

function at(ms: number): Instant {
  return ms as Instant;
}
