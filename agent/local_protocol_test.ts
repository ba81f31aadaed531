import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { MorayError } from "../core/mod.ts";
import { encodeLine, LineReader, parseAnswer, parseRequest } from "./local_protocol.ts";

Deno.test("LineReader cuts lines wherever the chunks end", () => {
  const text = 'a\n\r\n{"b":"ä"}\r\nc';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const reader = new LineReader(20);
    const lines: string[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      lines.push(...reader.handleInput(bytes.subarray(at, at + size)) ?? ["too long"]);
    }
    assertEquals(lines, ["a", '{"b":"ä"}']);
  }
});

Deno.test("LineReader is bounded, for whole lines and for parts", () => {
  const bytes = new TextEncoder().encode("12345\n");
  assertEquals(new LineReader(5).handleInput(bytes), ["12345"]);
  assertEquals(new LineReader(4).handleInput(bytes), undefined);
  const parts = new LineReader(4);
  assertEquals(parts.handleInput(bytes.subarray(0, 4)), []);
  assertEquals(parts.handleInput(bytes.subarray(4, 5)), undefined);
});

Deno.test("parseRequest takes what is a request and says what is wrong with the rest", () => {
  const ping = { id: 2, method: "ping", params: { peer: "web", sequence: 1, timeoutMs: 1000 } };
  assertEquals(parseRequest('{"id":1,"method":"status"}'), { id: 1, method: "status" });
  assertEquals(parseRequest(JSON.stringify(ping)), { id: 2, method: "ping", ...ping.params });
  const none = "A request is a JSON object in one line";
  const bad: [string, number | null, string][] = [
    ["", null, none],
    ["[]", null, none],
    ["null", null, none],
    ["{", null, none],
    ["{}", null, "A request needs an id: a number from 0"],
    ['{"id":-1,"method":"status"}', null, "A request needs an id: a number from 0"],
    ['{"id":1e99,"method":"status"}', null, "A request needs an id: a number from 0"],
    [
      '{"id":1,"method":"stop"}',
      1,
      "The methods are status, nextStatus, netcheck, ping, invite, cancelInvite, revoke and members",
    ],
    ['{"id":1,"method":"ping"}', 1, "ping needs a timeoutMs: a number up to 60000"],
    ['{"id":1,"method":"ping","params":{"timeoutMs":1}}', 1, "ping needs a peer"],
    [
      '{"id":1,"method":"ping","params":{"peer":"a","timeoutMs":1}}',
      1,
      "ping needs a sequence: a number from 0",
    ],
    [
      '{"id":1,"method":"nextStatus","params":{"timeoutMs":0}}',
      1,
      "nextStatus needs a timeoutMs: a number up to 60000",
    ],
    [
      '{"id":1,"method":"ping","params":{"peer":"a","sequence":0,"timeoutMs":60001}}',
      1,
      "ping needs a timeoutMs: a number up to 60000",
    ],
  ];
  for (const [line, id, message] of bad) {
    assertEquals(parseRequest(line), { id, error: { code: "usage", message } }, line);
  }
});

Deno.test("parseAnswer gives the result or the error to throw", () => {
  assertEquals(parseAnswer('{"id":3,"result":{"a":1}}', 3), { result: { a: 1 } });
  const cases: [string, string, string][] = [
    ['{"id":3,"error":{"code":"unreachable","message":"a\\nb"}}', "unreachable", "a b"],
    ['{"id":null,"error":{"code":"limit","message":"x"}}', "limit", "x"],
    ['{"id":3,"error":{"code":"toString","message":"x"}}', "internal", "x"],
    ['{"id":3,"error":7}', "internal", "The node says no"],
    ['{"id":4,"result":{}}', "internal", "The node's answer makes no sense"],
    ["7", "internal", "The node's answer makes no sense"],
  ];
  for (const [line, code, message] of cases) {
    const outcome = parseAnswer(line, 3);
    ok("error" in outcome && outcome.error instanceof MorayError);
    assertEquals([outcome.error.code, outcome.error.message], [code, message], line);
  }
});

Deno.test("10,000 mutated lines are requests or refusals, never exceptions", () => {
  let state = 5;
  const random = (below: number): number => {
    state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
    return (state >>> 8) % below;
  };
  const base = [...encodeLine({
    id: 2,
    method: "ping",
    params: { peer: "web", sequence: 1, timeoutMs: 1000 },
  })];
  let performed = 0;
  for (let i = 0; i < 10_000; i++) {
    const bytes = [...base];
    for (let n = random(3); n > 0; n--) bytes.splice(random(bytes.length), random(2), random(256));
    for (const line of new LineReader(200).handleInput(Uint8Array.from(bytes)) ?? []) {
      const request = parseRequest(line);
      if (!("error" in request)) performed++;
    }
  }
  ok(performed > 1000 && performed < 9500, `${performed} performed`);
});
