import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { type Cidr, formatHex, parseCidr } from "../core/mod.ts";
import {
  decodeAnswer,
  encodeAddress,
  encodeLinkUp,
  encodeNoLinkLocal,
  encodeRoute,
  encodeSegmentsMax,
} from "./rtnetlink.ts";

function block(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

/** Bytes as hexadecimal words, in the groups that the comment above the module draws. */
function words(...groups: readonly string[]): string {
  return groups.join("").replaceAll(" ", "");
}

Deno.test("a link message sets MTU and flags of one interface", () => {
  assertEquals(
    formatHex(encodeLinkUp({ index: 7, mtu: 1420 })),
    words(
      "28000000 1000 0500 00000000 00000000", // RTM_NEWLINK, request and acknowledgment
      "00000000 07000000 01000000 01000000", // IFF_UP, and that it is meant
      "0800 0400 8c050000", // IFLA_MTU
    ),
  );
});

Deno.test("a link message turns link-local addresses off", () => {
  assertEquals(
    formatHex(encodeNoLinkLocal(7)),
    words(
      "30000000 1000 0500 00000000 00000000",
      "00000000 07000000 00000000 00000000",
      "1000 1a00", // IFLA_AF_SPEC
      "0c00 0a00", // AF_INET6
      "0500 0800 01000000", // IFLA_INET6_ADDR_GEN_MODE: none
    ),
  );
});

Deno.test("a link message bounds what is joined", () => {
  assertEquals(
    formatHex(encodeSegmentsMax({ index: 7, segments: 44 })),
    words(
      "28000000 1000 0500 00000000 00000000",
      "00000000 07000000 00000000 00000000",
      "0800 2800 2c000000", // IFLA_GSO_MAX_SEGS
    ),
  );
});

Deno.test("an address message has the address, its network and no duplicate detection for IPv6", () => {
  const address = Uint8Array.of(10, 9, 0, 1);
  assertEquals(
    formatHex(encodeAddress("add", { index: 7, address, prefix: 24 })),
    words(
      "28000000 1400 0506 00000000 00000000", // RTM_NEWADDR, create, exclusive
      "02 18 00 00 07000000",
      "0800 0200 0a090001",
      "0800 0100 0a090001",
    ),
  );
  const address6 = new Uint8Array(16).fill(0xfd);
  const message = encodeAddress("remove", { index: 7, address: address6, prefix: 128 });
  assertEquals(
    formatHex(message.subarray(0, 24)),
    words("40000000 1500 0500 00000000 00000000", "0a 80 02 00 07000000"),
  );
});

Deno.test("a route message leads a block to an interface in the main table", () => {
  assertEquals(
    formatHex(encodeRoute("add", { index: 7, block: block("10.9.0.2/32") })),
    words(
      "2c000000 1800 0506 00000000 00000000", // RTM_NEWROUTE, create, exclusive
      "02 20 00 00 fe 04 fd 01 00000000", // main, static, link, unicast
      "0800 0100 0a090002",
      "0800 0400 07000000",
    ),
  );
  assertEquals(
    formatHex(encodeRoute("remove", { index: 7, block: block("fd00::/64") }).subarray(0, 28)),
    words("38000000 1900 0500 00000000 00000000", "0a 40 00 00 fe 04 00 01 00000000"),
  );
});

Deno.test("the answer to a message is found among others, whatever else the bytes are", () => {
  const answer = (sequence: number, errno: number, type = 2): Uint8Array => {
    const bytes = new Uint8Array(36);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, 36, true);
    view.setUint16(4, type, true);
    view.setUint32(8, sequence, true);
    view.setInt32(16, -errno, true);
    return bytes;
  };
  assertEquals(decodeAnswer(answer(5, 0), 5), 0);
  assertEquals(decodeAnswer(answer(5, 17), 5), 17);
  assertEquals(decodeAnswer(answer(4, 17), 5), undefined);
  assertEquals(decodeAnswer(answer(5, 17, 3), 5), undefined);
  assertEquals(decodeAnswer(Uint8Array.of(...answer(4, 1), ...answer(5, 22)), 5), 22);
  assertEquals(decodeAnswer(new Uint8Array(40), 0), undefined);
  assertEquals(decodeAnswer(new Uint8Array(3), 0), undefined);
});

Deno.test("the search for an answer ends at a length that is more than there is", () => {
  for (const length of [0, 15, 21, 37, 0x7fff_ffff, 0xffff_fffd, 0xffff_ffff]) {
    const bytes = new Uint8Array(36);
    new DataView(bytes.buffer).setUint32(0, length, true);
    assertEquals(decodeAnswer(bytes, 1), undefined, `${length}`);
  }
});

Deno.test("a message too short for an errno is no answer", () => {
  const bytes = new Uint8Array(36);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 16, true);
  view.setUint16(4, 2, true);
  assertEquals(decodeAnswer(bytes, 0), undefined);
});
