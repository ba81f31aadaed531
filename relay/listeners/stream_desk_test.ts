import assert from "node:assert/strict";
import { after, type Instant } from "../../core/mod.ts";
import { Counters } from "../core/counters.ts";
import type { Flow } from "../core/flow.ts";
import {
  HALF_OPEN_MAX,
  HALF_OPEN_MS,
  HALF_OPEN_PER_SOURCE_MAX,
  QUEUE_BYTES_MAX,
  RELEASED_MS,
  STALLED_MS,
  type StreamClient,
  StreamDesk,
} from "./stream_desk.ts";

/** A STUN header without attributes. */
const MESSAGE = Uint8Array.of(0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42, ...new Array(12).fill(7));

/** A desk whose clients get an allocation with their first message, and lose it with the second. */
class World {
  now = 1000 as Instant;
  readonly counters = new Counters();
  readonly ended: string[] = [];
  readonly desk: StreamDesk;
  readonly #allocated = new Set<string>();

  constructor() {
    this.desk = new StreamDesk({
      core: {
        handleClient: (_now, flow): void => {
          if (!this.#allocated.delete(flow.key)) this.#allocated.add(flow.key);
        },
        handleEnd: (_now, flow: Flow) => void this.ended.push(flow.key),
        hasAllocation: (_now, flow) => this.#allocated.has(flow.key),
      },
      counters: this.counters,
      now: () => this.now,
    });
  }

  /** A client whose connection takes bytes only when `sent` is asked to go on. */
  client(
    hostname = "192.0.2.1",
  ): { client: StreamClient; closed: () => boolean; sends: Uint8Array[]; go: () => void } {
    let isClosed = false;
    const sends: Uint8Array[] = [];
    let gate = Promise.withResolvers<void>();
    const client = this.desk.admit("tcp", { hostname, port: 1 }, {
      send: (bytes) => {
        sends.push(bytes.slice());
        return gate.promise;
      },
      close: () => void (isClosed = true),
    });
    return {
      client,
      sends,
      closed: () => isClosed,
      go: () => {
        gate.resolve();
        gate = Promise.withResolvers<void>();
      },
    };
  }

  pass(ms: number): void {
    this.now = after(this.now, ms);
    this.desk.sweep(this.now);
  }
}

Deno.test("a client without an allocation has ten seconds; one with an allocation has no limit", () => {
  const world = new World();
  const [slow, quick] = [world.client(), world.client()];
  quick.client.receive(MESSAGE);
  world.pass(HALF_OPEN_MS - 1);
  assert.deepEqual([slow.closed(), quick.closed()], [false, false]);
  world.pass(1);
  assert.deepEqual([slow.closed(), quick.closed()], [true, false]);
  assert.deepEqual(world.ended, [slow.client.key]);
  world.pass(3_600_000);
  assert.equal(quick.closed(), false);
  // Given back: it may go.
  quick.client.receive(MESSAGE);
  world.pass(RELEASED_MS);
  assert.equal(quick.closed(), true);
  assert.equal(world.desk.size, 0);
});

Deno.test("of too many half-open clients the oldest goes: of all, and before that of one address", () => {
  const world = new World();
  const own = Array.from({ length: HALF_OPEN_PER_SOURCE_MAX + 10 }, () => world.client());
  assert.equal(own.filter(({ closed }) => closed()).length, 10);
  assert.ok(own[9]?.closed() && !own[10]?.closed());
  const others = Array.from(
    { length: HALF_OPEN_MAX },
    (_, i) => world.client(`192.0.2.${2 + i % 200}`),
  );
  assert.equal(world.desk.halfOpen, HALF_OPEN_MAX);
  assert.equal(others.filter(({ closed }) => closed()).length, 0);
  assert.ok(own.every(({ closed }) => closed()));
});

Deno.test("a stream that is out of step ends, and nothing more of it is taken", () => {
  const world = new World();
  const { client, closed } = world.client();
  assert.equal(client.receive(Uint8Array.of(0xff, 1, 2, 3)), false);
  assert.equal(closed(), true);
  assert.equal(client.receive(MESSAGE), false);
  assert.equal(world.counters.of("streamsOutOfStep"), 1);
});

Deno.test("what a client does not take is bounded; answers have room above datagrams", () => {
  const world = new World();
  const { client, sends } = world.client();
  const data = new Uint8Array(1000);
  for (let i = 0; i < 1000; i++) {
    client.sendChannelData(0x4000, { bytes: data, segment: 1000, skip: 0 });
  }
  const dropped = world.counters.of("streamQueueFull");
  assert.ok(dropped > 1000 - QUEUE_BYTES_MAX / 1000 - 1 && dropped < 1000, `${dropped}`);
  client.sendMessage(MESSAGE);
  assert.equal(world.counters.of("streamQueueFull"), dropped);
  assert.equal(sends.length, 1);
});

Deno.test("a client that takes nothing for half a minute while something waits is closed", () => {
  const world = new World();
  const { client, closed } = world.client();
  client.receive(MESSAGE);
  client.sendMessage(MESSAGE);
  world.pass(STALLED_MS - 1);
  assert.equal(closed(), false);
  world.pass(1);
  assert.equal(closed(), true);
  assert.equal(world.counters.of("streamsStalled"), 1);
});

Deno.test("few messages go one by one, many together, ChannelData padded to four bytes", async () => {
  const world = new World();
  const { client, sends, go } = world.client();
  const train = { bytes: Uint8Array.of(9, 1, 9, 2), segment: 2, skip: 1 };
  client.sendChannelData(0x4abc, train);
  for (let i = 0; i < 3; i++) {
    go();
    await new Promise((wake) => setTimeout(wake, 0));
  }
  assert.deepEqual(sends.map((bytes) => [...bytes]), [
    [0x4a, 0xbc, 0, 1, 1, 0, 0, 0],
    [0x4a, 0xbc, 0, 1, 2, 0, 0, 0],
  ]);
  for (let i = 0; i < 100; i++) {
    client.sendChannelData(0x4000, { bytes: new Uint8Array(1000), segment: 1000, skip: 0 });
  }
  go();
  await new Promise((wake) => setTimeout(wake, 0));
  assert.ok((sends.at(-1)?.length ?? 0) > 50_000);
  client.close();
});
