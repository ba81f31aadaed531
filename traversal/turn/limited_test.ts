import { deepStrictEqual as assertEquals } from "node:assert/strict";
import fc from "fast-check";
import { METHOD_REFRESH } from "./attributes.ts";
import { decodeStun, encodeStun, type StunAttribute, type StunMessage } from "../stun/codec.ts";
import { LIMITED, limitedAttribute, limitedOf } from "./limited.ts";

function messageWith(...attributes: readonly StunAttribute[]): StunMessage {
  const bytes = encodeStun({
    class: "indication",
    method: METHOD_REFRESH,
    transactionId: new Uint8Array(12),
    attributes,
  });
  const message = decodeStun(bytes);
  if (message === undefined) throw new Error("not STUN");
  return message;
}

Deno.test("LIMITED gives back whose limit it was and how much was dropped", () => {
  for (const scope of ["session", "key", "mesh", "total"] as const) {
    assertEquals(limitedOf(messageWith(limitedAttribute({ scope, packets: 513 }))), {
      scope,
      packets: 513,
    });
  }
  const most = limitedAttribute({ scope: "mesh", packets: 2 ** 40 });
  assertEquals([...most.value], [3, 0, 0, 0, 255, 255, 255, 255]);
});

Deno.test("LIMITED of another length or an unknown scope says nothing, and nothing is thrown", () => {
  assertEquals(limitedOf(messageWith()), undefined);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 24 }), (value) => {
    const known = value.length === 8 && (value[0] ?? 0) >= 1 && (value[0] ?? 0) <= 4;
    assertEquals(limitedOf(messageWith({ type: LIMITED, value })) !== undefined, known);
  }));
});
