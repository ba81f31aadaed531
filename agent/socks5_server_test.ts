import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import { formatSocketAddress, MorayError } from "../core/mod.ts";
import { startSocks5 } from "./socks5_server.ts";
import type { LocalListener } from "./stream_server.ts";
import { writeAll } from "./splice.ts";
import { curl, ProxyLab, SILENT, skip, until, WEB } from "./testing/proxy_lab.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0 };

Deno.test("curl --socks5-hostname reaches a name and a literal of the mesh, and nothing else", async (t) => {
  await using lab = new ProxyLab();
  const socks = startSocks5({ listen: LISTEN, network: lab.network, log: lab.log });
  const proxy = ["--socks5-hostname", formatSocketAddress(socks.address)];
  const hello = await curl(...proxy, "http://web.reef.internal/");
  if (hello === undefined) {
    await socks.stop();
    return skip(t.name, "no curl on this machine");
  }
  assertEquals(hello, { code: 0, stdout: "hello\n" });
  assertEquals((await curl(...proxy, `http://[${WEB}]/`))?.stdout, "hello\n");
  const big = await curl(...proxy, "http://web.reef.internal/bytes/8388608");
  assertEquals([big?.code, big?.stdout.length], [0, 8_388_608]);
  const posted = await curl(...proxy, "--data", "abc", "http://web.reef.internal/echo");
  assertEquals(posted?.stdout, "abc");
  // 97 is curl's CURLE_PROXY: the proxy says no.
  for (const url of ["http://example.com/", "http://127.0.0.1/", "http://web.reef.internal:81/"]) {
    assertEquals((await curl(...proxy, url))?.code, 97, url);
  }
  await until(() => socks.counters.active === 0);
  const { accepted, failed, active, bytesIn } = socks.counters;
  assertEquals([accepted, failed, active], [7, 3, 0]);
  ok(bytesIn > 8_388_608);
  assertEquals(lab.lines, [
    ...Array(4).fill("debug socks5: connection ended"),
    "info socks5: no connection: No node is called example.com",
    "info socks5: no connection: No peer has the address 127.0.0.1",
    "info socks5: no connection: Connection refused",
  ]);
  await socks.stop();
});

Deno.test("startSocks5 maps each failure to its reply", async () => {
  await using lab = new ProxyLab();
  const log = lab.log;
  const socks = startSocks5({ listen: LISTEN, network: lab.network, log, dialTimeoutMs: 30 });
  assertEquals(await replyTo(socks, "nobody", 80), 4);
  assertEquals(await replyTo(socks, "web.reef.internal", 81), 5);
  assertEquals(await replyTo(socks, SILENT, 80), 6);
  for (const [code, reply] of [["limit", 1], ["closed", 1], ["unreachable", 4]] as const) {
    lab.network.failure = new MorayError(code, "x");
    assertEquals(await replyTo(socks, WEB, 80), reply);
  }
  lab.network.failure = undefined;
  assertEquals(await replyTo(socks, WEB, 80), 0);
  await socks.stop();
});

Deno.test("startSocks5 passes on early data and tells the tunnel's address", async () => {
  await using lab = new ProxyLab();
  const socks = startSocks5({ listen: LISTEN, network: lab.network, log: lab.log });
  const conn = await Deno.connect(socks.address);
  const get = "GET / HTTP/1.1\r\nHost: early\r\nConnection: close\r\n\r\n";
  await writeAll(
    conn,
    Uint8Array.of(5, 1, 0, ...request(WEB, 80), ...new TextEncoder().encode(get)),
  );
  const answer = await readAll(conn);
  // 05 00, then 05 00 00 04 and fd00::1 with the tunnel's port.
  assertEquals([...answer.subarray(0, 8)], [5, 0, 5, 0, 0, 4, 0xfd, 0]);
  ok(new TextDecoder().decode(answer.subarray(24)).endsWith("\r\n\r\nhello\n"));
  assertEquals(lab.requests, ["GET / early"]);
  conn.close();
  await socks.stop();
});

Deno.test("startSocks5 drops a client that says nothing, nonsense, or leaves", async () => {
  await using lab = new ProxyLab();
  const log = lab.log;
  const socks = startSocks5({ listen: LISTEN, network: lab.network, log, handshakeTimeoutMs: 150 });
  using silent = await Deno.connect(socks.address);
  assertEquals(await silent.read(new Uint8Array(9)), null);
  using slow = await Deno.connect(socks.address);
  await writeAll(slow, Uint8Array.of(5, 1));
  assertEquals(await slow.read(new Uint8Array(9)), null);
  const nonsense = await Deno.connect(socks.address);
  await writeAll(nonsense, new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  assertEquals(await nonsense.read(new Uint8Array(9)), null);
  nonsense.close();
  const leaving = await Deno.connect(socks.address);
  leaving.close();
  await until(() => lab.lines.length === 4);
  assertEquals(lab.lines.slice(0, 3), [
    "info socks5: no request: handshake: no answer within 0.15 s",
    "info socks5: no request: handshake: no answer within 0.15 s",
    "info socks5: refused: not SOCKS5",
  ]);
  assertEquals(lab.lines[3], "info socks5: no request: The client left during the handshake");
  await socks.stop();
  assertEquals([socks.counters.accepted, socks.counters.failed, socks.counters.active], [4, 4, 0]);
});

Deno.test("startSocks5 closes what is over its limit, counts it, and takes others later", async () => {
  await using lab = new ProxyLab();
  const log = lab.log;
  const socks = startSocks5({ listen: LISTEN, network: lab.network, log, connectionsMax: 2 });
  const first = await Deno.connect(socks.address);
  const second = await Deno.connect(socks.address);
  for (const conn of [first, second]) {
    await writeAll(conn, Uint8Array.of(5, 1, 0));
    assertEquals(await conn.read(new Uint8Array(9)), 2);
  }
  using third = await Deno.connect(socks.address);
  assertEquals(await third.read(new Uint8Array(9)), null);
  assertEquals([socks.counters.refused, socks.counters.active], [1, 2]);
  first.close();
  await until(() => socks.counters.active === 1);
  assertEquals(await replyTo(socks, WEB, 80), 0);
  second.close();
  await socks.stop();
});

Deno.test("stop ends live streams after the grace and frees the port", async () => {
  await using lab = new ProxyLab();
  const socks = startSocks5({ listen: LISTEN, network: lab.network, log: lab.log });
  using listener = lab.web.listen(7);
  using conn = await Deno.connect(socks.address);
  await writeAll(conn, Uint8Array.of(5, 1, 0, ...request(WEB, 7)));
  using far = await listener.accept();
  // 05 00, and a reply with an IPv6 address.
  for (let n = 0; n < 24;) n += await conn.read(new Uint8Array(24 - n)) ?? NaN;
  const startedAt = performance.now();
  const stopping = socks.stop();
  // The stream is alive within the grace.
  await writeAll(conn, Uint8Array.of(1));
  assertEquals(await far.read(new Uint8Array(9)), 1);
  await stopping;
  const tookMs = performance.now() - startedAt;
  ok(tookMs >= 990 && tookMs < 1900, `${tookMs} ms`);
  assertEquals(await conn.read(new Uint8Array(9)), null);
  assertEquals(
    await far.read(new Uint8Array(9)).catch((error: Error) => error.message),
    "Connection reset",
  );
  const again = startSocks5({ listen: socks.address, network: lab.network, log: lab.log });
  await Promise.all([socks.stop(), again.stop()]);
});

Deno.test("startSocks5 names a busy port", async () => {
  await using lab = new ProxyLab();
  const socks = startSocks5({ listen: LISTEN, network: lab.network, log: lab.log });
  throws(() => startSocks5({ listen: socks.address, network: lab.network, log: lab.log }), {
    code: "portInUse",
    message: `Cannot listen on TCP 127.0.0.1:${socks.address.port}: address is in use`,
  });
  await socks.stop();
});

/** Asks for a host and returns the reply code. */
async function replyTo(
  socks: LocalListener,
  host: string,
  port: number,
): Promise<number | undefined> {
  const conn = await Deno.connect(socks.address);
  try {
    await writeAll(conn, Uint8Array.of(5, 1, 0));
    await conn.read(new Uint8Array(2));
    await writeAll(conn, Uint8Array.from(request(host, port)));
    const reply = new Uint8Array(64);
    ok((await conn.read(reply) ?? 0) >= 10);
    return reply[1];
  } finally {
    conn.close();
  }
}

function request(host: string, port: number): number[] {
  const name = new TextEncoder().encode(host);
  return [5, 1, 0, 3, name.length, ...name, port >> 8, port & 0xff];
}

async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  const parts: number[] = [];
  const buffer = new Uint8Array(4096);
  for (let n; (n = await conn.read(buffer)) !== null;) parts.push(...buffer.subarray(0, n));
  return Uint8Array.from(parts);
}
