import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { formatProxyAnswer, HEAD_BYTES_MAX, parseProxyRequest } from "./http_head.ts";
import type { ProxyRequest } from "./http_head.ts";

const FORWARD = "POST http://web.reef.internal:8080/a?b#c HTTP/1.1\r\nHost: other\r\n" +
  "Proxy-Authorization: Basic c2VjcmV0\r\nConnection: x-mine, Keep-Alive, Content-Length\r\nX-Mine: 1\r\n" +
  "Keep-Alive: 5\r\nAccept:  */* \r\nContent-Length: 3\r\n\r\n";

Deno.test("parseProxyRequest waits for the empty line", () => {
  for (let n = 0; n < FORWARD.length; n++) assertEquals(parse(FORWARD.slice(0, n)), undefined);
  ok(parse(FORWARD) !== undefined);
});

Deno.test("parseProxyRequest reads CONNECT", () => {
  const cases: [string, string, number][] = [
    ["web:80", "web", 80],
    ["[FD00:0::1]:443", "fd00::1", 443],
    ["10.42.0.1:65535", "10.42.0.1", 65535],
  ];
  for (const [target, host, port] of cases) {
    const head = `CONNECT ${target} HTTP/1.1\r\nHost: x\r\n\r\n`;
    assertEquals(parse(`${head}rest`), { kind: "connect", host, port, headBytes: head.length });
  }
});

Deno.test("parseProxyRequest rewrites an absolute-form request and drops what is hop by hop", () => {
  assertEquals(parse(`${FORWARD}abc`), {
    kind: "forward",
    host: "web.reef.internal",
    port: 8080,
    headBytes: FORWARD.length,
    head:
      "POST /a?b HTTP/1.1\r\nHost: web.reef.internal:8080\r\nAccept: */*\r\nContent-Length: 3\r\n" +
      "Via: 1.1 moray\r\nConnection: close\r\n\r\n",
    bodyBytes: 3,
  });
});

Deno.test("parseProxyRequest keeps the version, defaults to port 80 and to the root", () => {
  const cases: [string, string, string][] = [
    ["GET http://a HTTP/1.0", "GET / HTTP/1.0", "a"],
    ["GET HTTP://a?q HTTP/1.1", "GET /?q HTTP/1.1", "a"],
    ["HEAD http://[fd00::1]/x HTTP/1.1", "HEAD /x HTTP/1.1", "fd00::1"],
  ];
  for (const [line, rewritten, host] of cases) {
    const request = parse(`${line}\r\n\r\n`);
    ok(request?.kind === "forward");
    assertEquals(
      [request.head.split("\r\n")[0], request.host, request.port, request.bodyBytes],
      [rewritten, host, 80, 0],
    );
  }
});

Deno.test("parseProxyRequest refuses what is wrong, with a status", () => {
  const get = (headers: string): string => `GET http://a/ HTTP/1.1\r\n${headers}\r\n`;
  const cases: [string, number][] = [
    ["\r\n\r\n", 400],
    ["GET /\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\n\r\n", 400],
    ["GET http://a/ HTTP/2\r\n\r\n", 505],
    ["GET https://a/ HTTP/1.1\r\n\r\n", 400],
    ["GET http:/// HTTP/1.1\r\n\r\n", 400],
    ["GET http://user:pw@a/ HTTP/1.1\r\n\r\n", 400],
    ["GET http://a:0/ HTTP/1.1\r\n\r\n", 400],
    ["GET http://a:65536/ HTTP/1.1\r\n\r\n", 400],
    ["GET http://a/\nX:y HTTP/1.1\r\n\r\n", 400],
    ["GET http://a/\rX:y HTTP/1.1\r\n\r\n", 400],
    ["G@T http://a/ HTTP/1.1\r\n\r\n", 400],
    ["CONNECT a HTTP/1.1\r\n\r\n", 400],
    ["CONNECT http://a/ HTTP/1.1\r\n\r\n", 400],
    ["OPTIONS * HTTP/1.1\r\n\r\n", 405],
    ["TRACE http://a/ HTTP/1.1\r\n\r\n", 405],
    [get(" folded: 1\r\n"), 400],
    [get("no colon\r\n"), 400],
    [get("a : b\r\n"), 400],
    [get("a: b\nc: d\r\n"), 400],
    [get("a: b\0\r\n"), 400],
    [get("Content-Length: 1\r\nContent-Length: 1\r\n"), 400],
    [get("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400],
    [get("Content-Length: +1\r\n"), 400],
    [get("Transfer-Encoding: gzip, chunked\r\n"), 400],
  ];
  for (const [text, status] of cases) {
    const request = parse(text);
    assertEquals([request?.kind, request?.kind === "bad" && request.status], ["bad", status], text);
  }
});

Deno.test("parseProxyRequest leaves a chunked body to tell its own length", () => {
  const request = parse("PUT http://a/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n");
  ok(request?.kind === "forward" && request.head.includes("\r\nTransfer-Encoding: Chunked\r\n"));
  assertEquals(request.bodyBytes, undefined);
});

Deno.test("parseProxyRequest is bounded", () => {
  const start = "GET http://a/ HTTP/1.1\r\nx: ";
  const fill = "y".repeat(HEAD_BYTES_MAX - start.length - 4);
  assertEquals(parse(`${start}${fill}\r\n\r\n`)?.kind, "forward");
  assertEquals(parse(`${start}${fill}y\r\n`), undefined);
  const late = parse(`${start}${fill}y\r\n\r\n`);
  assertEquals([late?.kind, late?.kind === "bad" && late.status], ["bad", 431]);
});

Deno.test("formatProxyAnswer says one line", () => {
  assertEquals(
    formatProxyAnswer(502, "Connection refused"),
    "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 19\r\n" +
      "Connection: close\r\n\r\nConnection refused\n",
  );
  ok(formatProxyAnswer(405, "no").includes("\r\nAllow: CONNECT, GET"));
});

Deno.test("10,000 mutated heads are parsed or refused, never thrown over", () => {
  let state = 3;
  const random = (below: number): number => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
    return (state >>> 8) % below;
  };
  const bases = [FORWARD, "CONNECT [fd00::1]:443 HTTP/1.1\r\nA: b\r\n\r\n"];
  const kinds = new Map<string, number>();
  for (let i = 0; i < 10_000; i++) {
    const bytes = [...new TextEncoder().encode(bases[i % 2] ?? "")];
    for (let n = random(4); n > 0; n--) {
      const insert = random(2) === 0 ? [random(256)] : [[13, 10], [58], [32], [91], []][random(5)];
      bytes.splice(random(bytes.length), random(3), ...insert ?? []);
    }
    const request = parseProxyRequest(Uint8Array.from(bytes));
    const kind = request?.kind ?? "none";
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    if (request?.kind === "forward") {
      ok(/^[^\r\n]+ \/[^\r\n ]* HTTP\/1\.[01]\r\n(?:[^\r\n]+\r\n)+\r\n$/.test(request.head));
    }
    if (request?.kind === "bad") ok(/^[^\r\n]+$/.test(request.reason));
  }
  assertEquals([...kinds.keys()].sort(), ["bad", "connect", "forward", "none"]);
});

function parse(text: string): ProxyRequest | undefined {
  return parseProxyRequest(Uint8Array.from(text, (c) => c.charCodeAt(0)));
}
