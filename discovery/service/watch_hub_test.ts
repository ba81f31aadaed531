import {
  deepStrictEqual as assertEquals,
  rejects as assertRejects,
  throws,
} from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { formatBase64 } from "../../core/mod.ts";
import { SignedStatementSchema, type WatchEvent } from "../../proto/mod.ts";
import type { NodeRecord } from "../store/store.ts";
import { agent, colony, key } from "../testing/nodes.ts";
import type { Subscription } from "./subscription.ts";
import { WatchHub, type WatchHubLimits } from "./watch_hub.ts";

const COLONY = { meshId: "reef", publicKey: key(1), role: "colony", cursor: "" } as const;
const AGENT = { meshId: "reef", publicKey: key(2), role: "agent", cursor: "" } as const;

function record(content = agent(2), generation = 1): NodeRecord {
  return { ...content, registeredAt: 0, lastSeenAt: 0, expiresAt: 1000, generation };
}

function hub(limits?: WatchHubLimits): WatchHub {
  return new WatchHub("run1", limits);
}

/** Kind and key of each event. */
function summary(events: readonly WatchEvent[]): string[] {
  return events.map(({ event }) => {
    switch (event.case) {
      case "peerUpserted":
        return `+${keySeed(event.value.pubkey)}`;
      case "peerRemoved":
        return `-${keySeed(event.value.pubkey)}`;
      case "punch":
        return `punch ${keySeed(event.value.peer?.pubkey)}`;
      default:
        return String(event.case);
    }
  });
}

function keySeed(text: string | undefined): number | undefined {
  return text === undefined ? undefined : atob(text).charCodeAt(0);
}

async function events(subscription: Subscription): Promise<string[]> {
  return summary(await subscription.next());
}

Deno.test("WatchHub tells colonies of agents, agents of their colony, and nobody of other meshes", async () => {
  const h = hub();
  const toColony = h.subscribe(COLONY);
  const toAgent = h.subscribe(AGENT);
  const elsewhere = h.subscribe({ ...COLONY, meshId: "atoll" });
  h.publishUpsert(record(agent(3)));
  h.publishUpsert(record(colony()));
  h.publishRemoval(record(agent(3)));
  h.heartbeat();
  assertEquals(await events(toColony), ["+3", "-3", "heartbeat"]);
  assertEquals(await events(toAgent), ["+1", "heartbeat"]);
  assertEquals(await events(elsewhere), ["heartbeat"]);
  assertEquals(h.watches, 3);
});

Deno.test("WatchHub wakes a subscription that waits", async () => {
  const h = hub();
  const subscription = h.subscribe(COLONY);
  const waiting = events(subscription);
  h.publishUpsert(record(agent(3)));
  assertEquals(await waiting, ["+3"]);
});

Deno.test("WatchHub resumes from a cursor with what was missed", async () => {
  const h = hub();
  const first = h.subscribe(COLONY);
  assertEquals(first.missed, undefined);
  h.publishUpsert(record(agent(3)));
  h.publishUpsert(record(agent(4)));
  const [seen] = await first.next();
  first.end();
  h.publishUpsert(record(colony()));
  h.publishRemoval(record(agent(3)));
  const again = h.subscribe({ ...COLONY, cursor: seen?.cursor ?? "" });
  assertEquals(summary(again.missed ?? []), ["+4", "-3"]);
  assertEquals(h.subscribe({ ...COLONY, cursor: again.cursor }).missed, []);
});

Deno.test("WatchHub gives a snapshot for a cursor of another run, role or time", () => {
  const h = hub({ ringMax: 2 });
  const { cursor } = h.subscribe(COLONY);
  for (const seed of [3, 4, 5]) h.publishUpsert(record(agent(seed)));
  for (const bad of [cursor, "run0.c.3", "run1.a.3", "run1.c.4", "run1.c.-1", "run1.c.", "x"]) {
    assertEquals(h.subscribe({ ...COLONY, publicKey: key(9), cursor: bad }).missed, undefined, bad);
  }
  assertEquals(
    summary(h.subscribe({ ...COLONY, cursor: "run1.c.1" }).missed ?? []),
    ["+4", "+5"],
  );
});

Deno.test("WatchHub forgets the rings of quiet meshes first, and never resumes across the gap", () => {
  const h = hub({ ringTotalMax: 3, channelsMax: 2 });
  const quiet = h.subscribe(COLONY);
  h.publishUpsert(record(agent(3)));
  for (const seed of [4, 5, 6]) h.publishUpsert(record(agent(seed, { meshId: "busy" })));
  assertEquals(h.subscribe({ ...COLONY, cursor: quiet.cursor }).missed, undefined);
  // A mesh that nobody watches goes altogether, and its cursors with it.
  const { cursor } = h.subscribe({ ...COLONY, meshId: "busy" });
  for (const meshId of ["m1", "m2", "m3"]) h.publishUpsert(record(agent(3, { meshId })));
  assertEquals(h.subscribe({ ...COLONY, meshId: "m1", cursor }).missed, undefined);
});

Deno.test("WatchHub pushes punches to every stream of a node, and says whether there is one", async () => {
  const h = hub();
  const peer = record(agent(3));
  const notice = { punchId: "p1", windowMs: 3000, peer };
  assertEquals(h.punch(COLONY, notice), false);
  const one = h.subscribe(COLONY);
  const two = h.subscribe(COLONY);
  assertEquals(h.punch(COLONY, notice), true);
  assertEquals(await events(one), ["punch 3"]);
  assertEquals(await events(two), ["punch 3"]);
  // A punch is for now: a later resume does not bring it back.
  assertEquals(h.subscribe({ ...AGENT, cursor: one.cursor }).missed, undefined);
  one.end();
  assertEquals(h.subscribe({ ...COLONY, cursor: one.cursor }).missed, []);
});

Deno.test("WatchHub ends a stream that falls behind", async () => {
  const h = hub({ queueMax: 3 });
  const slow = h.subscribe(COLONY);
  for (const seed of [3, 4, 5]) h.publishUpsert(record(agent(seed)));
  assertEquals([h.watches, h.overflowed], [1, 0]);
  h.publishUpsert(record(agent(6)));
  assertEquals([h.watches, h.overflowed], [0, 1]);
  await assertRejects(slow.next(), { code: Code.ResourceExhausted });

  const silent = h.subscribe({ ...AGENT, publicKey: key(7) });
  const reading = hub();
  const alive = reading.subscribe(AGENT);
  for (let i = 0; i < 5; i++) {
    h.heartbeat();
    reading.heartbeat();
    assertEquals(await events(alive), ["heartbeat"]);
  }
  await assertRejects(silent.next(), { code: Code.ResourceExhausted });
});

Deno.test("WatchHub ends a node's streams with its registration", async () => {
  const h = hub();
  const own = h.subscribe(AGENT);
  h.publishRemoval(record(agent(2)));
  await assertRejects(own.next(), { code: Code.NotFound });
  const promoted = h.subscribe(AGENT);
  h.publishUpsert(record(colony({ publicKey: key(2) })));
  await assertRejects(promoted.next(), { code: Code.Aborted });
  assertEquals(h.watches, 0);
});

Deno.test("WatchHub bounds streams per node, mesh and server", async () => {
  const h = hub({ watchesPerMeshMax: 3, watchesMax: 4 });
  const oldest = h.subscribe(AGENT);
  h.subscribe(AGENT);
  h.subscribe(AGENT);
  await assertRejects(oldest.next(), { code: Code.Aborted });
  assertEquals(h.watches, 2);
  h.subscribe(COLONY);
  throws(() => h.subscribe({ ...AGENT, publicKey: key(8) }), { code: Code.ResourceExhausted });
  h.subscribe({ ...COLONY, meshId: "atoll" });
  throws(() => h.subscribe({ ...COLONY, meshId: "lagoon" }), { code: Code.ResourceExhausted });
});

Deno.test("WatchHub ends everything when it closes", async () => {
  const h = hub();
  const subscription = h.subscribe(COLONY);
  const ended = h.subscribe({ ...AGENT });
  ended.end();
  ended.end();
  assertEquals(await ended.next(), []);
  h.close();
  await assertRejects(subscription.next(), { code: Code.Unavailable });
  throws(() => h.subscribe(AGENT), { code: Code.Unavailable });
  assertEquals(h.watches, 0);
});

Deno.test("WatchHub tells a node what its colony says of it, and everybody who is thrown out", async () => {
  const h = hub();
  const [toColony, toAgent] = [h.subscribe(COLONY), h.subscribe(AGENT)];
  const toOther = h.subscribe({ ...AGENT, publicKey: key(3) });
  const elsewhere = h.subscribe({ ...AGENT, meshId: "atoll" });
  const signed = create(SignedStatementSchema, { statement: new Uint8Array([7]) });
  const statement = formatBase64(toBinary(SignedStatementSchema, signed));
  const about = { meshId: "reef", publicKey: key(2), statement };
  h.membership({ ...about, forAll: false });
  h.membership({ ...about, forAll: true });
  h.membership({ ...about, meshId: "nowhere", forAll: true });
  h.heartbeat();
  assertEquals(await events(toColony), ["membership", "heartbeat"]);
  assertEquals(await events(toOther), ["membership", "heartbeat"]);
  assertEquals(await events(elsewhere), ["heartbeat"]);
  const told = await toAgent.next();
  assertEquals(summary(told), ["membership", "membership", "heartbeat"]);
  const [first] = told;
  assertEquals(
    first?.event.case === "membership" && [...first.event.value.statement],
    [7],
  );
});
