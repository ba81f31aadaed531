import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { NodeRecord } from "../store/store.ts";
import { agent, colony, key } from "../testing/nodes.ts";
import { PunchDesk, PUNCHES_WAITING_MAX, TOLD_MS_MAX } from "./punch_desk.ts";
import { WatchHub } from "./watch_hub.ts";

const RECORDS: readonly NodeRecord[] = [colony(), agent(2)].map((content) => ({
  ...content,
  registeredAt: 0,
  lastSeenAt: 0,
  expiresAt: 1000,
  generation: 1,
}));

/** Replicas that hear each other at once. */
class World {
  readonly hubs: WatchHub[] = [];
  readonly desks: PunchDesk[] = [];
  readonly words: string[] = [];
  readonly waits: number[] = [];
  /** Resolves when a punch begins to wait. */
  readonly waiting = Promise.withResolvers<void>();
  readonly #expire: (() => void)[] = [];

  constructor(replicas: number, shared = true) {
    for (let i = 0; i < replicas; i++) {
      const hub = new WatchHub(`run${i}`);
      this.hubs.push(hub);
      this.desks.push(
        new PunchDesk({
          hub,
          now: () => 0,
          store: {
            shared,
            node: ({ publicKey }) =>
              Promise.resolve(RECORDS.find((record) => record.publicKey === publicKey)),
            say: async (text) => {
              this.words.push(text);
              await Promise.all(this.desks.map((desk) => desk.heard(text)));
            },
          },
          wait: (ms, signals) => {
            this.waits.push(ms);
            this.waiting.resolve();
            if (signals.some(({ aborted }) => aborted)) return Promise.resolve();
            const { promise, resolve } = Promise.withResolvers<void>();
            for (const signal of signals) signal.addEventListener("abort", () => resolve());
            this.#expire.push(resolve);
            return promise;
          },
        }),
      );
    }
  }

  /** Opens a Watch stream at a replica. */
  watch(replica: number, seed: number): () => Promise<string[]> {
    const role = seed === 1 ? "colony" : "agent";
    const hub = this.hubs[replica];
    const stream = hub?.subscribe({ meshId: "reef", publicKey: key(seed), role, cursor: "" });
    return async () =>
      (await stream?.next() ?? []).map(({ event }) =>
        event.case === "punch"
          ? `${event.value.punchId} ${event.value.windowMs} ${event.value.peer?.name}`
          : String(event.case)
      );
  }

  punch(replica: number, punchId = "p1"): Promise<boolean | undefined> {
    const [to, from] = RECORDS;
    if (from === undefined || to === undefined) throw new Error("two records");
    const order = { punchId, windowMs: 3000, from, to };
    return this.desks[replica]?.punch(order) ?? Promise.resolve(undefined);
  }

  expire(): void {
    for (const end of this.#expire.splice(0)) end();
  }
}

Deno.test("PunchDesk alone tells both sides at once, and nobody else", async () => {
  const world = new World(1, false);
  const colonyStream = world.watch(0, 1);
  const agentStream = world.watch(0, 2);
  assertEquals(await world.punch(0), true);
  assertEquals(await colonyStream(), ["p1 3000 a2"]);
  assertEquals(await agentStream(), ["p1 3000 colony"]);
  assertEquals([world.words, world.waits], [[], []]);
});

Deno.test("PunchDesk tells the other side wherever its stream is, and hears of it", async () => {
  for (const [agentAt, colonyAt] of [[0, 1], [1, 0], [1, 2], [0, 0]] as const) {
    const world = new World(3);
    const colonyStream = world.watch(colonyAt, 1);
    const agentStream = world.watch(agentAt, 2);
    assertEquals(await world.punch(0), true, `agent at ${agentAt}, colony at ${colonyAt}`);
    assertEquals(await colonyStream(), ["p1 3000 a2"]);
    assertEquals(await agentStream(), ["p1 3000 colony"]);
  }
});

Deno.test("PunchDesk says that nobody could be told, after a while", async () => {
  const world = new World(2);
  const agentStream = world.watch(0, 2);
  const delivered = world.punch(0);
  assertEquals(await agentStream(), ["p1 3000 colony"]);
  await world.waiting.promise;
  assertEquals(world.waits, [TOLD_MS_MAX]);
  world.expire();
  assertEquals(await delivered, false);
});

Deno.test("PunchDesk waits for so many, and no more", async () => {
  const world = new World(2);
  const punches = Array.from(
    { length: PUNCHES_WAITING_MAX + 1 },
    (_, i) => world.punch(0, `p${i}`),
  );
  assertEquals(await punches.at(-1), false);
  assertEquals(world.waits.length, PUNCHES_WAITING_MAX);
  world.expire();
  await Promise.all(punches);
});

Deno.test("PunchDesk ignores what is no word of a replica", async () => {
  const world = new World(1);
  world.watch(0, 2);
  for (const text of ["", "null", "7", "{}", '{"punch":{}}', '{"punch":7}', '{"punched":7}']) {
    await world.desks[0]?.heard(text);
  }
  // A node that is gone meanwhile.
  const punch = { id: "p", windowMs: 1, meshId: "reef", from: key(2), to: key(9) };
  await world.desks[0]?.heard(JSON.stringify({ punch }));
  assertEquals(world.words, []);
});
