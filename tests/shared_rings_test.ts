/**
 * The shared memory between two real threads: no byte lost, none out of order, and no wake-up lost.
 *
 * Every test runs twice: with a Worker that is woken by messages, and with one that sleeps in a system call and
 * hears none. A lost wake-up shows as a test that exceeds its deadline.
 */
import { deepStrictEqual as assertEquals, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { MorayError } from "../core/mod.ts";
import type { TunnelConn } from "../agent/network.ts";
import { ringBytes, SharedArena } from "../agent/shared/mod.ts";
import type { BellWorkerStart } from "../agent/shared/testing/bell_worker.ts";
import {
  CHATTER_ADDRESS,
  ECHO_PORT,
  type EchoWorkerStart,
  RESET_PORT,
  SILENT_PORT,
  SINK_PORT,
  SOURCE_BYTE,
  SOURCE_PORT,
} from "../agent/shared/testing/echo_worker_protocol.ts";
import { DatapathClient, type NodeEvent, TunnelNetwork } from "../agent/tunnel_network.ts";

const MODES = ["messages", "blocking"] as const;
const PEER = "10.42.0.2";
/** A quarter of the slots: connections within a Worker take two. */
const ACCEPT_QUEUE_MAX = 256;
/** Far beyond what any test here takes, far below what a person waits for. */
const DEADLINE_MS = 60_000;

/** A node's main thread and the echo Worker. */
interface Bench extends AsyncDisposable {
  readonly client: DatapathClient;
  readonly network: TunnelNetwork;
  readonly events: NodeEvent[];
  /** Wake-ups since the start: to the Worker, and to the main thread, with the look that it begins with. */
  readonly wakes: { worker: number; main: number };
}

function startBench(mode: EchoWorkerStart["mode"]): Bench {
  const arena = SharedArena.create();
  const url = new URL("../agent/shared/testing/echo_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const events: NodeEvent[] = [];
  const wakes = { worker: 0, main: 0 };
  const client = new DatapathClient({
    arena,
    wake: (): void => {
      wakes.worker++;
      if (mode === "messages") worker.postMessage(0);
      else arena.notifyWorker();
    },
    onEvent: (event): void => void events.push(event),
  });
  const network = new TunnelNetwork({
    client,
    resolve: (name) => name,
    acceptQueueMax: ACCEPT_QUEUE_MAX,
  });
  const handleWake = client.handleWake.bind(client);
  client.handleWake = (): void => {
    wakes.main++;
    handleWake();
  };
  const listening = client.listen();
  worker.postMessage({ buffer: arena.buffer, mode } satisfies EchoWorkerStart);
  return {
    client,
    network,
    events,
    wakes,
    async [Symbol.asyncDispose](): Promise<void> {
      // Who waits for a bell alone does not keep the program running, nor does a Worker that has ended.
      const timer = setTimeout(() => {}, DEADLINE_MS);
      await client.stop();
      await listening;
      clearTimeout(timer);
      worker.terminate();
    },
  };
}

/** Registers a test for each mode, which fails instead of hanging. */
function test(name: string, body: (bench: Bench) => Promise<void>): void {
  for (const mode of MODES) {
    Deno.test(`${name} (${mode})`, async () => {
      const bench = startBench(mode);
      const { promise: late, reject } = Promise.withResolvers<never>();
      const timer = setTimeout(() => {
        reject(new Error(`stalled for ${DEADLINE_MS} ms`));
        bench.client.close();
      }, DEADLINE_MS);
      try {
        await Promise.race([body(bench), late]);
      } finally {
        clearTimeout(timer);
        await bench[Symbol.asyncDispose]();
      }
    });
  }
}

Deno.test("a Worker that rings without end does not keep the main thread from its timers", async () => {
  const arena = SharedArena.create();
  const stop = new SharedArrayBuffer(4);
  const url = new URL("../agent/shared/testing/bell_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const stopped = new Promise<boolean>((resolve) => {
    worker.onmessage = ({ data }: MessageEvent<boolean>): void => resolve(data);
  });
  const client = new DatapathClient({ arena, wake: () => {}, onEvent: () => {} });
  const listening = client.listen();
  const start: BellWorkerStart = { buffer: arena.buffer, stop, longestMs: DEADLINE_MS };
  worker.postMessage(start);
  for (let n = 0; n < 10; n++) await new Promise((wake) => setTimeout(wake, 1));
  Atomics.store(new Int32Array(stop), 0, 1);
  assertEquals(await stopped, true);
  client.close();
  await listening;
  worker.terminate();
});

const address = (port: number): { hostname: string; port: number } => ({ hostname: PEER, port });

/** A small deterministic generator (xorshift32), so that a failure repeats. */
function randomOf(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Writes `total` patterned bytes in pieces of `size()`, then FIN; returns their SHA-256. */
async function send(conn: TunnelConn, total: number, size: () => number): Promise<string> {
  const hash = createHash("sha256");
  const source = new Uint8Array(1 << 20);
  for (let i = 0; i < source.length; i++) source[i] = (i * 2654435761) >>> 13;
  for (let sent = 0; sent < total;) {
    const at = sent % 65521;
    const piece = source.subarray(at, at + Math.min(size(), total - sent));
    const count = await conn.write(piece);
    hash.update(piece.subarray(0, count));
    sent += count;
  }
  await conn.closeWrite();
  return hash.digest("hex");
}

/** Reads to the end; returns the SHA-256 and the count. */
async function receive(
  conn: TunnelConn,
  size: () => number,
): Promise<{ digest: string; total: number }> {
  const hash = createHash("sha256");
  const target = new Uint8Array(1 << 18);
  let total = 0;
  for (;;) {
    const count = await conn.read(target.subarray(0, size()));
    if (count === null) return { digest: hash.digest("hex"), total };
    hash.update(target.subarray(0, count));
    total += count;
  }
}

async function readAll(conn: TunnelConn): Promise<string> {
  const decoder = new TextDecoder();
  const target = new Uint8Array(4096);
  let text = "";
  for (let n; (n = await conn.read(target)) !== null;) {
    text += decoder.decode(target.subarray(0, n));
  }
  return text;
}

async function writeAll(conn: TunnelConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

/** Streams that the Worker holds; it frees them as it hears of their release. */
async function workerStreams({ client }: Bench): Promise<number> {
  const { counters } = await client.send({ kind: "status" });
  return counters["streams"] ?? -1;
}

const isError = (code: string, message: RegExp) => (error: unknown): boolean =>
  error instanceof MorayError && error.code === code && message.test(error.message);

test("64 MiB come back as they were sent, in pieces of every size", async ({ network, wakes }) => {
  using conn = await network.connect(address(ECHO_PORT));
  const total = 64 << 20;
  const random = randomOf(1);
  const [sent, got] = await Promise.all([
    send(conn, total, () => random(8) === 0 ? 1 + random(1 << 19) : 1 + random(1 << 16)),
    receive(conn, () => 1 + random(1 << 18)),
  ]);
  assertEquals(got, { digest: sent, total });
  ok(wakes.worker > 0 && wakes.main > 1);
});

test("20,000 small writes arrive whole and in order", async ({ network }) => {
  using conn = await network.connect(address(ECHO_PORT));
  const random = randomOf(2);
  const total = 640_000;
  const [sent, got] = await Promise.all([
    send(conn, total, () => 1 + random(63)),
    receive(conn, () => 1 + random(100)),
  ]);
  assertEquals(got, { digest: sent, total });
});

test("5,000 single bytes go back and forth without a lost wake-up", async ({ network }) => {
  using conn = await network.connect(address(ECHO_PORT));
  const byte = new Uint8Array(1);
  for (let n = 0; n < 5000; n++) {
    assertEquals(await conn.write(Uint8Array.of(n)), 1);
    assertEquals(await conn.read(byte), 1);
    assertEquals(byte[0], n & 0xff);
  }
});

test("200 streams at once keep their bytes apart, whatever the others do", async (bench) => {
  const { network } = bench;
  const outcomes = { whole: 0, aborted: 0, closed: 0 };
  async function one(index: number): Promise<void> {
    const random = randomOf(1000 + index);
    const conn = await network.connect(address(ECHO_PORT));
    const total = 1 + random(512 << 10);
    const fate = index % 4;
    if (fate === 0 || fate === 1) {
      const [sent, got] = await Promise.all([
        send(conn, total, () => 1 + random(fate === 0 ? 1500 : 1 << 17)),
        receive(conn, () => 1 + random(1 << 15)),
      ]);
      assertEquals(got, { digest: sent, total });
      conn.close();
      outcomes.whole++;
      return;
    }
    const cutAt = random(total);
    const cut = fate === 2 ? (): void => conn.abort() : (): void => conn.close();
    const target = new Uint8Array(1 << 14);
    async function readUntilCut(): Promise<void> {
      for (let got = 0;;) {
        const count = await conn.read(target);
        if (count === null) return;
        got += count;
        if (got >= cutAt) return cut();
      }
    }
    const writing = rejects(
      send(conn, 1 << 30, () => 1 + random(1 << 16)),
      isError("closed", /^The connection with 10\.42\.0\.2:7 is closed$/),
    );
    await Promise.all([readUntilCut(), writing]);
    assertEquals(await conn.read(target), null);
    if (fate === 2) outcomes.aborted++;
    else outcomes.closed++;
  }
  await Promise.all(Array.from({ length: 200 }, (_, index) => one(index)));
  assertEquals(outcomes, { whole: 100, aborted: 50, closed: 50 });
  assertEquals(network.streamCount, 0);
  assertEquals(await workerStreams(bench), 0);
});

test("half-close: after our FIN the other side can still send", async ({ network }) => {
  using listener = network.listen(80);
  const [client, server] = await Promise.all([
    network.connect(address(80)),
    listener.accept(),
  ]);
  await writeAll(client, new TextEncoder().encode("request"));
  await client.closeWrite();
  await rejects(client.write(Uint8Array.of(1)), isError("closed", /closed for writing/));
  assertEquals(await readAll(server), "request");
  const answer = "answer ".repeat(40_000);
  const [got] = await Promise.all([
    readAll(client),
    writeAll(server, new TextEncoder().encode(answer)).then(() => server.closeWrite()),
  ]);
  assertEquals(got, answer);
  client.close();
  server.close();
});

test("close sends what was written, then FIN", async ({ network }) => {
  using listener = network.listen(80);
  const [client, server] = await Promise.all([network.connect(address(80)), listener.accept()]);
  await writeAll(client, new TextEncoder().encode("last words"));
  client.close();
  assertEquals(await readAll(server), "last words");
  server.close();
});

test("an abort reaches the other side as a reset, after what had arrived", async ({ network }) => {
  using listener = network.listen(80);
  const [client, server] = await Promise.all([network.connect(address(80)), listener.accept()]);
  const reading = client.read(new Uint8Array(10));
  server.abort();
  await rejects(reading, isError("closed", /^The connection with 10\.42\.0\.2:80 was reset/));
  await rejects(client.write(Uint8Array.of(1)), isError("closed", /was reset/));
  await rejects(client.closeWrite(), isError("closed", /was reset/));
  client.close();
  using cut = await network.connect(address(RESET_PORT));
  const target = new Uint8Array(3);
  assertEquals(await cut.read(target), 3);
  assertEquals(await cut.read(target), 2);
  await rejects(cut.read(target), isError("closed", /was reset/));
});

test("backpressure: a writer waits for a reader that does not read", async ({ network }) => {
  using listener = network.listen(80);
  const [client, server] = await Promise.all([network.connect(address(80)), listener.accept()]);
  const chunk = new Uint8Array(1 << 16);
  const total = 4 << 20;
  let written = 0;
  const writing = (async (): Promise<void> => {
    while (written < total) written += await client.write(chunk.subarray(0, total - written));
    await client.closeWrite();
  })();
  // Both rings fill; a round trip through the Worker after that shows that nothing more fits.
  let before = -1;
  while (before !== written) {
    before = written;
    for (let n = 0; n < 10; n++) await network.connect(address(ECHO_PORT)).then((c) => c.close());
  }
  assertEquals(written, 2 * ringBytes(0));
  let read = 0;
  for (let n; (n = await server.read(new Uint8Array(5000))) !== null;) read += n;
  await writing;
  assertEquals(read, total);
  client.close();
  server.close();
});

test("closing ends a pending read with null and a pending write with closed", async ({ network }) => {
  const conn = await network.connect(address(SOURCE_PORT));
  const target = new Uint8Array(1 << 17);
  assertEquals(await conn.read(target) !== null, true);
  assertEquals(target[0], SOURCE_BYTE);
  conn.close();
  conn.close();
  assertEquals(await conn.read(target), null);
  using listener = network.listen(80);
  const [client, server] = await Promise.all([network.connect(address(80)), listener.accept()]);
  const reading = client.read(target);
  await rejects(client.read(target), isError("usage", /being read already/));
  const writing = rejects(
    send(client, 1 << 30, () => 1 << 16),
    isError("closed", /is closed$/),
  );
  // Until both rings are full and the write sleeps, the worker has work; several turns leave it none.
  for (let n = 0; n < 10; n++) await workerTurn(network);
  client.close();
  assertEquals(await reading, null);
  await writing;
  server.close();
});

/** One command and its reply: whatever the Worker was told before has been seen. */
async function workerTurn(network: TunnelNetwork): Promise<void> {
  (await network.connect(address(ECHO_PORT))).close();
}

test("a refused, an aborted and a cut-off connect each give their slot back", async (bench) => {
  const { network } = bench;
  await rejects(
    network.connect(address(1)),
    isError("refused", /^Cannot connect to 10\.42\.0\.2:1: the peer refused the connection$/),
  );
  const reason = new Error("enough");
  const early = AbortSignal.abort(reason);
  await rejects(network.connect(address(ECHO_PORT), { signal: early }), reason);
  const beforeReply = new AbortController();
  const first = network.connect(address(SILENT_PORT), { signal: beforeReply.signal });
  beforeReply.abort(reason);
  await rejects(first, reason);
  const afterReply = new AbortController();
  const second = network.connect(address(SILENT_PORT), { signal: afterReply.signal });
  await workerTurn(network);
  assertEquals(network.streamCount, 1);
  afterReply.abort(reason);
  await rejects(second, reason);
  await workerTurn(network);
  assertEquals(network.streamCount, 0);
  assertEquals(await workerStreams(bench), 0);
});

test("with every slot taken, connect rejects with limit; a freed slot serves again", async (bench) => {
  const { network } = bench;
  const open = await Promise.all(
    Array.from({ length: 1024 }, () => network.connect(address(SINK_PORT))),
  );
  await rejects(
    network.connect(address(SINK_PORT)),
    isError("limit", /^Cannot connect to 10\.42\.0\.2:9: no free slot$/),
  );
  open[17]?.close();
  using again = await network.connect(address(ECHO_PORT));
  await again.write(Uint8Array.of(42));
  const target = new Uint8Array(9);
  assertEquals([await again.read(target), target[0]], [1, 42]);
  for (const conn of open) conn.close();
  again.close();
  assertEquals(await workerStreams(bench), 0);
});

test("a listener keeps 256 connections and resets the rest", async (bench) => {
  const { network } = bench;
  const listener = network.listen(80);
  const clients = await Promise.all(
    Array.from({ length: ACCEPT_QUEUE_MAX + 44 }, () => network.connect(address(80))),
  );
  assertEquals(network.counters.acceptQueueOverflows, 44);
  for (let n = 0; n < ACCEPT_QUEUE_MAX - 6; n++) (await listener.accept()).close();
  // The six that nobody accepted are reset too.
  listener.close();
  await rejects(listener.accept(), isError("closed", /^The listener on mesh port 80 is closed$/));
  const ends = await Promise.all(
    clients.map((conn) => conn.read(new Uint8Array(1)).catch((error: MorayError) => error.code)),
  );
  assertEquals(ends.filter((end) => end === null).length, ACCEPT_QUEUE_MAX - 6);
  assertEquals(ends.filter((end) => end === "closed").length, 50);
  for (const conn of clients) conn.close();
  await rejects(network.connect(address(80)), isError("refused", /10\.42\.0\.2:80/));
  assertEquals(await workerStreams(bench), 0);
});

test("a listener that the datapath refuses says why; iteration ends with close", async ({ network }) => {
  const listeners = Array.from({ length: 8 }, (_, n) => network.listen(100 + n));
  using ninth = network.listen(200);
  await rejects(ninth.accept(), isError("limit", /^Cannot listen on mesh port 200: 8 ports$/));
  const [first] = listeners;
  ok(first !== undefined);
  const seen = (async (): Promise<number> => {
    let count = 0;
    for await (const conn of first) {
      conn.close();
      if (++count === 3) first.close();
    }
    return count;
  })();
  const clients = await Promise.all([1, 2, 3].map(() => network.connect(address(100))));
  assertEquals(await seen, 3);
  for (const conn of clients) conn.close();
  for (const listener of listeners) listener.close();
});

test("more commands and events than their rings hold all arrive", async ({ client, events }) => {
  const candidates = Array.from({ length: 40 }, () => ({ kind: "host", address: "[::1]:1" }));
  const commands = Array.from(
    { length: 1000 },
    () => client.send({ kind: "setCandidates", publicKey: "k".repeat(44), candidates }),
  );
  assertEquals((await Promise.all(commands)).length, 1000);
  assertEquals(client.commandsRefused, 0);
  await client.send({ kind: "ping", address: CHATTER_ADDRESS, sequence: 1800, timeoutMs: 1 });
  const numbers = events.map((event) => event.kind === "log" ? event.fields?.["n"] : undefined);
  assertEquals(numbers, Array.from({ length: 1800 }, (_, n) => n));
});

test("stop ends everything that waits", async ({ client, network }) => {
  const listener = network.listen(80);
  const accepting = rejects(listener.accept(), isError("closed", /the datapath has stopped/));
  const connecting = rejects(
    network.connect(address(SILENT_PORT)),
    isError("closed", /^Cannot connect to 10\.42\.0\.2:11: /),
  );
  const echo = await network.connect(address(ECHO_PORT));
  const reading = rejects(
    echo.read(new Uint8Array(1)),
    isError("closed", /^The connection with 10\.42\.0\.2:7 has ended/),
  );
  await client.stop();
  await Promise.all([accepting, connecting, reading]);
  await rejects(echo.write(Uint8Array.of(1)), isError("closed", /has ended/));
  await rejects(client.send({ kind: "status" }), isError("closed", /the datapath has stopped/));
  await rejects(network.connect(address(7)), isError("closed", /^Cannot connect to 10/));
  echo.close();
});
