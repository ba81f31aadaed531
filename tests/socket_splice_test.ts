/**
 * Sockets of the kernel joined to streams that the test plays: what happens at edges that a whole tunnel hits once in a
 * thousand connections.
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import {
  type SocketSplice,
  SocketSplices,
  type SpliceEngine,
  TURN_BYTES,
  TURN_BYTES_TOGETHER,
} from "../agent/datapath/socket_splice.ts";
import { SharedArena, type SplicedStream, type StreamSlot } from "../agent/shared/mod.ts";
import { MorayError } from "../core/mod.ts";
import { Libc, type TcpSocket, TcpSockets } from "../io/mod.ts";
import type { StreamId, StreamState } from "../wg/mod.ts";
import { say } from "./support/say.ts";

const MSG_OOB = 1;

const unsupported = ((): string | undefined => {
  try {
    new TcpSockets()[Symbol.dispose]();
    return undefined;
  } catch (error) {
    if (error instanceof MorayError && error.code === "unsupported") return error.message;
    throw error;
  }
})();
if (unsupported !== undefined) say(`skipped: sockets joined to streams: ${unsupported}`);

/** An engine whose streams are arrays. */
class FakeEngine implements SpliceEngine {
  readonly streams: FakeStream[] = [];

  streamFill(stream: StreamId, fill: (part: Uint8Array<ArrayBuffer>) => number): number {
    const s = this.#stream(stream);
    if (s.room === 0) return 0;
    // Free room in pieces, as in a ring.
    const part = new Uint8Array(Math.min(s.room, s.pieceBytes));
    const n = fill(part);
    s.take(part.subarray(0, n));
    return n;
  }

  streamWrite(stream: StreamId, bytes: Uint8Array): number {
    const s = this.#stream(stream);
    const n = Math.min(bytes.length, s.room);
    s.take(bytes.slice(0, n));
    return n;
  }

  streamRead(stream: StreamId, take: (part: Uint8Array<ArrayBuffer>) => number): number {
    const s = this.#stream(stream);
    const n = s.incoming.length === 0 ? 0 : take(s.incoming);
    s.incoming = s.incoming.slice(n);
    return n;
  }

  streamShutdown(stream: StreamId): void {
    this.#stream(stream).shutdowns++;
  }

  streamState(stream: StreamId): StreamState {
    const { error, finished, incoming } = this.#stream(stream);
    const receiveFinished = (finished || error !== undefined) && incoming.length === 0;
    return { established: true, receiveFinished, closed: error !== undefined, error };
  }

  #stream(stream: StreamId): FakeStream {
    const s = this.streams[stream];
    assert(s !== undefined, "the stream exists");
    return s;
  }
}

/** The mesh's side of one connection. */
class FakeStream {
  /** Bytes that the stream takes now. */
  room = Infinity;
  pieceBytes = 65_536;
  /** What the stream was given. */
  sent: number[] = [];
  sentBytes = 0;
  /** What came through the mesh. */
  incoming: Uint8Array<ArrayBuffer> = new Uint8Array();
  finished = false;
  error: StreamState["error"];
  shutdowns = 0;
  /** What else happens when bytes are taken. */
  onTake = (): void => {};
  /** At the end of its pair the socket stays open. */
  keepsSocket = false;

  take(bytes: Uint8Array): void {
    this.room -= bytes.length;
    this.sentBytes += bytes.length;
    // Long streams are counted, not kept.
    if (this.sentBytes < 10_000) this.sent.push(...bytes);
    if (bytes.length > 0) this.onTake();
  }
}

/** One joined pair. */
interface Pair {
  readonly client: Deno.TcpConn;
  readonly stream: FakeStream;
  readonly splice: SocketSplice;
  readonly slot: StreamSlot;
  readonly fd: number;
  readonly ends: SplicedStream[];
}

class Bench implements Disposable {
  readonly engine = new FakeEngine();
  readonly splices = new SocketSplices(this.engine);
  readonly libc = Libc.open();
  readonly open: SocketSplice[] = [];
  readonly sockets = new TcpSockets();
  readonly #arena = SharedArena.create();
  readonly #stack = new DisposableStack();

  async join(prepare: (slot: StreamSlot, stream: FakeStream) => void = () => {}): Promise<Pair> {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const [client, conn] = await Promise.all([connect(listener), listener.accept()]);
    this.#stack.defer(() => {
      try {
        client.close();
      } catch {
        // The test has closed it.
      }
    });
    const socket = this.sockets.take(conn);
    assert(socket !== undefined);
    return { client, ...this.#add(socket, prepare) };
  }

  #add(
    socket: TcpSocket,
    prepare: (slot: StreamSlot, stream: FakeStream) => void,
  ): Omit<Pair, "client"> {
    const index = this.engine.streams.length;
    const stream = new FakeStream();
    const slot = this.#arena.slot(index);
    prepare(slot, stream);
    this.engine.streams.push(stream);
    const ends: SplicedStream[] = [];
    const onEnd = (end: SplicedStream): void => {
      ends.push(end);
      if (stream.keepsSocket) return;
      if (end.end === "complete") socket.close();
      else socket.reset();
    };
    const { fd } = socket;
    const splice = this.splices.add({ fd, stream: index as StreamId, slot, onEnd });
    assert(splice !== undefined);
    this.open.push(splice);
    return { stream, slot, splice, fd, ends };
  }

  /** Takes in what the sockets say until `done`; never asks the splices to look again by itself. */
  async until(done: () => boolean): Promise<void> {
    for (const end = performance.now() + 5000; !done();) {
      assert(performance.now() < end, `not within 5 s: ${done}`);
      this.splices.handleReady();
      await new Promise((wake) => setTimeout(wake, 1));
    }
  }

  [Symbol.dispose](): void {
    for (const splice of this.open) this.splices.end(splice, "aborted");
    this.splices[Symbol.dispose]();
    this.sockets[Symbol.dispose]();
    this.#stack.dispose();
    this.libc[Symbol.dispose]();
  }
}

function test(name: string, fn: (bench: Bench) => Promise<void>): void {
  Deno.test({
    name,
    ignore: unsupported !== undefined,
    fn: async () => {
      using bench = new Bench();
      await fn(bench);
    },
  });
}

test("bytes cross both ways, then both ends, and the pair is complete", async (bench) => {
  const { client, stream, splice, ends } = await bench.join();
  await client.write(Uint8Array.of(1, 2, 3));
  await bench.until(() => stream.sentBytes === 3);
  stream.incoming = Uint8Array.of(4, 5);
  bench.splices.pump(splice);
  assertEquals(await read(client, 2), [4, 5]);
  stream.finished = true;
  bench.splices.pump(splice);
  assertEquals(await read(client), null);
  assertEquals([ends.length, stream.shutdowns], [0, 0]);
  await client.write(Uint8Array.of(6));
  await client.closeWrite();
  await bench.until(() => ends.length > 0);
  assertEquals(stream.sent, [1, 2, 3, 6]);
  assertEquals([ends, stream.shutdowns], [[{ toMesh: 4, toSocket: 2, end: "complete" }], 1]);
  assertEquals(bench.splices.size, 0);
});

test("what the rings hold goes first, both ways, though the socket has bytes as well", async (bench) => {
  const { client, stream, splice, slot } = await bench.join((slot, stream) => {
    slot.toNet.write(Uint8Array.of(1, 2, 3));
    slot.toApp.write(Uint8Array.of(11, 12));
    stream.incoming = Uint8Array.of(13);
    stream.room = 2;
  });
  await client.write(Uint8Array.of(4, 5));
  await bench.until(() => stream.sentBytes === 2);
  assertEquals(await read(client, 3), [11, 12, 13]);
  assertEquals([stream.sent, slot.toNet.length], [[1, 2], 1]);
  stream.room = 100;
  bench.splices.pump(splice);
  assertEquals(stream.sent, [1, 2, 3, 4, 5]);
  assertEquals([splice.toMesh, splice.toSocket], [2, 3]);
});

test("bytes for which the stream has no room are taken when it has, without news of the socket", async (bench) => {
  const { client, stream, splice, ends } = await bench.join((_, stream) => stream.room = 0);
  await client.write(Uint8Array.of(1, 2, 3));
  await client.closeWrite();
  // The edge is told and taken in while there is nowhere to put the bytes.
  await bench.until(() => splice.readable);
  for (let i = 0; i < 5; i++) bench.splices.handleReady();
  assertEquals([stream.sentBytes, stream.shutdowns], [0, 0]);
  for (const room of [1, 1, 1]) {
    stream.room = room;
    bench.splices.pump(splice);
  }
  assertEquals(stream.sent, [1, 2, 3]);
  // The end needs no room, but one more look.
  stream.room = 1;
  bench.splices.pump(splice);
  assertEquals([stream.shutdowns, ends.length], [1, 0]);
});

test("an end that came with the last bytes is not forgotten", async (bench) => {
  for (const pieceBytes of [1, 3, 65_536]) {
    const { client, stream } = await bench.join((_, stream) => stream.pieceBytes = pieceBytes);
    await client.write(Uint8Array.of(1, 2, 3));
    await client.closeWrite();
    await bench.until(() => stream.shutdowns > 0);
    assertEquals([stream.sent, stream.shutdowns], [[1, 2, 3], 1]);
  }
});

test("urgent data in between does not keep back what follows it", async (bench) => {
  const { client, stream } = await bench.join();
  const theirs = bench.sockets.take(client);
  assert(theirs !== undefined);
  const { send } = bench.libc.calls;
  assertEquals(send(theirs.fd, Uint8Array.of(1, 2), 2n, 0), 2);
  assertEquals(send(theirs.fd, Uint8Array.of(9), 1n, MSG_OOB), 1);
  assertEquals(send(theirs.fd, Uint8Array.of(3, 4), 2n, 0), 2);
  await bench.until(() => stream.sentBytes >= 4);
  // The urgent byte itself travels beside the stream, which ends there.
  assertEquals(stream.sent, [1, 2, 3, 4]);
  theirs.close();
});

test("who has much must let the others and the engine in, and then goes on by itself", async (bench) => {
  const { client, stream, splice } = await bench.join((_, stream) => stream.pieceBytes = 60_001);
  const size = 4 * TURN_BYTES;
  const writing = writeAll(client, new Uint8Array(size));
  let turns = 0;
  let most = 0;
  while (stream.sentBytes < size) {
    bench.splices.handleReady();
    const before = stream.sentBytes;
    bench.splices.beginTurn();
    bench.splices.pump(splice);
    bench.splices.pump(splice);
    most = Math.max(most, stream.sentBytes - before);
    if (bench.splices.unfinished) turns++;
    await new Promise((wake) => setTimeout(wake, 0));
  }
  await writing;
  assert(turns > 0, "an allowance was used up");
  assertEquals(most, TURN_BYTES);
  bench.splices.beginTurn();
  assertEquals(bench.splices.unfinished, false);
});

test("many who have much take turns, and all together leave the engine its own", async (bench) => {
  const pairs: Pair[] = [];
  for (let i = 0; i < 12; i++) pairs.push(await bench.join());
  const size = 2 * TURN_BYTES;
  const writing = Promise.all(pairs.map(({ client }) => writeAll(client, new Uint8Array(size))));
  const sent = (): number => pairs.reduce((sum, { stream }) => sum + stream.sentBytes, 0);
  let most = 0;
  let firstDoneAt = 0;
  while (sent() < 12 * size) {
    const before = sent();
    bench.splices.beginTurn();
    bench.splices.handleReady();
    most = Math.max(most, sent() - before);
    if (firstDoneAt === 0 && pairs.some(({ stream }) => stream.sentBytes === size)) {
      firstDoneAt = sent();
    }
    await new Promise((wake) => setTimeout(wake, 0));
  }
  await writing;
  assertEquals(most, TURN_BYTES_TOGETHER);
  // Nobody had a second turn before each had one.
  assert(firstDoneAt >= 12 * TURN_BYTES, `${firstDoneAt} bytes in all when the first was done`);
});

test("a client that does not read stops the stream, and gets everything later", async (bench) => {
  const { client, stream, splice } = await bench.join();
  const size = 32 << 20;
  let total = 0;
  const offer = (): void => {
    if (stream.incoming.length === 0 && total < size) {
      stream.incoming = new Uint8Array(1 << 20).fill(total >> 20);
      total += 1 << 20;
    }
    bench.splices.beginTurn();
    bench.splices.pump(splice);
  };
  while (splice.writable) offer();
  const stalled = splice.toSocket;
  assert(stalled < size, "the socket is full");
  assertEquals(bench.splices.unfinished, false);
  let got = 0;
  const buffer = new Uint8Array(1 << 20);
  while (got < size) {
    got += await client.read(buffer) ?? 0;
    // Only an edge makes it writable again.
    bench.splices.handleReady();
    while (splice.writable && splice.toSocket < size) offer();
  }
  assertEquals([got, splice.toSocket], [size, size]);
});

test("a reset by the client fails the pair, also one after its end", async (bench) => {
  for (const ended of [false, true]) {
    const { client, stream, ends } = await bench.join();
    const theirs = bench.sockets.take(client);
    assert(theirs !== undefined);
    if (ended) {
      bench.libc.calls.shutdown(theirs.fd, 1);
      await bench.until(() => stream.shutdowns === 1);
    }
    theirs.reset();
    await bench.until(() => ends.length > 0);
    const reason = "the local connection was reset";
    assertEquals(ends, [{ toMesh: 0, toSocket: 0, end: "failed", reason }]);
  }
});

test("a last word before the client's reset gets its turns to leave", async (bench) => {
  const { client, stream, ends } = await bench.join();
  await client.write(Uint8Array.of(1, 2, 3));
  const theirs = bench.sockets.take(client);
  assert(theirs !== undefined);
  theirs.reset();
  await bench.until(() => bench.splices.unfinished);
  assertEquals([stream.sent, ends], [[1, 2, 3], []]);
  // The engine polls after this, and only then.
  bench.splices.beginTurn();
  assertEquals([bench.splices.unfinished, ends], [true, []]);
  bench.splices.beginTurn();
  const reason = "the local connection was reset";
  assertEquals(ends, [{ toMesh: 3, toSocket: 0, end: "failed", reason }]);
  assertEquals(bench.splices.unfinished, false);
});

test("a stream that breaks gives what has arrived, then a reset", async (bench) => {
  const { client, stream, splice, ends } = await bench.join();
  stream.incoming = Uint8Array.of(1, 2);
  stream.error = "timedOut";
  bench.splices.pump(splice);
  assertEquals(ends, [{ toMesh: 0, toSocket: 2, end: "failed", reason: "the stream: timedOut" }]);
  const told = await read(client, 2).then(() => read(client)).catch((error) => error);
  assert(told instanceof Deno.errors.ConnectionReset, String(told));
  bench.splices.end(splice, "aborted");
  assertEquals(ends.length, 1);
});

test("pairs that end while news of them is on its way harm nobody", async (bench) => {
  const pairs: Pair[] = [];
  for (let i = 0; i < 70; i++) pairs.push(await bench.join());
  for (const { client } of pairs) await client.write(Uint8Array.of(1));
  const sent = (): number[] => pairs.map(({ stream }) => stream.sentBytes);
  // More than one batch of events. The first pair that hears of its bytes ends the others before they do.
  const [first, ...others] = pairs;
  assert(first !== undefined);
  first.stream.onTake = () => {
    for (const { splice } of others) bench.splices.end(splice, "aborted");
  };
  await bench.until(() => first.stream.sentBytes === 1);
  assertEquals(sent(), [1, ...Array(69).fill(0)]);
  assertEquals(bench.splices.counters(), { socketsSpliced: 70 });
});

test("a socket whose pair has ended is not watched any more", async (bench) => {
  const { splice, fd, slot } = await bench.join((_, stream) => stream.keepsSocket = true);
  bench.splices.end(splice, "aborted");
  const again = bench.splices.add({ fd, stream: 0 as StreamId, slot, onEnd: () => {} });
  assert(again !== undefined, "the epoll takes it as a new one");
  bench.open.push(again);
});

test("what is no socket is refused and counted", async (bench) => {
  const slot = SharedArena.create().slot(0);
  const onEnd = (): void => assert(false, "what was refused does not end");
  assertEquals(bench.splices.add({ fd: -1, stream: 0 as StreamId, slot, onEnd }), undefined);
  assertEquals(bench.splices.counters(), { socketsRefused: 1 });
  await Promise.resolve();
});

async function read(client: Deno.TcpConn, size = 1): Promise<number[] | null> {
  const bytes: number[] = [];
  const buffer = new Uint8Array(100);
  while (bytes.length < size) {
    const n = await client.read(buffer);
    if (n === null) return null;
    bytes.push(...buffer.subarray(0, n));
  }
  return bytes;
}

async function writeAll(client: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await client.write(bytes.subarray(at));
}

function connect(listener: Deno.TcpListener): Promise<Deno.TcpConn> {
  return Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
}
