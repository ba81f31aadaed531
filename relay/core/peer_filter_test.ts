import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { PeerFilter } from "./peer_filter.ts";

function filter(allowPrivatePeers = false): PeerFilter {
  return new PeerFilter({
    allowPrivatePeers,
    ownAddresses: new Set(["203.0.113.7"]),
    ownPorts: new Set([51820]),
  });
}

/** First and last of each block that a relay leaves alone unless told otherwise, and their neighbours outside. */
const PRIVATE = [
  ["127.0.0.0/8 (RFC 1122)", "127.0.0.1", "127.255.255.255", "128.0.0.1"],
  ["10.0.0.0/8 (RFC 1918)", "10.0.0.0", "10.255.255.255", "11.0.0.0"],
  ["172.16.0.0/12 (RFC 1918)", "172.16.0.0", "172.31.255.255", "172.32.0.0"],
  ["192.168.0.0/16 (RFC 1918)", "192.168.0.0", "192.168.255.255", "192.169.0.0"],
  [
    "169.254.0.0/16 (RFC 3927), the metadata service",
    "169.254.169.254",
    "169.254.255.255",
    "169.255.0.0",
  ],
  ["100.64.0.0/10 (RFC 6598)", "100.64.0.0", "100.127.255.255", "100.128.0.0"],
  ["192.0.0.0/24 (RFC 6890)", "192.0.0.0", "192.0.0.255", "192.0.1.0"],
  ["198.18.0.0/15 (RFC 2544)", "198.18.0.0", "198.19.255.255", "198.20.0.0"],
  ["::1/128 (RFC 4291)", "::1", "::1", "2003::1"],
  ["fe80::/10 (RFC 4291)", "fe80::1", "febf:ffff::1", "2003::1"],
  ["fec0::/10 (RFC 3879)", "fec0::1", "feff::1", "2003::1"],
  ["fc00::/7 (RFC 4193)", "fc00::1", "fdff:ffff::1", "2003::1"],
  ["64:ff9b:1::/48 (RFC 8215)", "64:ff9b:1::1", "64:ff9b:1:ffff::1", "64:ff9c::1"],
  ["2001::/32 (RFC 4380)", "2001:0:1::1", "2001:0:ffff::1", "2001:1::1"],
  ["IPv4 inside IPv6 (RFC 4291)", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:8.8.8.8"],
  ["64:ff9b::/96 (RFC 6052)", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::808:808"],
  ["2002::/16 (RFC 3056)", "2002:a00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1"],
] as const;

for (const [name, first, last, outside] of PRIVATE) {
  Deno.test(`no relay sends to ${name}, unless it is told to`, () => {
    const strict = filter();
    assertEquals([first, last, outside].map((ip) => strict.refuses(ip)), [true, true, false]);
    const open = filter(true);
    assertEquals([first, last, outside].map((ip) => open.refuses(ip)), [false, false, false]);
  });
}

Deno.test("no relay sends to this host, multicast and what is reserved, whatever it is told", () => {
  for (const ip of ["0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "ff02::1"]) {
    assertEquals([filter().refuses(ip), filter(true).refuses(ip)], [true, true], ip);
  }
  for (const inside of ["64:ff9b::e000:1", "2002:e000:1::", "::ffff:224.0.0.1"]) {
    assertEquals([filter().refuses(inside), filter(true).refuses(inside)], [true, true], inside);
  }
  assertEquals(filter(true).refuses("relay.example.com"), true);
});

Deno.test("of its own host a relay reaches nothing but the ports that are for peers", () => {
  const own = (port: number, allowed = false): boolean =>
    filter(allowed).isOwn({ hostname: "203.0.113.7", port });
  assertEquals([own(22), own(51820), own(22, true)], [true, false, false]);
  assertEquals(filter().isOwn({ hostname: "203.0.113.8", port: 22 }), false);
});
