import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import {
  after,
  type Datagram,
  formatSocketAddress,
  type Instant,
  parseSocketAddress,
  type SocketAddress,
  type Transmit,
} from "../core/mod.ts";
import { Gatherer, type GathererOptions, type GatherEvent, STUN_SERVERS_MAX } from "./gatherer.ts";
import type { ProbeServer } from "./probe_trials.ts";
import { answerBehaviour } from "./stun/behaviour_server.ts";
import { answerBinding } from "./stun/binding_server.ts";
import {
  decodeStun,
  encodeStun,
  METHOD_BINDING,
  XOR_MAPPED_ADDRESS,
  xorAddressAttribute,
} from "./stun/codec.ts";
import { signStun, verifyStun } from "./stun/integrity.ts";
import { fuzzRuns, mutate, seeded } from "./testing/fuzz.ts";

const A = "192.0.2.1:3478";
const B = "192.0.2.2:3478";
const V6 = "[2001:db8::1]:3478";
const MAPPED = "203.0.113.9:4000";

/** Users with names as long as Discovery's: the request has room for a receipt. */
const ALICE = "alice of the reef, whose name is a long one";
const BOB = "bob of the reef, whose name is a long one";

Deno.test("Gatherer tells its reflexive candidate and the NAT once, and stays quiet while nothing changes", () => {
  const world = new World([A, B]);
  world.run(0);
  assertEquals(world.log, [
    `20 reflexiveChanged ${MAPPED}`,
    "20 natClassified endpointIndependent NAT_RESTRICTED",
  ]);
  world.run(120_000);
  assertEquals(world.log.length, 2);
  assertEquals(world.gatherer.status[0], {
    server: address(A),
    state: "mapped",
    mapped: address(MAPPED),
    rttMs: 20,
    failures: 0,
    reason: undefined,
    isPeer: false,
  });
});

Deno.test("Gatherer asks each server again at the keepalive interval", () => {
  const times = (keepaliveMs?: number): number[] => {
    const world = new World([A], keepaliveMs === undefined ? {} : { keepaliveMs });
    world.run(100_000);
    return world.asked.get(A) ?? [];
  };
  assertEquals(times(), [0, 25_020, 50_040, 75_060]);
  assertEquals(times(40_000), [0, 40_020, 80_040]);
  throws(() => new World([A], { keepaliveMs: 0 }), RangeError);
});

Deno.test("Gatherer finds one candidate per family", () => {
  const world = new World([A, V6]);
  world.mapping.set(V6, "[2001:db8:9::5]:4000");
  world.run(0);
  assertEquals(world.gatherer.candidates.map(({ kind, address, via }) => [kind, address, via]), [
    ["serverReflexive", address("[2001:db8:9::5]:4000"), V6],
    ["serverReflexive", address(MAPPED), A],
  ]);
});

Deno.test("Gatherer sees a symmetric NAT, and lists both mappings", () => {
  const world = new World([A, B]);
  world.mapping.set(B, "203.0.113.9:4001");
  world.run(0);
  assertEquals(world.log.at(-1), "20 natClassified addressAndPortDependent NAT_SYMMETRIC");
  assertEquals(world.gatherer.candidates.length, 2);
});

Deno.test("Gatherer knows that there is no NAT from its own addresses", () => {
  const world = new World([A], { hostAddresses: ["203.0.113.9"] });
  world.run(0);
  assertEquals(world.log.at(-1), "20 natClassified endpointIndependent NAT_CONE");
  world.gatherer.setHostAddresses(["10.0.0.1"]);
  world.run(1);
  assertEquals(world.log.at(-1), "20 natClassified unknown NAT_UNKNOWN");
});

Deno.test("Gatherer follows a link change at once and never mixes old and new", () => {
  const world = new World([A, B]);
  world.run(10_000);
  world.mapping.set(A, "198.51.100.7:5000").set(B, "198.51.100.7:5000");
  world.gatherer.regather(world.now);
  assertEquals(world.gatherer.status.map(({ state }) => state), ["asking", "asking"]);
  world.run(10_000);
  assertEquals(world.asked.get(A), [0, 10_000]);
  assertEquals(world.log.slice(2), [
    `10020 reflexiveChanged 198.51.100.7:5000 ${MAPPED}`,
    "10020 reflexiveChanged 198.51.100.7:5000",
  ]);
});

Deno.test("Gatherer drops the old mapping when nobody answers after a link change", () => {
  const world = new World([A, B]);
  world.run(0);
  world.silent.add(A).add(B);
  world.gatherer.regather(world.now);
  world.run(25_000);
  assertEquals(world.log.slice(2), [
    "23270 reflexiveChanged",
    "23270 natClassified unknown NAT_UNKNOWN",
  ]);
});

Deno.test("Gatherer misses a server whose last answer is in doubt: it asks every 4 s at least for ten minutes, then with back-off", () => {
  const world = new World([A]);
  world.run(10_000);
  world.silent.add(A);
  world.gatherer.regather(world.now);
  world.run(1_200_000);
  const asked = (world.asked.get(A) ?? []).filter((ms) => ms >= 10_000);
  const waits = asked.slice(1).map((ms, i) => ms - (asked[i] ?? 0));
  const patient = asked.findIndex((ms) => ms > 600_020);
  assert(waits.slice(0, patient - 1).every((ms) => ms <= 4000));
  assertEquals(Math.max(...waits), 64_000);
  assert(asked.length < 10 + 600_000 / 7750 * 5 + 600_000 / 79_750 * 7);
});

Deno.test("Gatherer, told every 4 s to look again, asks every 4 s, sees a new address at once, and forgets no old one", () => {
  const world = new World([A]);
  world.run(10_000);
  const before = world.gatherer.candidates;
  world.mapping.set(A, "198.51.100.7:5000");
  world.gatherer.recheck(world.now);
  world.run(10_100);
  assertEquals(world.log.at(-1), "10020 reflexiveChanged 198.51.100.7:5000");
  world.mapping.set(A, MAPPED);
  world.silent.add(A);
  for (let ms = 12_000; ms <= 300_000; ms += 4_000) {
    world.run(ms);
    world.gatherer.recheck(world.now);
  }
  const asked = (world.asked.get(A) ?? []).filter((ms) => ms >= 12_000);
  const waits = asked.slice(1).map((ms, i) => ms - (asked[i] ?? 0));
  assert(Math.max(...waits) <= 4_500, `${Math.max(...waits)} ms`);
  assert(asked.length <= 290 / 4 * 3, `${asked.length} requests`);
  assertEquals(world.gatherer.status[0]?.state, "failed");
  assertEquals(world.gatherer.candidates.map(show), ["198.51.100.7:5000"]);
  world.silent.clear();
  world.run(304_100);
  assertEquals(world.gatherer.candidates, before);
});

Deno.test("Gatherer, told every 4 s to look again, still says that UDP seems blocked", () => {
  const world = new World([A]);
  world.silent.add(A);
  for (let ms = 0; ms <= 40_000; ms += 4_000) {
    world.run(ms);
    world.gatherer.recheck(world.now);
  }
  assertEquals(world.unanswered, [4_000]);
  assertEquals(world.gatherer.udpBlocked, true);
});

Deno.test("Gatherer ignores an answer to what it asked before a link change", () => {
  const world = new World([A]);
  world.delayMs = 500;
  world.step(0);
  const [late] = world.wire;
  assert(late !== undefined);
  world.wire.length = 0;
  world.gatherer.regather(at(10));
  assertEquals(world.gatherer.handleInput(at(20), late), false);
  assertEquals(world.gatherer.candidates, []);
});

Deno.test("Gatherer keeps the mapping while a server is down for a while, then forgets it", () => {
  const world = new World([A]);
  world.run(0);
  world.silent.add(A);
  world.run(60_000);
  assertEquals(world.gatherer.status[0]?.state, "failed");
  assertEquals(world.gatherer.status[0]?.reason, "no answer");
  assertEquals(world.gatherer.candidates.length, 1);
  world.run(150_000);
  assertEquals(world.gatherer.candidates, []);
  world.silent.clear();
  world.run(300_000);
  assertEquals(world.gatherer.candidates.length, 1);
  assertEquals(world.gatherer.status[0]?.failures, 0);
});

Deno.test("Gatherer asks a dead server again with back-off of at most 60 s, for ever", () => {
  const world = new World([A]);
  world.silent.add(A);
  world.run(1_000_000);
  const asked = world.asked.get(A) ?? [];
  // The first of each transaction's seven requests; a transaction takes 19.75 s.
  const starts = asked.filter((_, i) => i % 7 === 0);
  const waits = starts.slice(1).map((start, i) => start - (starts[i] ?? 0) - 19_750);
  assertEquals(waits.slice(0, 7), [5_000, 10_000, 20_000, 40_000, 60_000, 60_000, 60_000]);
  assert(waits.length > 10 && waits.every((wait) => wait <= 60_000));
});

Deno.test("Gatherer checks the other servers at once when one sees a new mapping", () => {
  const world = new World([A], { keepaliveMs: 60_000 });
  world.run(30_000);
  world.gatherer.setServers(world.now, [A, B].map(server));
  world.run(40_000);
  // A NAT that restarts gives every destination a new mapping; only A is due soon.
  world.mapping.set(A, "203.0.113.9:7777").set(B, "203.0.113.9:7777");
  world.run(60_100);
  assertEquals(world.asked.get(A), [0, 60_020]);
  assertEquals(world.asked.get(B), [30_000, 60_040]);
  assertEquals(world.log.slice(1), [
    "30020 natClassified endpointIndependent NAT_RESTRICTED",
    `60040 reflexiveChanged 203.0.113.9:7777 ${MAPPED}`,
    "60060 reflexiveChanged 203.0.113.9:7777",
  ]);
});

Deno.test("Gatherer does not believe a server that tells an impossible address", () => {
  const world = new World([A]);
  world.mapping.set(A, "127.0.0.1:4000");
  world.run(0);
  assertEquals(world.log, []);
  assertEquals(world.gatherer.status[0]?.reason, "told an address that cannot be ours");
  const local = new World(["127.0.0.1:3478"]);
  local.mapping.set("127.0.0.1:3478", "127.0.0.1:4000");
  local.run(0);
  assertEquals(local.gatherer.candidates.map(show), ["127.0.0.1:4000"]);
});

Deno.test("Gatherer reports a server's refusal", () => {
  const world = new World([A]);
  world.step(0);
  const [answer] = world.wire;
  assert(answer !== undefined);
  const transactionId = answer.payload.subarray(8, 20);
  const attributes = [{ type: 9, value: Uint8Array.of(0, 0, 4, 1) }];
  const error = { class: "error", method: METHOD_BINDING, transactionId, attributes } as const;
  const payload = encodeStun(error);
  assertEquals(world.gatherer.handleInput(at(1), { source: address(A), payload }), true);
  assertEquals(world.gatherer.status[0]?.reason, "refused with 401");
  // In between it says that nobody answers.
  world.gatherer.handleTimeout(at(4000));
  assertEquals(world.gatherer.pollTimeout(), at(5001));
});

Deno.test("Gatherer takes each server once and at most STUN_SERVERS_MAX, and sleeps without any", () => {
  const many = Array.from({ length: 40 }, (_, i) => `192.0.2.${i}:3478`);
  assertEquals(new World([...many, ...many]).gatherer.status.length, STUN_SERVERS_MAX);
  assertEquals(new World([A, A]).gatherer.status.length, 1);
  const world = new World([A]);
  world.run(0);
  world.gatherer.setServers(world.now, []);
  assertEquals(world.gatherer.pollTimeout(), undefined);
  assertEquals(world.gatherer.pollEvent(), { kind: "reflexiveChanged", candidates: [] });
});

Deno.test("Gatherer survives any datagram from its server and counts what is no answer", () => {
  const world = new World([A]);
  world.step(0);
  const [answer] = world.wire;
  assert(answer !== undefined);
  const rng = seeded(5);
  const runs = fuzzRuns();
  let accepted = 0;
  for (let run = runs; run > 0; run--) {
    const payload = mutate(rng, answer.payload);
    if (payload.every((byte, i) => byte === answer.payload[i])) continue;
    if (world.gatherer.handleInput(at(1), { source: address(A), payload })) accepted++;
  }
  // FINGERPRINT catches all mutants but those without one; the first of these may end the transaction.
  assert(accepted <= 2, `${accepted} accepted`);
  assert(world.gatherer.unmatched > runs / 2);
});

Deno.test("Gatherer signs what it has credentials for, and says what the server vouches for before the candidate", () => {
  const world = new World([]);
  world.passwords = new Map([[ALICE, "secret"]]);
  const credentials = { username: ALICE, password: "secret" };
  world.gatherer.setServers(world.now, [{ ...server(A), credentials }, server(B)]);
  world.run(100);
  assertEquals(world.log, [
    `20 vouched ${MAPPED} for alice`,
    `20 reflexiveChanged ${MAPPED}`,
    "20 natClassified endpointIndependent NAT_RESTRICTED",
  ]);
  // The next answer has another receipt, and nothing else is news.
  world.run(25_100);
  assertEquals(world.log.slice(3), [`25040 vouched ${MAPPED} for alice`]);
});

Deno.test("Gatherer asks without credentials that a server refuses, until there are others", () => {
  const world = new World([]);
  world.passwords = new Map([[BOB, "secret"]]);
  const refused = { ...server(A), credentials: { username: ALICE, password: "secret" } };
  world.gatherer.setServers(world.now, [refused]);
  world.run(100);
  assertEquals(world.log, [
    "20 credentialsRefused",
    `40 reflexiveChanged ${MAPPED}`,
  ]);
  assertEquals(world.gatherer.status[0]?.state, "mapped");
  // The same ones again are of no use; others are tried at once.
  world.gatherer.setServers(world.now, [refused]);
  world.run(200);
  assertEquals(world.asked.get(A)?.length, 2);
  const others = { username: BOB, password: "secret" };
  world.gatherer.setServers(world.now, [{ ...server(A), credentials: others }]);
  world.run(300);
  assertEquals(world.log.slice(2), [`220 vouched ${MAPPED} for bob`]);
});

Deno.test("Gatherer is told of no address by somebody who cannot sign it", () => {
  const world = new World([]);
  const credentials = { username: ALICE, password: "secret" };
  world.gatherer.setServers(world.now, [{ ...server(A), credentials }]);
  // This world's servers sign nothing.
  world.run(100);
  assertEquals([world.log, world.gatherer.candidates], [[], []]);
});

Deno.test("Gatherer finds its mapping through any loss, and ends with what the servers see", () => {
  for (let seed = 0; seed < 200; seed++) {
    const rng = seeded(seed);
    const world = new World([A, B], { rng });
    const loss = rng.below(60) / 100;
    world.lose = () => rng.chance(loss);
    world.run(200_000);
    world.lose = () => false;
    world.mapping.set(A, "198.51.100.1:1").set(B, "198.51.100.1:1");
    world.run(400_000);
    assertEquals(world.gatherer.candidates.map(show), ["198.51.100.1:1"], `seed ${seed}`);
    assertEquals(world.gatherer.nat.mapping, "endpointIndependent", `seed ${seed}`);
  }
});

Deno.test("Gatherer says once that nobody answers, and again after a link change", () => {
  const world = new World([A, B]);
  world.silent.add(A).add(B);
  world.run(60_000);
  assertEquals(world.unanswered, [4_000]);
  assertEquals(world.gatherer.udpBlocked, true);
  world.gatherer.regather(world.now);
  assertEquals(world.gatherer.udpBlocked, false);
  world.run(100_000);
  assertEquals(world.unanswered, [4_000, 64_000]);
  world.silent.delete(A);
  world.gatherer.setServers(world.now, [server(A), server(B)]);
  world.run(200_000);
  assertEquals(world.unanswered, [4_000, 64_000]);
  assertEquals(world.gatherer.udpBlocked, false);
});

Deno.test("Gatherer does not say that nobody answers where somebody does, or where there is nobody to ask", () => {
  const answered = new World([A, B]);
  answered.silent.add(B);
  answered.run(60_000);
  assertEquals(answered.unanswered, []);
  const alone = new World([]);
  alone.run(60_000);
  assertEquals([alone.unanswered, alone.gatherer.udpBlocked], [[], false]);
});

Deno.test("Gatherer asks nodes of the mesh with their credentials, at most two, and believes signed answers only", () => {
  const credentials = { username: "us", password: "secret" };
  const peers = [1, 2, 3].map((n) => ({ address: address(`198.51.100.${n}:51820`), credentials }));
  const gatherer = new Gatherer(at(0), { servers: [], rng: seeded(1) });
  gatherer.setPeerServers(at(0), peers);
  gatherer.handleTimeout(at(0));
  const asked: Transmit[] = [];
  for (let out; (out = gatherer.pollTransmit()) !== undefined;) asked.push(out);
  assertEquals(
    asked.map(({ destination }) => destination),
    peers.slice(0, 2).map((p) => p.address),
  );
  const [first] = asked;
  assert(first !== undefined);
  const answerBy = (password: string | undefined): Datagram => {
    const request = decodeStun(first.payload);
    assert(request !== undefined && verifyStun(first.payload, request, "secret") !== undefined);
    const { transactionId } = request;
    const attributes = [xorAddressAttribute(XOR_MAPPED_ADDRESS, address(MAPPED), transactionId)];
    const answer = { class: "success", method: 1, transactionId, attributes } as const;
    const payload = password === undefined ? encodeStun(answer) : signStun(answer, password);
    return { source: first.destination, payload };
  };
  assertEquals(gatherer.handleInput(at(10), answerBy(undefined)), false);
  assertEquals(gatherer.handleInput(at(10), answerBy("guess")), false);
  assertEquals(gatherer.candidates, []);
  assertEquals(gatherer.handleInput(at(10), answerBy("secret")), true);
  assertEquals(gatherer.candidates.map(({ address }) => address), [address(MAPPED)]);
  // Named servers come and go without touching them.
  gatherer.setServers(at(20), [server(A)]);
  assertEquals(gatherer.status.map(({ isPeer, state }) => [isPeer, state]), [
    [false, "asking"],
    [true, "mapped"],
    [true, "asking"],
  ]);
  gatherer.setPeerServers(at(30), []);
  assertEquals(gatherer.candidates, []);
});

Deno.test("Gatherer takes over what a probe found where its own servers leave it open", () => {
  const world = new World([A]);
  world.run(0);
  assertEquals(world.gatherer.nat.mapping, "unknown");
  world.gatherer.setProbed({
    mapping: "endpointIndependent",
    filtering: "addressDependent",
    hint: "NAT_RESTRICTED",
  });
  world.run(10);
  assertEquals(world.gatherer.nat, {
    mapping: "endpointIndependent",
    filtering: "addressDependent",
    hint: "NAT_RESTRICTED",
  });
  assertEquals(world.log.at(-1), "20 natClassified endpointIndependent NAT_RESTRICTED");
  world.gatherer.setProbed(undefined);
  assertEquals(world.gatherer.nat.hint, "NAT_UNKNOWN");
});

Deno.test("Gatherer keeps mappings alive as often as it is told", () => {
  const world = new World([A]);
  world.gatherer.setKeepalive(50_000);
  world.run(120_000);
  assertEquals(world.asked.get(A), [0, 50_020, 100_040]);
  // The wait under way is cut short.
  world.gatherer.setKeepalive(30_000);
  world.run(140_000);
  assertEquals(world.asked.get(A)?.at(-1), 130_060);
  throws(() => world.gatherer.setKeepalive(999), RangeError);
});

/** STUN servers behind a delay of 10 ms each way, in virtual time. */
class World {
  readonly gatherer: Gatherer;
  readonly mapping = new Map<string, string>();
  readonly silent = new Set<string>();
  readonly log: string[] = [];
  /** When it was said that nobody answers. */
  readonly unanswered: number[] = [];
  /** When each server got requests. */
  readonly asked = new Map<string, number[]>();
  readonly wire: { at: Instant; source: SocketAddress; payload: Uint8Array }[] = [];
  /** Passwords by user, where servers look at signatures. */
  passwords: Map<string, string> | undefined;
  delayMs = 20;
  lose: () => boolean = () => false;
  now = at(0);

  constructor(servers: string[], options: Partial<GathererOptions> = {}) {
    this.gatherer = new Gatherer(at(0), {
      servers: servers.map(server),
      rng: seeded(1),
      ...options,
    });
  }

  /** Runs until `ms`, and until nothing is in flight. */
  run(ms: number): void {
    for (;;) {
      const dueAt = this.gatherer.pollTimeout();
      const [packet] = this.wire;
      if (packet !== undefined && (dueAt === undefined || packet.at <= dueAt || dueAt > ms)) {
        this.wire.shift();
        this.now = packet.at;
        this.gatherer.handleInput(this.now, packet);
      } else if (dueAt !== undefined && dueAt <= ms) {
        this.step(Math.max(this.now, dueAt));
      } else {
        this.now = at(Math.max(this.now, ms));
        return this.#drain();
      }
      this.#drain();
    }
  }

  /** One timeout. */
  step(ms: number): void {
    this.now = at(ms);
    this.gatherer.handleTimeout(this.now);
    this.#drain();
  }

  #drain(): void {
    for (let event; (event = this.gatherer.pollEvent()) !== undefined;) {
      if (event.kind === "unanswered") this.unanswered.push(this.now);
      else this.log.push(`${this.now} ${describe(event)}`);
    }
    for (let out; (out = this.gatherer.pollTransmit()) !== undefined;) {
      const key = formatSocketAddress(out.destination);
      this.asked.set(key, [...this.asked.get(key) ?? [], this.now]);
      if (this.silent.has(key) || this.lose()) continue;
      const source = address(this.mapping.get(key) ?? MAPPED);
      const datagram = { source, payload: out.payload };
      const answer = this.passwords === undefined
        ? answerBinding(datagram)
        : answerBehaviour(datagram, {
          local: out.destination,
          addresses: undefined,
          passwordOf: (username) => this.passwords?.get(username),
          vouch: ({ username }) => ({
            kind: "receipt",
            receipt: new TextEncoder().encode(`for ${username.split(" ")[0]}`),
          }),
        });
      if (answer === undefined) continue;
      const arrival = after(this.now, this.delayMs);
      this.wire.push({ at: arrival, source: out.destination, payload: answer.payload });
      this.wire.sort((a, b) => a.at - b.at);
    }
  }
}

function describe(event: Exclude<GatherEvent, { kind: "unanswered" }>): string {
  if (event.kind === "credentialsRefused") return event.kind;
  if (event.kind === "vouched") {
    return `${event.kind} ${show(event)} ${new TextDecoder().decode(event.receipt)}`;
  }
  if (event.kind === "natClassified") {
    return `${event.kind} ${event.nat.mapping} ${event.nat.hint}`;
  }
  return [event.kind, ...event.candidates.map(show)].join(" ");
}

function show(candidate: { address: SocketAddress }): string {
  return formatSocketAddress(candidate.address);
}

function server(text: string): ProbeServer {
  return { address: address(text) };
}

function address(text: string): SocketAddress {
  const parsed = parseSocketAddress(text);
  if (parsed === undefined) throw new TypeError(`No address: ${text}`);
  return parsed;
}

function at(ms: number): Instant {
  return ms as Instant;
}
