import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import { keepaliveFor, LifetimeProbe, type MappingLifetime } from "./mapping_lifetime.ts";
import type { PortAllocation } from "./port_allocation.ts";
import type { ProbeServer } from "./probe_trials.ts";
import { seeded } from "./testing/fuzz.ts";
import { NatWorld, type NatWorldOptions, TWO_HOSTS } from "./testing/nat_world.ts";

const PASSWORDS = { u: "p" };
const SERVER: ProbeServer = {
  address: TWO_HOSTS.primary,
  credentials: { username: "u", password: "p" },
};

Deno.test("LifetimeProbe brackets the life of a mapping, whatever the NAT is like", () => {
  const expected: [number, MappingLifetime][] = [
    [5_000, { atLeastMs: 0, belowMs: 10_000 }],
    [20_000, { atLeastMs: 10_000, belowMs: 30_000 }],
    [45_000, { atLeastMs: 30_000, belowMs: 60_000 }],
    [90_000, { atLeastMs: 60_000, belowMs: 120_000 }],
    [300_000, { atLeastMs: 120_000, belowMs: undefined }],
  ];
  for (const [timeoutMs, lifetime] of expected) {
    for (const mapping of ["endpointIndependent", "addressAndPortDependent"] as const) {
      for (const allocation of ["preserving", "sequential", "random"] as const) {
        assertEquals(
          measured({ timeoutMs, mapping, allocation }),
          lifetime,
          `${timeoutMs} ${mapping}`,
        );
      }
    }
  }
});

Deno.test("LifetimeProbe without RESPONSE-PORT judges by a changed port, where ports are random", () => {
  const server = { address: TWO_HOSTS.primary };
  const options = { timeoutMs: 45_000, allocation: "random" } as const;
  assertEquals(measured(options, { server, allocation: { kind: "random" } }), {
    atLeastMs: 30_000,
    belowMs: 60_000,
  });
});

Deno.test("LifetimeProbe without RESPONSE-PORT does not guess where the NAT gives the same port again", () => {
  const server = { address: TWO_HOSTS.primary };
  for (const timeoutMs of [5_000, 300_000]) {
    const allocation = { kind: "preserving" } as const;
    assertEquals(measured({ timeoutMs }, { server, allocation }), undefined);
  }
});

Deno.test("LifetimeProbe says nothing where nobody answers, and ends at once", () => {
  const world = new NatWorld({ blocked: true });
  const probe = probeOf();
  world.run(probe);
  assertEquals([probe.done, probe.lifetime], [true, undefined]);
  assert(world.now < 2_000);
});

Deno.test("LifetimeProbe does not take a server that went away for a lost mapping", () => {
  const world = new NatWorld({ timeoutMs: 300_000, passwords: PASSWORDS });
  const probe = probeOf();
  world.diesAt = 35_000;
  world.run(probe);
  assertEquals(probe.lifetime, { atLeastMs: 10_000, belowMs: undefined });
});

Deno.test("keepaliveFor stays within what was proven, and 25 s where nothing was", () => {
  assertEquals(keepaliveFor(undefined), 25_000);
  const of = (atLeastMs: number): number => keepaliveFor({ atLeastMs, belowMs: undefined });
  assertEquals([0, 10_000, 30_000, 60_000, 120_000].map(of), [
    4_000,
    8_333,
    25_000,
    50_000,
    100_000,
  ]);
});

function probeOf(
  { server = SERVER, allocation }: { server?: ProbeServer; allocation?: PortAllocation } = {},
): LifetimeProbe {
  return new LifetimeProbe(0 as Instant, { server, rng: seeded(10), allocation });
}

function measured(
  options: NatWorldOptions,
  probing: Parameters<typeof probeOf>[0] = {},
): MappingLifetime | undefined {
  const world = new NatWorld({ passwords: PASSWORDS, ...options });
  const probe = probeOf(probing);
  world.run(probe);
  assert(probe.done);
  return probe.lifetime;
}
