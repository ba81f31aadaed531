import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { type WatchEvent, WatchEventSchema } from "../../proto/mod.ts";
import type { NodeKey, NodeRecord, StoreEvent } from "../store/store.ts";
import { agent, colony, key } from "../testing/nodes.ts";
import { FEED_CHANGES_MAX, StoreFeed } from "./store_feed.ts";
import { WatchHub } from "./watch_hub.ts";

function record(content = agent(2), generation = 1): NodeRecord {
  return { ...content, registeredAt: 0, lastSeenAt: 0, expiresAt: 1000, generation };
}

function event(kind: "upserted" | "removed", { record: whole, own = false }: {
  record: NodeRecord;
  own?: boolean;
}): StoreEvent {
  const { meshId, publicKey, role, generation } = whole;
  const change = { meshId, publicKey, role, generation };
  return { kind, change: own ? { ...change, record: whole } : change };
}

/** A store whose answers come when the test says so, a hub, and the colony's stream. */
class World {
  readonly hub = new WatchHub("run1");
  readonly asked: { key: string; answer: PromiseWithResolvers<NodeRecord | undefined> }[] = [];
  readonly said: string[] = [];
  readonly removed: string[] = [];
  readonly feed: StoreFeed;
  tell: (event: StoreEvent) => void = () => {};

  constructor() {
    this.feed = new StoreFeed({
      store: {
        listen: (listener) => {
          this.tell = listener;
        },
        node: ({ publicKey }: NodeKey) => {
          const answer = Promise.withResolvers<NodeRecord | undefined>();
          this.asked.push({ key: publicKey, answer });
          return answer.promise;
        },
      },
      hub: this.hub,
      onSaid: (text) => this.said.push(text),
      onRemoved: ({ publicKey }) => this.removed.push(publicKey),
      now: () => 0,
      log: () => {},
    });
  }

  watch(cursor = ""): ReturnType<WatchHub["subscribe"]> {
    return this.hub.subscribe({ meshId: "reef", publicKey: key(1), role: "colony", cursor });
  }
}

function summary(events: readonly WatchEvent[]): string[] {
  return events.map(({ event }) => {
    const value = event.value ?? create(WatchEventSchema);
    return `${event.case} ${"pubkey" in value ? atob(value.pubkey).charCodeAt(0) : ""}`;
  });
}

Deno.test("StoreFeed publishes a change of its own at once", async () => {
  const world = new World();
  const stream = world.watch();
  world.tell(event("upserted", { record: record(), own: true }));
  world.tell(event("removed", { record: record() }));
  assertEquals(world.asked.length, 0);
  assertEquals(summary(await stream.next()), ["peerUpserted 2", "peerRemoved 2"]);
});

Deno.test("StoreFeed reads what another replica changed, and keeps the order", async () => {
  const world = new World();
  const stream = world.watch();
  world.tell(event("upserted", { record: record(agent(2)) }));
  world.tell(event("removed", { record: record(agent(3)) }));
  world.tell(event("upserted", { record: record(agent(4)) }));
  // Both are on their way, and the second one comes first.
  assertEquals(world.asked.map((one) => one.key), [key(2), key(4)]);
  world.asked[1]?.answer.resolve(record(agent(4)));
  world.asked[0]?.answer.resolve(record(agent(2)));
  const told: string[] = [];
  while (told.length < 3) told.push(...summary(await stream.next()));
  assertEquals(told, ["peerUpserted 2", "peerRemoved 3", "peerUpserted 4"]);
});

Deno.test("StoreFeed leaves out a record that is gone again", async () => {
  const world = new World();
  const stream = world.watch();
  world.tell(event("upserted", { record: record(agent(2)) }));
  world.tell(event("removed", { record: record(agent(2)) }));
  world.asked[0]?.answer.resolve(undefined);
  assertEquals(summary(await stream.next()), ["peerRemoved 2"]);
});

Deno.test("StoreFeed reads nothing for a mesh that nobody follows, and no cursor survives that", async () => {
  const world = new World();
  const { cursor } = world.watch();
  world.tell(event("upserted", { record: record(agent(2, { meshId: "atoll" })) }));
  assertEquals(world.asked.length, 0);
  // The mesh that is followed has missed nothing.
  assertEquals(world.watch(cursor).missed, []);
  const other = new World();
  other.tell(event("upserted", { record: record(colony()) }));
  assertEquals(other.watch("run1.c.0").missed, undefined);
  await Promise.resolve();
});

Deno.test("StoreFeed has streams begin anew after a gap, a failure, and too many changes at once", async () => {
  const faults: ((world: World) => void)[] = [
    (world) => world.tell({ kind: "gap" }),
    (world) => {
      world.tell(event("upserted", { record: record() }));
      world.asked[0]?.answer.reject(new Error("the database is away"));
    },
    (world) => {
      for (let i = 0; i <= FEED_CHANGES_MAX; i++) {
        world.tell(event("upserted", { record: record(agent(2), i) }));
      }
      assertEquals(world.feed.overflowed, 1);
    },
  ];
  for (const fault of faults) {
    const world = new World();
    const stream = world.watch();
    const ended = stream.next().then(() => "an event", (error) => error.rawMessage);
    fault(world);
    assertEquals(await ended, "Discovery has missed changes");
    assertEquals(world.watch(stream.cursor).missed, undefined);
  }
});

Deno.test("StoreFeed hands on what replicas say", () => {
  const world = new World();
  world.tell({ kind: "said", text: "hello" });
  assertEquals(world.said, ["hello"]);
});
