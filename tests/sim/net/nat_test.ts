/** The NAT of the simulator against the wording of RFC 4787. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant, SocketAddress } from "../../../core/mod.ts";
import { chanceOf } from "../random.ts";
import { Nat, type NatBehaviour, type NatOptions } from "./nat.ts";
import type { Packet, Sender } from "./packet.ts";

const NAT = "203.0.113.1";
/** X:x of the RFC, the internal endpoint. */
const X: SocketAddress = { hostname: "192.168.1.10", port: 5000 };
/** Y1:y1, Y1:y2 and Y2:y1, the external ones. */
const Y1: SocketAddress = { hostname: "198.51.100.1", port: 1000 };
const Y1_OTHER_PORT: SocketAddress = { hostname: "198.51.100.1", port: 2000 };
const Y2: SocketAddress = { hostname: "198.51.100.2", port: 1000 };
const SENDER: Sender = { name: "x", icmp: () => undefined };

function nat(changes: Partial<NatOptions> = {}): Nat {
  return new Nat({
    address: NAT,
    rng: chanceOf(1, "nat"),
    mapping: "endpointIndependent",
    filtering: "endpointIndependent",
    allocation: "preserve",
    timeoutMs: 120_000,
    refresh: "outbound",
    hairpin: false,
    ...changes,
  });
}

function packet(source: SocketAddress, destination: SocketAddress): Packet {
  return { source, destination, bytes: new Uint8Array(1), sender: SENDER, aim: destination };
}

const at = (ms: number): Instant => ms as Instant;

/** The external endpoint of X towards each of the three. */
function mapped(mapping: NatBehaviour["mapping"]): (SocketAddress | undefined)[] {
  const box = nat({ mapping, allocation: "random" });
  return [Y1, Y1_OTHER_PORT, Y2].map((to) => box.outbound(at(0), packet(X, to))?.source);
}

/** From which of the three a packet passes to X after X has sent to Y1. */
function admitted(filtering: NatBehaviour["filtering"]): boolean[] {
  const box = nat({ filtering });
  const external = box.outbound(at(0), packet(X, Y1))?.source;
  assert(external !== undefined);
  return [Y1, Y1_OTHER_PORT, Y2].map((from) =>
    box.inbound(at(1), packet(from, external)) !== undefined
  );
}

Deno.test("section 4.1: endpoint-independent mapping reuses the mapping for any external address and port", () => {
  const [y1, y1Other, y2] = mapped("endpointIndependent");
  assertEquals(y1, y1Other);
  assertEquals(y1, y2);
  assertEquals(y1?.hostname, NAT);
});

Deno.test("section 4.1: address-dependent mapping reuses it for the same external address, whatever the port", () => {
  const [y1, y1Other, y2] = mapped("addressDependent");
  assertEquals(y1, y1Other);
  assert(y1?.port !== y2?.port);
});

Deno.test("section 4.1: address and port-dependent mapping reuses it for the same address and port only", () => {
  const [y1, y1Other, y2] = mapped("addressAndPortDependent");
  assertEquals(new Set([y1?.port, y1Other?.port, y2?.port]).size, 3);
});

Deno.test("section 4.1: two internal endpoints never share an external one", () => {
  for (const allocation of ["preserve", "sequential", "random"] as const) {
    const box = nat({ allocation });
    const ports = new Set<number>();
    for (let host = 10; host < 60; host++) {
      const source = { hostname: `192.168.1.${host}`, port: 5000 };
      const external = box.outbound(at(0), packet(source, Y1))?.source;
      assert(external !== undefined);
      assertEquals(box.ownerOf(at(0), external.port), source);
      ports.add(external.port);
    }
    assertEquals(ports.size, 50);
  }
});

Deno.test("section 4.2.1: port preservation keeps the internal port while it is free, and takes another otherwise", () => {
  const box = nat();
  assertEquals(box.outbound(at(0), packet(X, Y1))?.source.port, X.port);
  const second = box.outbound(at(0), packet({ hostname: "192.168.1.11", port: X.port }, Y1));
  assert(second !== undefined && second.source.port !== X.port);
});

Deno.test("section 4.2: a sequential NAT gives the next port to each new mapping", () => {
  const box = nat({ mapping: "addressAndPortDependent", allocation: "sequential" });
  const ports = [Y1, Y1_OTHER_PORT, Y2].map((to) =>
    box.outbound(at(0), packet(X, to))?.source.port ?? 0
  );
  const [first = 0] = ports;
  assertEquals(ports, [first, first + 1, first + 2]);
});

Deno.test("section 4.2: a NAT without a free port drops, and uses one again that has expired", () => {
  const box = nat({ ports: [2000, 2001], allocation: "random", timeoutMs: 1000 });
  const from = (port: number): Packet => packet({ hostname: "192.168.1.10", port }, Y1);
  assert(box.outbound(at(0), from(1)) && box.outbound(at(500), from(2)));
  assertEquals(box.outbound(at(600), from(3)), undefined);
  assertEquals(box.dropped, 1);
  assert(box.outbound(at(1000), from(3)) !== undefined);
  assertEquals(box.size, 2);
});

Deno.test("section 4.3: a mapping expires after its timeout without an outbound packet, which alone must refresh it", () => {
  const box = nat({ allocation: "random", timeoutMs: 1000 });
  const first = box.outbound(at(0), packet(X, Y1))?.source;
  assert(first !== undefined);
  assert(
    box.inbound(at(900), packet(Y1, first)),
    "it lives, and the inbound packet changes nothing",
  );
  assertEquals(box.inbound(at(1000), packet(Y1, first)), undefined);
  const second = box.outbound(at(1001), packet(X, Y1))?.source;
  assert(second !== undefined && second.port !== first.port);
  box.outbound(at(1900), packet(X, Y2));
  assert(box.inbound(at(2800), packet(Y1, second)), "refreshed by what was sent elsewhere");
});

Deno.test("section 4.3: a NAT with inbound refresh keeps a mapping alive by what comes in", () => {
  const box = nat({ timeoutMs: 1000, refresh: "both", filtering: "addressAndPortDependent" });
  const external = box.outbound(at(0), packet(X, Y1))?.source;
  assert(external !== undefined);
  for (let now = 900; now < 5000; now += 900) {
    assert(box.inbound(at(now), packet(Y1, external)), `alive after ${now} ms`);
  }
});

Deno.test("section 5: endpoint-independent filtering admits everybody to a mapping", () => {
  assertEquals(admitted("endpointIndependent"), [true, true, true]);
});

Deno.test("section 5: address-dependent filtering admits any port of an address that X has sent to", () => {
  assertEquals(admitted("addressDependent"), [true, true, false]);
});

Deno.test("section 5: address and port-dependent filtering admits only the endpoint that X has sent to", () => {
  assertEquals(admitted("addressAndPortDependent"), [true, false, false]);
});

Deno.test("section 5: a filter's entry expires by itself while the mapping lives", () => {
  const box = nat({ filtering: "addressDependent", timeoutMs: 1000 });
  const external = box.outbound(at(0), packet(X, Y1))?.source;
  assert(external !== undefined);
  box.outbound(at(800), packet(X, Y2));
  assertEquals(box.inbound(at(1200), packet(Y1, external)), undefined);
  assert(box.inbound(at(1200), packet(Y2, external)) !== undefined);
});

Deno.test("section 5: without a mapping nothing gets in, nor to another address", () => {
  const box = nat();
  assertEquals(box.inbound(at(0), packet(Y1, { hostname: NAT, port: 5000 })), undefined);
  box.outbound(at(0), packet(X, Y1));
  assertEquals(box.inbound(at(0), packet(Y1, { hostname: "203.0.113.9", port: 5000 })), undefined);
});

Deno.test("section 6: hairpinning shows the external source address and port, and filters", () => {
  const b: SocketAddress = { hostname: "192.168.1.11", port: 6000 };
  const box = nat({ hairpin: true, filtering: "addressAndPortDependent" });
  const externalB = box.outbound(at(0), packet(b, Y1))?.source;
  assert(externalB !== undefined);
  assertEquals(box.hairpin(at(1), packet(X, externalB)), undefined, "B has not sent to X");
  const externalX = box.externalOf(at(1), X, externalB);
  assert(externalX !== undefined);
  const returned = box.hairpin(at(2), packet(b, externalX));
  assertEquals([returned?.source, returned?.destination], [externalB, X]);
  const again = box.hairpin(at(3), packet(X, externalB));
  assertEquals([again?.source, again?.destination], [externalX, b]);
  assertEquals(nat().hairpin(at(0), packet(X, externalB)), undefined, "off");
});

Deno.test("a NAT that reboots or gets another address forgets its mappings", () => {
  const box = nat();
  const external = box.outbound(at(0), packet(X, Y1))?.source;
  assert(external !== undefined);
  box.reboot();
  assertEquals(box.inbound(at(1), packet(Y1, external)), undefined);
  box.outbound(at(2), packet(X, Y1));
  box.moveTo("203.0.113.7");
  assertEquals(box.size, 0);
  assertEquals(box.outbound(at(3), packet(X, Y1))?.source.hostname, "203.0.113.7");
});
