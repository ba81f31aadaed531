/** What holds of a path agent whatever happens to it, forged and senseless things included. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import type { Instant } from "../core/mod.ts";
import { type CandidateKind, CANDIDATES_MAX } from "./candidate.ts";
import { formatPath, type Path } from "./path.ts";
import { PathAgent } from "./path_agent.ts";
import type { PathEvent } from "./path_report.ts";
import { LEARNED_MAX } from "./path_table.ts";
import type { PathProbe } from "./probe_book.ts";
import { seeded } from "./testing/fuzz.ts";

const RUNS = { numRuns: 400 };
const KINDS: readonly CandidateKind[] = [
  ...["host", "serverReflexive", "relayed", "configured", "portMapped"] as const,
];

type Step =
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "candidates"; readonly ports: readonly number[] }
  | { readonly do: "connect" | "restart" | "sent" | "nat" }
  | { readonly do: "relays"; readonly locals: readonly number[] }
  | { readonly do: "punch"; readonly ms: number }
  | { readonly do: "hear"; readonly path: Path; readonly what: "handshake" | "data" }
  | { readonly do: "answer"; readonly share: number }
  | { readonly do: "forge"; readonly path: Path; readonly sequence: number; readonly mtu: number };

const PATHS = fc.record({
  local: fc.constantFrom(0, 0, 0, 1, 7),
  remote: fc.record({
    hostname: fc.constantFrom("192.168.1.5", "203.0.113.9", "2001:db8::9", "198.51.100.7"),
    port: fc.integer({ min: 1, max: 40 }),
  }),
});

const STEPS: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("wait"), ms: fc.integer({ min: 0, max: 4_000 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("wait"), ms: fc.integer({ min: 0, max: 400_000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("candidates"),
      ports: fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 40 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom("connect", "restart", "sent", "sent", "nat"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("relays"),
      locals: fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("punch"), ms: fc.double({ min: -1, max: 1e9 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("hear"),
      path: PATHS,
      what: fc.constantFrom("handshake", "data"),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("answer"),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("forge"),
      path: PATHS,
      sequence: fc.integer({ min: -1, max: 70_000 }),
      mtu: fc.constantFrom(0, 68, 576, 1000, 1280, 1500, -1, 1e9),
    }),
  },
) as fc.Arbitrary<Step>;

/** Drives one agent, as a host does, and checks it after each step. */
class Driver {
  readonly agent: PathAgent;
  readonly probes: PathProbe[] = [];
  readonly events: PathEvent[] = [];
  now = 0 as Instant;
  #made = { probes: 0, initiations: 0 };
  #nextLocal = 1;
  #open = 0;

  constructor(seed: number) {
    this.agent = new PathAgent({ now: this.now, rng: seeded(seed), mtuMax: 1420 });
  }

  do(step: Step): void {
    const { agent, now } = this;
    switch (step.do) {
      case "wait":
        return this.#wait(step.ms);
      case "candidates":
        agent.setCandidates(
          now,
          step.ports.map((port) => ({
            kind: KINDS[port % KINDS.length] ?? "host",
            address: {
              hostname: port % 3 === 0
                ? "2001:db8::9"
                : port % 2 === 0
                ? "192.168.1.5"
                : "203.0.113.9",
              port,
            },
          })),
        );
        break;
      case "connect":
        agent.connect(now);
        break;
      case "restart":
        agent.restart(now);
        break;
      case "sent":
        agent.handleSent(now);
        break;
      case "relays":
        agent.setRelays(
          now,
          step.locals.map((local) => ({
            local,
            relayed: [{ hostname: "198.51.100.7", port: local }],
            draining: local % 2 === 0,
          })),
        );
        break;
      case "nat":
        agent.setNat(now, {
          own: { mapping: "addressDependent", filtering: "unknown", hint: "NAT_SYMMETRIC" },
          peer: "NAT_RESTRICTED",
          udpBlocked: false,
        });
        break;
      case "punch":
        agent.punch(now, step.ms);
        break;
      case "hear":
        agent.handleAuthenticated(now, step.path, step.what);
        break;
      case "answer": {
        const at = Math.floor(step.share * this.probes.length);
        const [probe] = this.probes.splice(at, 1);
        if (probe !== undefined) agent.handleProbeReply(now, probe.path, probe.sequence);
        break;
      }
      case "forge":
        agent.handleTooBig(now, step.path, step.mtu);
        agent.handleUnreachable(now, step.path);
        agent.handleProbeReply(now, step.path, step.sequence);
        agent.handleProbeRefused(step.path, step.sequence);
        agent.handleLocals(now, []);
        break;
      default:
        step satisfies never;
    }
    this.drain();
  }

  drain(): void {
    const { agent } = this;
    for (let probe; (probe = agent.pollProbe()) !== undefined;) {
      assert(
        probe.bytes >= 64 && probe.bytes <= 1420 && probe.sequence > 0 && probe.sequence < 65_536,
      );
      this.#made.probes++;
      this.probes.push(probe);
      if (this.probes.length > 40) this.probes.shift();
    }
    for (let due; (due = agent.pollInitiation()) !== undefined;) {
      const { destinations } = due;
      this.#made.initiations++;
      assert(destinations.length > 0 && destinations.length <= 64);
      assertEquals(new Set(destinations.map(formatPath)).size, destinations.length);
    }
    for (let request; (request = agent.pollLocal()) !== undefined;) {
      if (request.kind === "close") this.#open -= request.locals.length;
      else if (request.kind === "open") {
        const room = Math.max(0, Math.min(request.count, 256 - this.#open));
        this.#open += room;
        agent.handleLocals(this.now, Array.from({ length: room }, () => 100 + this.#nextLocal++));
      }
    }
    assert(this.#open >= 0 && this.#open <= 256);
    for (let event; (event = agent.pollEvent()) !== undefined;) this.events.push(event);
    const { primary, also } = agent.route(this.now);
    assert(also.length <= 3 && (primary !== undefined || also.length === 0));
    const { connected, paths, reason, relayed } = agent.status(this.now);
    assert(paths.length <= CANDIDATES_MAX * 5 + LEARNED_MAX + 1, `${paths.length} paths`);
    assertEquals(reason === undefined, connected && !relayed);
  }

  #wait(ms: number): void {
    const until = this.now + ms as Instant;
    const before = { ...this.#made };
    const from = this.now;
    for (let turns = 0;; turns++) {
      const dueAt = this.agent.pollTimeout();
      if (dueAt === undefined || dueAt > until) break;
      this.now = dueAt > this.now ? dueAt : this.now;
      this.agent.handleTimeout(this.now);
      this.drain();
      const again = this.agent.pollTimeout();
      assert(again === undefined || again > this.now, `due at ${again} again`);
      assert(turns < 100 + ms / 10, `${turns} turns in ${ms} ms`);
    }
    this.now = until;
    const seconds = (until - from) / 1000;
    const { probes, initiations } = this.#made;
    assert(probes - before.probes <= 100 + 20.1 * seconds, "probes");
    assert(initiations - before.initiations <= 20 + 14 * seconds, "initiations");
  }
}

Deno.test("whatever happens to a PathAgent, it does a bounded amount of work and never the same instant twice", () => {
  fc.assert(
    fc.property(fc.array(STEPS, { maxLength: 80 }), fc.integer(), (steps, seed) => {
      const driver = new Driver(seed);
      for (const step of steps) driver.do(step);
    }),
    RUNS,
  );
});

Deno.test("nothing unauthenticated connects, moves or changes a size", () => {
  fc.assert(
    fc.property(fc.array(STEPS, { maxLength: 60 }), fc.integer(), (steps, seed) => {
      const driver = new Driver(seed);
      for (const step of steps) {
        // Answers and packets that the engine authenticated are all that may.
        if (step.do === "hear" || step.do === "answer") continue;
        driver.do(step);
      }
      assertEquals(driver.events, []);
    }),
    RUNS,
  );
});

Deno.test("forged hints and answers change nothing of a session that answers", () => {
  const path: Path = { local: 0, remote: { hostname: "203.0.113.9", port: 5 } };
  const other: Path = { local: 0, remote: { hostname: "203.0.113.66", port: 6 } };
  fc.assert(
    fc.property(fc.array(STEPS, { maxLength: 40 }), fc.integer(), (steps, seed) => {
      const driver = new Driver(seed);
      const { agent } = driver;
      agent.handleAuthenticated(driver.now, path, "handshake");
      driver.drain();
      const answerAll = (): void => {
        for (let i = 0; i < 200 && driver.probes.length > 0; i++) {
          const [probe] = driver.probes.splice(0, 1);
          if (probe === undefined || formatPath(probe.path) !== formatPath(path)) continue;
          agent.handleProbeReply(driver.now, probe.path, probe.sequence);
          driver.drain();
        }
      };
      answerAll();
      for (const step of steps) {
        if (step.do !== "forge") continue;
        driver.do(step);
        // A copied packet from an address where nobody answers.
        driver.do({
          do: "hear",
          path: other,
          what: step.sequence % 2 === 0 ? "data" : "handshake",
        });
        for (let i = 0; i < 20; i++) {
          agent.handleProbeReply(driver.now, other, step.sequence + i);
          driver.do({ do: "wait", ms: 50 });
          answerAll();
        }
      }
      const kinds = new Set(driver.events.map(({ kind }) => kind));
      assert(!kinds.has("moved") && !kinds.has("lost") && !kinds.has("doubted"), `${[...kinds]}`);
      const { path: used, mtu } = agent.status(driver.now);
      assertEquals(used, path);
      assert(mtu !== undefined && mtu >= 1280, `${mtu}`);
    }),
    RUNS,
  );
});

Deno.test("a path that answers is left only for one that is better, and each change is one", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          rtt: fc.integer({ min: 1, max: 300 }),
          loss: fc.double({ min: 0, max: 0.3, noNaN: true }),
        }),
        {
          minLength: 2,
          maxLength: 6,
        },
      ),
      fc.integer(),
      (links, seed) => {
        const rng = seeded(seed);
        const driver = new Driver(seed);
        const { agent } = driver;
        const pathOf = (i: number): Path => ({
          local: 0,
          remote: { hostname: "203.0.113.9", port: i + 1 },
        });
        const candidates = links.map((_, i) => ({
          kind: "serverReflexive" as const,
          address: pathOf(i).remote,
        }));
        agent.setCandidates(driver.now, candidates);
        agent.handleAuthenticated(driver.now, pathOf(0), "handshake");
        driver.drain();
        const wire: { at: number; probe: PathProbe }[] = [];
        for (let ms = 0; ms < 120_000; ms += 10) {
          driver.now = ms as Instant;
          agent.handleSent(driver.now);
          const dueAt = agent.pollTimeout();
          if (dueAt !== undefined && dueAt <= ms) agent.handleTimeout(driver.now);
          driver.drain();
          for (const probe of driver.probes.splice(0)) {
            const link = links[probe.path.remote.port - 1];
            if (link === undefined || rng.chance(link.loss)) continue;
            wire.push({ at: ms + link.rtt, probe });
          }
          for (const { probe } of wire.filter(({ at }) => at <= ms)) {
            agent.handleProbeReply(driver.now, probe.path, probe.sequence);
          }
          wire.splice(0, wire.length, ...wire.filter(({ at }) => at > ms));
        }
        const moves = driver.events.filter(({ kind }) => kind === "moved");
        assert(moves.length <= 4, `${moves.length} moves among ${JSON.stringify(links)}`);
        const used = agent.status(driver.now).path?.remote.port ?? 0;
        const [mine, best] = [
          links[used - 1]?.rtt ?? Infinity,
          Math.min(...links.map(({ rtt }) => rtt)),
        ];
        // The sampling is in steps of 10 ms.
        assert(mine <= best * 1.34 + 40, `${mine} ms is used, ${best} ms would do`);
      },
    ),
    { numRuns: 15 },
  );
});

Deno.test("a path that is moved to by a very late answer is not silent at once", () => {
  const driver = new Driver(0);
  driver.do({
    do: "hear",
    path: { local: 0, remote: { hostname: "192.168.1.5", port: 1 } },
    what: "handshake",
  });
  driver.do({ do: "candidates", ports: [2, 3, 1] });
  driver.do({ do: "wait", ms: 51_800 });
  driver.do({ do: "answer", share: 0 });
  driver.do({ do: "wait", ms: 200 });
});
