import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { parseSocketAddress, type SocketAddress } from "../core/mod.ts";
import { classifyNat, type FilteringTests, type NatObservation } from "./nat.ts";

const FILTERS = {
  open: { fromOtherAddress: true, fromOtherPort: undefined },
  address: { fromOtherAddress: false, fromOtherPort: true },
  port: { fromOtherAddress: false, fromOtherPort: false },
};

Deno.test("two servers that see the same address mean endpoint-independent mapping", () => {
  const observations = seen("192.0.2.1:3478 203.0.113.9:4000", "192.0.2.2:3478 203.0.113.9:4000");
  assertEquals(classifyNat({ observations }), {
    mapping: "endpointIndependent",
    filtering: "unknown",
    hint: "NAT_RESTRICTED",
  });
});

Deno.test("two servers that see two ports, or two addresses, mean a symmetric NAT", () => {
  for (const second of ["203.0.113.9:4001", "203.0.113.10:4000"]) {
    const observations = seen("192.0.2.1:3478 203.0.113.9:4000", `192.0.2.2:3478 ${second}`);
    assertEquals(classifyNat({ observations }), {
      mapping: "addressAndPortDependent",
      filtering: "unknown",
      hint: "NAT_SYMMETRIC",
    });
  }
});

Deno.test("address-dependent mapping shows only with two ports of one server", () => {
  const first = ["192.0.2.1:3478 203.0.113.9:4000", "192.0.2.1:3479 203.0.113.9:4000"];
  const other = "192.0.2.2:3478 203.0.113.9:4001";
  assertEquals(mapping(...first, other), "addressDependent");
  assertEquals(mapping(...first), "unknown");
  assertEquals(
    mapping("192.0.2.1:3478 203.0.113.9:4000", "192.0.2.1:3479 203.0.113.9:4001", other),
    "addressAndPortDependent",
  );
});

Deno.test("one server, or the same server twice, tells nothing of the mapping", () => {
  assertEquals(mapping("192.0.2.1:3478 203.0.113.9:4000"), "unknown");
  const twice = ["192.0.2.1:3478 203.0.113.9:4000", "192.0.2.1:3478 203.0.113.9:4001"];
  assertEquals(mapping(...twice), "unknown");
  assertEquals(classifyNat({ observations: [] }).hint, "NAT_UNKNOWN");
});

Deno.test("a server that sees our own address means no NAT", () => {
  const observations = seen("192.0.2.1:3478 203.0.113.9:4000");
  assertEquals(classifyNat({ observations, hostAddresses: ["10.0.0.1", "203.0.113.9"] }), {
    mapping: "endpointIndependent",
    filtering: "unknown",
    hint: "NAT_CONE",
  });
  assertEquals(classifyNat({ observations, hostAddresses: ["10.0.0.1"] }).hint, "NAT_UNKNOWN");
  assertEquals(classifyNat({ observations: [], hostAddresses: ["10.0.0.1"] }).hint, "NAT_UNKNOWN");
});

Deno.test("filtering decides between cone and restricted", () => {
  const cone = seen("192.0.2.1:3478 203.0.113.9:4000", "192.0.2.2:3478 203.0.113.9:4000");
  const cases = {
    open: ["endpointIndependent", "NAT_CONE"],
    address: ["addressDependent", "NAT_RESTRICTED"],
    port: ["addressAndPortDependent", "NAT_RESTRICTED"],
  };
  for (const name of ["open", "address", "port"] as const) {
    const facts = classifyNat({ observations: cone, filteringTests: FILTERS[name] });
    assertEquals([facts.filtering, facts.hint], cases[name]);
  }
  const symmetric = seen("192.0.2.1:3478 203.0.113.9:4000", "192.0.2.2:3478 203.0.113.9:4001");
  const facts = classifyNat({ observations: symmetric, filteringTests: FILTERS.open });
  assertEquals(facts.hint, "NAT_SYMMETRIC");
});

Deno.test("IPv4 decides where both families answered", () => {
  const ipv6 = "[2001:db8::1]:3478 [2001:db8:9::5]:4000";
  const hostAddresses = ["2001:db8:9::5"];
  const ipv4 = ["192.0.2.1:3478 203.0.113.9:4000", "192.0.2.2:3478 203.0.113.9:4001"];
  const both = classifyNat({ observations: seen(ipv6, ...ipv4), hostAddresses });
  assertEquals(both.hint, "NAT_SYMMETRIC");
  assertEquals(classifyNat({ observations: seen(ipv6), hostAddresses }).hint, "NAT_CONE");
});

Deno.test("servers on this side of a NAT are not compared with those outside", () => {
  const outside = ["192.0.2.1:3478 203.0.113.9:4000", "192.0.2.2:3478 203.0.113.9:4000"];
  assertEquals(mapping(...outside, "192.168.1.7:51820 192.168.1.10:4000"), "endpointIndependent");
  assertEquals(mapping(...outside, "100.64.0.7:51820 100.64.0.10:4100"), "endpointIndependent");
  // Where there is nobody else, they have to do.
  const inside = ["10.0.0.1:3478 192.168.1.10:1", "10.0.0.2:3478 192.168.1.10:2"];
  assertEquals(mapping(...inside), "addressAndPortDependent");
});

Deno.test("a firewall in front of an untranslated address restricts, if the tests say so", () => {
  const observations = seen("192.0.2.1:3478 203.0.113.9:4000", "192.0.2.2:3478 203.0.113.9:4000");
  const hostAddresses = ["203.0.113.9"];
  const hint = (filteringTests?: FilteringTests): string =>
    classifyNat({ observations, hostAddresses, ...filteringTests && { filteringTests } }).hint;
  assertEquals(hint(), "NAT_CONE");
  assertEquals(hint({ fromOtherAddress: false, fromOtherPort: false }), "NAT_RESTRICTED");
  assertEquals(hint({ fromOtherAddress: true, fromOtherPort: true }), "NAT_CONE");
});

function mapping(...lines: string[]): string {
  return classifyNat({ observations: seen(...lines) }).mapping;
}

/** Observations from lines of server and mapped address. */
function seen(...lines: string[]): NatObservation[] {
  return lines.map((line) => {
    const [server = "", mapped = ""] = line.split(" ");
    return { server: address(server), mapped: address(mapped) };
  });
}

function address(text: string): SocketAddress {
  const parsed = parseSocketAddress(text);
  if (parsed === undefined) throw new TypeError(`No address: ${text}`);
  return parsed;
}
