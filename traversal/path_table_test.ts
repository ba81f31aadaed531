import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import type { Candidate, CandidateKind } from "./candidate.ts";
import { ownPath } from "./path.ts";
import { LEARNED_MAX, PathTable } from "./path_table.ts";
import type { RelayEnd } from "./relay_end.ts";

const HOST = of("host", "192.168.1.5", 1);
const REFLEXIVE = of("serverReflexive", "203.0.113.9", 1);
const RELAYED = of("relayed", "198.51.100.7", 1);

Deno.test("PathTable makes a path of each candidate and keeps what it knows of those that stay", () => {
  const table = tableOf(HOST, REFLEXIVE);
  const record = table.find(ownPath(HOST.address));
  assert(record !== undefined);
  assertEquals(table.setCandidates([HOST, RELAYED], undefined), true);
  assertEquals(table.setCandidates([RELAYED, HOST], undefined), false);
  assertEquals(table.find(ownPath(HOST.address)), record);
  assertEquals(keys(table), ["192.168.1.5:1", "198.51.100.7:1"]);
  assertEquals(table.setCandidates([], record), false);
  assertEquals(keys(table), ["192.168.1.5:1"], "the path in use stays");
});

Deno.test("PathTable learns paths, by the kind of the candidate where there is one", () => {
  const table = tableOf(HOST);
  assertEquals(table.learn(at(1), ownPath(HOST.address), undefined)?.kind, "host");
  assertEquals(table.learn(at(1), ownPath(REFLEXIVE.address), undefined)?.kind, "peerReflexive");
  assertEquals(
    table.learn(at(1), { local: 5, remote: HOST.address }, undefined)?.key,
    "192.168.1.5:1 from local end 5",
  );
  table.setCandidates([], undefined);
  assertEquals(table.size, 3, "where the peer was heard is remembered");
});

Deno.test("PathTable knows a relayed address that the peer offers no more for one, from whichever end it is heard", () => {
  const table = tableOf(RELAYED);
  table.setRelays([end(4)], undefined);
  table.setCandidates([REFLEXIVE], undefined);
  const path = { local: 4, remote: RELAYED.address };
  assertEquals(table.find(path), undefined);
  const record = table.learn(at(1), path, undefined);
  assertEquals([record?.kind, record?.relays, record?.leaving], ["relayed", 2, true]);
  table.setCandidates([RELAYED], undefined);
  assertEquals([record?.relays, record?.leaving], [2, false]);
  // A peer can have had so many that nobody remembers all of them.
  const many = Array.from({ length: 32 }, (_, i) => of("relayed", "198.51.100.8", 1 + i));
  table.setCandidates(many.slice(0, 16), record);
  table.setCandidates(many.slice(16), record);
  const forgotten = table.learn(at(2), { local: 0, remote: RELAYED.address }, undefined);
  assertEquals(forgotten?.kind, "peerReflexive");
});

Deno.test("PathTable forgets what it learned first, never the path in use or one that works before others", () => {
  const table = tableOf();
  const learn = (i: number): ReturnType<PathTable["learn"]> =>
    table.learn(
      at(i),
      ownPath({ hostname: "203.0.113.9", port: i }),
      table.find(ownPath({ hostname: "203.0.113.9", port: 1 })),
    );
  learn(1);
  const working = learn(2);
  working?.answered(at(2), at(2));
  for (let i = 3; i < 100; i++) learn(i);
  assertEquals(table.size, LEARNED_MAX + 1);
  assertEquals(keys(table).slice(0, 3), ["203.0.113.9:1", "203.0.113.9:2", "203.0.113.9:93"]);
});

Deno.test("PathTable makes a path from each relay, which counts as one on the way, as the peer's does", () => {
  const table = tableOf(HOST, RELAYED);
  assertEquals(table.setRelays([end(4), end(4), end(5)], undefined), true);
  assertEquals(table.size, 6);
  const relays = (local: number, { address }: Candidate): number | undefined =>
    table.find({ local, remote: address })?.relays;
  assertEquals([relays(0, HOST), relays(0, RELAYED), relays(4, HOST), relays(5, RELAYED)], [
    0,
    1,
    1,
    2,
  ]);
  table.setRelays([], undefined);
  assertEquals(table.size, 2);
});

Deno.test("PathTable pairs no relay with an address to which it can have no way, unless the peer was heard so", () => {
  const v6 = of("host", "2001:db8::9", 1);
  const table = tableOf(HOST, REFLEXIVE, RELAYED, v6);
  const from = (local: number): string[] =>
    Array.from(table.all).filter(({ path }) => path.local === local)
      .map(({ path }) => path.remote.hostname);
  table.setRelays([end(4, "198.51.100.9"), end(5)], undefined);
  assertEquals(from(0), ["2001:db8::9", "192.168.1.5", "203.0.113.9", "198.51.100.7"]);
  assertEquals(from(4), ["203.0.113.9", "198.51.100.7"]);
  assertEquals(from(5), ["192.168.1.5", "203.0.113.9", "198.51.100.7"]);
  table.learn(at(1), { local: 4, remote: HOST.address }, undefined);
  table.setCandidates([HOST], undefined);
  assertEquals(from(4), ["192.168.1.5"]);
  const both: RelayEnd = {
    ...end(6, "198.51.100.9"),
    relayed: [{ hostname: "198.51.100.9", port: 1 }, { hostname: "2001:db8::1", port: 1 }],
  };
  table.setRelays([both], undefined);
  table.setCandidates([HOST, v6, REFLEXIVE], undefined);
  assertEquals(from(6), ["2001:db8::9", "203.0.113.9"]);
});

Deno.test("PathTable keeps the path in use without its relay, tells that it has no end, and nobody sends there", () => {
  const table = tableOf(REFLEXIVE);
  table.setRelays([end(4)], undefined);
  const record = table.learn(at(1), { local: 4, remote: REFLEXIVE.address }, undefined);
  assert(record !== undefined);
  record.answered(at(2), at(1));
  table.setRelays([{ ...end(4), draining: true }], record);
  assertEquals([record.works, record.leaving, record.gone], [true, true, false]);
  table.setRelays([], record);
  assertEquals([record.works, record.leaving, record.gone], [false, true, true]);
  assertEquals(table.receivers(record, { turn: 0 }).map(({ key }) => key), ["203.0.113.9:1"]);
  table.setRelays([end(4)], record);
  assertEquals([record.works, record.leaving, record.gone], [true, false, false]);
  table.setRelays([], undefined);
  assertEquals(keys(table), ["203.0.113.9:1"]);
});

Deno.test("PathTable without direct paths knows relayed ones alone", () => {
  const table = new PathTable({ mtuMax: 1280, noDirect: true });
  table.setCandidates([HOST, RELAYED], undefined);
  table.setRelays([end(4)], undefined);
  assertEquals(keys(table).toSorted(), [
    "192.168.1.5:1 from local end 4",
    "198.51.100.7:1",
    "198.51.100.7:1 from local end 4",
  ]);
  assertEquals(table.learn(at(1), ownPath(REFLEXIVE.address), undefined), undefined);
});

Deno.test("PathTable leaves neighbours out of an initiation that goes past them, unless there is nobody else", () => {
  const table = tableOf(HOST, REFLEXIVE);
  const keysPast = (): string[] =>
    table.receivers(undefined, { turn: 0, past: true }).map(({ key }) => key);
  assertEquals(keysPast(), ["203.0.113.9:1"]);
  table.setRelays([end(4)], undefined);
  assertEquals(keysPast().toSorted(), [
    "192.168.1.5:1 from local end 4",
    "203.0.113.9:1",
    "203.0.113.9:1 from local end 4",
  ]);
  assertEquals(tableOf(HOST).receivers(undefined, { turn: 0, past: true }).length, 1);
});

Deno.test("PathTable gives each kind its turn, so that many interfaces hide nothing", () => {
  const hosts = Array.from({ length: 20 }, (_, i) => of("host", `10.0.0.${i}`, 1));
  const table = tableOf(...hosts, REFLEXIVE, RELAYED);
  assertEquals(table.inTurns().slice(0, 4).map(({ key }) => key), [
    "10.0.0.0:1",
    "203.0.113.9:1",
    "198.51.100.7:1",
    "10.0.0.1:1",
  ]);
  assertEquals(table.inTurns().length, 22);
});

Deno.test("PathTable forgets the paths of ends that are closed", () => {
  const table = tableOf(HOST);
  table.learn(at(1), { local: 5, remote: HOST.address }, undefined);
  table.dropLocals(new Set([5, 6]));
  assertEquals(keys(table), ["192.168.1.5:1"]);
});

function tableOf(...candidates: Candidate[]): PathTable {
  const table = new PathTable({ mtuMax: 1280, noDirect: false });
  table.setCandidates(candidates, undefined);
  return table;
}

/** A relay that reaches private networks, as one on the same site does. */
function end(local: number, hostname = "192.168.1.200"): RelayEnd {
  return { local, relayed: [{ hostname, port: 50_000 }], draining: false };
}

function keys(table: PathTable): string[] {
  return Array.from(table.all, ({ key }) => key);
}

function of(kind: CandidateKind, hostname: string, port: number): Candidate {
  return { kind, address: { hostname, port } };
}

function at(ms: number): Instant {
  return ms as Instant;
}
