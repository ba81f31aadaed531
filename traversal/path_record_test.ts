import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { ownPath, type Path } from "./path.ts";
import { PathRecord } from "./path_record.ts";

Deno.test("a path that works is not silent because it was asked many times at once", () => {
  const record = proven();
  for (const ms of [1_000, 1_001, 1_003, 1_040, 1_199]) record.probed(at(ms));
  assertEquals([record.works, record.unanswered, record.probes], [true, 1, 6]);
  record.probed(at(1_200));
  assertEquals([record.works, record.unanswered], [true, 2]);
  record.probed(at(1_399));
  assertEquals(record.works, true);
  record.probed(at(1_400));
  assertEquals([record.works, record.state], [false, "silent"]);
  assertEquals(record.unansweredSince, at(1_000));
});

Deno.test("an answer that comes late leaves only what was asked after it without one", () => {
  const record = proven();
  for (const ms of [1_000, 1_200, 1_400]) record.probed(at(ms));
  record.answered(at(1_450), at(1_000));
  assertEquals([record.works, record.unanswered, record.unansweredSince], [true, 1, at(1_450)]);
  record.probed(at(1_500));
  assertEquals(record.unanswered, 1, "100 ms after the one that is still on its way");
  record.probed(at(1_600));
  assertEquals(record.unanswered, 2);
  record.answered(at(1_650), at(1_600));
  assertEquals([record.unanswered, record.unansweredSince], [0, undefined]);
});

Deno.test("a path is crooked once all answers of ten seconds have come another way, and straight with the first that does not", () => {
  const record = proven();
  const [provenMs, from] = [record.provenAt ?? 0, ownPath({ hostname: "203.0.113.9", port: 2 })];
  assertEquals([record.crooked, record.hears(record.path), record.hears(from)], [
    false,
    true,
    false,
  ]);
  const answered = (ms: number, path?: Path): boolean => {
    record.probed(at(provenMs + ms));
    record.answered(at(provenMs + ms + 40), at(provenMs + ms), path);
    return record.crooked;
  };
  assertEquals([answered(3_000, from), answered(9_999, from)], [false, false]);
  assertEquals([record.works, record.unanswered, record.hears(from)], [true, 0, true]);
  assertEquals([answered(10_000, from), answered(13_000), answered(16_000, from)], [
    true,
    false,
    false,
  ]);
  record.forget();
  assertEquals([record.works, record.crooked], [false, false]);
  assertEquals(answered(20_000, from), true, "never straight");
});

Deno.test("a probe that could not be sent is none without an answer, and the next one counts", () => {
  const record = proven();
  record.probed(at(1_000));
  record.refused(at(1_000));
  assertEquals([record.unanswered, record.unansweredSince, record.probes], [0, undefined, 1]);
  record.probed(at(1_010));
  assertEquals([record.unanswered, record.unansweredSince], [1, at(1_010)]);
  record.probed(at(1_020));
  record.refused(at(1_020));
  assertEquals([record.unanswered, record.probes], [1, 2], "the one before is on its way");
});

/** A path that answered at 50 ms. */
function proven(): PathRecord {
  const path = ownPath({ hostname: "203.0.113.9", port: 51_820 });
  const record = new PathRecord(path, { kind: "host", mtuMax: 1280 });
  record.probed(at(0));
  record.answered(at(50), at(0));
  return record;
}

function at(ms: number): Instant {
  return ms as Instant;
}
