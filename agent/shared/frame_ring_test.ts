import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import { FrameOutbox, OUTBOX_FRAMES_MAX } from "./frame_outbox.ts";
import { FrameRing, frameRingBytes } from "./frame_ring.ts";
import { interruptEverywhere } from "./testing/preemption.ts";

const CAPACITY = 256;

function ringPair(): [writer: FrameRing, reader: FrameRing, buffer: SharedArrayBuffer] {
  const buffer = new SharedArrayBuffer(frameRingBytes(CAPACITY));
  const place = { byteOffset: 0, capacity: CAPACITY };
  return [new FrameRing(buffer, place), new FrameRing(buffer, place), buffer];
}

Deno.test("FrameRing keeps frames whole and in order, and refuses what does not fit", () => {
  fc.assert(fc.property(
    fc.array(fc.oneof(fc.nat(CAPACITY / 4), fc.constant("pop" as const)), { maxLength: 80 }),
    (steps) => {
      const [writer, reader] = ringPair();
      const model: number[][] = [];
      let used = 0;
      let next = 0;
      const size = (frame: { length: number }): number => 4 + Math.ceil(frame.length / 4) * 4;
      for (const step of steps) {
        if (step === "pop") {
          const frame = model.shift();
          const popped = reader.pop();
          assertEquals(popped && [...popped], frame);
          if (frame !== undefined) used -= size(frame);
          continue;
        }
        const frame = Uint8Array.from({ length: step }, () => next++);
        const fits = used + size(frame) <= CAPACITY;
        assertEquals(writer.push(frame), fits);
        if (!fits) continue;
        model.push([...frame]);
        used += size(frame);
      }
      assertEquals(reader.empty, model.length === 0);
    },
  ));
});

Deno.test("FrameRing throws for a frame over a quarter of its capacity", () => {
  const [writer, reader] = ringPair();
  throws(() => writer.push(new Uint8Array(CAPACITY / 4 + 1)), RangeError);
  assertEquals(reader.pop(), undefined);
});

Deno.test("FrameRing carries JSON and leaves no trace of it", () => {
  const [writer, reader, buffer] = ringPair();
  ok(writer.pushJson({ presharedKey: "sëcret" }));
  ok(writer.pushJson(null));
  assertEquals(reader.popJson(), { presharedKey: "sëcret" });
  assertEquals(reader.popJson(), null);
  assertEquals(reader.popJson(), undefined);
  const data = new Uint8Array(buffer, buffer.byteLength - CAPACITY);
  assertEquals(data.some((byte) => byte !== 0), false);
});

Deno.test("FrameOutbox keeps the order and its bound while the ring is full", () => {
  const [writer, reader] = ringPair();
  const outbox = new FrameOutbox(writer);
  let sent = 0;
  while (outbox.send(sent)) sent++;
  assertEquals([outbox.waiting, outbox.refused], [OUTBOX_FRAMES_MAX, 1]);
  assertEquals(outbox.send("x".repeat(100)), false);
  assertEquals(outbox.refused, 2);
  for (let n = 0; n < sent; n++) {
    if (reader.empty) ok(outbox.flush());
    assertEquals(reader.popJson(), n);
  }
  assertEquals([outbox.waiting, outbox.flush(), reader.popJson()], [0, false, undefined]);
});

Deno.test("FrameOutbox is woken for what did not fit, wherever the reader interrupts it", async () => {
  const points = await interruptEverywhere(() => {
    const [writer, reader] = ringPair();
    const outbox = new FrameOutbox(writer);
    for (let n = 0; outbox.waiting === 0; n++) outbox.send(n);
    reader.takeRoomWanted();
    let woken = false;
    return {
      victim: (): void => void outbox.flush(),
      intruder: (): void => {
        while (reader.popJson() !== undefined);
        woken = reader.takeRoomWanted();
      },
      check: (at): void => ok(outbox.waiting === 0 || woken, `lost at operation ${at}`),
    };
  });
  ok(points > 4);
});
