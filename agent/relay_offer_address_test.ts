import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { offeredAddresses } from "./relay_offer_address.ts";
import type { CandidateInfo } from "./shared/mod.ts";

const PRIVATE: CandidateInfo = { kind: "host", address: "192.168.1.9:40000" };
const PUBLIC: CandidateInfo = { kind: "host", address: "203.0.113.9:40000" };
const PUBLIC6: CandidateInfo = { kind: "host", address: "[2001:db8::9]:40000" };
const SEEN: CandidateInfo = { kind: "serverReflexive", address: "203.0.113.77:61000" };
const RELAYED: CandidateInfo = { kind: "relayed", address: "198.51.100.7:50000" };
const MAPPED: CandidateInfo = { kind: "portMapped", address: "198.51.100.8:40000" };

Deno.test("a node relays at its public addresses, one of each family, and nowhere without any", () => {
  assertEquals(offeredAddresses([PUBLIC6, PUBLIC, PRIVATE]), ["203.0.113.9", "2001:db8::9"]);
  assertEquals(offeredAddresses([PRIVATE]), []);
  assertEquals(offeredAddresses([]), []);
});

Deno.test("where others see a node tells more than its own addresses, and the user's word most", () => {
  assertEquals(offeredAddresses([PRIVATE, SEEN]), ["203.0.113.77"]);
  assertEquals(offeredAddresses([PUBLIC, SEEN]), ["203.0.113.77"]);
  const publicEndpoint = { hostname: "198.51.100.20", port: 51820 };
  assertEquals(offeredAddresses([PRIVATE, SEEN, PUBLIC6], { publicEndpoint }), [
    "198.51.100.20",
    "2001:db8::9",
  ]);
});

Deno.test("ports of gateways and relays are no addresses for a relay", () => {
  assertEquals(offeredAddresses([PRIVATE, RELAYED, MAPPED]), []);
});

Deno.test("private addresses do only where they are asked for", () => {
  assertEquals(offeredAddresses([PRIVATE], { allowPrivate: true }), ["192.168.1.9"]);
});
