import { deepStrictEqual as assertEquals, match, ok as assert } from "node:assert/strict";
import { markup } from "./html.ts";
import { HEARTBEAT_MS, LiveStreams, type LiveView, LOOK_MS, STREAMS_MAX } from "./live.ts";
import { type SectionId, SECTIONS } from "./sections.ts";

/** Streams whose time stands still unless a stream waits. */
class World {
  now = 0;
  shown: Record<string, string> = Object.fromEntries(SECTIONS.map((id) => [id, id]));
  fails = false;
  readonly streams = new LiveStreams({
    now: () => this.now,
    wait: (ms) => {
      this.now += ms;
      this.onWait();
      return Promise.resolve();
    },
  });
  onWait: () => void = () => {};

  look = (): Promise<LiveView> => {
    if (this.fails) return Promise.reject(new Error("the store is away"));
    const sections = Object.fromEntries(SECTIONS.map((id) => [id, markup`${this.shown[id]}`]));
    return Promise.resolve({ sections: sections as LiveView["sections"], summary: "all" });
  };

  open(part: { lastEventId?: string; endsAt?: number } = {}): Reader {
    const stream = this.streams.open({
      look: this.look,
      lastEventId: part.lastEventId ?? "",
      endsAt: part.endsAt ?? Infinity,
    });
    assert(stream !== undefined);
    return new Reader(stream);
  }
}

class Reader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  async next(): Promise<string | undefined> {
    const { value } = await this.#reader.read();
    return value && new TextDecoder().decode(value);
  }

  /** The parts of the next event, and its id. */
  async parts(): Promise<{ readonly id: string; readonly parts: readonly string[] }> {
    const text = await this.next() ?? "";
    const [, id = "", data = ""] = /^id: (\S+)\nevent: parts\ndata: (.*)\n\n$/.exec(text) ?? [];
    return { id, parts: Object.keys(JSON.parse(data).parts) };
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }
}

Deno.test("a live stream sends every part first, then those that change", async () => {
  const world = new World();
  const reader = world.open();
  match(await reader.next() ?? "", /^retry: \d+\n\n$/);
  assertEquals((await reader.parts()).parts, [...SECTIONS]);
  world.onWait = () => {
    if (world.now === 3 * LOOK_MS) world.shown["nodes" satisfies SectionId] = "another";
  };
  assertEquals((await reader.parts()).parts, ["nodes"]);
  assertEquals(world.now, 3 * LOOK_MS);
  await reader.cancel();
});

Deno.test("a live stream that begins again sends what was missed", async () => {
  const world = new World();
  const first = world.open();
  await first.next();
  const { id } = await first.parts();
  await first.cancel();
  world.shown["relays"] = "others";
  const second = world.open({ lastEventId: id });
  await second.next();
  assertEquals((await second.parts()).parts, ["relays"]);
  await second.cancel();
  for (const lastEventId of ["x", `${id}.x`, "\n\n"]) {
    const third = world.open({ lastEventId });
    await third.next();
    assertEquals((await third.parts()).parts, [...SECTIONS]);
    await third.cancel();
  }
});

Deno.test("a live stream shows that it lives, while nothing changes and while nothing can be found out", async () => {
  const world = new World();
  const reader = world.open();
  await reader.next();
  await reader.parts();
  assertEquals(await reader.next(), ": still here\n\n");
  assertEquals(world.now, HEARTBEAT_MS);
  world.fails = true;
  assertEquals(await reader.next(), ": still here\n\n");
  world.fails = false;
  world.shown["nodes"] = "another";
  assertEquals((await reader.parts()).parts, ["nodes"]);
  await reader.cancel();
});

Deno.test("a live stream ends with the session of whoever looks on", async () => {
  const world = new World();
  const reader = world.open({ endsAt: 2 * LOOK_MS });
  await reader.next();
  await reader.parts();
  assertEquals(await reader.next(), "event: signedOut\ndata: {}\n\n");
  assertEquals(await reader.next(), undefined);
  assertEquals(world.streams.counters()["statusStreams"], 0);
});

Deno.test("live streams are bounded, make room when they end, and end with the server", async () => {
  const world = new World();
  const readers = Array.from({ length: STREAMS_MAX }, () => world.open());
  const one = { look: world.look, lastEventId: "", endsAt: Infinity };
  assertEquals(world.streams.open(one), undefined);
  assertEquals(world.streams.counters(), { statusStreams: STREAMS_MAX, statusStreamsRefused: 1 });
  await readers[0]?.cancel();
  assertEquals(world.streams.counters()["statusStreams"], STREAMS_MAX - 1);
  const late = world.open();
  await late.next();
  await late.parts();
  world.streams.close();
  assertEquals(await late.next(), undefined);
  assertEquals(world.streams.open(one), undefined);
  for (const reader of readers) await reader.cancel();
});

Deno.test("a live stream makes nothing that nobody reads", async () => {
  const world = new World();
  let looks = 0;
  const stream = world.streams.open({
    look: () => {
      looks++;
      return world.look();
    },
    lastEventId: "",
    endsAt: Infinity,
  });
  assert(stream !== undefined);
  await Promise.resolve();
  assertEquals(looks, 0);
  const reader = new Reader(stream);
  await reader.next();
  await reader.parts();
  assertEquals(looks, 1);
  await reader.cancel();
});
