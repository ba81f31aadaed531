import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { volunteerId } from "../relay/names.ts";
import type { RelayReport } from "../relay/report.ts";
import type { NodeKey } from "../store/store.ts";
import { REPORT_SKEW_MS, REPORT_TTL_MS } from "./relay_registry.ts";
import {
  RECHECK_MS,
  VolunteerRegistry,
  VOLUNTEERS_MAX,
  VOLUNTEERS_PER_MESH_MAX,
} from "./volunteer_registry.ts";

const START = 1_700_000_000_000;
const UDP = { kind: "udp", endpoint: "203.0.113.7:3478" } as const;
const TCP = { kind: "tcp", endpoint: "203.0.113.7:3478" } as const;
const HELPER: NodeKey = { meshId: "reef", publicKey: "helper" };
const WALKER: NodeKey = { meshId: "reef", publicKey: "walker" };
const STRANGER: NodeKey = { meshId: "atoll", publicKey: "stranger" };

function reportOf(node: NodeKey, issuedAt: number, more: Partial<RelayReport> = {}): RelayReport {
  return {
    id: volunteerId(node),
    issuedAt,
    region: "",
    transports: [UDP, TCP],
    realm: "moray",
    load: 0,
    draining: false,
    sessions: 0,
    bandwidthBytesPerSecond: 0,
    usage: [],
    ...more,
  };
}

/** A registry with the helper's relay, which is looked at if `result` is given. */
function withHelper(passes: boolean | undefined): VolunteerRegistry {
  const registry = new VolunteerRegistry();
  report(registry, START);
  if (passes !== undefined) check(registry, START, passes);
  return registry;
}

function report(registry: VolunteerRegistry, now: number, more: Partial<RelayReport> = {}): string {
  const given = { report: reportOf(HELPER, now, more), secret: "secret" };
  return registry.report(now, HELPER, given).kind;
}

function check(registry: VolunteerRegistry, now: number, passes: boolean): void {
  const begun = registry.beginCheck(now, volunteerId(HELPER));
  if (begun === undefined) throw new Error("no check is due");
  registry.checked(now, begun, passes ? { transports: [UDP] } : { reason: "silent" });
}

function offeredTo(registry: VolunteerRegistry, now: number, node: NodeKey): readonly string[] {
  return registry.offered(now, node).map(({ id }) => id);
}

Deno.test("a volunteer is offered once it was looked at, to the other nodes of its mesh only, by the ways that work", () => {
  const registry = withHelper(undefined);
  assertEquals(offeredTo(registry, START, WALKER), []);
  assertEquals(registry.standing(START, volunteerId(HELPER)), {
    offered: false,
    reason: "it has not been looked at yet",
  });
  check(registry, START, true);
  assertEquals(registry.offered(START, WALKER).map(({ id, transports }) => [id, transports]), [
    [volunteerId(HELPER), [UDP]],
  ]);
  assertEquals(offeredTo(registry, START, HELPER), []);
  assertEquals(offeredTo(registry, START, STRANGER), []);
  assertEquals(registry.standing(START, volunteerId(HELPER)), { offered: true, reason: "" });
});

Deno.test("a volunteer that cannot be reached is not offered, and looked at again after 15 s, 30 s ... 10 min", () => {
  const registry = withHelper(false);
  const id = volunteerId(HELPER);
  assertEquals(registry.standing(START, id), { offered: false, reason: "silent" });
  let now = START;
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    const from = now;
    do now += 5000; while (registry.beginCheck(now, id) === undefined);
    waits.push((now - from) / 1000);
    registry.checked(now, { id, node: HELPER, transports: [UDP, TCP], secret: "secret" }, {
      reason: "silent",
    });
  }
  assertEquals(waits, [15, 30, 60, 120, 240, 480, 600, 600]);
});

Deno.test("a volunteer that carries is looked at again every 5 minutes, sooner if a node of its mesh could not use it", () => {
  const registry = withHelper(true);
  const id = volunteerId(HELPER);
  assertEquals(registry.beginCheck(START + RECHECK_MS - 1, id), undefined);
  registry.doubt(START + 29_999, "reef", id);
  registry.doubt(START + 30_000, "atoll", id);
  assertEquals(registry.beginCheck(START + 30_000, id), undefined);
  registry.doubt(START + 30_000, "reef", id);
  report(registry, START + 30_000);
  check(registry, START + 30_000, false);
  assertEquals(offeredTo(registry, START + 30_000, WALKER), []);
});

Deno.test("a volunteer is gone when it says so, when it is silent, and when its node leaves", () => {
  const silent = withHelper(true);
  assertEquals(offeredTo(silent, START + REPORT_TTL_MS - 1, WALKER).length, 1);
  assertEquals(offeredTo(silent, START + REPORT_TTL_MS, WALKER), []);
  assertEquals(silent.sweep(START + 2 * REPORT_SKEW_MS - 1), []);
  assertEquals(silent.sweep(START + 2 * REPORT_SKEW_MS), [volunteerId(HELPER)]);
  assertEquals(silent.size, 0);

  const draining = withHelper(true);
  assertEquals(report(draining, START + 1, { draining: true }), "taken");
  assertEquals(offeredTo(draining, START + 1, WALKER), []);
  assertEquals(draining.standing(START + 1, volunteerId(HELPER)).reason, "it is about to end");

  const left = withHelper(true);
  left.leave(STRANGER);
  assertEquals(left.size, 1);
  left.leave(HELPER);
  assertEquals([left.size, offeredTo(left, START, WALKER)], [0, []]);
});

Deno.test("a volunteer that lives is replaced by nobody with another secret, and checked anew at another address", () => {
  const registry = withHelper(true);
  const other = { report: reportOf(HELPER, START + 1), secret: "another" };
  assertEquals(registry.report(START + 1, HELPER, other).kind, "held");
  assertEquals(report(registry, START), "old");
  assertEquals(report(registry, START + REPORT_SKEW_MS), "taken");
  const later = START + REPORT_SKEW_MS;
  assertEquals(
    registry.report(later, HELPER, {
      report: reportOf(HELPER, later + REPORT_SKEW_MS + 1),
      secret: "secret",
    }).kind,
    "skewed",
  );
  assertEquals(
    report(registry, later + 1, { transports: [{ ...UDP, endpoint: "203.0.113.8:3478" }] }),
    "taken",
  );
  assertEquals(offeredTo(registry, later + 1, WALKER), []);
  assertEquals(registry.beginCheck(later + 1, volunteerId(HELPER))?.transports.length, 1);
});

Deno.test("what a check of an earlier relay says is of no account", () => {
  const registry = withHelper(undefined);
  const begun = registry.beginCheck(START, volunteerId(HELPER));
  if (begun === undefined) throw new Error("no check is due");
  assertEquals(registry.beginCheck(START, volunteerId(HELPER)), undefined);
  report(registry, START + 1, { transports: [{ ...UDP, endpoint: "203.0.113.8:3478" }] });
  registry.checked(START + 2, begun, { transports: [UDP] });
  assertEquals(offeredTo(registry, START + 2, WALKER), []);
});

Deno.test("volunteers are bounded in each mesh and in all", () => {
  const registry = new VolunteerRegistry();
  const add = (meshId: string, publicKey: string): string => {
    const node = { meshId, publicKey };
    return registry.report(START, node, { report: reportOf(node, START), secret: "s" }).kind;
  };
  for (let i = 0; i < VOLUNTEERS_PER_MESH_MAX; i++) assertEquals(add("reef", `${i}`), "taken");
  assertEquals(add("reef", "more"), "full");
  registry.leave({ meshId: "reef", publicKey: "0" });
  assertEquals(add("reef", "more"), "taken");
  for (let i = registry.size; i < VOLUNTEERS_MAX; i++) assertEquals(add(`mesh ${i}`, "a"), "taken");
  assertEquals(add("another", "a"), "full");
});
