import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { MorayError } from "../core/mod.ts";
import type { ByteStream, TunnelConn } from "./network.ts";
import { abortStream, splice, writeAll } from "./splice.ts";
import { MemoryMesh } from "./testing/memory_network.ts";

const SIZE = 64 << 20;

Deno.test("splice carries 64 MiB each way over real sockets, one way after the other has ended", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [client, a] = await tcpPair(listener);
  const [server, b] = await tcpPair(listener);
  const done = splice(a, b);
  const [asked, heard] = await Promise.all([send(client, 1), receive(server)]);
  assertEquals(heard, asked);
  const [answered, got] = await Promise.all([send(server, 2), receive(client)]);
  assertEquals(got, answered);
  assertEquals(await done, { aToB: SIZE, bToA: SIZE, end: "complete" });
  client.close();
  server.close();
});

Deno.test("splice carries both ways at once through small buffers", async () => {
  const [client, a] = await memoryPair();
  const [b, server] = await memoryPair();
  const done = splice(a, b, { bufferBytes: 7 });
  const size = 20_003;
  const sums = await Promise.all([
    send(client, 1, size),
    receive(server),
    send(server, 2, size),
    receive(client),
  ]);
  assertEquals([sums[1], sums[3]], [sums[0], sums[2]]);
  assertEquals(await done, { aToB: size, bToA: size, end: "complete" });
});

Deno.test("splice holds no more than its buffer while the receiver does not read", async () => {
  let reads = 0;
  const source = stub({ read: (target) => Promise.resolve(reads++ < 50 ? target.length : null) });
  const gate = Promise.withResolvers<void>();
  const sink = stub({
    read: () => gate.promise.then(() => null),
    write: (bytes) => gate.promise.then(() => bytes.length),
  });
  const done = splice(source, sink, { bufferBytes: 10 });
  for (let i = 0; i < 100; i++) await Promise.resolve();
  assertEquals(reads, 1);
  gate.resolve();
  assertEquals(await done, { aToB: 500, bToA: 0, end: "complete" });
});

Deno.test("splice aborts both streams when one is reset", async () => {
  const [client, a] = await memoryPair();
  const [b, server] = await memoryPair();
  const done = splice(a, b);
  await writeAll(client, new Uint8Array(5));
  assertEquals(await server.read(new Uint8Array(9)), 5);
  server.abort();
  const result = await done;
  assertEquals([result.aToB, result.bToA, result.end], [5, 0, "failed"]);
  ok(result.error instanceof MorayError);
  await assertReset(client);
});

Deno.test("splice aborts both streams by its signal, and at once if it is aborted already", async () => {
  for (const early of [true, false]) {
    const [client, a] = await memoryPair();
    const [b, server] = await memoryPair();
    const controller = new AbortController();
    if (early) controller.abort();
    const done = splice(a, b, { signal: controller.signal });
    controller.abort();
    assertEquals(await done, { aToB: 0, bToA: 0, end: "aborted" });
    await assertReset(client);
    await assertReset(server);
  }
});

Deno.test("splice ends by its signal while reads of real sockets are pending, and their peers see the end", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [client, a] = await tcpPair(listener);
  const [server, b] = await tcpPair(listener);
  const controller = new AbortController();
  const done = splice(a, b, { signal: controller.signal });
  await writeAll(client, Uint8Array.of(1));
  assertEquals(await server.read(new Uint8Array(9)), 1);
  controller.abort();
  assertEquals(await done, { aToB: 1, bToA: 0, end: "aborted" });
  assertEquals(await client.read(new Uint8Array(1)), null);
  assertEquals(await server.read(new Uint8Array(1)), null);
  client.close();
  server.close();
});

Deno.test("splice forgives a closeWrite that fails after both directions have ended", async () => {
  const gone = stub({
    read: () => Promise.resolve(null),
    closeWrite: () => Promise.reject(new Deno.errors.NotConnected()),
  });
  const other = stub({ read: () => Promise.resolve(null) });
  assertEquals(await splice(gone, other), { aToB: 0, bToA: 0, end: "complete" });
});

Deno.test("abortStream never throws", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [client, conn] = await tcpPair(listener);
  abortStream(conn);
  abortStream(conn);
  client.close();
  const [a, b] = await memoryPair();
  abortStream(a);
  abortStream(a);
  await assertReset(b);
});

async function tcpPair(listener: Deno.TcpListener): Promise<[Deno.TcpConn, Deno.TcpConn]> {
  const { port } = listener.addr;
  return await Promise.all([Deno.connect({ hostname: "127.0.0.1", port }), listener.accept()]);
}

async function memoryPair(): Promise<[TunnelConn, TunnelConn]> {
  const mesh = new MemoryMesh();
  const a = mesh.node("a", "fd00::1");
  using listener = mesh.node("b", "fd00::2").listen(1);
  const accepted = listener.accept();
  return [await a.connect({ hostname: "fd00::2", port: 1 }), await accepted];
}

/** Sends `size` bytes that look random, ends the direction, and returns their SHA-256. */
async function send(stream: ByteStream, seed: number, size = SIZE): Promise<string> {
  const hash = createHash("sha256");
  let state = seed;
  for (let left = size; left > 0;) {
    const words = new Uint32Array(16_384);
    for (let i = 0; i < words.length; i++) {
      state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
      words[i] = state;
    }
    const chunk = new Uint8Array(words.buffer).subarray(0, left);
    hash.update(chunk);
    await writeAll(stream, chunk);
    left -= chunk.length;
  }
  await stream.closeWrite();
  return hash.digest("hex");
}

/** Reads to the end and returns the SHA-256. */
async function receive(stream: ByteStream): Promise<string> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(65_536);
  for (let n; (n = await stream.read(buffer)) !== null;) hash.update(buffer.subarray(0, n));
  return hash.digest("hex");
}

async function assertReset(stream: ByteStream): Promise<void> {
  const error: unknown = await stream.read(new Uint8Array(1)).catch((error) => error);
  ok(error instanceof MorayError && error.message === "Connection reset", String(error));
}

/** A stream whose unnamed operations succeed. */
function stub(parts: Partial<ByteStream>): ByteStream {
  return {
    read: () => Promise.withResolvers<number | null>().promise,
    write: (bytes) => Promise.resolve(bytes.length),
    closeWrite: () => Promise.resolve(),
    close: () => {},
    ...parts,
  };
}
