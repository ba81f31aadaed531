import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import fc from "fast-check";
import { formatHex } from "../../core/mod.ts";
import {
  decodeStun,
  encodeStun,
  type StunAttribute,
  type StunMessage,
  unknownRequired,
  xorAddressAttribute,
} from "../stun/codec.ts";
import {
  ADDITIONAL_ADDRESS_FAMILY,
  ADDRESS_ERROR_CODE,
  addressErrorAttribute,
  addressErrorOf,
  CHANNEL_NUMBER,
  channelNumberAttribute,
  channelNumberOf,
  dontFragmentAttribute,
  EVEN_PORT,
  evenPortAttribute,
  evenPortOf,
  familyAttribute,
  familyAttributeOf,
  ICMP,
  icmpAttribute,
  icmpOf,
  LIFETIME,
  lifetimeAttribute,
  lifetimeOf,
  METHOD_ALLOCATE,
  REQUESTED_ADDRESS_FAMILY,
  REQUESTED_TRANSPORT,
  requestedTransportAttribute,
  requestedTransportOf,
  RESERVATION_TOKEN,
  reservationTokenAttribute,
  reservationTokenOf,
  RFC_8656_ATTRIBUTES,
  XOR_PEER_ADDRESS,
  XOR_RELAYED_ADDRESS,
  xorAddressesOf,
  xorAddressOf,
} from "./attributes.ts";

const ID = Uint8Array.from({ length: 12 }, (_, i) => i + 1);

Deno.test("RFC 8656 18: attributes are the bytes that it draws", () => {
  const drawn: [StunAttribute, number, string][] = [
    [channelNumberAttribute(0x4001), 0x000c, "40010000"],
    [lifetimeAttribute(600), 0x000d, "00000258"],
    [lifetimeAttribute(0xffffffff), 0x000d, "ffffffff"],
    [familyAttribute(REQUESTED_ADDRESS_FAMILY, 6), 0x0017, "02000000"],
    [familyAttribute(ADDITIONAL_ADDRESS_FAMILY, 6), 0x8000, "02000000"],
    [evenPortAttribute(true), 0x0018, "80"],
    [evenPortAttribute(false), 0x0018, "00"],
    [requestedTransportAttribute(), 0x0019, "11000000"],
    [dontFragmentAttribute(), 0x001a, ""],
    [reservationTokenAttribute(ID.subarray(0, 8)), 0x0022, "0102030405060708"],
    [addressErrorAttribute({ family: 6, code: 440, reason: "no" }), 0x8001, "02000428" + "6e6f"],
    [icmpAttribute({ type: 3, code: 4, data: 1400 }), 0x8004, "0000030400000578"],
  ];
  for (const [{ type, value }, expected, hex] of drawn) {
    assertEquals([type, formatHex(value)], [expected, hex]);
  }
  throws(() => reservationTokenAttribute(ID), RangeError);
});

Deno.test("every attribute reads back as what was written", () => {
  const message = sent(
    channelNumberAttribute(0x4fff),
    lifetimeAttribute(3600),
    familyAttribute(REQUESTED_ADDRESS_FAMILY, 4),
    familyAttribute(ADDITIONAL_ADDRESS_FAMILY, 6),
    evenPortAttribute(true),
    requestedTransportAttribute(6),
    reservationTokenAttribute(ID.subarray(4)),
    addressErrorAttribute({ family: 4, code: 508, reason: "none left" }),
    icmpAttribute({ type: 2, code: 0, data: 1280 }),
  );
  assertEquals(channelNumberOf(message), 0x4fff);
  assertEquals(lifetimeOf(message), 3600);
  assertEquals(familyAttributeOf(message, REQUESTED_ADDRESS_FAMILY), 4);
  assertEquals(familyAttributeOf(message, ADDITIONAL_ADDRESS_FAMILY), 6);
  assertEquals(evenPortOf(message), { reserveNext: true });
  assertEquals(requestedTransportOf(message), 6);
  assertEquals(Uint8Array.from(reservationTokenOf(message) ?? []), ID.slice(4));
  assertEquals(addressErrorOf(message), { family: 4, code: 508, reason: "none left" });
  assertEquals(icmpOf(message), { type: 2, code: 0, data: 1280 });
  assertEquals(unknownRequired(message, RFC_8656_ATTRIBUTES), []);
});

Deno.test("values of another size than the RFC's are as if missing, and a family that is none is told apart", () => {
  const odd = Uint8Array.of(9, 9, 9);
  const types = [
    CHANNEL_NUMBER,
    LIFETIME,
    EVEN_PORT,
    REQUESTED_TRANSPORT,
    RESERVATION_TOKEN,
    ICMP,
    ADDRESS_ERROR_CODE,
  ];
  const message = sent(
    ...types.map((type) => ({ type, value: odd })),
    { type: REQUESTED_ADDRESS_FAMILY, value: odd },
    { type: ADDITIONAL_ADDRESS_FAMILY, value: Uint8Array.of(3, 0, 0, 0) },
  );
  const read = [
    channelNumberOf,
    lifetimeOf,
    evenPortOf,
    requestedTransportOf,
    reservationTokenOf,
    icmpOf,
    addressErrorOf,
  ];
  for (const reader of read) assertEquals(reader(message), undefined, reader.name);
  assertEquals(familyAttributeOf(message, REQUESTED_ADDRESS_FAMILY), "unknown");
  assertEquals(familyAttributeOf(message, ADDITIONAL_ADDRESS_FAMILY), "unknown");
  assertEquals(familyAttributeOf(sent(), REQUESTED_ADDRESS_FAMILY), undefined);
});

Deno.test("xorAddressesOf lists every address of a type, and refuses all for one that is malformed", () => {
  const v4 = { hostname: "192.0.2.7", port: 5 };
  const v6 = { hostname: "2001:db8::7", port: 0 };
  const first = xorAddressAttribute(XOR_PEER_ADDRESS, v4, ID);
  const second = xorAddressAttribute(XOR_PEER_ADDRESS, v6, ID);
  const relayed = xorAddressAttribute(XOR_RELAYED_ADDRESS, v4, ID);
  assertEquals(xorAddressesOf(sent(first, relayed, second), XOR_PEER_ADDRESS), [v4, v6]);
  assertEquals(xorAddressOf(sent(first, relayed, second), XOR_RELAYED_ADDRESS), v4);
  assertEquals(xorAddressesOf(sent(), XOR_PEER_ADDRESS), []);
  const broken = { type: XOR_PEER_ADDRESS, value: new Uint8Array(5) };
  assertEquals(xorAddressesOf(sent(first, broken), XOR_PEER_ADDRESS), undefined);
});

Deno.test("no attribute makes a reader throw", () => {
  const attribute = fc.record({
    type: fc.constantFrom(
      ...RFC_8656_ATTRIBUTES,
      ADDITIONAL_ADDRESS_FAMILY,
      ADDRESS_ERROR_CODE,
      ICMP,
    ),
    value: fc.uint8Array({ maxLength: 24 }),
  });
  fc.assert(fc.property(fc.array(attribute, { maxLength: 20 }), (attributes) => {
    const message = sent(...attributes);
    channelNumberOf(message);
    lifetimeOf(message);
    familyAttributeOf(message, REQUESTED_ADDRESS_FAMILY);
    familyAttributeOf(message, ADDITIONAL_ADDRESS_FAMILY);
    evenPortOf(message);
    requestedTransportOf(message);
    reservationTokenOf(message);
    addressErrorOf(message);
    icmpOf(message);
    xorAddressOf(message, XOR_RELAYED_ADDRESS);
    xorAddressesOf(message, XOR_PEER_ADDRESS);
  }));
});

/** The message after a trip over the wire. */
function sent(...attributes: StunAttribute[]): StunMessage {
  const bytes = encodeStun({
    class: "request",
    method: METHOD_ALLOCATE,
    transactionId: ID,
    attributes,
  });
  const message = decodeStun(bytes);
  assert(message !== undefined);
  return message;
}
