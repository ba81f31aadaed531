import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { equals } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import {
  CHANGE_REQUEST,
  decodeStun,
  findAttribute,
  FINGERPRINT,
  MESSAGE_INTEGRITY,
  USERNAME,
} from "./codec.ts";
import { signStun, verifyStun } from "./integrity.ts";
import { RFC_5769, RFC_5769_PASSWORD } from "./testing/rfc5769.ts";

Deno.test("signStun ends a message with MESSAGE-INTEGRITY and FINGERPRINT, which verifyStun accepts", () => {
  const request = decodeStun(RFC_5769.request);
  assert(request !== undefined);
  for (const fingerprint of [true, false]) {
    const bytes = signStun(request, RFC_5769_PASSWORD, { fingerprint });
    const again = decodeStun(bytes);
    assert(again !== undefined);
    const types = again.attributes.map(({ type }) => type);
    assertEquals(
      types.slice(4),
      fingerprint ? [MESSAGE_INTEGRITY, FINGERPRINT] : [MESSAGE_INTEGRITY],
    );
    assertEquals(verifyStun(bytes, again, RFC_5769_PASSWORD)?.attributes.length, 4);
  }
});

Deno.test("verifyStun accepts the RFC 5769 messages by their password and no other", () => {
  for (const bytes of [RFC_5769.request, RFC_5769.responseIpv4, RFC_5769.responseIpv6]) {
    const message = decodeStun(bytes);
    assert(message !== undefined);
    assert(verifyStun(bytes, message, RFC_5769_PASSWORD) !== undefined);
    assertEquals(verifyStun(bytes, message, `${RFC_5769_PASSWORD}x`), undefined);
    assertEquals(verifyStun(bytes, message, ""), undefined);
  }
});

Deno.test("verifyStun works on a message in the middle of a larger buffer", () => {
  const larger = new Uint8Array(7 + RFC_5769.request.length);
  larger.set(RFC_5769.request, 7);
  const bytes = larger.subarray(7);
  const message = decodeStun(bytes);
  assert(message !== undefined && verifyStun(bytes, message, RFC_5769_PASSWORD) !== undefined);
});

Deno.test("verifyStun leaves out what stands behind MESSAGE-INTEGRITY", () => {
  const message = {
    class: "request",
    method: 1,
    transactionId: new Uint8Array(12),
    attributes: [{ type: USERNAME, value: new TextEncoder().encode("user") }],
  } as const;
  const signed = signStun(message, "secret");
  const longer = new Uint8Array(signed.length + 8);
  longer.set(signed);
  const view = new DataView(longer.buffer);
  view.setUint16(2, longer.length - 20);
  view.setUint16(signed.length, CHANGE_REQUEST);
  view.setUint16(signed.length + 2, 4);
  const decoded = decodeStun(longer);
  assert(decoded !== undefined && findAttribute(decoded, CHANGE_REQUEST) !== undefined);
  assertEquals(verifyStun(longer, decoded, "secret")?.attributes.map(({ type }) => type), [
    USERNAME,
  ]);
});

Deno.test("verifyStun refuses whatever was changed before MESSAGE-INTEGRITY, and never throws", () => {
  const rng = seeded(5769);
  const signed = signStun({
    class: "request",
    method: 1,
    transactionId: new Uint8Array(12),
    attributes: [{ type: USERNAME, value: new TextEncoder().encode("somebody") }],
  }, "secret");
  let decoded = 0;
  for (let i = 0; i < fuzzRuns(); i++) {
    const bytes = mutate(rng, signed);
    const message = decodeStun(bytes);
    if (message === undefined) continue;
    decoded++;
    // The length in the header may count what stands behind; everything else up to the HMAC's end is covered.
    const covered = bytes.slice(0, signed.length);
    covered.set(signed.subarray(2, 4), 2);
    const untouched = equals(covered, signed);
    assertEquals(verifyStun(bytes, message, "secret") !== undefined, untouched);
  }
  assert(decoded > 0);
});
