import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { AT_ONCE, Pipe, PIPE_BYTES_MAX } from "./memory_stream.ts";

Deno.test("Pipe lends who writes into it no more room than it has", async () => {
  const pipe = new Pipe(AT_ONCE);
  assertEquals(await pipe.write(new Uint8Array(PIPE_BYTES_MAX - 10)), PIPE_BYTES_MAX - 10);
  const lent: number[] = [];
  const fill = (room: Uint8Array): number => {
    lent.push(room.length);
    return room.fill(lent.length).length;
  };
  assertEquals(await pipe.writeWith(fill), 10);
  const waiting = pipe.writeWith(fill);
  assertEquals(await pipe.read(new Uint8Array(PIPE_BYTES_MAX)), PIPE_BYTES_MAX - 10);
  assertEquals([await waiting, lent], [PIPE_BYTES_MAX - 10, [10, PIPE_BYTES_MAX - 10]]);
  const read = new Uint8Array(20);
  assertEquals([await pipe.read(read), read[9], read[10]], [10, 1, 0]);
  assertEquals([await pipe.read(read), read[19]], [20, 2]);
});
