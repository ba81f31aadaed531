import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { type Cidr, parseCidr } from "../../core/mod.ts";
import { ClientAddresses, HOPS_MAX } from "./client_address.ts";

const PROXY = "10.0.0.2";
const TRUSTED = ["10.0.0.0/8", "fd00::/8"].map((text): Cidr => {
  const block = parseCidr(text);
  if (block === undefined) throw new Error(text);
  return block;
});

function clientOf(headers: Record<string, string>, socket = PROXY): string {
  return new ClientAddresses(TRUSTED).of(new Headers(headers), socket);
}

Deno.test("ClientAddresses believes nobody but trusted proxies", () => {
  const headers = { "x-forwarded-for": "192.0.2.7", "forwarded": "for=192.0.2.7" };
  assertEquals(clientOf(headers, "203.0.113.9"), "203.0.113.9");
  assertEquals(clientOf(headers, "2001:db8::9"), "2001:db8::9");
  assertEquals(clientOf(headers), "192.0.2.7");
  assertEquals(clientOf(headers, "fd00::2"), "192.0.2.7");
  assertEquals(new ClientAddresses([]).of(new Headers(headers), PROXY), PROXY);
});

Deno.test("ClientAddresses takes the rightmost address that is no trusted proxy's", () => {
  for (
    const [list, client] of [
      ["192.0.2.7", "192.0.2.7"],
      ["6.6.6.6, 192.0.2.7", "192.0.2.7"],
      ["6.6.6.6, 192.0.2.7, 10.9.9.9, fd00::3", "192.0.2.7"],
      ["192.0.2.7:4711, [fd00::3]:80", "192.0.2.7"],
      ["6.6.6.6, 2001:db8::7", "2001:db8::7"],
      ["::ffff:192.0.2.7", "192.0.2.7"],
      ["10.1.1.1, 10.2.2.2", "10.1.1.1"],
      // What is no address ends the chain: the last proxy that is known is whom to count.
      ["6.6.6.6, unknown, 10.2.2.2", "10.2.2.2"],
      ["192.0.2.7, evil.example", PROXY],
      ["192.0.2.7,", PROXY],
      ["", PROXY],
    ] as const
  ) assertEquals(clientOf({ "x-forwarded-for": list }), client, list);
});

Deno.test("ClientAddresses reads Forwarded as RFC 7239 has it", () => {
  for (
    const [forwarded, client] of [
      ["for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"],
      ['For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"],
      ["for=6.6.6.6, for=198.51.100.17;by=10.0.0.3, for=10.0.0.3", "198.51.100.17"],
      ['proto="a,b;for=6.6.6.6";for=192.0.2.7', "192.0.2.7"],
      ['for="192.0.2.7\\', PROXY],
      ["for=unknown", PROXY],
      ["for=_hidden, for=10.0.0.3", "10.0.0.3"],
      ["by=192.0.2.7", PROXY],
    ] as const
  ) assertEquals(clientOf({ forwarded }), client, forwarded);
});

Deno.test("ClientAddresses believes neither of two headers that disagree", () => {
  const addresses = new ClientAddresses(TRUSTED);
  const of = (list: string, forwarded: string): string =>
    addresses.of(new Headers({ "x-forwarded-for": list, forwarded }), PROXY);
  assertEquals(of("192.0.2.7", "for=192.0.2.7"), "192.0.2.7");
  assertEquals(addresses.disagreed, 0);
  assertEquals(of("192.0.2.7", "for=6.6.6.6"), PROXY);
  assertEquals(of("6.6.6.6", 'for="[2001:db8::7]"'), PROXY);
  assertEquals(addresses.disagreed, 2);
});

Deno.test("ClientAddresses looks at a bounded part of a header", () => {
  const chain = new Array(HOPS_MAX).fill("10.1.1.1").join(", ");
  assertEquals(clientOf({ "x-forwarded-for": `192.0.2.7, ${chain}` }), "10.1.1.1");
  assertEquals(clientOf({ "x-forwarded-for": `192.0.2.7, ${chain.slice(10)}` }), "192.0.2.7");
  assertEquals(clientOf({ "x-forwarded-for": `${"x".repeat(5000)}, 192.0.2.7` }), PROXY);
});
