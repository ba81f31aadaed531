import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { Instant } from "../core/mod.ts";
import type { DiscoveredPeer } from "../discovery/mod.ts";
import { LOOK_UPS_MAX } from "./mesh_links.ts";
import { candidates, found, HOST, keyOf, REFLEXIVE, World } from "./testing/mesh_world.ts";

Deno.test("a peer that is not reached directly is punched towards for ever, never more than once a minute in the end", () => {
  const world = new World("agent");
  world.begin();
  const times: number[] = [];
  const punch = (): void => {
    if (world.requests.at(-1)?.kind !== "punch") return;
    times.push(world.now);
    world.answerPunch(false);
  };
  punch();
  world.run(3_500_000, () => punch());
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  // Each window of 3 s is waited for.
  assertEquals(gaps.slice(0, 7), [3000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
  assert(gaps.slice(5).every((gap) => gap === 60_000) && gaps.length > 60);
  assertEquals(world.control.hintOf(keyOf(1)), "Discovery cannot tell it");
});

Deno.test("a peer that is reached directly is left alone; relayed, it is punched towards", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.takeRequests();
  world.run(3_000_000);
  assertEquals(world.takeRequests().filter((kind) => kind === "punch"), []);
  world.do((c, now) =>
    c.handleDatapath(now, {
      kind: "peerMoved",
      publicKey: keyOf(1),
      remote: "198.51.100.7:3478",
      relayed: true,
    })
  );
  assertEquals(world.takeRequests(), ["punch"]);
});

Deno.test("an agent that lost its colony asks STUN again and punches at once; a colony leaves the agent three seconds", () => {
  for (
    const [role, peer, patience] of [["agent", "colony", 0], ["colony", "agent", 3000]] as const
  ) {
    const world = new World(role);
    world.begin({ colony: false });
    world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: found(1, peer) }));
    if (role === "agent") world.answerPunch();
    world.connect();
    world.run(200_000);
    world.takeRequests();
    world.takeCommands();
    world.do((c, now) => c.handleDatapath(now, { kind: "peerLost", publicKey: keyOf(1) }));
    assertEquals(world.takeCommands(), ["regather"]);
    world.run(200_000 + patience - 1);
    assertEquals(world.takeRequests(), role === "agent" ? ["punch"] : []);
    world.run(200_000 + patience);
    if (role === "colony") assertEquals(world.takeRequests(), ["punch"]);
  }
});

Deno.test("news of a peer's addresses punch while it is not direct, and only renew them while it is", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.run(100_000, () => world.requests.at(-1)?.kind === "punch" && world.answerPunch());
  world.takeCommands();
  world.do((c, now) =>
    c.handlePeerEvent(now, { kind: "upserted", peer: found(1, "colony", 50001) })
  );
  assertEquals(world.takeCommands(), ["setCandidates"]);
  world.answerPunch();
  world.connect();
  world.takeCommands();
  world.takeRequests();
  world.run(200_000);
  const peer = { ...found(1, "colony", 50001), endpoints: [] };
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer }));
  world.run(300_000);
  assertEquals([world.takeCommands(), world.takeRequests()], [["setCandidates"], []]);
});

Deno.test("a doubted path: STUN is asked, the new address is registered first, and the punch carries it", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(60_000);
  world.takeRequests();
  world.takeCommands();
  const publicKey = keyOf(1);
  world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey }));
  assertEquals([world.takeCommands(), world.takeRequests()], [["regather"], []]);
  world.now = 60_040 as Instant;
  world.do((c, now) => c.handleDatapath(now, candidates(HOST, REFLEXIVE)));
  world.run(60_090);
  assertEquals(world.takeRequests(), ["register"]);
  world.run(60_400);
  assertEquals(world.takeRequests(), [], "no punch with the old address");
  world.do((c, now) => c.handleAnswer(now, { kind: "registered", ttlMs: 300_000 }));
  assertEquals(world.takeRequests(), ["punch"]);
});

Deno.test("a doubted path that is heard of again is no cause for a punch", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(60_000);
  world.takeRequests();
  const publicKey = keyOf(1);
  world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey }));
  world.do((c, now) => c.handleDatapath(now, { kind: "peerTrusted", publicKey }));
  world.run(120_000);
  assertEquals(world.takeRequests(), []);
});

Deno.test("each doubt has STUN asked, though others seem fine: they may be neighbours, or not have been asked; at most every 5 s", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  for (const number of [1, 2, 3]) {
    world.do((c, now) =>
      c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
    );
    world.connect(number);
  }
  world.takeCommands();
  const doubt = (number: number): void =>
    world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey: keyOf(number) }));
  doubt(1);
  assertEquals(world.takeCommands(), ["regather"]);
  const doubtedAt = world.now;
  world.run(doubtedAt + 1000);
  doubt(2);
  assertEquals(world.takeCommands(), [], "too soon");
  world.run(doubtedAt + 4999);
  assertEquals(world.takeCommands(), []);
  world.run(doubtedAt + 5000);
  assertEquals(world.takeCommands(), ["regather"]);
});

Deno.test("a doubt that is over when STUN may be asked again is none", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: found(1, "agent") }));
  world.connect(1);
  world.takeCommands();
  const publicKey = keyOf(1);
  for (const kind of ["peerDoubted", "peerTrusted", "peerDoubted", "peerTrusted"] as const) {
    world.do((c, now) => c.handleDatapath(now, { kind, publicKey }));
  }
  assertEquals(world.takeCommands(), ["regather"]);
  world.run(world.now + 30_000);
  assertEquals(world.takeCommands(), []);
});

Deno.test("a colony with a thousand agents connects to them at a bounded pace", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  world.takeCommands();
  for (let number = 1; number <= 1000; number++) {
    world.do((c, now) =>
      c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
    );
  }
  const at = (): number => world.commands.filter(({ kind }) => kind === "connectPeer").length;
  assertEquals(at(), 64);
  world.run(1000);
  assert(at() <= 165, `${at()} in the first second`);
  world.run(10_000);
  assertEquals([at(), world.requests.filter(({ kind }) => kind === "punch").length], [1000, 0]);
});

Deno.test("a colony that loses a thousand agents at once has Discovery punch at a bounded pace, and asks STUN once", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  for (let number = 1; number <= 1000; number++) {
    world.do((c, now) =>
      c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
    );
    world.connect(number);
  }
  world.run(60_000);
  world.takeCommands();
  world.takeRequests();
  for (let number = 1; number <= 1000; number++) {
    const publicKey = keyOf(number);
    world.do((c, now) => c.handleDatapath(now, { kind: "peerLost", publicKey }));
  }
  assertEquals(world.takeCommands(), ["regather"]);
  const perSecond = new Map<number, number>();
  let asked = 0;
  const answer = (): void => {
    while (world.requests.length > 0) {
      if (world.requests.at(-1)?.kind !== "punch") {
        world.requests.pop();
        continue;
      }
      const second = Math.floor(world.now / 1000);
      perSecond.set(second, (perSecond.get(second) ?? 0) + 1);
      asked++;
      world.answerPunch();
    }
  };
  world.run(120_000, answer);
  assert(Math.max(...perSecond.values()) <= 66, `${Math.max(...perSecond.values())} in a second`);
  assert(asked >= 1000, `${asked} punches`);
});

Deno.test("a changed link is a reason to punch although the path seems fine, once; a moved peer too", () => {
  const world = new World("agent");
  world.begin();
  world.answerPunch();
  world.connect();
  world.run(60_000);
  world.takeRequests();
  const punches = (until: number): number => {
    const before = world.now;
    let count = 0;
    world.run(until, () => {
      if (world.requests.at(-1)?.kind !== "punch") return;
      count++;
      world.answerPunch();
    });
    assert(world.now > before);
    return count;
  };
  world.do((c, now) => c.handleLinkChanged(now));
  assertEquals([punches(60_299), punches(60_301), punches(600_000)], [0, 1, 0]);
  const moved = found(1, "colony", 50_001);
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: moved }));
  assertEquals([punches(600_499), punches(600_501), punches(900_000)], [0, 1, 0]);
  // Another address beside the one that stays is no move.
  const { observedEndpoints } = moved;
  const more = [...observedEndpoints, { hostname: "2001:db8::2", port: 51820 }];
  const peer = { ...moved, observedEndpoints: more };
  world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer }));
  assertEquals(punches(1_200_000), 0);
});

Deno.test("a colony whose link changed leaves its many agents to notice, and punches towards few", () => {
  for (const [count, punched] of [[16, true], [17, false]] as const) {
    const world = new World("colony");
    world.begin({ colony: false });
    for (let number = 1; number <= count; number++) {
      world.do((c, now) =>
        c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
      );
      world.connect(number);
    }
    world.run(60_000);
    world.takeRequests();
    world.do((c, now) => c.handleLinkChanged(now));
    world.run(61_000);
    assertEquals(world.takeRequests().includes("punch"), punched);
  }
});

Deno.test("while nothing is heard of a peer it is looked up beside the Watch stream, and news from there have that opened anew", () => {
  for (const role of ["agent", "colony"] as const) {
    const [other, look] = role === "agent"
      ? ["colony", "lookUpColony"] as const
      : ["agent", "lookUpAgent"] as const;
    const world = new World(role);
    world.begin({ colony: role === "agent" });
    const url = "http://198.51.100.1:8080";
    world.do((c, now) => c.handlePeerEvent(now, { kind: "upserted", peer: found(1, other) }));
    world.do((c, now) => c.handleWatchState(now, { connected: true, url }));
    world.connect();
    world.takeRequests();
    world.run(60_000);
    const lookUps = (): number =>
      world.requests.splice(0).filter(({ kind }) => kind === look).length;
    const answer = (peer: DiscoveredPeer): void =>
      world.do((c, now) =>
        c.handleAnswer(
          now,
          role === "agent"
            ? { kind: "colony", peer }
            : { kind: "agent", publicKey: keyOf(1), peer },
        )
      );
    const reconnects = (): number =>
      world.events.splice(0).filter(({ kind }) => kind === "reconnect").length;
    assertEquals(lookUps(), 0, "the peer is heard");
    world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey: keyOf(1) }));
    world.run(62_100);
    assertEquals(lookUps(), 1, "after 2 s");
    const rechecks = (): number =>
      world.commands.splice(0).filter((command) => command.kind === "regather" && command.recheck)
        .length;
    assertEquals(rechecks(), 1, "its own address may be another too");
    answer(found(1, other));
    reconnects();
    for (const until of [66_100, 70_100]) {
      world.run(until);
      assertEquals(lookUps(), 1, "every 4 s");
      answer(found(1, other));
    }
    assertEquals(reconnects(), 0, "it is where the stream says");
    world.run(74_100);
    answer({ ...found(1, other, 50_003), generation: 2 });
    assertEquals(reconnects(), 1, "the stream has not said so");
    const sent = world.commands.findLast(({ kind }) => kind === "setCandidates");
    assertEquals(JSON.stringify(sent).includes("203.0.113.2:50003"), true);
    world.do((c, now) => c.handleDatapath(now, { kind: "peerTrusted", publicKey: keyOf(1) }));
    assertEquals([lookUps(), rechecks()], [1, 3]);
    world.run(100_000);
    assertEquals([lookUps(), rechecks()], [0, 0], "it is heard again");
  }
});

Deno.test("of many missing peers some are looked up at once, and the others in turn", () => {
  const world = new World("colony");
  world.begin({ colony: false });
  const numbers = Array.from({ length: LOOK_UPS_MAX + 3 }, (_, i) => i + 1);
  for (const number of numbers) {
    world.do((c, now) =>
      c.handlePeerEvent(now, { kind: "upserted", peer: found(number, "agent") })
    );
    world.connect(number);
  }
  const url = "http://198.51.100.1:8080";
  world.do((c, now) => c.handleWatchState(now, { connected: true, url }));
  const gone = keyOf(1);
  world.do((c, now) => c.handlePeerEvent(now, { kind: "removed", publicKey: gone }));
  for (const number of numbers) {
    const publicKey = keyOf(number);
    world.do((c, now) => c.handleDatapath(now, { kind: "peerDoubted", publicKey }));
  }
  const asked: string[] = [];
  const take = (): number => {
    const keys = world.requests.splice(0).flatMap((request) =>
      request.kind === "lookUpAgent" ? [request.publicKey] : []
    );
    for (const publicKey of keys) {
      const number = numbers.find((number) => keyOf(number) === publicKey) ?? 0;
      const peer = found(number, "agent");
      world.do((c, now) => c.handleAnswer(now, { kind: "agent", publicKey, peer }));
    }
    return asked.push(...keys);
  };
  world.run(2_100);
  assertEquals(take(), LOOK_UPS_MAX);
  world.run(6_100);
  take();
  const known = numbers.map(keyOf).filter((publicKey) => publicKey !== gone);
  assertEquals(
    asked.slice(0, known.length).toSorted(),
    known.toSorted(),
    "everyone once, but who is gone",
  );
});
