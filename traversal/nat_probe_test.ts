import { deepStrictEqual as assertEquals, ok as assert, throws } from "node:assert/strict";
import type { Datagram, Instant, SocketAddress } from "../core/mod.ts";
import type { NatBehaviour } from "./nat.ts";
import { NatProbe, type NatReport } from "./nat_probe.ts";
import type { ProbeServer } from "./probe_trials.ts";
import { decodeStun, encodeStun, XOR_MAPPED_ADDRESS, xorAddressAttribute } from "./stun/codec.ts";
import { seeded } from "./testing/fuzz.ts";
import {
  INSIDE,
  NatWorld,
  type NatWorldOptions,
  OUTSIDE,
  PORTS,
  TWO_HOSTS,
} from "./testing/nat_world.ts";

const KINDS = ["endpointIndependent", "addressDependent", "addressAndPortDependent"] as const;
const SERVER: ProbeServer = {
  address: TWO_HOSTS.primary,
  credentials: { username: "u", password: "p" },
};
const PASSWORDS = { u: "p" };

Deno.test("NatProbe tells each of the nine kinds of NAT apart", () => {
  for (const mapping of KINDS) {
    for (const filtering of KINDS) {
      for (const allocation of ["preserving", "sequential", "random"] as const) {
        const { report } = examined({ mapping, filtering, allocation });
        const { facts } = report;
        assertEquals([facts.mapping, facts.filtering], [mapping, filtering], allocation);
        const hint = mapping !== "endpointIndependent"
          ? "NAT_SYMMETRIC"
          : filtering === "endpointIndependent"
          ? "NAT_CONE"
          : "NAT_RESTRICTED";
        assertEquals(facts.hint, hint);
        assertEquals(report.translated, true);
        assertEquals(report.mapped?.hostname, OUTSIDE);
      }
    }
  }
});

Deno.test("NatProbe tells how ports are chosen", () => {
  const allocation = (options: NatWorldOptions): unknown => examined(options).report.allocation;
  const mapping = "addressAndPortDependent";
  assertEquals(allocation({ allocation: "preserving" }), { kind: "preserving" });
  assertEquals(allocation({ mapping, allocation: "sequential" }), { kind: "sequential", delta: 2 });
  assertEquals(allocation({ allocation: "sequential" }), { kind: "sequential", delta: 2 });
  assertEquals(allocation({ mapping, allocation: "random" }), { kind: "random" });
});

Deno.test("NatProbe tells whether the NAT turns packets around", () => {
  for (const filtering of KINDS) {
    assertEquals(examined({ filtering, hairpin: true }).report.hairpin, true, filtering);
    assertEquals(examined({ filtering, hairpin: false }).report.hairpin, false, filtering);
  }
});

Deno.test("NatProbe finds a firewall where there is no NAT", () => {
  const { report } = examined({ bare: true });
  assertEquals(report.translated, false);
  assertEquals(report.facts, {
    mapping: "endpointIndependent",
    filtering: "addressAndPortDependent",
    hint: "NAT_RESTRICTED",
  });
  assertEquals([report.allocation, report.hairpin], [undefined, undefined]);
  const open = examined({ bare: true, filtering: "endpointIndependent" }).report;
  assertEquals(open.facts.hint, "NAT_CONE");
});

Deno.test("NatProbe knows nothing where UDP is blocked, and ends", () => {
  const { report, world, probe } = examined({ blocked: true });
  assertEquals(report, {
    family: 4,
    server: undefined,
    mapped: undefined,
    translated: undefined,
    facts: { mapping: "unknown", filtering: "unknown", hint: "NAT_UNKNOWN" },
    allocation: undefined,
    hairpin: undefined,
  });
  assertEquals(probe.server, undefined);
  assert(world.now < 2_000, `${world.now} ms`);
});

Deno.test("NatProbe takes at most 5 s where all is silent that can be", () => {
  assert(examined({ mapping: "addressAndPortDependent" }).world.now < 5_000);
});

Deno.test("NatProbe without credentials tells the mapping, and admits that it does not know the filtering", () => {
  const { report } = examined(
    { filtering: "endpointIndependent" },
    [{ address: TWO_HOSTS.primary }, { address: TWO_HOSTS.alternate }],
  );
  assertEquals(report.facts, {
    mapping: "endpointIndependent",
    filtering: "unknown",
    hint: "NAT_RESTRICTED",
  });
});

Deno.test("NatProbe goes on without credentials that the server does not know", () => {
  const credentials = { username: "old", password: "x" };
  const stale = [TWO_HOSTS.primary, TWO_HOSTS.alternate].map((address) => ({
    address,
    credentials,
  }));
  const { report } = examined({}, stale);
  assertEquals([report.facts.mapping, report.facts.filtering], ["endpointIndependent", "unknown"]);
});

Deno.test("NatProbe tries the next server where the first is dead", () => {
  const dead = { address: { hostname: "198.51.100.9", port: 3478 } };
  const { report } = examined({}, [dead, SERVER]);
  assertEquals(report.server, TWO_HOSTS.primary);
  assertEquals(report.facts.filtering, "addressAndPortDependent");
});

Deno.test("NatProbe tells a filter by port from one other port alone, and nothing more", () => {
  const alternate = { hostname: TWO_HOSTS.primary.hostname, port: 3479 };
  const addresses = { primary: TWO_HOSTS.primary, alternate };
  const filtering = (kind: NatBehaviour): NatBehaviour =>
    examined({ addresses, filtering: kind as typeof KINDS[number] }).report.facts.filtering;
  assertEquals(filtering("addressAndPortDependent"), "addressAndPortDependent");
  assertEquals(filtering("addressDependent"), "unknown");
  assertEquals(filtering("endpointIndependent"), "unknown");
});

Deno.test("NatProbe does not take a dead second address for a filter", () => {
  const dead = ["192.0.2.1:3479", "192.0.2.1:3478"];
  const { report } = examined({ filtering: "endpointIndependent", dead });
  // The other port of the first address answers, which a filter by address lets pass too.
  assertEquals(report.facts.filtering, "unknown");
  const all = [...dead, "198.51.100.1:3479"];
  assertEquals(
    examined({ filtering: "endpointIndependent", dead: all }).report.facts.filtering,
    "unknown",
  );
});

Deno.test("NatProbe lives with a server that has one address", () => {
  const { report } = examined({ addresses: undefined }, [{ address: TWO_HOSTS.primary }]);
  assertEquals(report.facts, { mapping: "unknown", filtering: "unknown", hint: "NAT_UNKNOWN" });
  assertEquals(report.mapped, { hostname: OUTSIDE, port: PORTS.subject });
});

Deno.test("NatProbe refuses an empty list", () => {
  throws(() => probeOf([]), RangeError);
});

Deno.test("spoofed STUN answers change nothing: wrong id, wrong source, right id from the wrong source", () => {
  const honest = examined({ mapping: "addressDependent", allocation: "sequential" }).report;
  const attacker: SocketAddress = { hostname: "198.51.100.66", port: 6666 };
  const forgeries: Record<string, (answer: Datagram) => Datagram[]> = {
    "wrong id, right source": (
      { source, payload },
    ) => [{ source, payload: lie(payload, { id: true }) }],
    "right id, wrong source": ({ payload }) => [{ source: attacker, payload: lie(payload, {}) }],
    "right id, wrong port": ({ source, payload }) => [
      { source: { ...source, port: source.port + 1000 }, payload: lie(payload, {}) },
    ],
    "right id, right source, not signed": ({ source, payload }) =>
      // Only who has read the request could send this; a signed question does not take it even then.
      isSigned(payload) ? [{ source, payload: lie(payload, {}) }] : [],
  };
  for (const [name, forge] of Object.entries(forgeries)) {
    const world = new NatWorld({
      mapping: "addressDependent",
      allocation: "sequential",
      passwords: PASSWORDS,
    });
    let forged = 0;
    world.forge = (answer) => {
      const made = forge(answer);
      forged += made.length;
      return made;
    };
    const probe = probeOf([SERVER]);
    world.run(probe);
    assert(forged > 0, name);
    assertEquals(probe.report, honest, name);
  }
});

Deno.test("a server cannot aim NatProbe at what only this node can reach", () => {
  for (const hostname of ["127.0.0.1", "192.168.1.1", "0.0.0.0", "224.0.0.1", "2001:db8::1"]) {
    const addresses = { primary: TWO_HOSTS.primary, alternate: { hostname, port: 3479 } };
    const { world } = examined({ addresses });
    assertEquals(new Set(world.asked), new Set(["198.51.100.1:3478"]), hostname);
  }
});

function probeOf(servers: readonly ProbeServer[]): NatProbe {
  return new NatProbe(0 as Instant, {
    servers,
    rng: seeded(4787),
    ports: PORTS,
    hostAddresses: [INSIDE],
  });
}

function examined(
  options: NatWorldOptions,
  servers: readonly ProbeServer[] = [SERVER],
): { report: NatReport; world: NatWorld; probe: NatProbe } {
  const world = new NatWorld({ passwords: PASSWORDS, ...options });
  const probe = probeOf(servers);
  world.run(probe);
  assert(probe.done);
  return { report: probe.report, world, probe };
}

/** The answer with another mapped address, unsigned, and with another transaction id if asked. */
function lie(payload: Uint8Array, { id = false }: { id?: boolean }): Uint8Array {
  const message = decodeStun(payload);
  assert(message !== undefined);
  const transactionId = id ? new Uint8Array(12).fill(9) : message.transactionId.slice();
  const address = { hostname: "198.51.100.66", port: 6666 };
  const attributes = [xorAddressAttribute(XOR_MAPPED_ADDRESS, address, transactionId)];
  return encodeStun({ class: "success", method: 1, transactionId, attributes }, {
    fingerprint: true,
  });
}

function isSigned(payload: Uint8Array): boolean {
  return decodeStun(payload)?.attributes.some(({ type }) => type === 0x0008) === true;
}
