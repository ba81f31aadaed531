import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { key } from "../testing/nodes.ts";
import { PATH_LIFE_MS, PathBook, type ReportedPath, type ReportOfPaths } from "./path_book.ts";

function path(part: Partial<ReportedPath> = {}): ReportedPath {
  return {
    peer: key(1),
    peerNat: 1,
    kind: "direct",
    reason: 0,
    detail: "",
    punchAttempts: 0,
    punchSuccesses: 0,
    relayId: "",
    rttUs: 400,
    ...part,
  };
}

function report(...paths: readonly ReportedPath[]): ReportOfPaths {
  return { nat: 3, mapping: 3, filtering: 3, paths };
}

const A = { meshId: "reef", publicKey: key(2) };
const B = { meshId: "reef", publicKey: key(3) };
const OTHER = { meshId: "atoll", publicKey: key(2) };

Deno.test("PathBook keeps the last word on each path", () => {
  const book = new PathBook();
  assertEquals(book.report(0, A, report(path({ kind: "relayed", relayId: "eu" }))), 1);
  assertEquals(book.report(5, A, report(path())), 1);
  assertEquals(book.of(A)?.paths.get(key(1)), path());
  assertEquals(book.of(A)?.reportedAt, 5);
  assertEquals(book.size, 1);
  assertEquals(book.of(B), undefined);
  assertEquals(book.of(OTHER), undefined);
  assertEquals(book.about({ meshId: "reef", publicKey: key(1) }), { by: key(2), path: path() });
  assertEquals(book.about({ meshId: "atoll", publicKey: key(1) }), undefined);
});

Deno.test("PathBook is bounded in all and by node, and counts what it refuses", () => {
  const book = new PathBook({ max: 3, perNodeMax: 2 });
  const three = [1, 4, 5].map((n) => path({ peer: key(n) }));
  assertEquals(book.report(0, A, report(...three)), 2);
  assertEquals(book.report(0, B, report(...three)), 1);
  assertEquals(book.report(0, OTHER, report(...three)), 0);
  assertEquals(book.of(OTHER), undefined);
  assertEquals(book.size, 3);
  assertEquals(book.counters()["pathsRefused"], 1 + 2 + 3);
  // What is known already has its room.
  assertEquals(book.report(0, A, report(path({ kind: "none" }))), 1);
  book.leave(A);
  assertEquals(book.report(0, OTHER, report(...three)), 2);
});

Deno.test("PathBook forgets a node that left, and what was said of it", () => {
  const book = new PathBook();
  book.report(0, A, report(path({ peer: key(3) }), path()));
  book.report(0, B, report(path({ peer: key(2) })));
  book.report(0, OTHER, report(path({ peer: key(3) })));
  book.leave(B);
  assertEquals(book.of(B), undefined);
  assertEquals([...book.of(A)?.paths.keys() ?? []], [key(1)]);
  assertEquals(book.size, 2);
  book.leave({ meshId: "reef", publicKey: key(1) });
  assertEquals(book.of(A), undefined);
  book.leave(OTHER);
  assertEquals(book.size, 0);
  assertEquals(book.matrix(), []);
});

Deno.test("PathBook forgets who has been silent for long", () => {
  const book = new PathBook();
  book.report(0, A, report(path()));
  book.report(10, B, report(path()));
  book.sweep(PATH_LIFE_MS - 1);
  assertEquals(book.size, 2);
  book.sweep(PATH_LIFE_MS);
  assertEquals([book.of(A), book.size], [undefined, 1]);
  book.sweep(PATH_LIFE_MS + 10);
  assertEquals(book.size, 0);
});

Deno.test("PathBook adds up paths and punches by both NATs, of one mesh or all", () => {
  const book = new PathBook();
  book.report(
    0,
    A,
    report(
      path({ peerNat: 1, punchAttempts: 3, punchSuccesses: 2 }),
      path({ peer: key(4), peerNat: 1, kind: "relayed", punchAttempts: 5 }),
      path({ peer: key(5), peerNat: 3, kind: "none" }),
    ),
  );
  book.report(0, OTHER, { ...report(path({ punchAttempts: 1, punchSuccesses: 1 })), nat: 1 });
  const [first, second] = book.matrix("reef");
  assertEquals(first, {
    own: 3,
    peer: 1,
    paths: { direct: 1, relayed: 1, none: 0 },
    punchAttempts: 8,
    punchSuccesses: 2,
  });
  assertEquals(second?.paths, { direct: 0, relayed: 0, none: 1 });
  assertEquals(book.matrix().map(({ own, peer }) => [own, peer]), [[1, 1], [3, 1], [3, 3]]);
  const counters = book.counters();
  assertEquals(counters["paths:direct"], 2);
  assertEquals(counters["punchAttemptsReported"], 9);
  assertEquals(counters["punchSuccessesReported"], 3);
});
