import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { externalIpsOf } from "./external_ips.ts";

const INTERFACES = [
  { name: "docker0", family: 4, address: "172.17.0.1" },
  { name: "eth0", family: 4, address: "192.0.2.7", routed: true },
  { name: "eth0", family: 6, address: "2001:db8::7", routed: true },
  { name: "eth0", family: 6, address: "fe80::7" },
  { name: "eth1", family: 4, address: "10.0.0.7" },
  { name: "lo", family: 4, address: "127.0.0.1" },
] as const;

const listen = (...hosts: string[]): { hostname: string; port: number }[] =>
  hosts.map((hostname) => ({ hostname, port: 3480 }));

Deno.test("the external addresses are those listened on, or where the machine's routes lead", () => {
  assertEquals(externalIpsOf(listen("127.0.0.1"), INTERFACES), ["127.0.0.1"]);
  assertEquals(externalIpsOf(listen("10.0.0.7", "10.0.0.8"), INTERFACES), ["10.0.0.7"]);
  assertEquals(externalIpsOf(listen("::"), INTERFACES), ["2001:db8::7", "192.0.2.7"]);
  assertEquals(externalIpsOf(listen("0.0.0.0"), INTERFACES), ["192.0.2.7"]);
  assertEquals(externalIpsOf(listen("0.0.0.0", "2001:db8::9"), INTERFACES), [
    "2001:db8::9",
    "192.0.2.7",
  ]);
  assertEquals(externalIpsOf(listen("::"), INTERFACES.slice(5)), []);
});
