/** Attacks that would have nodes send elsewhere, and what the log must not give away. Real HTTP on 127.0.0.1. */
import {
  deepStrictEqual as assertEquals,
  doesNotMatch as assertNoMatch,
  match as assertMatch,
} from "node:assert/strict";
import { parseCidr } from "../../core/mod.ts";
import { MESH, outcome, World } from "../testing/world.ts";

Deno.test("attack: punch as a packet cannon", async () => {
  await using world = await World.start();
  const [colony, victim, attacker] = [
    await world.node(1, "colony"),
    await world.node(2),
    await world.node(3),
  ];
  for (const node of [colony, victim, attacker]) assertEquals(await node.register(), "ok");
  const from = attacker.publicKey;
  const evil = attacker.client();
  const punch = (to: string, meshId = MESH): Promise<string> =>
    outcome(evil.initiatePunch({ meshId, from, to }));

  // At nobody who is not registered, and in no mesh but one's own.
  const stranger = await world.node(4);
  assertEquals(
    await punch(stranger.publicKey),
    "refused: to_pubkey is not registered in mesh reef",
  );
  assertEquals(await stranger.register({ meshId: "atoll" }), "ok");
  assertMatch(await punch(stranger.publicKey, "atoll"), /^refused: from_pubkey is not registered/);
  assertEquals(await punch(from), "refused: from_pubkey and to_pubkey are the same");

  // With no more targets than a registration holds, and none that is a broadcast or multicast address.
  const many = Array.from(
    { length: 33 },
    (_, i) => ({ hostname: `198.51.100.${i + 1}`, port: 53 }),
  );
  assertEquals(
    await attacker.register({ endpoints: many }),
    "refused: endpoints has 33 entries, at most 32 are allowed",
  );
  for (const hostname of ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1"]) {
    assertMatch(
      await attacker.register({ endpoints: [{ hostname, port: 53 }] }),
      /is an address that nobody can send to$/,
    );
  }

  // Nobody is told who does not watch, and a pair not twice in 2 s.
  const told = await evil.initiatePunch({ meshId: MESH, from, to: victim.publicKey });
  assertEquals([told.delivered, told.windowMs], [false, 3000]);
  for (let i = 0; i < 5; i++) {
    assertEquals(
      await punch(victim.publicKey),
      "limit: too many punches: one punch per pair in 2 s",
    );
  }
  assertEquals(world.counters()["punches"], 1);
  world.now += 2000;
  assertEquals(await punch(victim.publicKey), "ok");
  // What others registered is what it was.
  const found = await colony.client().lookupAgent({ meshId: MESH, publicKey: victim.publicKey });
  assertEquals(found?.endpoints, victim.registration().endpoints);
});

Deno.test("the log names no address and no key above debug", async () => {
  const lines: string[] = [];
  const loopback = parseCidr("127.0.0.0/8");
  await using world = await World.start({
    limits: { key: { ratePerSecond: 1, burst: 12 } },
    ...(loopback && { trustedProxies: [loopback] }),
    log: (level, message, words) => {
      if (level !== "debug") lines.push(`${level} ${message} ${JSON.stringify(words ?? {})}`);
    },
  });
  const [colony, agent, thief] = [
    await world.node(1, "colony"),
    await world.node(2),
    await world.node(3, "colony"),
  ];
  for (const node of [colony, agent]) assertEquals(await node.register(), "ok");
  const elsewhere = { endpoints: [{ hostname: "198.51.100.66", port: 66 }] };
  // Refused for the mesh, for another's key, for no proof, and for their number.
  assertMatch(await thief.register(elsewhere), /already registered/);
  assertMatch(await outcome(thief.client().register(agent.registration())), /another key/);
  assertMatch(
    await outcome(thief.client({ proves: false }).register(thief.registration())),
    /proof/,
  );
  let limited = "";
  for (let i = 0; i < 20 && !limited.startsWith("limit"); i++) {
    limited = await outcome(thief.client().lookupColony(MESH));
  }
  assertMatch(limited, /^limit/);
  await outcome(
    agent.client().initiatePunch({ meshId: MESH, from: agent.publicKey, to: colony.publicKey }),
  );
  await colony.client().deregister(colony.registration());
  await world.restart();

  const text = lines.join("\n");
  // Something is said at all.
  assertMatch(text, /registration refused: another key holds the mesh/);
  for (const { publicKey } of [colony, agent, thief]) {
    assertEquals(text.includes(publicKey), false, publicKey);
  }
  assertNoMatch(text, /\b\d{1,3}(?:\.\d{1,3}){3}\b/);
  assertNoMatch(text, /\b[0-9a-f]{0,4}:[0-9a-f:]*:[0-9a-f]{0,4}\b/i);
  assertNoMatch(text, /[A-Za-z0-9+/]{43}=/);
});
