import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import fc from "fast-check";
import { concat } from "../../core/mod.ts";
import { encodeStun, METHOD_BINDING, softwareAttribute } from "../stun/codec.ts";
import { encodeChannelData } from "./channel_data.ts";
import { FRAME_BYTES_MAX, StreamFrames } from "./stream_frames.ts";

const stun = (text: string): Uint8Array =>
  encodeStun({
    class: "request",
    method: METHOD_BINDING,
    transactionId: new Uint8Array(12),
    attributes: [softwareAttribute(text)],
  });

Deno.test("StreamFrames cuts a stream into its messages however it is chopped, and takes the padding off", () => {
  const frame = fc.oneof(
    fc.string({ maxLength: 30 }).map((text) => ({ wire: stun(text), whole: stun(text) })),
    fc.record({
      channel: fc.integer({ min: 0x4000, max: 0x4fff }),
      data: fc.uint8Array({ maxLength: 70 }),
    }).map((message) => ({
      wire: encodeChannelData(message, { padded: true }),
      whole: encodeChannelData(message),
    })),
  );
  const cuts = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 20 });
  fc.assert(fc.property(fc.array(frame, { maxLength: 20 }), cuts, (frames, cuts) => {
    const bytes = concat(...frames.map(({ wire }) => wire));
    const stream = new StreamFrames();
    const got: Uint8Array[] = [];
    let at = 0;
    for (let n = 0; at < bytes.length; n++) {
      const size = cuts[n % cuts.length] ?? 1;
      assert(stream.push(bytes.subarray(at, at + size), (frame) => got.push(frame.slice())));
      at += size;
    }
    assertEquals(got, frames.map(({ whole }) => Uint8Array.from(whole)));
    assertEquals(stream.heldBytes, 0);
  }));
});

Deno.test("StreamFrames takes the longest messages of the format", () => {
  const longest = encodeChannelData({ channel: 0x4000, data: new Uint8Array(0xffff) }, {
    padded: true,
  });
  assertEquals(longest.length, FRAME_BYTES_MAX);
  const stream = new StreamFrames();
  const sizes: number[] = [];
  for (let at = 0; at < longest.length; at += 1000) {
    stream.push(longest.subarray(at, at + 1000), (frame) => sizes.push(frame.length));
    assert(stream.heldBytes <= FRAME_BYTES_MAX);
  }
  assertEquals(sizes, [4 + 0xffff]);
});

Deno.test("StreamFrames gives a stream up that is out of step, at its first byte that tells", () => {
  const cases: Record<string, number[]> = {
    "first bits 10": [0x80],
    "a channel out of range": [0x50],
    "a TLS alert": [0x15, 3, 3, 0, 2, 2, 40, 0],
    "STUN without the cookie": [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x43],
    "STUN of a length that is no multiple of 4": [0, 1, 0, 3, 0x21, 0x12, 0xa4, 0x42],
  };
  for (const [name, bytes] of Object.entries(cases)) {
    for (const step of [1, bytes.length]) {
      const stream = new StreamFrames();
      let ok = true;
      for (let at = 0; at < bytes.length; at += step) {
        ok = stream.push(Uint8Array.from(bytes.slice(at, at + step)), () => assert(false));
      }
      assertEquals([ok, stream.broken, stream.heldBytes], [false, true, 0], name);
      assertEquals(stream.push(stun("ok"), () => assert(false)), false);
    }
  }
});

Deno.test("StreamFrames refuses messages over its limit, and holds no more than one", () => {
  const stream = new StreamFrames({ frameBytesMax: 100 });
  let frames = 0;
  const count = (): void => void frames++;
  assert(stream.push(encodeChannelData({ channel: 0x4000, data: new Uint8Array(96) }), count));
  assertEquals(frames, 1);
  assertEquals(stream.push(Uint8Array.of(0x40, 0, 0, 97), count), false);
});

Deno.test("no bytes make StreamFrames throw or hold more than its limit", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }), (chunks) => {
    const stream = new StreamFrames({ frameBytesMax: 64 });
    for (const chunk of [Uint8Array.of(0x40, 0, 0, 30), ...chunks]) {
      stream.push(chunk, (frame) => assert(frame.length <= 64));
      assert(stream.heldBytes <= 64);
    }
  }));
});
