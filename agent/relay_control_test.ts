import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import type { MeshRequest } from "./mesh_messages.ts";
import { MeshOutbox } from "./mesh_outbox.ts";
import { RelayControl, type RelayControlOptions, RELAYS_HELD_MAX } from "./relay_control.ts";
import type { RelayInfo, RelayStatus } from "./shared/mod.ts";

type RelayRequest = MeshRequest & { readonly kind: "requestRelay" };

const HOUR_MS = 3_600_000;

/** A control of relays, its clock, and Discovery's answers by hand. */
class World {
  now = 0 as Instant;
  readonly outbox = new MeshOutbox();
  readonly control: RelayControl;
  /** What the datapath was told last. */
  relays: readonly RelayInfo[] = [];
  /** How often it was told. */
  told = 0;
  readonly #choices: readonly string[];
  #sessions = 0;

  constructor(choices: readonly string[], more: Partial<RelayControlOptions> = {}) {
    this.#choices = choices;
    const rng = { bytes: (length: number) => new Uint8Array(length) };
    this.control = new RelayControl({ rng, outbox: this.outbox, misses: () => true, ...more });
  }

  /** Requests since the last time: `eu`, `any but eu`, `release s0`. */
  asked(): string[] {
    const texts: string[] = [];
    for (let request; (request = this.outbox.pollRequest()) !== undefined;) {
      if (request.kind === "releaseRelay") texts.push(`release ${request.sessionId}`);
      else if (request.kind === "requestRelay") {
        const but = request.failed.length === 0 ? "" : ` but ${request.failed.join()}`;
        texts.push(`${request.relayId || "any"}${but}`);
      }
    }
    for (let command; (command = this.outbox.pollCommand()) !== undefined;) {
      if (command.kind !== "setRelays") continue;
      this.relays = command.relays;
      this.told++;
    }
    return texts;
  }

  /** The datapath's relays by id. */
  get ids(): string[] {
    return this.relays.map(({ id }) => id);
  }

  grant(id: string, asked = "", part: Partial<RelayInfo> = {}): void {
    const request: RelayRequest = { kind: "requestRelay", relayId: asked, failed: [] };
    const sessionId = `s${this.#sessions++}`;
    const relay: RelayInfo = {
      id,
      sessionId,
      transports: [{ kind: "udp", address: "203.0.113.7:3478" }],
      username: `${this.now}:${sessionId}`,
      password: "secret",
      expiresAtMs: 0,
      ...part,
    };
    const choices = this.#choices.map((relayId) => ({ relayId, region: "", load: 0 }));
    this.control.handleGranted(this.now, request, { relay, lifeMs: HOUR_MS, choices });
  }

  refuse(asked = "", code: "limit" | "refused" | "unsupported" | "unreachable" = "limit"): void {
    const request: RelayRequest = { kind: "requestRelay", relayId: asked, failed: [] };
    this.control.handleFailed(this.now, request, { code, message: "no more" });
  }

  /** The datapath says how relays do: a round trip, or a state. */
  tell(states: Readonly<Record<string, number | "connecting" | "failed" | "draining">>): void {
    this.control.handleRelays(
      this.now,
      Object.entries(states).map(([id, state]): RelayStatus => ({
        id,
        state: typeof state === "number" || state === "draining" ? "ready" : state,
        transport: "udp",
        relayed: [],
        rttMs: typeof state === "number" ? state : null,
        ...(state === "draining" && { draining: true }),
        ...(state === "failed" && { reason: "no answer" }),
      })),
    );
    this.control.handleTimeout(this.now);
  }

  /** Goes on, wake-up by wake-up. */
  run(ms: number): void {
    const until = this.now + ms;
    for (let steps = 0; steps < 10_000; steps++) {
      this.control.handleTimeout(this.now);
      const dueAt = this.control.pollTimeout();
      if (dueAt === undefined || dueAt > until) break;
      assert(dueAt >= this.now, "time goes forward");
      this.now = Math.max(this.now, dueAt) as Instant;
    }
    this.now = until as Instant;
  }

  /** Asks, is granted `id`, and it is ready. */
  begin(id = "eu", rttMs = 40): void {
    this.control.start(this.now);
    this.run(0);
    assertEquals(this.asked(), ["any"]);
    this.grant(id);
    this.tell({ [id]: rttMs });
    assertEquals([this.asked(), this.ids], [[], [id]]);
  }
}

Deno.test("RelayControl asks at the start, at once, and hands the relay to the datapath", () => {
  const world = new World(["eu"]);
  world.begin();
  assertEquals([world.control.reason, world.control.sessions, world.told], [undefined, ["s0"], 1]);
  world.tell({ eu: 41 });
  world.run(1_000_000);
  assertEquals([world.asked(), world.told], [[], 1]);
});

Deno.test("RelayControl renews credentials before they end, and keeps on where that fails", () => {
  const world = new World(["eu"]);
  world.begin();
  world.run(HOUR_MS / 2);
  assertEquals(world.asked(), ["eu"]);
  world.refuse("eu");
  world.run(19_999);
  assertEquals(world.asked(), []);
  world.run(1);
  assertEquals(world.asked(), ["eu"]);
  const username = world.relays[0]?.username;
  world.grant("eu", "eu");
  assertEquals(world.asked(), []);
  assert(world.relays[0]?.username !== username);
  assertEquals(world.ids, ["eu"]);
});

Deno.test("RelayControl waits longer and longer where Discovery gives none, and says why", () => {
  const world = new World(["eu"]);
  world.control.start(world.now);
  const waits: number[] = [];
  world.run(0);
  for (let i = 0; i < 8; i++) {
    assertEquals(world.asked(), ["any"]);
    const at = world.now;
    world.refuse();
    assertEquals(world.control.reason, "no more");
    const dueAt = world.control.pollTimeout() ?? at;
    waits.push(dueAt - at);
    world.run(dueAt - at);
  }
  assertEquals(waits, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
});

Deno.test("RelayControl asks a Discovery without relays no more, until one says that it has some", () => {
  const world = new World(["eu"]);
  world.control.start(world.now);
  world.run(0);
  world.asked();
  world.refuse("", "unsupported");
  assertEquals(world.control.reason, "this Discovery has no relays");
  world.run(HOUR_MS);
  assertEquals(world.asked(), []);
  world.control.handleDiscovery(world.now);
  world.run(0);
  assertEquals(world.asked(), ["any"]);
  world.grant("eu");
  assertEquals(world.control.reason, undefined);
  world.control.handleDiscovery(world.now);
  world.run(0);
  assertEquals(world.asked(), []);
});

Deno.test("RelayControl measures the others later, and moves only where it is worth it", () => {
  const world = new World(["eu", "us", "asia"]);
  world.begin("eu", 40);
  world.run(9999);
  assertEquals(world.asked(), []);
  world.run(1);
  assertEquals(world.asked(), ["us", "asia"]);
  world.grant("us", "us");
  world.grant("asia", "asia");
  world.asked();
  assertEquals(world.ids, ["eu", "us", "asia"]);
  world.tell({ eu: 40, us: 35, asia: 300 });
  world.run(0);
  world.asked();
  // 35 is not enough better than 40.
  world.run(30_000);
  assertEquals([world.asked(), world.ids], [["release s1", "release s2"], ["eu"]]);

  world.run(1_800_000);
  assertEquals(world.asked().filter((text) => text !== "eu"), ["us", "asia"]);
  world.grant("us", "us");
  world.refuse("asia");
  world.tell({ eu: 40, us: 20 });
  world.asked();
  // Peers are told of the new one while the old one still carries.
  assertEquals(world.ids, ["us", "eu"]);
  world.run(30_000);
  assertEquals([world.asked(), world.ids], [["release s0"], ["us"]]);
});

Deno.test("RelayControl gives up on a relay that is not ready in its time", () => {
  const world = new World(["eu", "us"]);
  world.begin("eu", 40);
  world.run(10_000);
  world.asked();
  world.grant("us", "us");
  world.tell({ eu: 40, us: "connecting" });
  world.run(2999);
  assertEquals([world.asked(), world.ids], [[], ["eu", "us"]]);
  world.run(1);
  world.run(0);
  assertEquals([world.asked(), world.ids], [["release s1"], ["eu"]]);
});

Deno.test("RelayControl asks for another beside the first where that is not ready in its time", () => {
  const world = new World(["eu", "us", "ap"]);
  world.control.start(world.now);
  world.run(0);
  world.asked();
  world.grant("eu");
  world.tell({ eu: "connecting" });
  world.run(2499);
  assertEquals(world.asked(), []);
  world.run(1);
  world.run(0);
  assertEquals(world.asked(), ["any but eu"]);
  world.grant("us");
  world.tell({ eu: "connecting", us: 40 });
  // Whichever is ready first carries; the other is not waited for beyond the time of a measurement.
  world.run(4000);
  assertEquals([world.asked(), world.ids], [["release s0"], ["us"]]);
});

Deno.test("RelayControl takes another relay at once when one fails, and lets the failed one go", () => {
  const world = new World(["eu", "us"]);
  world.begin();
  world.tell({ eu: "failed" });
  assertEquals(world.asked(), ["any but eu"]);
  assertEquals(world.control.reason, "no answer");
  world.tell({ eu: "failed" });
  assertEquals(world.asked(), []);
  world.grant("us");
  world.asked();
  assertEquals(world.ids, ["eu", "us"]);
  world.tell({ eu: "failed", us: 90 });
  assertEquals([world.asked(), world.ids], [["release s0"], ["us"]]);
  assertEquals(world.control.reason, undefined);
});

Deno.test("RelayControl takes another relay at once when one is lost, though that is tried again", () => {
  const world = new World(["eu", "us"]);
  world.begin();
  world.tell({ eu: "connecting" });
  assertEquals(world.asked(), ["any but eu"]);
  world.grant("us");
  world.tell({ eu: "connecting", us: "connecting" });
  assertEquals([world.asked(), world.ids], [[], ["eu", "us"]]);
  world.tell({ eu: "connecting", us: 90 });
  assertEquals([world.asked(), world.ids], [["release s0"], ["us"]]);

  // The same one may be back first: then the other goes, after its time.
  const back = new World(["eu", "us"]);
  back.begin();
  back.tell({ eu: "connecting" });
  back.asked();
  back.tell({ eu: 40 });
  back.grant("us");
  back.tell({ eu: 40, us: 90 });
  back.run(40_000);
  assertEquals([back.asked().includes("release s1"), back.ids], [true, ["eu"]]);

  // Where there is no other, the only one is renewed after a while, unless it is back by then.
  const only = new World(["eu"]);
  only.begin();
  only.tell({ eu: "connecting" });
  assertEquals(only.asked(), []);
  only.tell({ eu: 41 });
  only.run(5000);
  assertEquals(only.asked(), []);
  only.tell({ eu: "connecting" });
  only.run(1000);
  only.run(0);
  assertEquals(only.asked(), ["any but eu"]);
});

Deno.test("RelayControl goes back to a relay that failed a while ago when the one after it fails", () => {
  const world = new World(["eu", "us"]);
  world.begin();
  world.tell({ eu: "failed" });
  assertEquals(world.asked(), ["any but eu"]);
  world.grant("us");
  world.tell({ eu: "failed", us: 30 });
  world.run(2000);
  assertEquals(world.asked(), ["release s0"]);
  // Too soon: both are asked for in turn, ever more rarely.
  world.tell({ us: "failed" });
  assertEquals(world.asked(), []);
  world.tell({ us: 30 });
  world.run(10_000);
  world.tell({ us: "failed" });
  assertEquals(world.asked(), ["any but us"]);
});

Deno.test("RelayControl asks again, ever more rarely, where the only relay has failed", () => {
  const world = new World(["eu"]);
  world.begin();
  world.tell({ eu: "failed" });
  const waits: number[] = [];
  for (let i = 0; i < 4; i++) {
    const at = world.now;
    let asked: string[] = [];
    while (asked.length === 0) {
      world.run((world.control.pollTimeout() ?? 0) - world.now);
      world.run(0);
      asked = world.asked();
    }
    waits.push(world.now - at);
    assertEquals(asked, ["any but eu"]);
    world.grant("eu");
    world.tell({ eu: "failed" });
    world.asked();
  }
  assertEquals(waits, [1000, 2000, 4000, 8000]);
  world.tell({ eu: 40 });
  assertEquals([world.control.reason, world.ids], [undefined, ["eu"]]);
});

Deno.test("RelayControl leaves a relay that drains for another, and not before that is ready", () => {
  const world = new World(["eu", "us"]);
  world.begin();
  world.tell({ eu: "draining" });
  assertEquals(world.asked(), ["any but eu"]);
  world.grant("us");
  world.tell({ eu: "draining", us: "connecting" });
  assertEquals([world.asked(), world.ids], [[], ["eu", "us"]]);
  world.tell({ eu: "draining", us: 50 });
  assertEquals([world.asked(), world.ids], [[], ["us", "eu"]]);
  world.run(30_000);
  assertEquals([world.asked(), world.ids], [["release s0"], ["us"]]);
});

Deno.test("RelayControl prepares a second relay when what the first carries is doubted", () => {
  const world = new World(["eu", "us"]);
  world.begin();
  world.control.handleDoubt(world.now);
  world.control.handleDoubt(world.now);
  assertEquals(world.asked(), ["any but eu"]);
  world.grant("us");
  world.tell({ eu: 40, us: 90 });
  world.asked();
  assertEquals(world.ids, ["eu", "us"]);
  // The datapath notices later.
  world.run(2000);
  world.tell({ eu: "failed", us: 90 });
  assertEquals([world.asked(), world.ids], [["release s0"], ["us"]]);

  const calm = new World(["eu", "us"]);
  calm.begin();
  calm.control.handleDoubt(calm.now);
  calm.asked();
  calm.grant("us");
  calm.tell({ eu: 40, us: 90 });
  calm.run(60_000);
  assertEquals([calm.asked().includes("release s1"), calm.ids], [true, ["eu"]]);

  const only = new World(["eu"]);
  only.begin();
  only.control.handleDoubt(only.now);
  assertEquals(only.asked(), []);
});

Deno.test("RelayControl holds so many relays, and gives back what is too much", () => {
  const names = Array.from({ length: RELAYS_HELD_MAX + 2 }, (_, i) => `r${i}`);
  const world = new World(names);
  world.begin("r0");
  world.run(10_000);
  assertEquals(world.asked(), ["r1", "r2", "r3"]);
  for (const id of ["r1", "r2", "r3", "r4"]) world.grant(id, id);
  assertEquals([world.asked(), world.control.ignored], [["release s4"], 1]);
  assertEquals(world.ids.length, RELAYS_HELD_MAX);
});

Deno.test("RelayControl wants no relay where nobody may use one, and again where somebody may", () => {
  const off = new World(["eu"], { noRelay: true });
  off.control.start(off.now);
  off.control.handleDiscovery(off.now);
  off.control.setWanted(off.now, true, "");
  off.run(HOUR_MS);
  assertEquals([off.asked(), off.control.reason], [[], "relays are switched off here"]);

  const world = new World(["eu"]);
  world.begin();
  world.control.setWanted(world.now, false, "the colony wants no relay");
  assertEquals([world.asked(), world.ids], [["release s0"], []]);
  assertEquals(world.control.reason, "the colony wants no relay");
  world.run(HOUR_MS);
  assertEquals(world.asked(), []);
  world.control.setWanted(world.now, true, "");
  world.run(0);
  assertEquals(world.asked(), ["any"]);
  // What was asked before and comes after is given back.
  world.control.setWanted(world.now, false, "the colony wants no relay");
  world.grant("eu");
  assertEquals(world.asked(), ["release s1"]);
});

Deno.test("RelayControl sends no more than the node and the relay allow", () => {
  const limitOf = (own: number, relays: number): number | undefined => {
    const world = new World(["eu"], { bandwidthBytesPerSecond: own });
    world.control.start(world.now);
    world.run(0);
    world.grant("eu", "", { bandwidthBytesPerSecond: relays });
    world.asked();
    return world.relays[0]?.bandwidthBytesPerSecond;
  };
  assertEquals([limitOf(0, 0), limitOf(5, 0), limitOf(0, 7), limitOf(5, 7), limitOf(9, 7)], [
    0,
    5,
    7,
    5,
    7,
  ]);
});

Deno.test("RelayControl forgets failures and measures anew where the node is attached elsewhere", () => {
  const world = new World(["eu", "us"]);
  world.begin();
  world.tell({ eu: "failed" });
  world.asked();
  world.refuse();
  world.control.handleLinkChanged(world.now);
  world.run(0);
  assertEquals(world.asked(), ["any"]);
});

Deno.test("RelayControl leaves a Discovery without relays in peace until a peer is not reached directly", () => {
  let misses = true;
  const world = new World(["eu"], { misses: () => misses });
  world.control.start(world.now);
  world.run(0);
  assertEquals(world.asked(), ["any"]);
  world.refuse("", "refused");
  world.run(60_000);
  assert(world.asked().length > 0, "asked again while a peer is missed");
  misses = false;
  world.refuse("", "refused");
  world.run(HOUR_MS);
  assertEquals(world.asked(), []);
  misses = true;
  world.run(0);
  assertEquals(world.asked(), ["any"]);
  world.grant("eu");
  world.tell({ eu: 30 });
  world.asked();
  assertEquals(world.ids, ["eu"]);
});

Deno.test("a relay whose node was thrown out carries nothing more, and another is asked for at once", () => {
  const world = new World(["node-1", "node-2", "node-3"]);
  world.control.start(world.now);
  world.control.handleTimeout(world.now);
  assertEquals(world.asked(), ["any"]);
  world.grant("node-1");
  world.asked();
  assertEquals(world.ids, ["node-1"]);
  world.control.drop(world.now, "node-9");
  assertEquals([world.asked(), world.ids], [[], ["node-1"]], "one that it does not know");
  world.control.drop(world.now, "node-1");
  assertEquals(world.asked(), ["release s0", "any but node-1"]);
  assertEquals(world.ids, []);
  world.grant("node-2");
  world.asked();
  assertEquals(world.ids, ["node-2"]);
  // The next is not asked for either, once it is out, though it is not held.
  world.control.drop(world.now, "node-3");
  assertEquals([world.asked(), world.ids], [[], ["node-2"]]);
  world.control.drop(world.now, "node-2");
  assertEquals([world.asked(), world.ids], [["release s1"], []], "nobody is left to be asked for");
});
