import assert from "node:assert/strict";
import { encodeFrame, WebSocketFrames } from "./web_socket_frames.ts";

/** A frame as a client sends it. */
function clientFrame(first: number, payload: readonly number[], mask = [1, 2, 3, 4]): Uint8Array {
  const { length } = payload;
  const size = length < 126 ? [0x80 | length] : [0x80 | 126, length >> 8, length & 255];
  return Uint8Array.from([
    first,
    ...size,
    ...mask,
    ...payload.map((byte, i) => byte ^ (mask[i & 3] ?? 0)),
  ]);
}

function read(
  ...chunks: readonly Uint8Array[]
): { data: number[]; pings: number; closed: boolean; broken: boolean } {
  const frames = new WebSocketFrames();
  const seen = { data: [] as number[], pings: 0, closed: false };
  for (const chunk of chunks) {
    frames.push(chunk, {
      onData: (bytes) => void seen.data.push(...bytes),
      onPing: () => void seen.pings++,
      onClose: () => void (seen.closed = true),
    });
  }
  return { ...seen, broken: frames.broken };
}

Deno.test("binary messages, in one frame or several, with a ping in between, are one stream (RFC 6455 section 5.4)", () => {
  const long = Array.from({ length: 300 }, (_, i) => i & 255);
  const seen = read(
    clientFrame(0x82, [1, 2, 3, 4, 5]),
    clientFrame(0x02, [6]),
    clientFrame(0x89, [9]),
    clientFrame(0x80, [7]),
    clientFrame(0x82, long),
  );
  assert.deepEqual(seen, {
    data: [1, 2, 3, 4, 5, 6, 7, ...long],
    pings: 1,
    closed: false,
    broken: false,
  });
});

Deno.test("what breaks the protocol is found: no mask, text, reserved bits, a continuation of nothing, long control frames", () => {
  const bad = [
    Uint8Array.of(0x82, 1, 7),
    clientFrame(0x81, [65]),
    clientFrame(0xc2, [1]),
    clientFrame(0x80, [1]),
    clientFrame(0x09, []),
    Uint8Array.of(0x89, 0xfe, 0, 200),
    Uint8Array.of(0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0),
  ];
  for (const bytes of bad) assert.equal(read(bytes).broken, true, bytes.join());
  assert.equal(read(clientFrame(0x02, [1]), clientFrame(0x02, [1])).broken, true);
  assert.equal(read(clientFrame(0x88, [])).closed, true);
});

Deno.test("frames of the server have no mask, and the shortest length", () => {
  assert.deepEqual(encodeFrame("binary", Uint8Array.of(7)), Uint8Array.of(0x82, 1, 7));
  assert.deepEqual(
    encodeFrame("binary", new Uint8Array(126)).subarray(0, 4),
    Uint8Array.of(0x82, 126, 0, 126),
  );
  assert.equal(encodeFrame("binary", new Uint8Array(65_536))[1], 127);
  assert.equal(encodeFrame("pong", new Uint8Array())[0], 0x8a);
});
