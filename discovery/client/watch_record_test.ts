import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { BACKOFF_MAX_MS, BACKOFF_MIN_MS, WatchRecord } from "./watch_record.ts";

const peer = (publicKey: string, generation: number): { publicKey: string; generation: number } => (
  { publicKey, generation }
);

Deno.test("WatchRecord tells what is new, and after a snapshot who is gone", () => {
  const record = new WatchRecord();
  record.begin();
  assertEquals(record.upserted(peer("a", 1)), true);
  assertEquals(record.upserted(peer("b", 2)), true);
  assertEquals(record.completed(false), []);
  assertEquals(record.upserted(peer("a", 1)), false, "the same");
  assertEquals(record.upserted(peer("b", 1)), false, "an older one, late");
  assertEquals(record.upserted(peer("b", 3)), true);
  record.begin();
  assertEquals(record.upserted(peer("b", 1)), true, "a snapshot is right");
  assertEquals(record.completed(false), ["a"]);
  assertEquals(record.removed("a"), false);
  assertEquals(record.removed("b"), true);
});

Deno.test("WatchRecord: a stream that was resumed names changes only", () => {
  const record = new WatchRecord();
  record.begin();
  record.upserted(peer("a", 1));
  record.completed(false);
  record.begin();
  assertEquals(record.completed(true), []);
  assertEquals(record.removed("a"), true);
});

Deno.test("WatchRecord waits longer with each failure, from the beginning after a stream that stood", () => {
  const record = new WatchRecord();
  const wait = (live: boolean): number => {
    record.ended({ live });
    return record.waitMs(0.5);
  };
  assertEquals([wait(false), wait(false)], [BACKOFF_MIN_MS * 0.75, BACKOFF_MIN_MS * 1.5]);
  for (let i = 0; i < 100; i++) wait(false);
  assertEquals(wait(false), BACKOFF_MAX_MS * 0.75);
  assertEquals(record.stands(), true);
  assertEquals(record.stands(), false, "told once");
  assertEquals(wait(true), BACKOFF_MIN_MS * 0.75);
  assertEquals(record.stands(), true, "it broke between");
  record.renewed();
  assertEquals(record.waitMs(0), BACKOFF_MIN_MS / 2);
});
