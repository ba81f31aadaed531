import {
  deepStrictEqual as assertEquals,
  ok as assert,
  throws as assertThrows,
} from "node:assert/strict";
import type { RelayReport } from "../relay/report.ts";
import {
  RelayRegistry,
  RELAYS_MAX,
  type RelayServer,
  type RelayWish,
  REPORT_SKEW_MS,
  REPORT_TTL_MS,
} from "./relay_registry.ts";

const NOW = 1_700_000_000_000;
const ANY: RelayWish = { meshId: "reef", relayId: "", region: "", failed: [] };

function server(id: string, part: Partial<RelayServer> = {}): RelayServer {
  return {
    id,
    region: "",
    transports: [{ kind: "udp", endpoint: "203.0.113.7:3478" }],
    realm: "moray",
    bandwidthBytesPerSecond: 0,
    secret: "s",
    ...part,
  };
}

function report(id: string, part: Partial<RelayReport> = {}): RelayReport {
  const { secret: _, ...identity } = server(id);
  return { ...identity, issuedAt: NOW, load: 0, draining: false, sessions: 0, usage: [], ...part };
}

function ids(registry: RelayRegistry, now = NOW): string[] {
  return registry.offered(now).map(({ id }) => id);
}

Deno.test("RelayRegistry offers a relay while it reports itself", () => {
  const registry = new RelayRegistry([server("b")]);
  assertEquals(registry.report(NOW, report("a"), "s"), { kind: "taken", added: true });
  assertEquals(ids(registry), ["a", "b"]);
  assertEquals(ids(registry, NOW + REPORT_TTL_MS - 1), ["a", "b"]);
  assertEquals(ids(registry, NOW + REPORT_TTL_MS), ["b"]);
  const at = NOW + REPORT_TTL_MS;
  const again = report("a", { issuedAt: at });
  assertEquals(registry.report(at, again, "s"), { kind: "taken", added: true });
  const more = report("a", { issuedAt: at + 1 });
  assertEquals(registry.report(at + 1, more, "s"), { kind: "taken", added: false });
  assertEquals(ids(registry, at + 1), ["a", "b"]);
});

Deno.test("RelayRegistry takes each relay's reports in their order, near the present, and once", () => {
  const registry = new RelayRegistry([]);
  registry.report(NOW, report("a"), "s");
  assertEquals(registry.report(NOW, report("a"), "s"), { kind: "old" });
  assertEquals(registry.report(NOW, report("a", { issuedAt: NOW - 1 }), "s"), { kind: "old" });
  const byMs = REPORT_SKEW_MS + 1;
  for (const sign of [-1, 1]) {
    assertEquals(registry.report(NOW, report("b", { issuedAt: NOW + sign * byMs }), "s"), {
      kind: "skewed",
      byMs: sign * byMs,
    });
  }
  // What is forgotten can no longer be played again.
  const first = report("a");
  for (let at = NOW; at < NOW + 5 * REPORT_SKEW_MS; at += 1000) {
    registry.sweep(at);
    assert(registry.report(at, first, "s").kind !== "taken", `played again at ${at - NOW}`);
  }
  assertEquals(registry.size, 0);
});

Deno.test("RelayRegistry keeps an id for who holds it, until it drains or falls silent", () => {
  const registry = new RelayRegistry([server("fixed")]);
  assertEquals(registry.report(NOW, report("fixed"), "s"), { kind: "held" });
  registry.report(NOW, report("a"), "s");
  const other = { transports: [{ kind: "udp", endpoint: "198.51.100.1:3478" }] } as const;
  assertEquals(registry.report(NOW + 1, report("a", { issuedAt: NOW + 1, ...other }), "s"), {
    kind: "held",
  });
  const draining = report("a", { issuedAt: NOW + 2, draining: true });
  assertEquals(registry.report(NOW + 2, draining, "s").kind, "taken");
  assertEquals(ids(registry), ["fixed"]);
  assertEquals(
    registry.report(NOW + 3, report("a", { issuedAt: NOW + 3, ...other }), "s").kind,
    "taken",
  );
  const at = NOW + 3 + REPORT_TTL_MS;
  assertEquals(registry.report(at, report("a", { issuedAt: at }), "s").kind, "taken");
});

Deno.test("RelayRegistry has a limit", () => {
  const registry = new RelayRegistry([server("fixed")]);
  for (let i = 1; i < RELAYS_MAX; i++) registry.report(NOW, report(`r${i}`), "s");
  assertEquals(registry.report(NOW, report("one-more"), "s"), { kind: "full" });
  assertEquals(registry.report(NOW + 1, report("r1", { issuedAt: NOW + 1 }), "s").kind, "taken");
  const at = NOW + 3 * REPORT_SKEW_MS;
  assertEquals(registry.sweep(at).length, RELAYS_MAX - 1);
  assertEquals(registry.report(at, report("one-more", { issuedAt: at }), "s").kind, "taken");
  assertThrows(() => new RelayRegistry([server("a"), server("a")]), RangeError);
});

Deno.test("RelayRegistry chooses by failure, region and load, and one for a whole mesh", () => {
  const registry = new RelayRegistry([
    server("eu", { region: "eu" }),
    server("us", { region: "us" }),
    server("us2", { region: "us" }),
  ]);
  const choose = (wish: Partial<RelayWish>) => registry.choose(NOW, { ...ANY, ...wish })?.id;
  assertEquals(choose({ region: "eu" }), "eu");
  assertEquals(choose({ relayId: "us2", region: "eu" }), "us2");
  assertEquals(choose({ relayId: "none" }), undefined);
  assert(choose({ region: "eu", failed: ["eu"] }) !== "eu");
  assertEquals(choose({ region: "eu", failed: ["eu", "us", "us2"] }), "eu");
  registry.setLoad("us", 80);
  assertEquals(choose({ region: "us" }), "us2");
  registry.setLoad("us2", 96);
  assertEquals(choose({ region: "us" }), "us");

  const mesh = choose({});
  assertEquals(choose({}), mesh);
  const meshes = new Set(Array.from({ length: 64 }, (_, i) => choose({ meshId: `mesh${i}` })));
  // Only one of the three has no load to speak of.
  assertEquals(meshes, new Set(["eu"]));
  registry.setLoad("us", 0);
  registry.setLoad("us2", 0);
  const spread = new Set(Array.from({ length: 64 }, (_, i) => choose({ meshId: `mesh${i}` })));
  assertEquals(spread.size, 3);
  assertEquals(new RelayRegistry([]).choose(NOW, ANY), undefined);
});
