import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { ByteRing, RING_HEADER_BYTES } from "./byte_ring.ts";
import {
  DATAGRAM_HEADER_BYTES,
  DATAGRAM_KIND,
  type DatagramFrame,
  datagramFrameBytes,
  DatagramLooker,
  DatagramReader,
  DatagramWriter,
  encodeDatagramAddress,
} from "./datagram_ring.ts";

const CAPACITY = 4096;

/** One ring as both of its ends have it. */
function rings(): readonly [ByteRing, ByteRing] {
  const buffer = new SharedArrayBuffer(RING_HEADER_BYTES + CAPACITY);
  const place = { byteOffset: 0, capacity: CAPACITY };
  return [new ByteRing(buffer, place), new ByteRing(buffer, place)];
}

const V4 = { hostname: "10.42.0.7", port: 53 };
const V6 = { hostname: "fd00::7", port: 65_535 };

Deno.test("frames of all lengths cross as they were, wherever the ring wraps", () => {
  const [near, far] = rings();
  const [writer, reader] = [new DatagramWriter(near), new DatagramReader(far)];
  for (let length = 0; length < 1500; length++) {
    const payload = new Uint8Array(length).fill(length & 0xff);
    const remote = length % 2 === 0 ? V4 : V6;
    const address = encodeDatagramAddress(remote);
    assert(writer.push({ kind: DATAGRAM_KIND.datagram, port: 5000, address, payload }));
    const got: DatagramFrame[] = [];
    assertEquals(reader.drain((frame) => got.push(frame)), datagramFrameBytes(length));
    assertEquals(got, [{ kind: 0, port: 5000, remote, payload }]);
  }
});

Deno.test("frames are looked at in place, wherever the ring wraps", () => {
  const [near, far] = rings();
  const [writer, looker] = [new DatagramWriter(near), new DatagramLooker(far)];
  assertEquals(looker.look(), undefined);
  for (let length = 0; length < 1500; length++) {
    const payload = Uint8Array.from({ length }, (_, i) => i * length);
    const address = encodeDatagramAddress(V6);
    assert(writer.push({ kind: DATAGRAM_KIND.datagram, port: 7, address, payload }));
    const place = looker.look();
    assert(place);
    const [head, tail] = place.parts;
    assertEquals(Uint8Array.of(...head, ...tail), payload);
    assertEquals([place.port, place.address, place.size], [7, address, datagramFrameBytes(length)]);
    far.consume(place.size);
  }
});

Deno.test("several frames are drained at once; what does not fit is not written", () => {
  const [near, far] = rings();
  const [writer, reader] = [new DatagramWriter(near), new DatagramReader(far)];
  const frame = {
    kind: DATAGRAM_KIND.refused,
    port: 1,
    address: encodeDatagramAddress(V4),
    payload: new Uint8Array(),
  };
  let pushed = 0;
  while (writer.push(frame)) pushed++;
  assertEquals(pushed, Math.floor(CAPACITY / DATAGRAM_HEADER_BYTES));
  assertEquals(near.length, pushed * DATAGRAM_HEADER_BYTES);
  let drained = 0;
  reader.drain(({ kind, remote }) => {
    assertEquals([kind, remote], [DATAGRAM_KIND.refused, V4]);
    drained++;
  });
  assertEquals([drained, reader.drain(() => {})], [pushed, 0]);
});
