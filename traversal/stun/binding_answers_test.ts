import { deepStrictEqual as assertEquals } from "node:assert/strict";
import fc from "fast-check";
import type { SocketAddress } from "../../core/mod.ts";
import { BindingAnswers } from "./binding_answers.ts";
import { answerBinding } from "./binding_server.ts";
import { encodeStun, METHOD_BINDING, SOFTWARE, type StunAttribute, USERNAME } from "./codec.ts";

const CHANGE_REQUEST = 0x0003;

const sources: fc.Arbitrary<SocketAddress> = fc.record({
  hostname: fc.oneof(
    fc.constantFrom("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "::", "no address", "1.2.3"),
    fc.ipV4(),
    fc.ipV6(),
  ),
  port: fc.oneof(fc.integer({ min: 0, max: 0x1ffff }), fc.constantFrom(0, 1, 65535, 65536)),
});

const attributes: fc.Arbitrary<StunAttribute> = fc.record({
  type: fc.oneof(
    fc.constantFrom(USERNAME, CHANGE_REQUEST, SOFTWARE, 0x8000, 0x7fff, 0xffff),
    fc.integer({ min: 0, max: 0xffff }),
  ),
  value: fc.uint8Array({ maxLength: 20 }),
});

const requests = fc.record({
  transactionId: fc.uint8Array({ minLength: 12, maxLength: 12 }),
  attributes: fc.array(attributes, { maxLength: 3 }),
  fingerprint: fc.boolean(),
}).map(({ transactionId, attributes, fingerprint }) =>
  encodeStun({ class: "request", method: METHOD_BINDING, transactionId, attributes }, {
    fingerprint,
  })
);

Deno.test("BindingAnswers gives the bytes of answerBinding for every request and source", () => {
  const answers = new BindingAnswers();
  fc.assert(
    fc.property(sources, requests, (source, payload) => {
      const expected = answerBinding({ source, payload })?.payload;
      assertEquals(answers.answer(source, payload)?.slice(), expected);
    }),
    { numRuns: 3_000 },
  );
});

Deno.test("BindingAnswers is as silent as answerBinding about anything that is no Binding request", () => {
  const answers = new BindingAnswers();
  const source = { hostname: "192.0.2.1", port: 4000 };
  fc.assert(
    fc.property(
      requests,
      fc.nat(),
      fc.integer({ min: 0, max: 255 }),
      fc.nat({ max: 4 }),
      (request, place, byte, cut) => {
        const payload = request.slice(0, request.length - cut);
        payload[place % payload.length] = byte;
        const expected = answerBinding({ source, payload })?.payload;
        assertEquals(answers.answer(source, payload)?.slice(), expected);
      },
    ),
    { numRuns: 3_000 },
  );
  assertEquals(answers.answer(source, new Uint8Array()), undefined);
});

Deno.test("BindingAnswers writes every answer into the same buffer, and into no other", () => {
  const answers = new BindingAnswers();
  const request = encodeStun({
    class: "request",
    method: METHOD_BINDING,
    transactionId: new Uint8Array(12).fill(7),
    attributes: [],
  });
  const copy = request.slice();
  const first = answers.answer({ hostname: "192.0.2.1", port: 4000 }, request);
  const second = answers.answer({ hostname: "2001:db8::1", port: 4000 }, request);
  assertEquals(first?.buffer, second?.buffer);
  assertEquals([first?.length, second?.length], [40, 52]);
  assertEquals(request, copy);
});
