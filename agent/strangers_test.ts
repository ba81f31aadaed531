import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { MeshOutbox } from "./mesh_outbox.ts";
import { Strangers } from "./strangers.ts";

Deno.test("Strangers: each key is looked up once at a time, and not too many", () => {
  const outbox = new MeshOutbox();
  const strangers = new Strangers(outbox);
  const asked = (): number => {
    let count = 0;
    while (outbox.pollRequest() !== undefined) count++;
    return count;
  };
  strangers.lookUp("a");
  strangers.lookUp("a");
  assertEquals(asked(), 1);
  strangers.answered("a");
  for (let at = 0; at < 100; at++) strangers.lookUp(`key ${at}`);
  assertEquals([asked(), strangers.ignored], [64, 36]);
});

Deno.test("Strangers: the log names a key once, and not everybody that knocks", () => {
  const outbox = new MeshOutbox();
  const strangers = new Strangers(outbox);
  const levels = (): string[] => {
    const said: string[] = [];
    for (let event; (event = outbox.pollEvent()) !== undefined;) {
      if (event.kind === "log") said.push(event.level);
    }
    return said;
  };
  strangers.unknown("a");
  strangers.unknown("a");
  assertEquals(levels(), ["info", "debug"]);
  let named = 0;
  for (let at = 0; at < 300; at++) {
    strangers.unknown(`key ${at}`);
    named += levels().filter((level) => level === "info").length;
  }
  assertEquals(named, 255);
});
