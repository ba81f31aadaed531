import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { ownPath } from "./path.ts";
import { PathChoice } from "./path_choice.ts";
import { SAMPLES_MIN } from "./path_rank.ts";
import { PathRecord } from "./path_record.ts";
import { probeDueAt } from "./probe_timing.ts";

const KEEPALIVE_MS = 25_000;

Deno.test("the path in use is proven every second while data goes out, then every 3 s for 20 s, then by keepalives", () => {
  const record = new PathRecord(ownPath({ hostname: "203.0.113.9", port: 1 }), {
    kind: "serverReflexive",
    mtuMax: 1420,
  });
  record.probedAt = at(0);
  record.answered(at(40), at(0));
  for (let i = 0; i < SAMPLES_MIN; i++) record.measured(40);
  const dueAt = (sentMs: number | undefined): number =>
    probeDueAt(record, {
      since: at(-10_000),
      primary: record,
      sentAt: sentMs === undefined ? undefined : at(sentMs),
      suspectedAt: undefined,
      warm: new Set(),
      keepaliveMs: KEEPALIVE_MS,
    });
  const proven = (ms: number): void => {
    record.probedAt = at(ms);
    record.provenAt = at(ms);
  };
  proven(10_000);
  assertEquals(dueAt(undefined), 35_000, "nothing was ever sent");
  assertEquals(dueAt(10_500), 11_000);
  assertEquals(dueAt(14_000), 14_000, "data after a rest is followed at once");
  assertEquals(dueAt(10_000), 13_000);
  proven(29_999);
  assertEquals(dueAt(10_000), 32_999);
  proven(30_000);
  assertEquals(dueAt(10_000), 55_000);
});

Deno.test("a session in which nothing was said yet is proven every 3 s for its first 20 s", () => {
  const record = new PathRecord(ownPath({ hostname: "203.0.113.9", port: 1 }), {
    kind: "serverReflexive",
    mtuMax: 1420,
  });
  for (let i = 0; i < SAMPLES_MIN; i++) record.measured(40);
  const dueAt = (provenMs: number): number => {
    record.probedAt = at(provenMs);
    record.answered(at(provenMs), at(provenMs));
    return probeDueAt(record, {
      since: at(5_000),
      primary: record,
      sentAt: undefined,
      suspectedAt: undefined,
      warm: new Set(),
      keepaliveMs: KEEPALIVE_MS,
    });
  };
  assertEquals(dueAt(5_000), 8_000);
  assertEquals(dueAt(24_999), 27_999);
  assertEquals(dueAt(25_000), 50_000);
});

Deno.test("a peer that slept and then answered everything at once is asked as quickly as before when it is silent again", () => {
  const record = new PathRecord(ownPath({ hostname: "203.0.113.9", port: 1 }), {
    kind: "serverReflexive",
    mtuMax: 1420,
  });
  for (const rttMs of [40, 13_000, 12_700, 12_400, 12_100, 40]) record.measured(rttMs);
  record.probed(at(1_000));
  const context = {
    since: at(0),
    primary: record,
    sentAt: undefined,
    suspectedAt: undefined,
    warm: new Set<PathRecord>(),
    keepaliveMs: KEEPALIVE_MS,
  };
  assertEquals(probeDueAt(record, context), 1_300);
  const choice = new PathChoice(at(0), record);
  assertEquals(choice.judge(at(2_499), { records: [record], probing: true }), []);
  assertEquals(choice.judge(at(2_500), { records: [record], probing: true }), ["doubted"]);
});

function at(ms: number): Instant {
  return ms as Instant;
}
