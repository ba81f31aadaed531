import { deepStrictEqual as assertEquals } from "node:assert/strict";
import {
  canonicalIp,
  cidrContains,
  formatCidr,
  formatSocketAddress,
  isLocalScope,
  parseCidr,
  parseIp,
  parseSocketAddress,
} from "./address.ts";

Deno.test("canonicalIp shortens as RFC 5952 asks", () => {
  const cases = {
    "2001:DB8:0:0:0:0:0:1": "2001:db8::1",
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "2001:0:0:1:0:0:0:1": "2001:0:0:1::1",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "::": "::",
    "::1": "::1",
    "fe80::": "fe80::",
    "::ffff:192.0.2.1": "192.0.2.1",
    "::ffff:c000:201": "192.0.2.1",
    "64:ff9b::192.0.2.33": "64:ff9b::c000:221",
    "192.0.2.1": "192.0.2.1",
  };
  for (const [input, output] of Object.entries(cases)) assertEquals(canonicalIp(input), output);
});

Deno.test("parseIp refuses what is no literal", () => {
  const bad = ["", "1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "a.b.c.d", ":", ":::", "1::2::3"];
  bad.push(
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "12345::",
    "g::",
    "::1.2.3",
    "fe80::1%eth0",
    "1:2:3:4:5:6:7::8",
  );
  for (const text of bad) assertEquals(parseIp(text), undefined, text);
});

Deno.test("parseSocketAddress reads both families and refuses names and bare IPv6", () => {
  assertEquals(parseSocketAddress("192.0.2.1:80"), { hostname: "192.0.2.1", port: 80 });
  assertEquals(parseSocketAddress("[2001:DB8::1]:0"), { hostname: "2001:db8::1", port: 0 });
  for (
    const bad of [
      "example.com:80",
      "2001:db8::1:80",
      "1.2.3.4",
      "1.2.3.4:65536",
      "[1.2.3.4]:80",
      ":80",
      "1.2.3.4:",
    ]
  ) {
    assertEquals(parseSocketAddress(bad), undefined, bad);
  }
  assertEquals(formatSocketAddress({ hostname: "2001:db8::1", port: 9 }), "[2001:db8::1]:9");
});

Deno.test("parseCidr clears the bits behind the prefix", () => {
  const show = (text: string): string | undefined => {
    const cidr = parseCidr(text);
    return cidr && formatCidr(cidr);
  };
  assertEquals(show("10.42.7.9/16"), "10.42.0.0/16");
  assertEquals(show("10.42.7.9"), "10.42.7.9/32");
  assertEquals(show("fd12:3456::1/7"), "fc00::/7");
  assertEquals(show("0.0.0.0/0"), "0.0.0.0/0");
  for (const bad of ["10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/"]) {
    assertEquals(parseCidr(bad), undefined, bad);
  }
});

Deno.test("cidrContains compares only the prefix", () => {
  const inside = (cidr: string, ip: string): boolean => {
    const block = parseCidr(cidr);
    const bytes = parseIp(ip);
    return block !== undefined && bytes !== undefined && cidrContains(block, bytes);
  };
  assertEquals(inside("10.42.0.0/15", "10.43.255.255"), true);
  assertEquals(inside("10.42.0.0/15", "10.44.0.0"), false);
  assertEquals(inside("0.0.0.0/0", "10.44.0.0"), true);
  assertEquals(inside("::/0", "10.44.0.0"), false);
  assertEquals(inside("fd00::1/128", "fd00::1"), true);
});

Deno.test("isLocalScope names what no peer elsewhere can reach", () => {
  for (
    const ip of [
      "127.0.0.1",
      "169.254.1.1",
      "0.0.0.0",
      "::1",
      "::",
      "fe80::1",
      "ff02::1",
      "239.1.1.1",
    ]
  ) {
    assertEquals(isLocalScope(ip), true, ip);
  }
  for (const ip of ["10.0.0.1", "192.168.1.1", "203.0.113.9", "fd00::1", "2001:db8::1"]) {
    assertEquals(isLocalScope(ip), false, ip);
  }
});
