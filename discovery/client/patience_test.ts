import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { Code, ConnectError } from "@connectrpc/connect";
import { MorayError } from "../../core/mod.ts";
import { Patience, RETRY_AFTER_MS_MAX, retryAfterMs } from "./patience.ts";

/** A server that answers 429 with these values of Retry-After, then 200, and a clock that waits move. */
class World {
  now = 1_000_000;
  requests = 0;
  readonly waits: number[] = [];
  readonly answers: (string | undefined)[];
  readonly patience: Patience;

  constructor(answers: (string | undefined)[], random = 0) {
    this.answers = answers;
    this.patience = new Patience({
      fetch: () => {
        this.requests++;
        const retry = this.answers.shift();
        if (retry === undefined) return Promise.resolve(new Response("ok"));
        const headers: Record<string, string> = retry === "" ? {} : { "retry-after": retry };
        return Promise.resolve(new Response("no", { status: 429, headers }));
      },
      now: () => this.now,
      random: () => random,
      wait: (ms) => {
        this.waits.push(ms);
        this.now += ms;
        return Promise.resolve();
      },
    });
  }

  async ask(method = "a"): Promise<number> {
    const response = await this.patience.fetch(`http://d/${method}`);
    await response.body?.cancel();
    return response.status;
  }
}

Deno.test("Patience waits as it is told and asks once more", async () => {
  const world = new World(["1"], 0.5);
  assertEquals(await world.ask(), 200);
  assertEquals([world.requests, world.waits], [2, [1125]]);
  const twice = new World(["1", "1"]);
  assertEquals(await twice.ask(), 429);
  assertEquals([twice.requests, twice.waits], [2, [1000]]);
  // The next call waits for its turn before it asks.
  assertEquals(await twice.ask(), 200);
  assertEquals([twice.requests, twice.waits], [3, [1000, 1000]]);
});

Deno.test("Patience leaves a server alone that wants it for long, but not for ever", async () => {
  const world = new World(["30"]);
  assertEquals(await world.ask(), 429);
  await assertRejects(world.ask(), {
    code: Code.ResourceExhausted,
    rawMessage: "asked to wait 30 s",
  });
  assertEquals([world.requests, world.waits], [1, []]);
  world.now += 30_000;
  assertEquals(await world.ask(), 200);

  const hostile = new World(["999999999"]);
  await hostile.ask();
  await assertRejects(hostile.ask(), { code: Code.ResourceExhausted });
  hostile.now += RETRY_AFTER_MS_MAX;
  assertEquals(await hostile.ask(), 200);
});

Deno.test("Patience lets what nobody minded go on", async () => {
  const world = new World(["30"]);
  assertEquals(await world.ask("a"), 429);
  assertEquals(await world.ask("b"), 200);
  await assertRejects(world.ask("a"), { code: Code.ResourceExhausted });
});

Deno.test("Patience takes no wait from what says none", async () => {
  for (const retry of ["", "0", "-5", "1e9", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"]) {
    const world = new World([retry]);
    assertEquals(await world.ask(), 429, retry);
    assertEquals(await world.ask(), 200, retry);
    assertEquals(world.waits, [], retry);
  }
});

Deno.test("Patience is not caught by a clock that goes back", async () => {
  const world = new World(["30"]);
  await world.ask();
  world.now -= 3_600_000;
  assertEquals(await world.ask(), 200);
});

Deno.test("Patience ends with its caller", async () => {
  const world = new World(["1", "1"]);
  await world.ask();
  const ended = AbortSignal.abort(new Error("gone"));
  await assertRejects(world.patience.fetch("http://d/a", { signal: ended }), { message: "gone" });
  assertEquals(world.requests, 2);
});

Deno.test("retryAfterMs reads what an error says", () => {
  const error = new ConnectError("x", Code.ResourceExhausted, { "retry-after": "7" });
  assertEquals(retryAfterMs(error), 7000);
  assertEquals(retryAfterMs(new MorayError("limit", "x", error)), 7000);
  for (const other of [new Error("x"), new ConnectError("x", Code.ResourceExhausted), undefined]) {
    assertEquals(retryAfterMs(other), 0);
  }
  assert(retryAfterMs(new ConnectError("x", Code.Internal, { "retry-after": "7" })) === 0);
});
