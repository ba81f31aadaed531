import { deepStrictEqual as assertEquals, notStrictEqual, strictEqual } from "node:assert/strict";
import type { NodeRecord } from "../store/store.ts";
import { KeptAnswers } from "./kept_answers.ts";
import { colonyResponse } from "./records.ts";

const RECORD: NodeRecord = {
  meshId: "reef",
  publicKey: "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
  role: "colony",
  agentId: "",
  name: "colony",
  endpoints: ["192.0.2.1:51820"],
  observedEndpoints: [{ ip: "198.51.100.1", port: 40_000, viaRelay: false }],
  nat: 1,
  meshIpv4: "",
  meshIpv6: "fd00::1",
  connectPort: 9000,
  publicPort: 0,
  publicEndpoint: "",
  metadata: { region: "north" },
  noRelay: false,
  proven: true,
  statement: "",
  sequence: 0,
  admission: "",
  registeredAt: 1000,
  lastSeenAt: 2000,
  expiresAt: 3000,
  generation: 7,
};

Deno.test("KeptAnswers makes an answer once for a record that stays the same", () => {
  const answers = new KeptAnswers();
  const first = answers.of(RECORD);
  assertEquals(first, colonyResponse(RECORD));
  strictEqual(answers.of(structuredClone(RECORD)), first);
});

Deno.test("KeptAnswers makes another answer when any field of the record is another", () => {
  const others: Partial<NodeRecord>[] = [
    { publicKey: "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=" },
    { endpoints: ["192.0.2.2:51820"] },
    { endpoints: [] },
    { observedEndpoints: [{ ip: "198.51.100.1", port: 40_001, viaRelay: false }] },
    { metadata: { region: "south" } },
    { metadata: {} },
    { lastSeenAt: 2001 },
    { generation: 8 },
    { noRelay: true },
    { statement: "EgA=" },
  ];
  for (const other of others) {
    const answers = new KeptAnswers();
    const first = answers.of(RECORD);
    const changed = { ...RECORD, ...other };
    notStrictEqual(answers.of(changed), first);
    assertEquals(answers.of(changed), colonyResponse(changed));
  }
});

Deno.test("KeptAnswers keeps no more than it may, and counts what it forgets", () => {
  const answers = new KeptAnswers(2);
  const first = answers.of(RECORD);
  answers.of({ ...RECORD, meshId: "b" });
  answers.of({ ...RECORD, meshId: "c" });
  assertEquals(answers.forgotten, 1);
  notStrictEqual(answers.of(RECORD), first);
});
