import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { toBinary } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { RelayReportSchema } from "../../proto/mod.ts";
import { openReport, type RelayReport, sealReport, USAGE_MAX } from "./report.ts";

const SECRET = "correct horse battery staple";
const REPORT: RelayReport = {
  id: "eu-1",
  issuedAt: 1_700_000_000_000,
  region: "eu",
  transports: [
    { kind: "udp", endpoint: "203.0.113.7:3478" },
    { kind: "tls", endpoint: "203.0.113.7:443", serverName: "relay.example" },
    { kind: "websocket", endpoint: "wss://relay.example/turn" },
  ],
  realm: "moray",
  load: 17,
  draining: false,
  sessions: 3,
  bandwidthBytesPerSecond: 1_000_000,
  usage: [{ sessionId: "a.b.c", rxBytes: 5, txBytes: 2 ** 40 }],
};

/** What is wrong with a report that was sealed rightly. */
function faultOf(message: Parameters<typeof create<typeof RelayReportSchema>>[1]): string {
  const report = toBinary(RelayReportSchema, create(RelayReportSchema, message));
  const key = createHmac("sha256", SECRET).update("moray relay report 1").digest();
  const mac = createHmac("sha256", key).update(report).digest();
  const opened = openReport(SECRET, { report, mac });
  assert("fault" in opened && !opened.forged);
  return opened.fault;
}

Deno.test("openReport gives back what was sealed with the same secret", () => {
  assertEquals(openReport(SECRET, sealReport(SECRET, REPORT)), REPORT);
});

Deno.test("openReport refuses another secret, and every changed bit", () => {
  const sealed = sealReport(SECRET, REPORT);
  const forged = { fault: "mac does not fit the report: the secret is another", forged: true };
  assertEquals(openReport("another", sealed), forged);
  assertEquals(openReport(SECRET, { ...sealed, mac: sealed.mac.subarray(1) }), forged);
  assertEquals(openReport(SECRET, { ...sealed, mac: new Uint8Array() }), forged);
  for (let bit = 0; bit < sealed.report.length * 8; bit++) {
    const report = sealed.report.slice();
    const byte = bit >> 3;
    report[byte] = (report[byte] ?? 0) ^ (1 << (bit & 7));
    assertEquals(openReport(SECRET, { report, mac: sealed.mac }), forged);
  }
});

Deno.test("openReport says what is wrong with a report of a relay that knows the secret", () => {
  const transports = [{ kind: "udp", endpoint: "203.0.113.7:3478" }];
  assertEquals(
    faultOf({ transports }),
    "relay_id is not 1 to 63 letters, digits, '.', '_' or '-'",
  );
  assertEquals(
    faultOf({ relayId: "eu", region: "e u", transports }),
    "region is not a name as relay_id is",
  );
  assertEquals(faultOf({ relayId: "eu", realm: "x".repeat(129), transports }), "realm is too long");
  assertEquals(faultOf({ relayId: "eu", load: 101, transports }), "load 101 is not 0 to 100");
  const nowhere = "transports names no way to reach the relay";
  assertEquals(faultOf({ relayId: "eu" }), nowhere);
  for (
    const [kind, endpoint] of [
      ["quic", "203.0.113.7:3478"],
      ["udp", "203.0.113.7"],
      ["udp", "203.0.113.7:0"],
      ["udp", "203.0.113.7:65536"],
      ["udp", "203.0.113:3478"],
      ["udp", "2001:db8::1:3478"],
      ["udp", "[203.0.113.7]:3478"],
      ["tcp", "exa mple:3478"],
      ["websocket", "https://relay.example/turn"],
      ["websocket", "wss://user@relay.example/turn"],
      ["websocket", "//relay.example/turn"],
      // Below Discovery's own URL nobody listens but the relay in its process.
      ["websocket", "/turn"],
    ] as const
  ) assertEquals(faultOf({ relayId: "eu", transports: [{ kind, endpoint }] }), nowhere, endpoint);
  assertEquals(
    faultOf({ relayId: "eu", transports: Array(9).fill(transports[0]) }),
    "transports has more than 8 entries",
  );
  const usage = Array.from({ length: USAGE_MAX + 1 }, () => ({ sessionId: "s" }));
  assertEquals(faultOf({ relayId: "eu", transports, usage }), "usage has more than 512 entries");
});

Deno.test("openReport never throws", () => {
  fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (report, mac) => {
    assert("fault" in openReport(SECRET, { report, mac }));
    const key = createHmac("sha256", SECRET).update("moray relay report 1").digest();
    openReport(SECRET, { report, mac: createHmac("sha256", key).update(report).digest() });
  }));
});
