import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { concat } from "../../core/mod.ts";
import {
  decodeStun,
  encodeStun,
  findAttribute,
  METHOD_BINDING,
  NONCE,
  PASSWORD_ALGORITHM,
  PASSWORD_ALGORITHMS,
  type StunMessage,
  USERHASH,
} from "../stun/codec.ts";
import { signStun, verifyStun } from "../stun/integrity.ts";
import {
  LONG_TERM_SOURCE,
  RFC_5769_LONG_TERM,
  RFC_8489_LONG_TERM,
} from "../stun/testing/rfc5769.ts";
import {
  formatNonceFeatures,
  longTermKey,
  parseNonceFeatures,
  parseRestUsername,
  passwordAlgorithmAttribute,
  passwordAlgorithmOf,
  passwordAlgorithmsAttribute,
  passwordAlgorithmsOf,
  restCredentials,
  restPassword,
  userHash,
} from "./credentials.ts";

Deno.test("RFC 5769 2.4: the long-term key of MD5 signs the sample request", () => {
  const message = decoded(RFC_5769_LONG_TERM);
  const key = longTermKey("md5", LONG_TERM_SOURCE);
  const verified = verifyStun(RFC_5769_LONG_TERM, message, key);
  assertEquals(verified?.attributes.length, 3);
  const other = longTermKey("md5", { ...LONG_TERM_SOURCE, realm: "example.com" });
  assertEquals(verifyStun(RFC_5769_LONG_TERM, message, other), undefined);
  assertEquals(verifyStun(RFC_5769_LONG_TERM, message, key, { integrity: "sha256" }), undefined);
});

Deno.test("RFC 8489 B.1: the long-term key of SHA-256 signs the sample request byte for byte", () => {
  const message = decoded(RFC_8489_LONG_TERM);
  const key = longTermKey("sha256", LONG_TERM_SOURCE);
  const verified = verifyStun(RFC_8489_LONG_TERM, message, key, { integrity: "sha256" });
  assert(verified !== undefined);
  assertEquals(signStun(verified, key, { integrity: "sha256" }), RFC_8489_LONG_TERM);
  assertEquals(passwordAlgorithmOf(message), "sha256");
  const { username, realm } = LONG_TERM_SOURCE;
  assertEquals(userHash(username, realm), Uint8Array.from(findAttribute(message, USERHASH) ?? []));
  const nonce = new TextDecoder().decode(findAttribute(message, NONCE));
  // The sample's bits are counted from the other end than its text's: nothing that is known here is set.
  assertEquals(parseNonceFeatures(nonce), { passwordAlgorithms: false, usernameAnonymity: false });
});

Deno.test("RFC 8489 14.6: a MESSAGE-INTEGRITY-SHA256 cut short is refused", () => {
  const key = longTermKey("sha256", LONG_TERM_SOURCE);
  const message = { ...decoded(RFC_8489_LONG_TERM), attributes: [] };
  const signed = decoded(signStun(message, key, { integrity: "sha256" }));
  const attributes = signed.attributes.map(({ type, value }) => ({
    type,
    value: value.subarray(0, 16),
  }));
  const short = encodeStun({ ...message, attributes });
  assertEquals(verifyStun(short, decoded(short), key, { integrity: "sha256" }), undefined);
});

Deno.test("RFC 8489 9.2.1: a NONCE tells its server's features, the leftmost bit first", () => {
  assertEquals(
    formatNonceFeatures({ passwordAlgorithms: true, usernameAnonymity: false }),
    "obMatJos2gAAA",
  );
  for (const passwordAlgorithms of [false, true]) {
    for (const usernameAnonymity of [false, true]) {
      const features = { passwordAlgorithms, usernameAnonymity };
      assertEquals(parseNonceFeatures(`${formatNonceFeatures(features)}/rest`), features);
    }
  }
  const none = { passwordAlgorithms: false, usernameAnonymity: false };
  for (const nonce of ["", "abc", "obMatJos2", "obMatJos2gAA", "xobMatJos2gAAA", "obMatJos2g=AA"]) {
    assertEquals(parseNonceFeatures(nonce), none, nonce);
  }
});

Deno.test("PASSWORD-ALGORITHMS keeps the server's order and passes over what is unknown", () => {
  const attribute = passwordAlgorithmsAttribute(["sha256", "md5"]);
  assertEquals(attribute.value, Uint8Array.of(0, 2, 0, 0, 0, 1, 0, 0));
  assertEquals(passwordAlgorithmsOf(withAttributes(attribute)), ["sha256", "md5"]);
  const unknown = Uint8Array.of(0, 9, 0, 1, 7, 0, 0, 0);
  const value = concat(unknown, attribute.value);
  assertEquals(passwordAlgorithmsOf(withAttributes({ type: PASSWORD_ALGORITHMS, value })), [
    "sha256",
    "md5",
  ]);
  const cut = value.subarray(0, 14);
  assertEquals(
    passwordAlgorithmsOf(withAttributes({ type: PASSWORD_ALGORITHMS, value: cut })),
    undefined,
  );
  assertEquals(passwordAlgorithmsOf(withAttributes()), undefined);
  assertEquals(passwordAlgorithmOf(withAttributes(passwordAlgorithmAttribute("md5"))), "md5");
  assertEquals(
    passwordAlgorithmOf(withAttributes({ type: PASSWORD_ALGORITHM, value: unknown })),
    "unknown",
  );
});

Deno.test("the REST scheme's password is base64 of the HMAC-SHA1 of the user name by the secret", () => {
  const credentials = restCredentials("shared", { session: "s1", expiresAtSeconds: 1784000000.7 });
  assertEquals(credentials.username, "1784000000:s1");
  const expected = createHmac("sha1", "shared").update("1784000000:s1").digest("base64");
  assertEquals(credentials.password, expected);
  assertEquals(restPassword("shared", credentials.username), expected);
  assertEquals(parseRestUsername(credentials.username), {
    expiresAtSeconds: 1784000000,
    session: "s1",
  });
  assertEquals(parseRestUsername("1:a:b"), { expiresAtSeconds: 1, session: "a:b" });
  for (const text of ["", "s1", ":s1", "-1:s1", "1e3:s1"]) {
    assertEquals(parseRestUsername(text), undefined);
  }
});

Deno.test("no bytes make the readers of credentials throw", () => {
  const type = fc.constantFrom(PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS);
  fc.assert(fc.property(type, fc.uint8Array({ maxLength: 80 }), (type, value) => {
    const message = withAttributes({ type, value });
    passwordAlgorithmOf(message);
    passwordAlgorithmsOf(message);
  }));
  fc.assert(fc.property(fc.string(), (text) => {
    parseNonceFeatures(text);
    parseNonceFeatures(`obMatJos2${text}`);
    parseRestUsername(text);
  }));
});

function withAttributes(...attributes: StunMessage["attributes"]): StunMessage {
  const transactionId = new Uint8Array(12);
  return { class: "request", method: METHOD_BINDING, transactionId, attributes };
}

function decoded(bytes: Uint8Array): StunMessage {
  const message = decodeStun(bytes);
  assert(message !== undefined);
  return message;
}
