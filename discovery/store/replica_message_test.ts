import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { agent, key } from "../testing/nodes.ts";
import { decodeMessage, encodeMessage, type ReplicaMessage } from "./replica_message.ts";

Deno.test("messages of replicas come back as they went, changes without their records", () => {
  const change = { meshId: "reef", publicKey: key(2), role: "agent", generation: 7 } as const;
  const record = { ...agent(2), registeredAt: 1, lastSeenAt: 2, expiresAt: 3, generation: 7 };
  const messages: ReplicaMessage[] = [
    { kind: "upserted", change },
    { kind: "removed", change },
    { kind: "said", text: 'a "text"\n' },
    { kind: "pulse", replica: "r1", count: 3 },
  ];
  for (const message of messages) assertEquals(decodeMessage(encodeMessage(message)), message);
  assertEquals(decodeMessage(encodeMessage({ kind: "upserted", change: { ...change, record } })), {
    kind: "upserted",
    change,
  });
});

Deno.test("decodeMessage takes nothing for a message that is none", () => {
  const texts = ["", "{", "null", "7", "[]", "{}", '{"k":"new"}', '{"k":"said"}', '{"k":"pulse"}'];
  const change = '{"k":"removed","m":"reef","p":"x","r":"agent","g":1}';
  for (const text of [...texts, change.replace("agent", "king"), change.replace("1", '"1"')]) {
    assertEquals(decodeMessage(text), undefined, text);
  }
});
