import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { PATHS_PER_REPORT_MAX } from "../discovery/mod.ts";
import { BETWEEN_MS, PathJournal, type PathNow, SOON_MS, SUCCESS_MS } from "./path_journal.ts";

const at = (ms: number): Instant => ms as Instant;

function path(publicKey: string, part: Partial<PathNow> = {}): PathNow {
  return { publicKey, nat: "NAT_CONE", kind: "direct", ...part };
}

/** The peers of the next report, which Discovery takes. */
function report(journal: PathJournal, now: number, paths: readonly PathNow[]): string[] {
  const said = journal.take(at(now), paths);
  journal.told(said);
  return said.map((one) => one.publicKey);
}

Deno.test("PathJournal tells a change soon, and what follows at once with it", () => {
  const journal = new PathJournal();
  assertEquals(journal.dueAt, undefined);
  journal.reached(at(0), "a", true);
  journal.reached(at(500), "b", false);
  assertEquals(journal.dueAt, SOON_MS);
  assertEquals(report(journal, SOON_MS, [path("a"), path("b")]), ["a", "b"]);
  assertEquals(journal.dueAt, undefined);
  journal.lost(at(SOON_MS + 1), "a");
  assertEquals(journal.dueAt, SOON_MS + BETWEEN_MS);
  const now = [path("a", { kind: "none" }), path("b", { rttMs: 3, detail: "other words" })];
  assertEquals(report(journal, SOON_MS + BETWEEN_MS, now), ["a"]);
});

Deno.test("PathJournal says nothing where nothing is new, and everything after a registration", () => {
  const journal = new PathJournal();
  journal.registered(at(0));
  assertEquals(report(journal, SOON_MS, [path("a"), path("b")]), ["a", "b"]);
  journal.reached(at(20_000), "a", true);
  assertEquals(report(journal, 22_000, [path("a"), path("b")]), []);
  journal.registered(at(40_000));
  assertEquals(report(journal, 42_000, [path("a"), path("b")]), ["a", "b"]);
});

Deno.test("PathJournal tells again what Discovery did not take", () => {
  const journal = new PathJournal();
  journal.reached(at(0), "a", true);
  assertEquals(journal.take(at(2000), [path("a")]).length, 1);
  journal.reached(at(3000), "a", true);
  assertEquals(journal.take(at(12_000), [path("a")]).length, 1);
});

Deno.test("PathJournal's reports are bounded, changes go first, and every path has its turn", () => {
  const journal = new PathJournal();
  const many = Array.from({ length: PATHS_PER_REPORT_MAX + 100 }, (_, i) => path(`p${i}`));
  journal.registered(at(0));
  assertEquals(report(journal, 2000, many).length, PATHS_PER_REPORT_MAX);
  assertEquals(journal.dueAt, 2000 + BETWEEN_MS);
  journal.registered(at(3000));
  const second = report(journal, 12_000, many);
  assertEquals(second.length, PATHS_PER_REPORT_MAX);
  assertEquals(second.slice(0, 100), many.slice(-100).map((one) => one.publicKey));
  assertEquals(journal.dueAt, undefined);
  journal.registered(at(20_000));
  // The hundred of the first report that the second had no room for.
  const third = report(journal, 22_000, many);
  assertEquals(third.slice(0, 100), many.slice(156, 256).map((one) => one.publicKey));
});

Deno.test("PathJournal counts a punch once, and as a success where a direct path comes soon", () => {
  const journal = new PathJournal();
  journal.reached(at(0), "a", false);
  journal.punched(at(10), "a", "one");
  journal.punched(at(20), "a", "one");
  journal.reached(at(30), "a", true);
  journal.reached(at(40), "a", true);
  // While it is direct nothing is to be won.
  journal.punched(at(50), "a", "two");
  journal.lost(at(60), "a");
  journal.punched(at(70), "a", "three");
  journal.reached(at(70 + SUCCESS_MS + 1), "a", true);
  const [said] = journal.take(at(30_000), [path("a")]);
  assertEquals([said?.punchAttempts, said?.punchSuccesses], [2, 1]);
});

Deno.test("PathJournal forgets who is gone, and keeps no more peers than it may", () => {
  const journal = new PathJournal(1);
  journal.punched(at(0), "a", "one");
  journal.punched(at(0), "b", "two");
  assertEquals(journal.ignored, 1);
  journal.registered(at(0));
  assertEquals(report(journal, 2000, [path("b")]), ["b"]);
  journal.registered(at(20_000));
  const said = journal.take(at(22_000), [path("a"), path("b")]);
  assertEquals(said.map((one) => one.punchAttempts), [0, 0]);
});

Deno.test("PathJournal does not report for ever what it has no room to remember", () => {
  const journal = new PathJournal(1);
  journal.registered(at(0));
  assertEquals(report(journal, 2000, [path("a"), path("b")]), ["a", "b"]);
  journal.reached(at(20_000), "b", true);
  assertEquals(report(journal, 22_000, [path("a"), path("b")]), []);
});
