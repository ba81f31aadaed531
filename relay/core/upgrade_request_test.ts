import assert from "node:assert/strict";
import { answerUpgrade, headEnd } from "./upgrade_request.ts";

const GOOD = [
  "GET /turn HTTP/1.1",
  "Host: relay",
  "Upgrade: websocket",
  "Connection: keep-alive, Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Protocol: turn",
];

function answer(lines: readonly string[]): { status: string; text: string; isUpgraded: boolean } {
  const { bytes, isUpgraded } = answerUpgrade(
    new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`),
  );
  const text = new TextDecoder().decode(bytes);
  return { status: text.slice(9, 12), text, isUpgraded };
}

Deno.test("GET /turn becomes a WebSocket, with the accept of RFC 6455 section 1.3", () => {
  const { status, text, isUpgraded } = answer(GOOD);
  assert.deepEqual([status, isUpgraded], ["101", true]);
  assert.ok(text.includes("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
  assert.ok(text.includes("\r\nSec-WebSocket-Protocol: turn\r\n"));
});

Deno.test("anything else is told what it is", () => {
  const without = (name: string): string[] => GOOD.filter((line) => !line.startsWith(name));
  const cases: [string, readonly string[]][] = [
    ["200", ["GET /health HTTP/1.1"]],
    ["404", ["GET / HTTP/1.1"]],
    ["405", ["POST /turn HTTP/1.1"]],
    ["400", ["nonsense"]],
    ["426", without("Upgrade")],
    ["426", without("Connection")],
    ["426", without("Sec-WebSocket-Version")],
    ["400", without("Sec-WebSocket-Key")],
    ["400", without("Sec-WebSocket-Protocol")],
  ];
  for (const [expected, lines] of cases) {
    const { status, isUpgraded } = answer(lines);
    assert.deepEqual([status, isUpgraded], [expected, false], lines.join("|"));
  }
});

Deno.test("headEnd finds the empty line", () => {
  const bytes = new TextEncoder().encode("GET / HTTP/1.1\r\n\r\nrest");
  assert.equal(headEnd(bytes), 18);
  assert.equal(headEnd(bytes.subarray(0, 17)), undefined);
});
