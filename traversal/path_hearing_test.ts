import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { ownPath } from "./path.ts";
import { PathChoice } from "./path_choice.ts";
import { PathHearing } from "./path_hearing.ts";
import type { PathRecord } from "./path_record.ts";
import { PathTable } from "./path_table.ts";

Deno.test("a known path is listened to always, an unknown one only while the path in use is silent or questioned", () => {
  const { table, choice, hearing } = session();
  choice.primary.heardAt = at(10_000);
  assertEquals(hearing.listens(at(10_500), choice, elsewhere(1)), false);
  assert(hearing.listens(at(10_500), choice, choice.primary.path));
  assert(hearing.listens(at(11_000), choice, elsewhere(1)), "a second of silence");
  choice.primary.heardAt = at(11_000);
  choice.question(at(11_001));
  assert(hearing.listens(at(11_001), choice, elsewhere(2)));
  table.learn(at(11_002), elsewhere(3), choice.primary);
  assert(hearing.listens(at(11_002), choice, elsewhere(3)));
  assertEquals(hearing.refused, 0);
});

Deno.test("of unknown addresses four are looked at at once, and one every two seconds", () => {
  const { choice, hearing } = session();
  const heard = Array.from(
    { length: 10 },
    (_, i) => hearing.listens(at(5_000), choice, elsewhere(1 + i)),
  );
  assertEquals(heard.filter((listened) => listened).length, 4);
  assertEquals(hearing.refused, 6);
  assert(hearing.listens(at(7_000), choice, elsewhere(21)));
  assertEquals(hearing.listens(at(7_001), choice, elsewhere(22)), false);
});

Deno.test("while a crooked path in use works, unknown addresses are not looked at, however long the peer is silent", () => {
  const { choice, hearing } = session();
  choice.primary.answered(at(30_000), at(29_960), elsewhere(1));
  assertEquals(hearing.listens(at(40_000), choice, elsewhere(2)), false);
  for (const ms of [40_000, 41_000, 42_000]) choice.primary.probed(at(ms));
  assert(hearing.listens(at(43_000), choice, elsewhere(2)), "it is silent");
});

Deno.test("who is heard elsewhere is asked there at once, then every two seconds, and the path in use is questioned if it is silent", () => {
  const { table, choice, hearing } = session();
  const record = learned(table, 1);
  record.probed(at(4_000));
  hearing.elsewhere(at(4_500), { choice, record, what: "data" });
  assertEquals([record.probedAt, choice.questioned], [at(4_000), true]);
  hearing.elsewhere(at(6_000), { choice, record, what: "data" });
  assertEquals(record.probedAt, undefined, "again");
  const lively = session();
  lively.choice.primary.heardAt = at(4_400);
  const other = learned(lively.table, 1);
  hearing.elsewhere(at(4_500), { choice: lively.choice, record: other, what: "data" });
  assertEquals(lively.choice.questioned, false, "data may be a copy");
  hearing.elsewhere(at(4_500), { choice: lively.choice, record: other, what: "handshake" });
  assertEquals(lively.choice.questioned, true, "who begins a session there may have moved");
});

Deno.test("a path that was proven within a minute is no news", () => {
  const { table, choice, hearing } = session();
  const record = learned(table, 1);
  record.probed(at(4_000));
  record.answered(at(4_050), at(4_000));
  hearing.elsewhere(at(63_999), { choice, record, what: "handshake" });
  assertEquals([record.probedAt, choice.questioned], [at(4_000), false]);
  hearing.elsewhere(at(64_000), { choice, record, what: "handshake" });
  assertEquals([record.probedAt, choice.questioned], [undefined, true]);
});

function session(): {
  readonly table: PathTable;
  readonly choice: PathChoice;
  readonly hearing: PathHearing;
} {
  const table = new PathTable({ mtuMax: 1280, noDirect: false });
  const primary = learned(table, 0);
  return { table, choice: new PathChoice(at(0), primary), hearing: new PathHearing(at(0), table) };
}

function learned(table: PathTable, index: number): PathRecord {
  const record = table.learn(at(0), elsewhere(index), undefined);
  assert(record !== undefined);
  return record;
}

function elsewhere(index: number): ReturnType<typeof ownPath> {
  return ownPath({ hostname: "203.0.113.9", port: 40_000 + index });
}

function at(ms: number): Instant {
  return ms as Instant;
}
