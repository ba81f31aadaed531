import { deepStrictEqual as assertEquals, ok, rejects } from "node:assert/strict";
import { SharedArena } from "./arena.ts";
import { DatapathClient } from "./datapath_client.ts";
import type { SlotStream } from "./slot_stream.ts";
import { EOF, ESTABLISHED, RELEASED, ringBytes, type StreamSlot } from "./stream_slot.ts";
import { interruptEverywhere, watchAtomics } from "./testing/preemption.ts";
import { SLOT, slotStream } from "./testing/slot_stream.ts";

/** Of the slot that the tests use. */
const RING_BYTES = ringBytes(SLOT);

/** One established stream: the main thread's end of it, and the worker's, in one thread. */
interface Bench {
  readonly stream: SlotStream;
  readonly client: DatapathClient;
  /** The worker's view. */
  readonly worker: SharedArena;
  readonly slot: StreamSlot;
  /** Whether the worker was woken. */
  readonly workerWoken: () => boolean;
  /** What the worker does after telling: the main thread gets its message. */
  readonly ring: () => void;
  /** Delivers the message, if there is one. */
  readonly deliver: () => void;
}

function bench(): Bench {
  const arena = SharedArena.create();
  const worker = SharedArena.attach(arena.buffer);
  let wakes = 0;
  let messages = 0;
  const client = new DatapathClient({ arena, wake: () => wakes++, onEvent: () => {} });
  const stream = slotStream(arena, client);
  return {
    stream,
    client,
    worker,
    slot: worker.slot(SLOT),
    workerWoken: () => wakes > 0,
    ring: () => {
      if (worker.ringMain()) messages++;
    },
    deliver: () => {
      for (; messages > 0; messages--) client.handleWake();
    },
  };
}

const ASLEEP = Symbol("asleep");

/** The promise's value, or ASLEEP if it has not settled when every microtask has run. */
async function valueNow<T>(promise: Promise<T>): Promise<T | typeof ASLEEP> {
  let value: T | typeof ASLEEP = ASLEEP;
  let error: unknown;
  promise.then((settled) => value = settled, (reason) => error = reason);
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  if (error !== undefined) throw error;
  return value;
}

Deno.test("a read gets the byte, wherever the worker interrupts it", async () => {
  for (const readerIsInterrupted of [true, false]) {
    const points = await interruptEverywhere(() => {
      const b = bench();
      let reading: Promise<number | null> = Promise.resolve(null);
      const read = (): void => void (reading = b.stream.read(new Uint8Array(8)));
      const write = (): void => {
        b.slot.toApp.write(Uint8Array.of(1));
        if (b.worker.wroteToApp(b.slot)) b.ring();
      };
      return {
        victim: readerIsInterrupted ? read : write,
        intruder: readerIsInterrupted ? write : read,
        async check(at): Promise<void> {
          b.deliver();
          assertEquals(await valueNow(reading), 1, `lost at operation ${at}`);
        },
      };
    });
    ok(points >= 5);
  }
});

Deno.test("a read gets what came before the end, then the end, wherever the worker interrupts it", async () => {
  for (const end of ["eof", "reset"] as const) {
    await interruptEverywhere(() => {
      const b = bench();
      let reading: Promise<number | null> = Promise.resolve(null);
      return {
        victim: (): void => void (reading = b.stream.read(new Uint8Array(8))),
        intruder: (): void => {
          b.slot.toApp.write(Uint8Array.of(1, 2));
          b.worker.wroteToApp(b.slot);
          if (end === "eof") b.slot.setWorkerFlags(EOF);
          else b.slot.setFailed("reset");
          b.worker.markForMain(b.slot);
          b.ring();
        },
        async check(at): Promise<void> {
          b.deliver();
          assertEquals(await valueNow(reading), 2, `lost at operation ${at}`);
          const next = b.stream.read(new Uint8Array(8));
          if (end === "eof") assertEquals(await valueNow(next), null);
          else await rejects(valueNow(next), /was reset by the peer/);
        },
      };
    });
  }
});

Deno.test("a byte that comes while the main thread takes in another wake-up is not lost", async () => {
  const points = await interruptEverywhere(() => {
    const b = bench();
    const reading = b.stream.read(new Uint8Array(8));
    // The message that is being taken in; it is about nothing.
    b.worker.ringMain();
    return {
      victim: (): void => b.client.handleWake(),
      intruder: (): void => {
        b.slot.toApp.write(Uint8Array.of(1));
        if (b.worker.wroteToApp(b.slot)) b.ring();
      },
      async check(at): Promise<void> {
        b.deliver();
        assertEquals(await valueNow(reading), 1, `lost at operation ${at}`);
      },
    };
  });
  ok(points > 10);
});

Deno.test("a wish granted for bytes that were just taken does not put a read to sleep for ever", async () => {
  const b = bench();
  const reading = b.stream.read(new Uint8Array(8));
  // The worker looked at the ring, was interrupted while they were taken and the wish was made, and grants it now.
  ok(b.slot.dataWait.due(5));
  b.worker.markForMain(b.slot);
  b.ring();
  b.deliver();
  assertEquals(await valueNow(reading), ASLEEP);
  b.slot.toApp.write(Uint8Array.of(1));
  if (b.worker.wroteToApp(b.slot)) b.ring();
  b.deliver();
  assertEquals(await valueNow(reading), 1);
});

Deno.test("a wish granted for room that was just filled does not put a write to sleep for ever", async () => {
  const b = bench();
  b.slot.toNet.write(new Uint8Array(RING_BYTES));
  const writing = b.stream.write(Uint8Array.of(7));
  // The worker saw room that is gone by now.
  ok(b.slot.roomWait.due(RING_BYTES));
  b.worker.markForMain(b.slot);
  b.ring();
  b.deliver();
  assertEquals(await valueNow(writing), ASLEEP);
  b.slot.toNet.consume(RING_BYTES);
  if (b.worker.tookFromToNet(b.slot)) b.ring();
  b.deliver();
  assertEquals(await valueNow(writing), 1);
});

Deno.test("the end alone wakes a read, wherever it interrupts it", async () => {
  await interruptEverywhere(() => {
    const b = bench();
    let reading: Promise<number | null> = Promise.resolve(0);
    return {
      victim: (): void => void (reading = b.stream.read(new Uint8Array(8))),
      intruder: (): void => {
        b.slot.setWorkerFlags(EOF);
        b.worker.markForMain(b.slot);
        b.ring();
      },
      async check(at): Promise<void> {
        b.deliver();
        assertEquals(await valueNow(reading), null, `lost at operation ${at}`);
      },
    };
  });
});

Deno.test("a write into a full ring goes on, wherever the worker interrupts it", async () => {
  for (const writerIsInterrupted of [true, false]) {
    await interruptEverywhere(() => {
      const b = bench();
      b.client.arena.slot(4).toNet.write(new Uint8Array(RING_BYTES));
      let writing: Promise<number> = Promise.resolve(0);
      const write = (): void => void (writing = b.stream.write(new Uint8Array(1 << 20)));
      const consume = (): void => {
        b.slot.toNet.consume(RING_BYTES / 2);
        if (b.worker.tookFromToNet(b.slot)) b.ring();
      };
      return {
        victim: writerIsInterrupted ? write : consume,
        intruder: writerIsInterrupted ? consume : write,
        async check(at): Promise<void> {
          b.deliver();
          assertEquals(await valueNow(writing), RING_BYTES / 2, `lost at operation ${at}`);
          ok(b.workerWoken());
        },
      };
    });
  }
});

Deno.test("a failure ends a write that waits, wherever it interrupts it", async () => {
  await interruptEverywhere(() => {
    const b = bench();
    b.client.arena.slot(4).toNet.write(new Uint8Array(RING_BYTES));
    let writing: Promise<number> = Promise.resolve(0);
    return {
      victim: (): void => {
        writing = b.stream.write(new Uint8Array(100));
        writing.catch(() => {});
      },
      intruder: (): void => {
        b.slot.setFailed("timedOut");
        b.worker.markForMain(b.slot);
        b.ring();
      },
      async check(at): Promise<void> {
        b.deliver();
        await rejects(valueNow(writing), /timed out/, `lost at operation ${at}`);
      },
    };
  });
});

Deno.test("a handshake's end wakes established, wherever it interrupts it", async () => {
  for (const end of ["established", "refused", "establishedThenReset"] as const) {
    await interruptEverywhere(() => {
      const b = bench();
      let opening: Promise<void> = Promise.resolve();
      return {
        victim: (): void => {
          opening = b.stream.established();
          opening.catch(() => {});
        },
        intruder: (): void => {
          if (end !== "refused") b.slot.setWorkerFlags(ESTABLISHED);
          if (end === "refused") b.slot.setFailed("refused");
          if (end === "establishedThenReset") b.slot.setFailed("reset");
          b.worker.markForMain(b.slot);
          b.ring();
        },
        async check(at): Promise<void> {
          b.deliver();
          if (end !== "refused") assertEquals(await valueNow(opening), undefined, `at ${at}`);
          else await rejects(valueNow(opening), /^MorayError: Cannot connect to 10\.42\.0\.2:80: /);
        },
      };
    });
  }
});

Deno.test("a stream wakes the worker that waits for room, and only then", async () => {
  const b = bench();
  b.slot.toApp.write(new Uint8Array(1000));
  await b.stream.read(new Uint8Array(500));
  assertEquals(b.workerWoken(), false);
  b.slot.windowWait.arm(RING_BYTES);
  await b.stream.read(new Uint8Array(499));
  assertEquals(b.workerWoken(), false);
  await b.stream.read(new Uint8Array(100));
  assertEquals(b.workerWoken(), true);
});

Deno.test("after RELEASED the stream does not touch its slot, whatever waited", async () => {
  for (const end of ["close", "abort"] as const) {
    const b = bench();
    b.client.arena.slot(4).toNet.write(new Uint8Array(RING_BYTES));
    const reading = b.stream.read(new Uint8Array(8));
    const writing = rejects(b.stream.write(new Uint8Array(8)), /is closed$/);
    b.stream[end]();
    ok((b.slot.mainFlags & RELEASED) !== 0);
    // The worker gives the slot to another stream at once; every byte of it must stay the other's.
    b.worker.resetSlot(4);
    b.slot.dataWait.arm(11);
    b.slot.roomWait.arm(12);
    b.slot.toApp.write(Uint8Array.of(1, 2, 3));
    assertEquals(await reading, null);
    await writing;
    const touched: number[] = [];
    const first = b.slot.toApp;
    watchAtomics(() => {
      b.stream.handleDirty();
      b.stream.close();
      b.stream.abort();
      b.stream[Symbol.dispose]();
      b.stream.closeWrite().catch(() => {});
      b.stream.write(Uint8Array.of(1)).catch(() => {});
      b.stream.read(new Uint8Array(8)).catch(() => {});
    }, (words) => touched.push(words.byteOffset));
    assertEquals(touched, []);
    assertEquals([first.length, b.slot.mainFlags], [3, 0]);
    assertEquals([b.slot.dataWait.due(11), b.slot.roomWait.due(12)], [true, true]);
  }
});

Deno.test("an empty read and an empty write wait for nothing", async () => {
  const b = bench();
  b.client.arena.slot(4).toNet.write(new Uint8Array(RING_BYTES));
  assertEquals(await b.stream.read(new Uint8Array(0)), 0);
  assertEquals(await b.stream.write(new Uint8Array(0)), 0);
});

Deno.test("closeWrite rejects a write that waits, and may be called twice", async () => {
  const b = bench();
  b.client.arena.slot(4).toNet.write(new Uint8Array(RING_BYTES));
  const writing = rejects(b.stream.write(new Uint8Array(8)), /closed for writing/);
  await b.stream.closeWrite();
  await b.stream.closeWrite();
  await writing;
  b.stream.close();
  await rejects(b.stream.closeWrite(), /is closed$/);
});

Deno.test("bytes are lent where they lie, and what is not taken stays", async () => {
  const b = bench();
  const reading = b.stream.readWith((bytes) => {
    assertEquals([...bytes], [1, 2, 3, 4]);
    ok(bytes.buffer instanceof SharedArrayBuffer);
    return 3;
  });
  assertEquals(await valueNow(reading), ASLEEP);
  b.slot.toApp.write(Uint8Array.of(1, 2, 3, 4));
  b.worker.wroteToApp(b.slot);
  b.ring();
  b.deliver();
  assertEquals(await reading, 3);
  assertEquals(await b.stream.readWith((bytes) => bytes.length), 1);
  await rejects(
    (b.slot.toApp.write(Uint8Array.of(5)), b.stream.readWith((bytes) => bytes.length + 1)),
    { code: "usage", message: "2 bytes cannot be used of 1" },
  );
  assertEquals(await b.stream.read(new Uint8Array(9)), 1);
  b.slot.setWorkerFlags(EOF);
  assertEquals(await b.stream.readWith((bytes) => bytes.length), null);
});

Deno.test("room is lent, and what was put there is sent", async () => {
  const b = bench();
  const written = await b.stream.writeWith((room) => {
    assertEquals(room.length, RING_BYTES);
    room.set([7, 8, 9]);
    return 3;
  });
  assertEquals([written, [...b.slot.toNet.peek()[0]]], [3, [7, 8, 9]]);
  ok(b.workerWoken());
  await rejects(b.stream.writeWith(() => -1), { code: "usage" });
  await rejects(b.stream.writeWith(() => RING_BYTES), { code: "usage" });
  await b.stream.write(new Uint8Array(RING_BYTES));
  const waiting = b.stream.writeWith((room) => room.length);
  assertEquals(await valueNow(waiting), ASLEEP);
  b.slot.toNet.consume(RING_BYTES);
  b.worker.tookFromToNet(b.slot);
  b.ring();
  b.deliver();
  assertEquals(await waiting, RING_BYTES);
});
