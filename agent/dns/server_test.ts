import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { Buffer } from "node:buffer";
// @ts-types="./dns_packet.d.ts"
import packet, { type Packet } from "dns-packet";
import type { SocketAddress } from "../../core/mod.ts";
import { meshIpv6Of } from "../addressing.ts";
import { NameTable } from "../names.ts";
import { QUERY_BYTES_MAX } from "./reply.ts";
import { DNS_CONNECTIONS_MAX, type DnsServer, startDns } from "./server.ts";

const WEB = meshIpv6Of("reef", new Uint8Array(32).fill(7));

interface Lab extends AsyncDisposable {
  readonly server: DnsServer;
  readonly names: NameTable;
}

async function startLab({ idleMs = 10_000 } = {}): Promise<Lab> {
  const names = new NameTable("reef");
  assert(names.set("web", WEB, "10.42.0.9"));
  const listen = { hostname: "127.0.0.1", port: 0 };
  const server = await startDns({ listen, mesh: "reef", names, log: () => {}, idleMs });
  return { server, names, [Symbol.asyncDispose]: () => server.stop() };
}

function question(name: string, id = 1): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(packet.encode({ type: "query", id, questions: [{ name, type: "A" }] }));
}

function framed(...messages: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(messages.flatMap((one) => [one.length >> 8, one.length & 255, ...one]));
}

async function askUdp(message: Uint8Array, to: SocketAddress): Promise<Packet> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    await socket.send(message, { transport: "udp", ...to });
    const [reply] = await socket.receive();
    return packet.decode(Buffer.from(reply));
  } finally {
    socket.close();
  }
}

/** Reads until the server closes. */
async function readAll(conn: Deno.TcpConn): Promise<Packet[]> {
  const bytes = new Uint8Array(await new Response(conn.readable).arrayBuffer());
  const replies: Packet[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = (bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0);
    replies.push(packet.decode(Buffer.from(bytes.subarray(at + 2, at + 2 + length))));
    at += 2 + length;
  }
  return replies;
}

const rcodeOf = ({ flags = 0 }: Packet): number => flags & 15;
const dataOf = ({ answers = [] }: Packet): unknown[] =>
  answers.map((one) => "data" in one && one.data);

Deno.test("names are answered by UDP as they are at the time, and what is no query is not", async () => {
  await using lab = await startLab();
  const { server, names } = lab;
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  await socket.send(new Uint8Array(5), { transport: "udp", ...server.address });
  socket.close();
  assertEquals(dataOf(await askUdp(question("web.reef.internal"), server.address)), ["10.42.0.9"]);
  assertEquals(dataOf(await askUdp(question("new.reef.internal"), server.address)), []);
  assert(names.set("new", "fd00::1", "10.42.0.10"));
  assertEquals(dataOf(await askUdp(question("new.reef.internal"), server.address)), ["10.42.0.10"]);
  assertEquals(rcodeOf(await askUdp(question("example.com"), server.address)), 5);
  assertEquals(server.counters, {
    answered: 2,
    noName: 1,
    refused: 1,
    malformed: 0,
    ignored: 1,
    dropped: 0,
    connectionsRefused: 0,
  });
});

Deno.test("queries by TCP are answered in order, however they are cut", async () => {
  await using lab = await startLab();
  const conn = await Deno.connect(lab.server.address);
  const bytes = framed(
    question("web.reef.internal", 1),
    question("example.com", 2),
    question("web.reef.internal", 3),
  );
  conn.setNoDelay(true);
  for (let at = 0; at < bytes.length; at += 7) await conn.write(bytes.subarray(at, at + 7));
  await conn.closeWrite();
  const replies = await readAll(conn);
  assertEquals(replies.map((reply) => [reply.id, rcodeOf(reply)]), [[1, 0], [2, 5], [3, 0]]);
});

Deno.test("who is silent, says what is no query, or too much, is hung up on", async () => {
  await using lab = await startLab({ idleMs: 50 });
  for (
    const bytes of [
      new Uint8Array(0),
      Uint8Array.of(0),
      framed(question("web.reef.internal")).subarray(0, 10),
      Uint8Array.of(0, 3, 1, 2, 3),
      Uint8Array.of((QUERY_BYTES_MAX + 1) >> 8, (QUERY_BYTES_MAX + 1) & 255),
    ]
  ) {
    const conn = await Deno.connect(lab.server.address);
    if (bytes.length > 0) await conn.write(bytes);
    const buffer = new Uint8Array(16);
    // It may be a reset.
    assertEquals(await conn.read(buffer).catch(() => null), null);
    conn.close();
  }
});

Deno.test("connections are limited, and the server ends with clients at it", async () => {
  await using lab = await startLab();
  const conns = await Promise.all(
    Array.from({ length: DNS_CONNECTIONS_MAX }, () => Deno.connect(lab.server.address)),
  );
  const buffer = new Uint8Array(512);
  for (const conn of conns) {
    await conn.write(framed(question("web.reef.internal")));
    assert((await conn.read(buffer) ?? 0) > 0);
  }
  const late = await Deno.connect(lab.server.address);
  assertEquals(await late.read(buffer).catch(() => null), null);
  late.close();
  assertEquals(lab.server.counters.connectionsRefused, 1);
  await lab.server.stop();
  for (const conn of conns) conn.close();
});

Deno.test("a port that is taken, for UDP too, is an error with the address", async () => {
  const names = new NameTable("reef");
  const taken = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const listen = { hostname: "127.0.0.1", port };
  await rejects(startDns({ listen, mesh: "reef", names, log: () => {} }), {
    code: "portInUse",
    message: new RegExp(`127\\.0\\.0\\.1:${port}`),
  });
  // Nothing of it goes on listening.
  Deno.listen(listen).close();
  taken.close();
});
