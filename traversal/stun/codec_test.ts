import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { equals, formatHex, formatIp } from "../../core/mod.ts";
import { fuzzRuns, mutate, seeded } from "../testing/fuzz.ts";
import {
  decodeStun,
  decodeXorAddress,
  encodeStun,
  errorAttribute,
  errorCode,
  findAttribute,
  FINGERPRINT,
  MAPPED_ADDRESS,
  MESSAGE_INTEGRITY,
  METHOD_BINDING,
  SOFTWARE,
  softwareAttribute,
  type StunClass,
  type StunMessage,
  unknownAttributesAttribute,
  unknownRequired,
  USERNAME,
  XOR_MAPPED_ADDRESS,
  xorAddressAttribute,
  xorMappedAddress,
} from "./codec.ts";
import { crc32 } from "./crc32.ts";
import { RFC_5769, RFC_5769_PASSWORD } from "./testing/rfc5769.ts";

const ID = Uint8Array.from({ length: 12 }, (_, i) => i + 1);
/** Records with the prototype that literals have. */
const PLAIN = { noNullPrototype: true } as const;

Deno.test("RFC 5769 2.1: the sample request decodes", () => {
  const message = decoded(RFC_5769.request);
  assertEquals(message.class, "request");
  assertEquals(message.method, METHOD_BINDING);
  assertEquals(formatHex(message.transactionId), "b7e7a701bc34d686fa87dfae");
  assertEquals(message.attributes.map(({ type }) => type), [
    SOFTWARE,
    0x0024,
    0x8029,
    USERNAME,
    MESSAGE_INTEGRITY,
    FINGERPRINT,
  ]);
  assertEquals(text(findAttribute(message, SOFTWARE)), "STUN test client");
  assertEquals(text(findAttribute(message, USERNAME)), "evtj:h6vY");
  assertEquals(unknownRequired(message), [0x0024]);
});

Deno.test("RFC 5769 2.2 and 2.3: the sample responses carry the mapped address in both families", () => {
  const expected = {
    responseIpv4: { hostname: "192.0.2.1", port: 32853 },
    responseIpv6: { hostname: "2001:db8:1234:5678:11:2233:4455:6677", port: 32853 },
  };
  for (const name of ["responseIpv4", "responseIpv6"] as const) {
    const message = decoded(RFC_5769[name]);
    assertEquals(message.class, "success");
    assertEquals(text(findAttribute(message, SOFTWARE)), "test vector");
    assertEquals(xorMappedAddress(message), expected[name]);
    const again = xorAddressAttribute(XOR_MAPPED_ADDRESS, expected[name], message.transactionId);
    assertEquals(again.value, Uint8Array.from(findAttribute(message, XOR_MAPPED_ADDRESS) ?? []));
  }
});

Deno.test("RFC 5769: the samples' MESSAGE-INTEGRITY is what HMAC-SHA1 gives", () => {
  for (const bytes of Object.values(RFC_5769)) {
    const integrity = findAttribute(decoded(bytes), MESSAGE_INTEGRITY);
    // The length field counts up to and including MESSAGE-INTEGRITY, without FINGERPRINT behind it.
    const covered = bytes.slice(0, bytes.length - 8 - 24);
    new DataView(covered.buffer).setUint16(2, bytes.length - 8 - 20);
    const hmac = createHmac("sha1", RFC_5769_PASSWORD).update(covered).digest();
    assertEquals(Uint8Array.from(integrity ?? []), Uint8Array.from(hmac));
  }
});

Deno.test("every single flipped bit of the RFC 5769 samples is refused", () => {
  for (const sample of Object.values(RFC_5769)) {
    for (let bit = 0; bit < sample.length * 8; bit++) {
      const bytes = sample.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ 1 << (bit & 7);
      const message = decodeStun(bytes);
      // A flipped bit can only pass if it hides FINGERPRINT itself: in its type, or in a length before it.
      const hidden = message?.attributes.every(({ type }) => type !== FINGERPRINT) ?? true;
      assert(hidden, `bit ${bit} of ${formatHex(sample)}`);
    }
  }
});

Deno.test("crc32 gives the check value of CRC-32/ISO-HDLC", () => {
  assertEquals(crc32(new TextEncoder().encode("123456789")), 0xCBF43926);
});

Deno.test("a Binding request is the 20 bytes that the RFC draws", () => {
  const bytes = encodeStun({ class: "request", method: 1, transactionId: ID, attributes: [] });
  assertEquals(formatHex(bytes), "000100002112a442" + "0102030405060708090a0b0c");
});

Deno.test("encodeStun interleaves class and method", () => {
  const type = (c: StunClass, method: number): string =>
    formatHex(
      encodeStun({ class: c, method, transactionId: ID, attributes: [] }).subarray(0, 2),
    );
  assertEquals(type("success", 0x001), "0101");
  assertEquals(type("error", 0x001), "0111");
  assertEquals(type("indication", 0x006), "0016");
  assertEquals(type("error", 0xfff), "3fff");
  assertEquals(type("request", 0xfff), "3eef");
});

Deno.test("decodeStun refuses what is no STUN message", () => {
  const good = encodeStun({
    class: "request",
    method: 1,
    transactionId: ID,
    attributes: [softwareAttribute("moray")],
  }, { fingerprint: true });
  assert(decodeStun(good) !== undefined);
  const cases: Record<string, Uint8Array> = {
    "empty": new Uint8Array(),
    "shorter than a header": good.subarray(0, 19),
    "cut": good.subarray(0, good.length - 4),
    "with a trailing byte": Uint8Array.from([...good, 0]),
    "with a trailing word": Uint8Array.from([...good, 0, 0, 0, 0]),
    "with bit 7 of byte 0": edited(good, 0, 0x80),
    "with bit 6 of byte 0": edited(good, 0, 0x40),
    "without the cookie": edited(good, 4, 0x20),
    "length not of 4": edited(good, 3, 0x11),
    "attribute past the end": edited(good, 23, 0xff),
    "wrong FINGERPRINT": edited(good, good.length - 1, 0x5a ^ (good.at(-1) ?? 0)),
    "FINGERPRINT of the wrong length": edited(good, good.length - 5, 3),
    "FINGERPRINT not last": fingerprintFirst(),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    assertEquals(decodeStun(bytes), undefined, name);
  }
});

Deno.test("decodeStun refuses more attributes than ATTRIBUTES_MAX", () => {
  const message = (count: number): Uint8Array => {
    const bytes = new Uint8Array(20 + 4 * count);
    bytes.set(encodeStun({ class: "request", method: 1, transactionId: ID, attributes: [] }));
    new DataView(bytes.buffer).setUint16(2, 4 * count);
    return bytes;
  };
  assertEquals(decodeStun(message(64))?.attributes.length, 64);
  assertEquals(decodeStun(message(65)), undefined);
});

Deno.test("xorMappedAddress falls back to MAPPED-ADDRESS, and refuses malformed ones", () => {
  const plain = Uint8Array.of(0, 1, 0x80, 0x55, 192, 0, 2, 1);
  const success = (...attributes: StunMessage["attributes"]): StunMessage => ({
    class: "success",
    method: 1,
    transactionId: ID,
    attributes,
  });
  const mapped = { hostname: "192.0.2.1", port: 32853 };
  assertEquals(xorMappedAddress(success({ type: MAPPED_ADDRESS, value: plain })), mapped);
  const other = { hostname: "203.0.113.7", port: 9 };
  assertEquals(
    xorMappedAddress(success(
      { type: MAPPED_ADDRESS, value: plain },
      xorAddressAttribute(XOR_MAPPED_ADDRESS, other, ID),
    )),
    other,
  );
  assertEquals(xorMappedAddress(success()), undefined);
  const bad = {
    "family 3": edited(plain, 1, 3),
    "IPv6 of 4 bytes": edited(plain, 1, 2),
    "cut": plain.subarray(0, 7),
    "empty": new Uint8Array(),
    "port 0": edited(edited(plain, 2, 0), 3, 0),
  };
  for (const [name, value] of Object.entries(bad)) {
    assertEquals(xorMappedAddress(success({ type: MAPPED_ADDRESS, value })), undefined, name);
  }
});

Deno.test("error and unknown attributes have the RFC's bytes and read back", () => {
  const error = errorAttribute(420, "Unknown Attribute");
  assertEquals(
    formatHex(error.value),
    "00000414" + formatHex(new TextEncoder().encode("Unknown Attribute")),
  );
  assertEquals(formatHex(unknownAttributesAttribute([0x0024, 0x7fff]).value), "00247fff");
  const message = { class: "error", method: 1, transactionId: ID, attributes: [error] } as const;
  assertEquals(errorCode(message), { code: 420, reason: "Unknown Attribute" });
  for (const value of [[0, 0, 2, 0], [0, 0, 7, 0], [0, 0, 4, 100], [0, 0, 4]]) {
    const attributes = [{ type: error.type, value: Uint8Array.from(value) }];
    assertEquals(errorCode({ ...message, attributes }), undefined);
  }
});

Deno.test("unknownRequired lists each type once, and nothing above 0x7FFF", () => {
  const value = new Uint8Array();
  const attributes = [0x0003, 0x8000, 0x0003, 0x7fff, USERNAME].map((type) => ({ type, value }));
  const message = { class: "request", method: 1, transactionId: ID, attributes } as const;
  assertEquals(unknownRequired(message), [0x0003, 0x7fff]);
  assertEquals(unknownRequired(message, new Set([0x0003])), [0x7fff, USERNAME]);
});

Deno.test("the encoder throws on what the format cannot hold", () => {
  const message = { class: "request", method: 1, transactionId: ID, attributes: [] } as const;
  throws(() => encodeStun({ ...message, method: 0x1000 }), RangeError);
  throws(() => encodeStun({ ...message, transactionId: new Uint8Array(11) }), RangeError);
  const big = { type: SOFTWARE, value: new Uint8Array(0x10000) };
  throws(() => encodeStun({ ...message, attributes: [big] }), RangeError);
  throws(
    () => encodeStun({ ...message, attributes: Array(65).fill(softwareAttribute("")) }),
    RangeError,
  );
  throws(
    () => xorAddressAttribute(XOR_MAPPED_ADDRESS, { hostname: "a.example", port: 1 }, ID),
    RangeError,
  );
  throws(() => errorAttribute(200, ""), RangeError);
});

Deno.test("any message encodes and decodes to itself", () => {
  const message = fc.record({
    class: fc.constantFrom<StunClass>("request", "indication", "success", "error"),
    method: fc.integer({ min: 0, max: 0xfff }),
    transactionId: fc.uint8Array({ minLength: 12, maxLength: 12 }),
    attributes: fc.array(
      fc.record({
        type: fc.integer({ min: 0, max: 0xffff }).filter((type) => type !== FINGERPRINT),
        value: fc.uint8Array({ maxLength: 40 }),
      }, PLAIN),
      { maxLength: 63 },
    ),
  }, PLAIN);
  fc.assert(fc.property(message, fc.boolean(), (sent, fingerprint) => {
    const bytes = encodeStun(sent, { fingerprint });
    const { attributes, ...header } = decoded(bytes);
    const last = fingerprint ? attributes.at(-1)?.type : undefined;
    assertEquals(last, fingerprint ? FINGERPRINT : undefined);
    const got = attributes.filter(({ type }) => type !== FINGERPRINT);
    assertEquals({ ...header, attributes: got }, sent);
    assert(equals(encodeStun({ ...header, attributes }, { fingerprint }), bytes));
  }));
});

Deno.test("any address survives XOR-MAPPED-ADDRESS", () => {
  const ip = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  const id = fc.uint8Array({ minLength: 12, maxLength: 12 });
  fc.assert(fc.property(ip, fc.integer({ min: 0, max: 65535 }), id, (bytes, port, id) => {
    const address = { hostname: formatIp(bytes), port };
    const { value } = xorAddressAttribute(XOR_MAPPED_ADDRESS, address, id);
    assertEquals(decodeXorAddress(value, id), address);
  }));
});

Deno.test("no bytes make the decoder throw", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void read(bytes)));
  const rng = seeded(1);
  const samples = [...Object.values(RFC_5769), bareSample()];
  let accepted = 0;
  for (let run = fuzzRuns(); run > 0; run--) {
    const bytes = mutate(rng, samples[run % samples.length] ?? new Uint8Array());
    if (rng.chance(0.5) && bytes.length >= 4) {
      new DataView(bytes.buffer, bytes.byteOffset).setUint16(2, Math.max(0, bytes.length - 20));
    }
    if (read(bytes)) accepted++;
  }
  assert(
    accepted > 100,
    `only ${accepted} mutants were messages: the fuzzer tests the first check only`,
  );
});

/** Reads everything that can be read of the bytes. Returns whether they were a message. */
function read(bytes: Uint8Array): boolean {
  const message = decodeStun(bytes);
  if (message === undefined) return false;
  xorMappedAddress(message);
  errorCode(message);
  unknownRequired(message);
  encodeStun(message);
  return true;
}

/** Without FINGERPRINT, so that mutants can be messages. */
function bareSample(): Uint8Array {
  return encodeStun({
    class: "error",
    method: 1,
    transactionId: ID,
    attributes: [
      errorAttribute(420, "Unknown Attribute"),
      unknownAttributesAttribute([3]),
      xorAddressAttribute(XOR_MAPPED_ADDRESS, { hostname: "2001:db8::1", port: 9 }, ID),
      { type: MAPPED_ADDRESS, value: Uint8Array.of(0, 1, 0, 9, 192, 0, 2, 1) },
    ],
  });
}

function fingerprintFirst(): Uint8Array {
  const head = encodeStun({ class: "request", method: 1, transactionId: ID, attributes: [] });
  const bytes = new Uint8Array(32);
  bytes.set(head);
  const view = new DataView(bytes.buffer);
  view.setUint16(2, 12);
  view.setUint16(20, FINGERPRINT);
  view.setUint16(22, 4);
  view.setUint32(24, (crc32(bytes, 20) ^ 0x5354554E) >>> 0);
  view.setUint16(28, 0x8000);
  return bytes;
}

function edited(bytes: Uint8Array, at: number, byte: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = byte;
  return copy;
}

function decoded(bytes: Uint8Array): StunMessage {
  const message = decodeStun(bytes);
  assert(message !== undefined, formatHex(bytes));
  return message;
}

function text(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}
