import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { ownPath } from "./path.ts";
import { PathChoice } from "./path_choice.ts";
import { PathProber } from "./path_prober.ts";
import type { PathRecord } from "./path_record.ts";
import { PathTable } from "./path_table.ts";
import type { PathProbe } from "./probe_book.ts";

Deno.test("every path of a session is asked at once, and an answer proves the one that was asked, crooked if it came another way", () => {
  const { table, choice, prober } = session(2);
  const asked = probes(prober, choice, 0);
  assertEquals(asked.map(({ path }) => path.remote.port), [40_000, 40_001]);
  const [first, second] = asked;
  const records = [...table.all];
  assert(first !== undefined && second !== undefined);
  assertEquals(prober.answers, undefined);
  assert(prober.handleReply(at(30), first.path, second.sequence), "it was waited for");
  assertEquals([prober.answers, records.map(({ works }) => works)], [true, [false, true]]);
  assertEquals(records.map(({ crooked }) => crooked), [false, true]);
  assertEquals(prober.handleReply(at(31), second.path, second.sequence), false, "once");
  assert(prober.handleReply(at(40), first.path, first.sequence));
  assertEquals(records.map(({ works }) => works), [true, true]);
  assertEquals(records.map(({ crooked }) => crooked), [false, true]);
  assertEquals(records[0]?.rttMs, 40);
  assertEquals(prober.handleReply(at(41), first.path, 0xdead_beef), false);
});

Deno.test("a peer that answers nothing for ten seconds of its session is waited for no longer", () => {
  const { choice, prober } = session(1);
  probes(prober, choice, 0);
  prober.loseHope(at(9_999), choice);
  assertEquals(prober.answers, undefined);
  prober.loseHope(at(10_000), choice);
  assertEquals(prober.answers, false);
});

Deno.test("who sends probes is never taken for one that answers none, however long he is silent to ours", () => {
  const { choice, prober } = session(1);
  const [probe] = probes(prober, choice, 0);
  prober.loseHope(at(10_000), choice);
  assertEquals([prober.handleProbed(), prober.answers], [true, undefined]);
  prober.loseHope(at(20_000), choice);
  assert(probe !== undefined);
  prober.handleRefused(probe.path, probe.sequence);
  assertEquals([prober.handleProbed(), prober.answers], [false, undefined]);
});

Deno.test("a probe that cannot be sent leaves its path as it was, and says that this peer has no probes", () => {
  const { table, choice, prober } = session(1);
  const [probe] = probes(prober, choice, 0);
  assert(probe !== undefined);
  prober.handleRefused(probe.path, probe.sequence);
  const [record] = [...table.all];
  assertEquals([record?.probes, record?.unanswered, prober.answers], [0, 0, false]);
});

Deno.test("the session's end forgets the probes on their way", () => {
  const { choice, prober } = session(1);
  const [probe] = probes(prober, choice, 0);
  assert(probe !== undefined);
  prober.clear();
  assertEquals(prober.handleReply(at(20), probe.path, probe.sequence), false);
});

function session(paths: number): {
  readonly table: PathTable;
  readonly choice: PathChoice;
  readonly prober: PathProber;
} {
  const table = new PathTable({ mtuMax: 1280, noDirect: false });
  const records: PathRecord[] = [];
  for (let i = 0; i < paths; i++) {
    const path = ownPath({ hostname: "203.0.113.9", port: 40_000 + i });
    const record = table.learn(at(0), path, undefined);
    if (record !== undefined) records.push(record);
  }
  const [primary] = records;
  assert(primary !== undefined);
  return {
    table,
    choice: new PathChoice(at(0), primary),
    prober: new PathProber(at(0), { table }),
  };
}

function probes(prober: PathProber, choice: PathChoice, ms: number): PathProbe[] {
  prober.ask(at(ms), choice);
  const taken: PathProbe[] = [];
  for (let probe; (probe = prober.poll()) !== undefined;) taken.push(probe);
  return taken;
}

function at(ms: number): Instant {
  return ms as Instant;
}
