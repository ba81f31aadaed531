import { deepStrictEqual as assertEquals, throws } from "node:assert/strict";
import fc from "fast-check";
import { ByteRing, RING_HEADER_BYTES } from "./byte_ring.ts";
import { interruptEverywhere } from "./testing/preemption.ts";

const CAPACITY = 16;

/** A ring whose counters stand at `count`, and the other thread's view of it. */
function ringAt(count: number): [writer: ByteRing, reader: ByteRing] {
  const buffer = new SharedArrayBuffer(64 + RING_HEADER_BYTES + CAPACITY);
  const counters = new Uint32Array(buffer, 64);
  counters[0] = count;
  counters[16] = count;
  const place = { byteOffset: 64, capacity: CAPACITY };
  return [new ByteRing(buffer, place), new ByteRing(buffer, place)];
}

Deno.test("ByteRing takes what fits and gives it back in order across its end", () => {
  const [writer, reader] = ringAt(0);
  assertEquals(writer.write(Uint8Array.from({ length: 20 }, (_, i) => i)), 16);
  assertEquals([writer.room, reader.length], [0, 16]);
  const target = new Uint8Array(10);
  assertEquals(reader.read(target), 10);
  assertEquals([...target], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assertEquals(writer.write(Uint8Array.of(16, 17, 18)), 3);
  const [head, tail] = reader.peek();
  assertEquals([[...head], [...tail]], [[10, 11, 12, 13, 14, 15], [16, 17, 18]]);
  reader.consume(7);
  assertEquals([...reader.peek()[0]], [17, 18]);
  assertEquals(reader.read(target), 2);
  assertEquals(reader.read(target), 0);
});

Deno.test("ByteRing's writable spans count only after commit", () => {
  const [writer, reader] = ringAt(12);
  const [head, tail] = writer.writableSpans(7);
  assertEquals([head.length, tail.length], [4, 3]);
  head.fill(1);
  tail.fill(2);
  assertEquals(reader.length, 0);
  writer.commit(6);
  assertEquals([...reader.peek()[0], ...reader.peek()[1]], [1, 1, 1, 1, 2, 2]);
  throws(() => writer.commit(11), /no more than fits/);
  throws(() => reader.consume(7), /no more than there is/);
  reader.reset();
  assertEquals([reader.length, writer.room], [0, CAPACITY]);
});

Deno.test("ByteRing refuses a capacity that is no power of two", () => {
  const buffer = new SharedArrayBuffer(256);
  for (const capacity of [0, 3, 24, -16]) {
    throws(() => new ByteRing(buffer, { byteOffset: 0, capacity }), /power of two/);
  }
});

Deno.test("ByteRing is a queue, whatever is written and read, also as its counters wrap at 2^32", () => {
  const step = fc.tuple(fc.constantFrom("write", "read", "peek", "span"), fc.nat(20));
  fc.assert(fc.property(
    fc.constantFrom(0, 5, 2 ** 31 - 9, 2 ** 32 - 9, 2 ** 32 - 16),
    fc.array(step, { maxLength: 60 }),
    (start, steps) => {
      const [writer, reader] = ringAt(start);
      const model: number[] = [];
      let next = 0;
      for (const [kind, size] of steps) {
        const fits = Math.min(size, CAPACITY - model.length);
        const there = Math.min(size, model.length);
        if (kind === "write") {
          const bytes = Uint8Array.from({ length: size }, (_, i) => next + i);
          assertEquals(writer.write(bytes), fits);
          model.push(...bytes.subarray(0, fits));
          next += fits;
        } else if (kind === "span") {
          for (const span of writer.writableSpans(size)) {
            for (let i = 0; i < span.length; i++) {
              span[i] = next++;
              model.push(span[i] ?? -1);
            }
          }
          writer.commit(fits);
        } else if (kind === "read") {
          const target = new Uint8Array(size);
          assertEquals(reader.read(target), there);
          assertEquals([...target.subarray(0, there)], model.splice(0, there));
        } else {
          const [head, tail] = reader.peek(size);
          assertEquals([...head, ...tail], model.splice(0, there));
          reader.consume(there);
        }
        assertEquals([reader.length, writer.room], [model.length, CAPACITY - model.length]);
      }
    },
  ));
});

Deno.test("ByteRing shows only bytes that are there, wherever one side interrupts the other", async () => {
  for (const writerIsInterrupted of [true, false]) {
    await interruptEverywhere(() => {
      const [writer, reader] = ringAt(2 ** 32 - 10);
      writer.write(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
      const got: number[] = [];
      const read = (): void => {
        const target = new Uint8Array(CAPACITY);
        got.push(...target.subarray(0, reader.read(target)));
      };
      let written = 0;
      const write = (): void => {
        written = writer.write(Uint8Array.of(9, 10, 11, 12, 13, 14, 15, 16, 17, 18));
      };
      return {
        victim: writerIsInterrupted ? write : read,
        intruder: writerIsInterrupted ? read : write,
        check: (at): void => {
          read();
          assertEquals(got, Array.from({ length: 8 + written }, (_, i) => i + 1), `at ${at}`);
        },
      };
    });
  }
});
