import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { isPublicAddress } from "./mapping.ts";

Deno.test("isPublicAddress knows the addresses that have another NAT in front", () => {
  const verdicts: Record<string, boolean> = {
    "8.8.8.8": true,
    "100.63.255.255": true,
    "100.64.0.1": false,
    "100.127.255.255": false,
    "100.128.0.1": true,
    "10.0.0.1": false,
    "172.16.0.1": false,
    "172.32.0.1": true,
    "192.168.1.1": false,
    "192.0.0.2": false,
    "169.254.1.1": false,
    "127.0.0.1": false,
    "0.0.0.0": false,
    "239.1.1.1": false,
    "2001:db8::1": true,
    "fd00::1": false,
    "fe80::1": false,
    "::1": false,
    "ff02::1": false,
    "": false,
    "router": false,
  };
  for (const [address, verdict] of Object.entries(verdicts)) {
    assertEquals(isPublicAddress(address), verdict, address);
  }
});
