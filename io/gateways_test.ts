import { deepStrictEqual as assertEquals } from "node:assert/strict";
import {
  defaultGateways,
  gatewaysToFind,
  localAddressTowards,
  parseDefaultInterfaces,
  parseIpv4Routes,
  parseIpv6Routes,
} from "./gateways.ts";

const IPV4 = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
ppp0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
eth0\t0000000A\tFE01A8C0\t0003\t0\t0\t100\t000000FF\t0\t0\t0
`;

const IPV6 =
  `20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe80000000000000021122fffe334455 00000400 00000001 00000000 00450003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`;

Deno.test("parseIpv4Routes finds the default gateways, best first", () => {
  assertEquals(parseIpv4Routes(IPV4), [
    { gateway: "192.168.1.1", interfaceName: "eth0", metric: 100 },
    { gateway: "192.168.2.1", interfaceName: "wlan0", metric: 600 },
  ]);
  for (const text of ["", "Iface\n", "x\ny z\n", IPV4.replaceAll("0101A8C0", "junk")]) {
    parseIpv4Routes(text);
  }
});

Deno.test("parseIpv6Routes finds the default gateways, and no unreachable route", () => {
  assertEquals(parseIpv6Routes(IPV6), [
    { gateway: "fe80::211:22ff:fe33:4455", interfaceName: "eth0", metric: 1024 },
  ]);
  assertEquals(parseIpv6Routes("junk\n"), []);
});

Deno.test("parseDefaultInterfaces names every interface with a default route, with or without a gateway", () => {
  assertEquals(parseDefaultInterfaces(IPV4, 4), ["wlan0", "eth0", "ppp0"]);
  assertEquals(parseDefaultInterfaces(IPV6, 6), ["eth0"]);
  assertEquals(parseDefaultInterfaces("junk\n\n", 4), []);
});

Deno.test("localAddressTowards takes the address in the gateway's network", () => {
  const of = (name: string, address: string, netmask = "255.255.255.0") => ({
    name,
    address,
    netmask,
  });
  const towards = { gateway: "192.168.1.1", interfaceName: "eth0" };
  const addresses = [
    of("eth1", "192.168.1.9"),
    of("eth0", "10.0.0.9"),
    of("eth0", "192.168.1.7"),
    of("eth0", "fe80::1", "ffff:ffff:ffff:ffff::"),
  ];
  assertEquals(localAddressTowards(towards, addresses), "192.168.1.7");
  assertEquals(localAddressTowards(towards, addresses.slice(0, 2)), "10.0.0.9");
  assertEquals(localAddressTowards(towards, addresses.slice(0, 1)), undefined);
});

Deno.test("localAddressTowards a link-local gateway takes a global address before a unique local one", () => {
  const netmask = "ffff:ffff:ffff:ffff::";
  const addresses = ["fe80::7", "fd00::7", "2001:db8::7"]
    .map((address) => ({ name: "eth0", address, netmask }));
  const towards = { gateway: "fe80::1", interfaceName: "eth0" };
  assertEquals(localAddressTowards(towards, addresses), "2001:db8::7");
  assertEquals(localAddressTowards(towards, addresses.slice(0, 2)), "fd00::7");
  assertEquals(localAddressTowards(towards, addresses.slice(0, 1)), undefined);
});

Deno.test("gatewaysToFind names private IPv4 networks, four at most", () => {
  const netmask = "255.255.255.0";
  const addresses = ["127.0.0.1", "10.0.0.9", "172.15.0.1", "172.16.0.1", "192.168.1.7", "8.8.8.8"]
    .map((address) => ({ name: "en0", address, netmask }));
  const locals = ["10.0.0.9", "172.16.0.1", "192.168.1.7"];
  assertEquals(gatewaysToFind(addresses).map(({ local }) => local), locals);
  assertEquals(gatewaysToFind([...addresses, ...addresses]).length, 4);
  assertEquals(gatewaysToFind(addresses)[0]?.address, undefined);
});

Deno.test("defaultGateways has at most one of each family, each with an address of ours", () => {
  const gateways = defaultGateways();
  const families = gateways.map(({ family }) => family);
  assertEquals(families.length, new Set(families).size);
  const own = Deno.networkInterfaces().map(({ address }) => address);
  for (const { local } of gateways) assertEquals(own.includes(local), true, local);
});
