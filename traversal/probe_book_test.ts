import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { ownPath } from "./path.ts";
import { PathRecord } from "./path_record.ts";
import { ProbeBook, PROBES_PENDING_MAX, PROBES_QUEUED_MAX } from "./probe_book.ts";

const RECORD = new PathRecord(ownPath({ hostname: "203.0.113.9", port: 1 }), {
  kind: "host",
  mtuMax: 1420,
});
const PROBE = { bytes: 64, purpose: "alive" } as const;
const SMALL = { ...PROBE, urgent: true } as const;

Deno.test("ProbeBook numbers probes and finds each once", () => {
  const book = new ProbeBook(at(0));
  assert(book.add(at(5), RECORD, SMALL));
  assertEquals(book.poll(), { path: RECORD.path, sequence: 1, bytes: 64 });
  assertEquals(book.poll(), undefined);
  assertEquals(book.take(1), { record: RECORD, sentAt: 5, ...PROBE });
  assertEquals(book.take(1), undefined);
  assertEquals(book.take(2), undefined);
});

Deno.test("ProbeBook makes 96 at once and 20 a second, and queues no more than fit", () => {
  const book = new ProbeBook(at(0));
  const drained = (ms: number): number => {
    let made = 0;
    for (; made < 1000 && book.add(at(ms), RECORD, SMALL); made++) book.poll();
    return made;
  };
  assertEquals(drained(0), 96);
  assertEquals(drained(1000), 20);
  assertEquals(drained(100_000), 96);
  let queued = 0;
  while (book.add(at(200_000), RECORD, SMALL)) queued++;
  assertEquals(queued, PROBES_QUEUED_MAX);
  assertEquals(book.refused, 4);
});

Deno.test("ProbeBook keeps a quarter for the path in use", () => {
  const book = new ProbeBook(at(0));
  let made = 0;
  for (; book.add(at(0), RECORD, PROBE); made++) book.poll();
  assertEquals(made, 72);
  assert(book.add(at(0), RECORD, SMALL));
});

Deno.test("ProbeBook forgets the oldest of too many without an answer, and numbers from 1 again", () => {
  const book = new ProbeBook(at(0));
  let ms = 0;
  for (let i = 1; i <= 65_535; i++, ms += 50) {
    assert(book.add(at(ms), RECORD, SMALL));
    assertEquals(book.poll()?.sequence, i);
    assert(book.pending <= PROBES_PENDING_MAX);
  }
  assert(book.add(at(ms), RECORD, SMALL));
  assertEquals(book.poll()?.sequence, 1);
  assertEquals(book.take(65_535 - PROBES_PENDING_MAX + 1), undefined);
  assert(book.take(65_535 - PROBES_PENDING_MAX + 2) !== undefined);
  book.clear();
  assertEquals([book.pending, book.take(1)], [0, undefined]);
});

function at(ms: number): Instant {
  return ms as Instant;
}
