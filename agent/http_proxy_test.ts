import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { formatSocketAddress } from "../core/mod.ts";
import { startHttpProxy } from "./http_proxy.ts";
import { writeAll } from "./splice.ts";
import { curl, ProxyLab, skip } from "./testing/proxy_lab.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0 };

Deno.test("curl --proxy fetches by absolute form and by CONNECT, and nothing outside the mesh", async (t) => {
  await using lab = new ProxyLab();
  const proxy = startHttpProxy({ listen: LISTEN, network: lab.network, log: lab.log });
  const args = ["--proxy", `http://${formatSocketAddress(proxy.address)}`];
  const hello = await curl(...args, "http://web.reef.internal/a?b=c");
  if (hello === undefined) {
    await proxy.stop();
    return skip(t.name, "no curl on this machine");
  }
  assertEquals(hello, { code: 0, stdout: "hello\n" });
  assertEquals((await curl(...args, "-p", "http://web.reef.internal/t"))?.stdout, "hello\n");
  const big = await curl(...args, "http://web.reef.internal/bytes/8388608");
  assertEquals([big?.code, big?.stdout.length], [0, 8_388_608]);
  const body = "x".repeat(300_000);
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, body);
  const post = ["--data-binary", `@${path}`, "http://web.reef.internal/echo"];
  assertEquals((await curl(...args, ...post))?.stdout, body);
  const chunked = await curl(...args, "-H", "Transfer-Encoding: chunked", ...post);
  assertEquals(chunked?.stdout, body);
  const http10 = await curl(...args, "-0", "http://web.reef.internal/bytes/9");
  assertEquals(http10?.stdout, "xxxxxxxxx");
  await Deno.remove(path);
  const outside = await curl(...args, "-w", "%{http_code}", "http://example.com/");
  assertEquals(outside?.stdout, "No node is called example.com\n502");
  const tunnel = await curl(...args, "-p", "-w", "%{http_connect}", "http://example.com:80/");
  assertEquals([tunnel?.code, tunnel?.stdout], [56, "502"]);
  assertEquals(lab.requests[0], "GET /a?b=c web.reef.internal");
  await proxy.stop();
});

Deno.test("startHttpProxy answers errors with one line of text", async () => {
  await using lab = new ProxyLab();
  const { log, network } = lab;
  const proxy = startHttpProxy({ listen: LISTEN, network, log, dialTimeoutMs: 30 });
  const cases: [string, number, string][] = [
    [
      "GET / HTTP/1.1\r\n\r\n",
      400,
      "this is a proxy: ask for http://host/path, or CONNECT host:port",
    ],
    ["TRACE http://web/ HTTP/1.1\r\n\r\n", 405, "this proxy does not answer itself"],
    ["GET http://web.reef.internal:81/ HTTP/1.1\r\n\r\n", 502, "Connection refused"],
    ["CONNECT nobody:80 HTTP/1.1\r\n\r\n", 502, "No node is called nobody"],
    ["CONNECT silent:80 HTTP/1.1\r\n\r\n", 504, "silent port 80: no answer within 0.03 s"],
    ["\x16\x03\x01\r\n\r\n", 400, "not an HTTP request"],
  ];
  for (const [request, status, text] of cases) {
    const answer = await exchange(proxy.address, request);
    ok(answer.startsWith(`HTTP/1.1 ${status} `), answer);
    assertEquals(answer.split("\r\n\r\n")[1], `${text}\n`);
  }
  // The whole answer arrives although the client is still sending.
  const flood = await exchange(proxy.address, `GET / HTTP/1.1\r\n\r\n${"x".repeat(200_000)}`);
  ok(flood.startsWith("HTTP/1.1 400 "));
  await proxy.stop();
});

Deno.test("a second request on a connection reaches no server", async () => {
  await using lab = new ProxyLab();
  const proxy = startHttpProxy({ listen: LISTEN, network: lab.network, log: lab.log });
  const first = "POST http://web.reef.internal/1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
  const second = "GET http://other/2 HTTP/1.1\r\nHost: other\r\n\r\n";
  const answer = await exchange(proxy.address, first + second);
  ok(answer.startsWith("HTTP/1.1 200 OK"));
  assertEquals(answer.match(/HTTP\/1.1/g)?.length, 1);
  assertEquals(lab.requests, ["POST /1 web.reef.internal"]);
  await proxy.stop();
});

/** Sends a request and returns everything up to the end of the connection. */
async function exchange(address: Deno.ConnectOptions, request: string): Promise<string> {
  using conn = await Deno.connect(address);
  const sent = writeAll(conn, new TextEncoder().encode(request)).catch(() => {});
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(65_536);
  let text = "";
  for (let n; (n = await conn.read(buffer)) !== null;) {
    text += decoder.decode(buffer.subarray(0, n));
  }
  await sent;
  return text;
}
