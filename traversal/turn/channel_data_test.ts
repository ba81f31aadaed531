import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import fc from "fast-check";
import { formatHex } from "../../core/mod.ts";
import { classify } from "../demux.ts";
import {
  CHANNEL_MAX,
  CHANNEL_MIN,
  channelDataLength,
  decodeChannelData,
  encodeChannelData,
} from "./channel_data.ts";

Deno.test("RFC 8656 12.4: ChannelData is four bytes and the data, over streams up to a multiple of four", () => {
  const message = { channel: 0x4001, data: Uint8Array.of(1, 2, 3, 4, 5) };
  assertEquals(formatHex(encodeChannelData(message)), "40010005" + "0102030405");
  assertEquals(
    formatHex(encodeChannelData(message, { padded: true })),
    "40010005" + "0102030405000000",
  );
  assertEquals(
    formatHex(encodeChannelData({ channel: 0x4fff, data: new Uint8Array(0) })),
    "4fff0000",
  );
});

Deno.test("decodeChannelData refuses channels out of range and data that is cut, and takes padding", () => {
  const bytes = encodeChannelData({ channel: 0x4abc, data: Uint8Array.of(7, 8, 9) });
  const expected = { channel: 0x4abc, data: Uint8Array.of(7, 8, 9) };
  assertEquals(decodeChannelData(bytes), expected);
  assertEquals(decodeChannelData(Uint8Array.from([...bytes, 0])), expected);
  assertEquals(decodeChannelData(bytes.subarray(0, 6)), undefined);
  assertEquals(decodeChannelData(bytes.subarray(0, 3)), undefined);
  for (const first of [0x3f, 0x50, 0x7f, 0x80]) {
    assertEquals(decodeChannelData(Uint8Array.of(first, 0, 0, 0)), undefined);
  }
});

Deno.test("encodeChannelData throws on what the format cannot hold", () => {
  const data = new Uint8Array(0);
  for (const channel of [CHANNEL_MIN - 1, CHANNEL_MAX + 1, 16384.5]) {
    throws(() => encodeChannelData({ channel, data }), RangeError);
  }
  throws(
    () => encodeChannelData({ channel: CHANNEL_MIN, data: new Uint8Array(0x10000) }),
    RangeError,
  );
});

Deno.test("any ChannelData reads back as what was written, and no bytes make the decoder throw", () => {
  const channel = fc.integer({ min: CHANNEL_MIN, max: CHANNEL_MAX });
  const data = fc.uint8Array({ maxLength: 1500 });
  fc.assert(fc.property(channel, data, fc.boolean(), (channel, data, padded) => {
    const bytes = encodeChannelData({ channel, data }, { padded });
    assertEquals(decodeChannelData(bytes), { channel, data });
    assertEquals(classify(bytes), "channelData");
    assertEquals(padded && bytes.length % 4 !== 0, false);
  }));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
    const decoded = decodeChannelData(bytes);
    assertEquals(channelDataLength(bytes), decoded?.data.length ?? -1);
  }));
});
