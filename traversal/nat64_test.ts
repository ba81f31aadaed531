import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { formatIp, parseIp } from "../core/mod.ts";
import { seeded } from "./testing/fuzz.ts";
import {
  findNat64Prefixes,
  NAT64_PREFIXES_MAX,
  type Nat64Prefix,
  synthesizeEndpoints,
  synthesizeIpv6,
} from "./nat64.ts";

function prefix(text: string): Nat64Prefix {
  const [literal = "", length] = text.split("/");
  return { address: parseIp(literal) ?? new Uint8Array(16), length: Number(length) };
}

function show({ address, length }: Nat64Prefix): string {
  return `${formatIp(address)}/${length}`;
}

/** The table of RFC 6052 section 2.4. */
const RFC_6052: Readonly<Record<string, string>> = {
  "2001:db8::/32": "2001:db8:c000:221::",
  "2001:db8:100::/40": "2001:db8:1c0:2:21::",
  "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
  "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
  "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100:0",
  "2001:db8:122:344::/96": "2001:db8:122:344::c000:221",
};

Deno.test("synthesizeIpv6 makes the addresses of RFC 6052 section 2.4", () => {
  for (const [text, expected] of Object.entries(RFC_6052)) {
    assertEquals(synthesizeIpv6(prefix(text), "192.0.2.33"), expected, text);
  }
  assertEquals(synthesizeIpv6(prefix("64:ff9b::/96"), "192.0.2.33"), "64:ff9b::c000:221");
});

Deno.test("findNat64Prefixes finds what synthesizeIpv6 has made of the well-known addresses", () => {
  for (const text of Object.keys(RFC_6052)) {
    for (const known of ["192.0.0.170", "192.0.0.171"]) {
      const answer = synthesizeIpv6(prefix(text), known);
      assertEquals(findNat64Prefixes([answer ?? ""]).map(show), [text]);
    }
  }
});

Deno.test("findNat64Prefixes tells each prefix once, and no more than two", () => {
  const both = ["64:ff9b::c000:aa", "64:ff9b::c000:ab"];
  assertEquals(findNat64Prefixes(both).map(show), ["64:ff9b::/96"]);
  const many = [1, 2, 3, 4].map((i) => `2001:db8:${i}::c000:aa`);
  assertEquals(findNat64Prefixes(many).length, NAT64_PREFIXES_MAX);
});

Deno.test("findNat64Prefixes makes nothing of addresses without the well-known ones", () => {
  const others = ["2001:db8::1", "64:ff9b::c000:ac", "192.0.0.170", "", "junk", "::"];
  assertEquals(findNat64Prefixes(others), []);
  // The well-known address where it belongs, and then something else.
  assertEquals(findNat64Prefixes(["2001:db8:c000:aa::1"]), []);
  const rng = seeded(6052);
  for (let i = 0; i < 10_000; i++) findNat64Prefixes([formatIp(rng.bytes(16))]);
});

Deno.test("synthesizeIpv6 keeps private addresses out of the well-known prefix, and only out of that", () => {
  const wellKnown = prefix("64:ff9b::/96");
  for (const ipv4 of ["10.0.0.1", "192.168.1.1", "172.31.0.1", "100.64.0.1", "127.0.0.1"]) {
    assertEquals(synthesizeIpv6(wellKnown, ipv4), undefined, ipv4);
  }
  assertEquals(synthesizeIpv6(prefix("2001:db8::/96"), "10.0.0.1"), "2001:db8::a00:1");
  assertEquals(synthesizeIpv6(wellKnown, "2001:db8::1"), undefined);
  assertEquals(synthesizeIpv6(wellKnown, "router"), undefined);
});

Deno.test("synthesizeEndpoints adds one endpoint for each prefix to IPv4, and none to IPv6", () => {
  const prefixes = [prefix("64:ff9b::/96"), prefix("2001:db8:64::/96")];
  assertEquals(synthesizeEndpoints(prefixes, "203.0.113.9:51820"), [
    "[64:ff9b::cb00:7109]:51820",
    "[2001:db8:64::cb00:7109]:51820",
  ]);
  assertEquals(synthesizeEndpoints(prefixes, "10.0.0.1:1"), ["[2001:db8:64::a00:1]:1"]);
  for (const text of ["[2001:db8::1]:1", "stun.example:3478", ""]) {
    assertEquals(synthesizeEndpoints(prefixes, text), [], text);
  }
});
