/**
 * One contract for both ways in which a connection crosses a node: through the main thread, and in the Worker. Real
 * sockets, real Workers, a forward at one end and an expose at the other.
 */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { createHash } from "node:crypto";
import { startHttpProxy } from "../agent/http_proxy.ts";
import { startSocks5 } from "../agent/socks5_server.ts";
import { formatBase64, MorayError } from "../core/mod.ts";
import { TcpSockets } from "../io/mod.ts";
import { block, MIB, testBytes, testSha256 } from "./support/bytes.ts";
import { say } from "./support/say.ts";
import { e2e, eventually } from "./support/scope.ts";
import { openDescriptors, SpliceLab, type Way } from "./support/splice_lab.ts";

const unsupported = ((): string | undefined => {
  try {
    new TcpSockets()[Symbol.dispose]();
    return undefined;
  } catch (error) {
    if (error instanceof MorayError && error.code === "unsupported") return error.message;
    throw error;
  }
})();
if (unsupported !== undefined) say(`skipped: connections in the Worker: ${unsupported}`);
const WAYS: readonly Way[] = unsupported === undefined ? ["portable", "fast"] : ["portable"];

/** What may lie in all buffers between two ends of which one does not read: four of the kernel, four of the engines. */
const BUFFERED_BYTES_MAX = 48 * MIB;
const LISTEN = { hostname: "127.0.0.1", port: 0 };

for (const way of WAYS) {
  e2e(`${way}: 64 MiB cross both ways at once, and every byte arrives`, {
    timeoutMs: 180_000,
  }, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    const [client, server] = await lab.connect();
    const size = 64 * MIB;
    const sums = await Promise.all([
      sendStream(client, size),
      sendStream(server, size),
      receive(client),
      receive(server),
    ]);
    const expected = { bytes: size, sha256: testSha256(size) };
    assertEquals(sums.slice(2), [expected, expected]);
    client.close();
    server.close();
    await lab.idle();
    for (const { counters: { bytesIn, bytesOut, failed } } of lab.servers) {
      assertEquals([bytesIn, bytesOut, failed], [size, size, 0]);
    }
    await lab.assertCarried(1);
  });

  e2e(`${way}: 200 connections at once carry their own bytes and leave no descriptor`, {
    timeoutMs: 120_000,
  }, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    await exchange(lab, 1);
    await lab.idle();
    const before = await settledDescriptorCount();
    await Promise.all(Array.from({ length: 200 }, (_, i) => exchange(lab, i * 977 % 200_000)));
    await lab.idle();
    await lab.assertCarried(201);
    assertEquals(
      await eventually("descriptors to be closed", () => {
        const now = descriptorCount();
        return now === before ? now : undefined;
      }),
      before,
    );
  });

  e2e(`${way}: hundreds of short transfers, none of which hangs`, {
    timeoutMs: 120_000,
  }, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    for (let round = 0; round < 40; round++) {
      const sizes = Array.from({ length: 8 }, (_, i) => 1 + (round * 8 + i) * 40_503 % 300_000);
      await Promise.all(sizes.map((size) => exchange(lab, size)));
    }
    await lab.idle();
    await lab.assertCarried(320);
  });

  e2e(
    `${way}: an end is passed on while the other direction goes on, whoever ends first`,
    {},
    async (scope) => {
      const lab = scope.use(await SpliceLab.start(way));
      for (const first of ["client", "server"] as const) {
        const [client, server] = await lab.connect();
        const [asking, answering] = first === "client" ? [client, server] : [server, client];
        await sendStream(asking, 300_000);
        assertEquals(await receive(answering), { bytes: 300_000, sha256: testSha256(300_000) });
        // Nothing but the other direction is left, which is quiet for a while.
        await answering.write(Uint8Array.of(1));
        assertEquals(await asking.read(new Uint8Array(9)), 1);
        await sendStream(answering, 3 * MIB);
        assertEquals(await receive(asking), { bytes: 3 * MIB, sha256: testSha256(3 * MIB) });
        client.close();
        server.close();
      }
      await lab.idle();
      assertEquals(lab.servers.map(({ counters }) => counters.failed), [0, 0]);
    },
  );

  e2e(
    `${way}: a connection that only ends, from either side, ends on the other`,
    {},
    async (scope) => {
      const lab = scope.use(await SpliceLab.start(way));
      for (const first of [0, 1] as const) {
        const conns = await lab.connect();
        conns[first].close();
        assertEquals(await conns[1 - first]?.read(new Uint8Array(1)), null);
        conns[1 - first]?.close();
      }
      await lab.idle();
    },
  );

  e2e(`${way}: who does not read stops who writes, and gets every byte later`, {
    timeoutMs: 180_000,
  }, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    for (const writer of [0, 1] as const) {
      const conns = await lab.connect();
      const size = 96 * MIB;
      let written = 0;
      const sending = sendStream(conns[writer], size, (n) => written += n);
      let last = -1;
      const stalledAt = await eventually("the writer to be stopped", () => {
        const stalled = written === last && written > 0 ? written : undefined;
        last = written;
        return stalled;
      }, { everyMs: 1000, timeoutMs: 60_000 });
      assert(stalledAt < BUFFERED_BYTES_MAX, `${stalledAt} bytes are in between`);
      const reader = conns[1 - writer];
      assert(reader !== undefined);
      const [got] = await Promise.all([receive(reader), sending]);
      assertEquals(got, { bytes: size, sha256: testSha256(size) });
      for (const conn of conns) conn.close();
    }
    await lab.idle();
  });

  e2e(
    `${way}: a stop during transfers ends every connection and leaves no descriptor`,
    {},
    async (scope) => {
      const counts: number[] = [];
      // Deno keeps descriptors of its own for Workers: the second round must leave no more than the first.
      for (let round = 0; round < 2; round++) {
        const lab = await SpliceLab.start(way);
        scope.defer(() => lab[Symbol.asyncDispose]());
        const conns = (await lab.connectMany(8)).flat();
        let moved = 0;
        const ends = conns.flatMap((conn) => [
          sendStream(conn, Infinity).catch(() => {}),
          drain(conn, (n) => moved += n),
        ]);
        await eventually("all to move", () => moved > 8 * MIB ? true : undefined);
        await lab.stopNodes();
        await Promise.all(ends);
        for (const conn of conns) conn.close();
        await lab[Symbol.asyncDispose]();
        counts.push(
          await eventually("descriptors to be closed", () => {
            const now = descriptorCount();
            return round === 0 || now <= (counts[0] ?? 0) ? now : undefined;
          }),
        );
      }
    },
  );

  e2e(`${way}: a listener that stops breaks off what it carries`, {}, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    for (const [i, server] of lab.servers.entries()) {
      const conns = await lab.connect();
      await writeAll(conns[0], block(0));
      assertEquals(await readExactly(conns[1], 65_536), block(0));
      await server.stop();
      for (const conn of conns) {
        await drain(conn, () => {});
        conn.close();
      }
      const { bytesIn, bytesOut, active, failed } = server.counters;
      // The expose has carried what the forward has, too.
      assertEquals([bytesOut, bytesIn, active, failed], [(i + 1) * 65_536, 0, 0, 0]);
      await lab.idle();
      if (i === 0) lab.forwardAgain();
    }
  });

  e2e(`${way}: connections to a peer that is removed are told so`, {}, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    const conns = (await lab.connectMany(3)).flat();
    const { far, near } = lab;
    for (const [node, other] of [[near, far], [far, near]] as const) {
      const publicKey = formatBase64(other.datapath.publicKey);
      await node.datapath.client.send({ kind: "removePeer", publicKey });
    }
    for (const conn of conns) {
      await drain(conn, () => {});
      conn.close();
    }
    await lab.idle();
  });

  e2e(`${way}: a server that is gone is told to each client`, {}, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    const pairs = await lab.connectMany(4);
    for (const [client, server] of pairs) {
      await client.write(block(0));
      server.close();
    }
    for (const [client] of pairs) {
      await drain(client, () => {});
      client.close();
    }
    await lab.idle();
  });

  e2e(`${way}: a client of a proxy that speaks ahead of the answer is heard`, {}, async (scope) => {
    const lab = scope.use(await SpliceLab.start(way));
    const options = { listen: LISTEN, network: lab.near.network, log: () => {} };
    const request = "CONNECT 10.42.0.2:7 HTTP/1.1\r\nHost: 10.42.0.2:7\r\n\r\n";
    const cases = [
      {
        proxy: startSocks5(options),
        hello: Uint8Array.of(5, 1, 0, 5, 1, 0, 1, 10, 42, 0, 2, 0, 7),
        answer: 2 + 10,
      },
      { proxy: startHttpProxy(options), hello: new TextEncoder().encode(request), answer: 39 },
    ];
    for (const { proxy, hello, answer } of cases) {
      const early = block(3).subarray(0, 1000);
      const client = await Deno.connect(proxy.address);
      const accepted = lab.accept();
      await writeAll(client, Uint8Array.from([...hello, ...early]));
      const server = await accepted;
      assertEquals(await readExactly(server, 1000), early);
      await readExactly(client, answer);
      await Promise.all([sendStream(client, MIB), sendStream(server, MIB)]);
      const both = await Promise.all([receive(client), receive(server)]);
      const expected = { bytes: MIB, sha256: testSha256(MIB) };
      assertEquals(both, [expected, expected]);
      client.close();
      server.close();
      await eventually("the proxy to be done", () => proxy.counters.active === 0 || undefined);
      await proxy.stop();
    }
    await lab.idle();
    const { counters } = await lab.near.datapath.client.send({ kind: "status" });
    assertEquals(counters["socketsSpliced"], way === "fast" ? 2 : undefined);
  });

  for (const [i, side] of (["client", "server"] as const).entries()) {
    if (unsupported !== undefined) continue;
    e2e(`${way}: a reset by the ${side} reaches the other side`, {}, async (scope) => {
      const lab = scope.use(await SpliceLab.start(way));
      using sockets = new TcpSockets();
      const conns = await lab.connect();
      for (const [from, to] of [conns, conns.toReversed()]) {
        await from?.write(Uint8Array.of(1, 2, 3));
        assertEquals(await to?.read(new Uint8Array(9)), 3);
      }
      const [resetting, other] = i === 0 ? conns : conns.toReversed();
      assert(resetting !== undefined && other !== undefined);
      sockets.take(resetting)?.reset();
      const told = await other.read(new Uint8Array(1)).catch((error: unknown) => error);
      // The main thread can only end a connection in order.
      if (way === "portable") assertEquals(told, null);
      else assert(told instanceof Deno.errors.ConnectionReset, String(told));
      other.close();
      await lab.idle();
      const active = lab.servers.map(({ counters }) => counters.active);
      assertEquals(active, [0, 0]);
    });
  }
}

/** Sends a question of `size` bytes, which the server answers with as many once it has all of them. */
async function exchange(lab: SpliceLab, size: number): Promise<void> {
  const client = await Deno.connect(lab.entry);
  const answering = answer(await lab.accept());
  const question = block(size).subarray(0, 8);
  await writeAll(client, question);
  await Promise.all([sendStream(client, size), answering]);
  const got = await receive(client);
  client.close();
  assertEquals(got.bytes, size + question.length);
}

/** Answers with the same bytes, after the end of the question. */
async function answer(server: Deno.TcpConn): Promise<void> {
  const parts: Uint8Array[] = [];
  await drain(server, (_, bytes) => void parts.push(bytes.slice()));
  for (const part of parts) await writeAll(server, part);
  server.close();
}

/** Sends the first `size` bytes of the test stream, then the end. */
async function sendStream(
  conn: Deno.TcpConn,
  size: number,
  onBytes: (count: number) => void = () => {},
): Promise<void> {
  for (const part of testBytes(size)) {
    await writeAll(conn, part);
    onBytes(part.length);
  }
  await conn.closeWrite();
}

/** Reads to the end. */
async function receive(conn: Deno.TcpConn): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(65_536);
  let bytes = 0;
  for (let n; (n = await conn.read(buffer)) !== null; bytes += n) {
    hash.update(buffer.subarray(0, n));
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** Reads to the end, be it good or bad. */
async function drain(
  conn: Deno.TcpConn,
  onBytes: (count: number, bytes: Uint8Array) => void,
): Promise<void> {
  const buffer = new Uint8Array(65_536);
  try {
    for (let n; (n = await conn.read(buffer)) !== null;) onBytes(n, buffer.subarray(0, n));
  } catch (error) {
    assert(error instanceof Deno.errors.ConnectionReset, String(error));
  }
}

async function readExactly(conn: Deno.TcpConn, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const n = await conn.read(bytes.subarray(at));
    assert(n !== null, "the stream is long enough");
    at += n;
  }
  return bytes;
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

/** The same once what earlier tests of this process have left is closed: as many at ten looks in a row. */
async function settledDescriptorCount(): Promise<number> {
  let [count, looks] = [descriptorCount(), 1];
  return await eventually("a steady number of descriptors", () => {
    const now = descriptorCount();
    looks = now === count ? looks + 1 : 1;
    count = now;
    return looks === 10 ? count : undefined;
  });
}

/** Sockets and anonymous descriptors of this process. */
function descriptorCount(): number {
  const all = openDescriptors()?.values() ?? [];
  return [...all].filter((target) => /^(socket|anon_inode)/.test(target)).length;
}
