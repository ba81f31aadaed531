/** Paths that are about to end, or have no end to send from any more. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import type { Candidate, CandidateKind } from "./candidate.ts";
import { formatPath, type Path } from "./path.ts";
import { PathAgent } from "./path_agent.ts";
import type { PathEvent } from "./path_report.ts";
import type { RelayEnd } from "./relay_end.ts";

const RTT_MS = 20;
/** Where the peer's NAT lets only its own relays in. */
const REFLEXIVE = of("serverReflexive", "203.0.113.9");
const FIRST = of("relayed", "198.51.100.1");
const SECOND = of("relayed", "198.51.100.2");
const [OWN_FIRST, OWN_SECOND] = [100, 101];

Deno.test("a path over a relay that is about to end is left at once for any that works", () => {
  const pair = new Pair([FIRST, SECOND], [end(OWN_FIRST)]);
  pair.carry(OWN_FIRST, SECOND);
  pair.begin();
  assertEquals(pair.used, { local: OWN_FIRST, remote: SECOND.address });
  pair.ends = [end(OWN_FIRST, true), end(OWN_SECOND)];
  pair.carry(OWN_SECOND, SECOND);
  pair.agent.setRelays(pair.now, pair.ends);
  pair.run(500);
  assertEquals(pair.used, { local: OWN_SECOND, remote: SECOND.address });
  pair.run(60_000);
  assertEquals(pair.kinds(), ["moved"]);
  assertEquals(pair.lost, 0);
});

Deno.test("it is left for one with more relays on the way too, and for one that has failed before", () => {
  const pair = new Pair([FIRST, SECOND, REFLEXIVE], [end(OWN_FIRST), end(OWN_SECOND)]);
  pair.carry(OWN_SECOND, SECOND);
  pair.begin();
  // Better, and so taken; then it fails, so that it is not returned to by choice.
  pair.carry(OWN_FIRST, REFLEXIVE);
  pair.run(10_000);
  assertEquals(pair.used, { local: OWN_FIRST, remote: REFLEXIVE.address });
  pair.cut(OWN_FIRST, REFLEXIVE);
  pair.run(6_500);
  assertEquals(pair.used, { local: OWN_SECOND, remote: SECOND.address });
  pair.carry(OWN_FIRST, REFLEXIVE);
  pair.run(2_000);
  assertEquals(pair.used, { local: OWN_SECOND, remote: SECOND.address }, "held");
  pair.lost = 0;
  pair.agent.setRelays(pair.now, [end(OWN_FIRST), end(OWN_SECOND, true)]);
  pair.run(500);
  assertEquals(pair.used, { local: OWN_FIRST, remote: REFLEXIVE.address });
  pair.agent.setRelays(pair.now, [end(OWN_FIRST, true), end(OWN_SECOND)]);
  pair.run(500);
  assertEquals(pair.used, { local: OWN_SECOND, remote: SECOND.address });
  assertEquals(pair.lost, 0);
});

Deno.test("a relayed address that the peer offers no more is left the same way, and kept where nothing else works", () => {
  const pair = new Pair([FIRST], []);
  pair.carry(0, FIRST);
  pair.begin();
  assertEquals(pair.used, { local: 0, remote: FIRST.address });
  pair.agent.setCandidates(pair.now, [SECOND]);
  pair.run(30_000);
  assertEquals(pair.used, { local: 0, remote: FIRST.address });
  pair.carry(0, SECOND);
  // It is asked every 5 s, and later every 10.
  pair.run(11_000);
  assertEquals(pair.used, { local: 0, remote: SECOND.address });
  assertEquals([pair.kinds(), pair.lost], [["moved"], 0]);
});

Deno.test("a path that is about to end carries on where nothing else works, and is taken by new sessions", () => {
  const pair = new Pair([REFLEXIVE], [end(OWN_FIRST, true)]);
  pair.carry(OWN_FIRST, REFLEXIVE);
  pair.begin();
  pair.run(60_000);
  assertEquals(pair.used, { local: OWN_FIRST, remote: REFLEXIVE.address });
  assertEquals([pair.kinds(), pair.lost], [[], 0]);
});

Deno.test("a path whose own end is no more is left at once for one that works, without a doubt", () => {
  const pair = new Pair([REFLEXIVE, SECOND], [end(OWN_FIRST)]);
  pair.carry(OWN_FIRST, REFLEXIVE);
  pair.begin();
  pair.carry(0, SECOND);
  pair.run(70_000);
  assertEquals(pair.used, { local: OWN_FIRST, remote: REFLEXIVE.address });
  pair.cut(OWN_FIRST, REFLEXIVE);
  pair.agent.setRelays(pair.now, []);
  assertEquals(pair.used, { local: 0, remote: SECOND.address });
  pair.run(60_000);
  assertEquals([pair.kinds(), pair.lost], [["moved"], 0]);
});

Deno.test("without another one everything is asked, and its own end may come back", () => {
  const pair = new Pair([REFLEXIVE], [end(OWN_FIRST)]);
  pair.carry(OWN_FIRST, REFLEXIVE);
  pair.begin();
  pair.agent.setRelays(pair.now, []);
  pair.run(3_000);
  assertEquals(pair.kinds(), ["doubted"]);
  const { paths } = pair.agent.status(pair.now);
  assertEquals(paths.map(({ state }) => state), ["silent", "unknown"]);
  pair.agent.setRelays(pair.now, [end(OWN_FIRST)]);
  pair.run(200);
  assertEquals(pair.kinds(), ["doubted", "trusted"]);
  pair.lost = 0;
  pair.run(60_000);
  assertEquals([pair.kinds(), pair.lost], [["doubted", "trusted"], 0]);
});

/** An agent and a peer that is reached over some paths and answers there. */
class Pair {
  readonly agent = new PathAgent({ now: 0 as Instant });
  readonly events: PathEvent[] = [];
  now = 0 as Instant;
  ends: readonly RelayEnd[];
  /** Data that went out on no path that carries. */
  lost = 0;
  readonly #carries = new Set<string>();
  readonly #answers: { readonly at: number; readonly path: Path; readonly sequence: number }[] = [];

  constructor(candidates: readonly Candidate[], ends: readonly RelayEnd[]) {
    this.ends = ends;
    this.agent.setRelays(this.now, ends);
    this.agent.setCandidates(this.now, candidates);
    this.agent.connect(this.now);
  }

  get used(): Path | undefined {
    return this.agent.status(this.now).path;
  }

  carry(local: number, { address }: Candidate): void {
    this.#carries.add(formatPath({ local, remote: address }));
  }

  cut(local: number, { address }: Candidate): void {
    this.#carries.delete(formatPath({ local, remote: address }));
  }

  kinds(): string[] {
    return this.events.map(({ kind }) => kind).filter((kind) => kind !== "mtu");
  }

  /** Connects over the first path that carries, and lets things settle. */
  begin(): void {
    const { paths } = this.agent.status(this.now);
    const first = paths.find(({ path }) => this.#carries.has(formatPath(path)));
    assert(first !== undefined, "none carries");
    this.agent.handleAuthenticated(this.now, first.path, "handshake");
    this.run(5_000);
    assertEquals(this.kinds().slice(0, 1), ["connected"]);
    assertEquals(this.lost, 0);
    this.events.length = 0;
  }

  /** Lets time pass; data goes out every 50 ms. */
  run(ms: number): void {
    const until = this.now + ms;
    for (; this.now < until; this.now = this.now + 10 as Instant) {
      while (this.#answers[0] !== undefined && this.#answers[0].at <= this.now) {
        const answer = this.#answers.shift();
        if (answer === undefined || !this.#carries.has(formatPath(answer.path))) continue;
        this.agent.handleAuthenticated(this.now, answer.path, "data");
        this.agent.handleProbeReply(this.now, answer.path, answer.sequence);
      }
      if (this.now % 50 === 0) this.#say();
      const dueAt = this.agent.pollTimeout();
      if (dueAt !== undefined && dueAt <= this.now) this.agent.handleTimeout(this.now);
      while (this.agent.pollInitiation() !== undefined);
      for (let probe; (probe = this.agent.pollProbe()) !== undefined;) {
        const { path, sequence } = probe;
        if (!this.#carries.has(formatPath(path))) continue;
        this.#answers.push({ at: this.now + RTT_MS, path, sequence });
      }
      for (let event; (event = this.agent.pollEvent()) !== undefined;) this.events.push(event);
    }
  }

  #say(): void {
    this.agent.handleSent(this.now);
    const { primary, also } = this.agent.route(this.now);
    const paths = primary === undefined ? [] : [primary, ...also];
    if (!paths.some((path) => this.#carries.has(formatPath(path)))) this.lost++;
  }
}

function end(local: number, draining = false): RelayEnd {
  const hostname = local === OWN_FIRST ? FIRST.address.hostname : SECOND.address.hostname;
  return { local, relayed: [{ hostname, port: 50_000 }], draining };
}

function of(kind: CandidateKind, hostname: string): Candidate {
  return { kind, address: { hostname, port: 1 } };
}
