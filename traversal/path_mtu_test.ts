import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Family, Instant } from "../core/mod.ts";
import { MTU_ASSUMED, MTU_FLOOR, MtuSearch, OUTER_BYTES, TRIES_MAX } from "./path_mtu.ts";

const RTT_MS = 40;

/** A path that carries IP packets of `limit` bytes, and the search on it. */
class Line {
  readonly search: MtuSearch;
  readonly #family: Family;
  limit: number;
  /** Whether anything comes through. */
  up = true;
  /** Whether data goes out. */
  busy = true;
  now = 0;
  readonly sent: number[] = [];
  #wire: { readonly at: number; readonly bytes: number; readonly sentAt: number }[] = [];

  constructor(limit: number, { family = 4, max = 1420 }: { family?: Family; max?: number } = {}) {
    this.limit = limit;
    this.#family = family;
    this.search = new MtuSearch({ max, family });
    this.search.start(at(0));
  }

  run(ms: number): void {
    for (const until = this.now + ms; this.now < until; this.now += 10) {
      for (const { bytes, sentAt } of this.#wire.filter((probe) => probe.at <= this.now)) {
        this.search.alive(at(sentAt));
        this.search.answered(at(this.now), bytes);
      }
      this.#wire = this.#wire.filter((probe) => probe.at > this.now);
      const clues = { rttMs: RTT_MS, sentAt: this.busy ? at(this.now) : undefined };
      for (let bytes; (bytes = this.search.poll(at(this.now), clues)) !== undefined;) {
        this.sent.push(bytes);
        if (!this.up || bytes + OUTER_BYTES[this.#family] > this.limit) continue;
        this.#wire.push({ at: this.now + RTT_MS, bytes, sentAt: this.now });
      }
      const dueAt = this.search.dueAt(clues);
      assert(dueAt === undefined || dueAt > this.now, `due at ${dueAt}, it is ${this.now}`);
    }
  }
}

Deno.test("MtuSearch knows the largest size after one round trip where nothing is narrow", () => {
  const line = new Line(1500);
  assertEquals(line.search.mtu, MTU_ASSUMED);
  line.run(60);
  assertEquals([line.search.mtu, line.search.settled], [1420, true]);
});

Deno.test("MtuSearch finds the largest size within 16 bytes for every path MTU and both families", () => {
  for (const family of [4, 6] as const) {
    for (let limit = 600; limit <= 1500; limit += 20) {
      const line = new Line(limit, { family });
      line.run(12_000);
      const most = Math.min(1420, limit - OUTER_BYTES[family]);
      const { mtu } = line.search;
      assert(mtu <= most && mtu > most - 16, `IPv${family}, ${limit}: ${mtu}`);
      assert(line.search.settled);
    }
  }
});

Deno.test("MtuSearch gives up the assumed size within a second where it does not pass", () => {
  const line = new Line(1124);
  line.run(950);
  assertEquals(line.search.mtu, 1064);
  assertEquals(line.sent.filter((bytes) => bytes === 1280).length, TRIES_MAX);
});

Deno.test("MtuSearch notices a path that becomes narrow while data goes out, and only then asks", () => {
  const line = new Line(1500);
  line.run(1000);
  line.busy = false;
  const before = line.sent.length;
  line.run(60_000);
  assertEquals(line.sent.length, before, "an idle path is left alone");
  line.busy = true;
  line.limit = 1300;
  line.run(8_000);
  const { mtu } = line.search;
  assert(mtu > 1300 - 60 - 32 && mtu <= 1240, `${mtu}`);
});

Deno.test("MtuSearch blames no size while the path is dead", () => {
  const line = new Line(1500);
  line.run(1000);
  line.up = false;
  line.run(10_000);
  assertEquals(line.search.mtu, 1420);
  line.up = true;
  line.run(2_000);
  assertEquals([line.search.mtu, line.search.settled], [1420, true]);
});

Deno.test("MtuSearch tries larger sizes again after 10 minutes", () => {
  const line = new Line(1124);
  line.run(10_000);
  line.limit = 1500;
  line.run(500_000);
  assertEquals(line.search.mtu, 1064);
  line.run(110_000);
  assertEquals(line.search.mtu, 1420);
});

Deno.test("MtuSearch measures on a hint, and a forged one changes nothing", () => {
  const line = new Line(1500);
  line.run(1000);
  line.busy = false;
  const before = line.sent.length;
  line.search.hint(at(line.now), 1000);
  assertEquals(line.search.mtu, 1420);
  line.run(3_000);
  assertEquals(line.search.mtu, 1420);
  const asked = line.sent.length - before;
  assert(asked > 0 && asked < 20, `${asked} probes`);
  for (let i = 0; i < 100; i++) line.search.hint(at(line.now), 600 + i);
  line.run(3_000);
  assertEquals(line.sent.length - before, asked, "one in 10 s is listened to");
  line.run(10_000);
  line.limit = 1000;
  line.search.hint(at(line.now), 1000);
  line.run(1_500);
  assertEquals(line.search.mtu, 940);
});

Deno.test("MtuSearch ignores hints that make no sense", () => {
  const line = new Line(1500);
  line.run(1000);
  line.busy = false;
  const before = line.sent.length;
  for (const mtu of [0, -1, NaN, 68, 1500, 9000, Infinity]) line.search.hint(at(line.now), mtu);
  line.run(1000);
  assertEquals(line.sent.length, before);
});

Deno.test("MtuSearch never goes below its floor, and rests in between where nothing that large passes", () => {
  const line = new Line(300);
  line.run(100_000);
  assert(line.search.mtu >= MTU_FLOOR);
  assert(line.sent.length < 400, `${line.sent.length} probes`);
});

function at(ms: number): Instant {
  return ms as Instant;
}
