import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { anything, assert as check, property, string } from "fast-check";
import { SAID_BYTES_MAX } from "../store/store.ts";
import { key } from "../testing/nodes.ts";
import { decodeMemberWord, encodeMemberWord, type MemberWord } from "./member_words.ts";

const NODE = { meshId: "reef", publicKey: key(2) };
const STATEMENT = btoa("s".repeat(300));

Deno.test("encodeMemberWord: what is said is heard", () => {
  const sessions = [{ relayId: "embedded", sessionId: "ab12" }];
  const words: MemberWord[] = [
    { kind: "expelled", ...NODE },
    { kind: "membership", ...NODE, forAll: true, statement: STATEMENT },
    { kind: "membership", ...NODE, forAll: false, statement: STATEMENT },
    { kind: "ended", sessions },
  ];
  for (const word of words) {
    assertEquals(encodeMemberWord(word).map(decodeMemberWord), [word]);
  }
});

Deno.test("encodeMemberWord keeps within what a replica may say", () => {
  const sessions = Array.from({ length: 50 }, (_, at) => ({
    relayId: "r".repeat(63),
    sessionId: `${at}`.padStart(128, "s"),
  }));
  const words = encodeMemberWord({ kind: "ended", sessions });
  for (const word of words) {
    assert(new TextEncoder().encode(word).length <= SAID_BYTES_MAX, `${word.length}`);
  }
  const heard = words.map(decodeMemberWord).flatMap((word) =>
    word?.kind === "ended" ? word.sessions : []
  );
  assertEquals(heard, sessions);
  const long = { ...NODE, forAll: true, statement: "A".repeat(SAID_BYTES_MAX) };
  assertEquals(encodeMemberWord({ kind: "membership", ...long }), []);
});

Deno.test("decodeMemberWord takes what others say, and nonsense, for nothing", () => {
  for (
    const text of [
      '{"punch":{"id":"1"}}',
      '{"expelled":{"meshId":"reef"}}',
      '{"expelled":',
      '{"membership":{"meshId":"reef","publicKey":"k","forAll":1,"statement":""}}',
      '{"membership":{"meshId":"reef","publicKey":"k","forAll":true,"statement":"%"}}',
      '{"ended":[["a"]]}',
      '{"ended":[["a",1]]}',
      '{"ended":{}}',
    ]
  ) assertEquals(decodeMemberWord(text), undefined, text);
  check(property(string(), (text) => {
    decodeMemberWord(text);
  }));
  check(property(anything(), (value) => {
    decodeMemberWord(`{"membership":${JSON.stringify(value)}}`);
    decodeMemberWord(`{"ended":${JSON.stringify(value)}}`);
  }));
});
