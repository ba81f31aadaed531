import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import { cidrContains, formatCidr, parseIp } from "../core/mod.ts";
import { COLONY_IPV4, MESH_IPV4_SUBNET } from "./addressing.ts";
import { meshIpv6Of, meshIpv6Subnet } from "./addressing.ts";

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i);

Deno.test("meshIpv6Of follows the byte table", () => {
  // printf 'moray mesh coral' | sha256sum; printf '\x00\x01...\x1f' | sha256sum
  assertEquals(formatCidr(meshIpv6Subnet("coral")), "fdfa:3e8d:b0a::/64");
  assertEquals(meshIpv6Of("coral", KEY), "fdfa:3e8d:b0a:0:630d:cd29:66c4:3366");
});

Deno.test("meshIpv6Of differs by mesh and by key, inside its mesh's subnet", () => {
  const other = Uint8Array.from(KEY);
  other[31] = 0;
  const all = [meshIpv6Of("a", KEY), meshIpv6Of("b", KEY), meshIpv6Of("a", other)];
  assertEquals(new Set(all).size, 3);
  const bytes = parseIp(meshIpv6Of("a", other));
  ok(bytes !== undefined && cidrContains(meshIpv6Subnet("a"), bytes));
});

Deno.test("the colony has the first address of the IPv4 subnet", () => {
  const colony = parseIp(COLONY_IPV4);
  ok(colony !== undefined && cidrContains(MESH_IPV4_SUBNET, colony));
});

Deno.test("a key of another length is our own fault", () => {
  throws(() => meshIpv6Of("a", KEY.subarray(1)), { code: "internal" });
});
