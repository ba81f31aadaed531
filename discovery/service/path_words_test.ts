import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { anything, assert as check, property, string } from "fast-check";
import { SAID_BYTES_MAX } from "../store/store.ts";
import { key } from "../testing/nodes.ts";
import type { ReportedPath } from "./path_book.ts";
import { decodePathWords, encodePathWords, type SaidReport } from "./path_words.ts";

function said(mesh: string, paths: number): SaidReport {
  const path = (i: number): ReportedPath => ({
    peer: key(i % 256),
    peerNat: i % 4,
    kind: (["direct", "relayed", "none"] as const)[i % 3] ?? "none",
    reason: i % 10,
    // Every character takes two in JSON.
    detail: '"'.repeat(160),
    punchAttempts: 0xffff_ffff,
    punchSuccesses: 0xffff_ffff,
    relayId: "r".repeat(63),
    rttUs: 0xffff_ffff,
  });
  return {
    node: { meshId: mesh, publicKey: key(1) },
    report: {
      nat: 3,
      mapping: 3,
      filtering: 2,
      paths: Array.from({ length: paths }, (_, i) => path(i)),
    },
  };
}

Deno.test("reports of paths survive the way between replicas, in words that fit", () => {
  const reports = [said("m".repeat(253), 256), said("reef", 0), said("atoll", 3)];
  const words = encodePathWords(reports);
  for (const word of words) assert(new TextEncoder().encode(word).length <= SAID_BYTES_MAX);
  const heard = words.flatMap(decodePathWords);
  for (const { node, report } of reports) {
    const parts = heard.filter((it) => it.node.meshId === node.meshId);
    assertEquals(parts.flatMap((it) => it.report.paths), report.paths);
    for (const part of parts) assertEquals({ ...part.report, paths: [] }, { ...report, paths: [] });
  }
  assertEquals(encodePathWords([]), []);
});

Deno.test("many small reports share a word", () => {
  const reports = Array.from({ length: 20 }, (_, i) => said(`m${i}`, 0));
  assertEquals(encodePathWords(reports).length, 2);
});

Deno.test("what replicas say otherwise is no report, and nothing throws", () => {
  for (
    const text of [
      "",
      "{}",
      '{"punch":1}',
      '{"paths":',
      '{"paths":1}',
      '{"paths":[1,[],[1]]}',
      '{"paths":null}',
    ]
  ) assertEquals(decodePathWords(text), [], text);
  check(property(string(), (text) => void decodePathWords(`{"paths":${text}`)));
  check(property(anything(), (value) => {
    for (
      const { report } of decodePathWords(
        JSON.stringify({ paths: [["m", "k", 1, 2, 3, value], value] }),
      )
    ) {
      for (const { peer, reason } of report.paths) assert(typeof peer === "string" && reason <= 9);
    }
  }));
});
