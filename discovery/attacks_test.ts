/** Attacks on registrations, each with what it must not get and what must not be lost. Real HTTP on 127.0.0.1. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { PROOF_HEADER } from "./proof/proof.ts";
import { DiscoveryClient } from "./mod.ts";
import { SqliteStore } from "./store/sqlite_store.ts";
import { ProofChecker } from "./service/proof_checker.ts";
import { identityOf } from "./testing/identity.ts";
import { MESH, outcome, replay, TTL_MS, World } from "./testing/world.ts";

const USED = "unauthenticated: the proof was used before";
const WRONG =
  "unauthenticated: the proof is wrong: the sender does not hold the key, or another sent this";
const HELD = "refused: mesh_id reef already registered with different pubkey";
const NO_PROOF = "refused: a proof of possession of the node's key is required";
const OTHER_KEY = "refused: the request proves another key than its own";
const PROVEN_BEFORE = "refused: the node has proven its key: so must whoever speaks for it";
const elsewhere = { endpoints: [{ hostname: "198.51.100.66", port: 66 }] };

Deno.test("attack: take a mesh id after its TTL", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using world = await World.start({ store: `${folder}/discovery.db` });
    const [owner, thief] = [await world.node(1, "colony"), await world.node(2, "colony")];
    assertEquals(await owner.register(), "ok");
    assertEquals(await thief.register(elsewhere), HELD);
    world.now += 10 * TTL_MS;
    assertEquals(await world.colonyAt(thief), undefined);
    assertEquals(await thief.register(elsewhere), HELD);
    await world.restart();
    assertEquals(await thief.register(elsewhere), HELD);
    assertEquals(
      await outcome(thief.client({ proves: false }).register(thief.registration())),
      NO_PROOF,
    );
    assertEquals(await owner.register(), "ok");
    assertEquals(await world.colonyAt(thief), "192.0.2.1");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("attack: take a proven mesh id or agent where unproven clients are allowed", async () => {
  await using world = await World.start({ allowUnproven: true });
  assertMatch(world.log.join("\n"), /^warn unproven registrations are taken/m);
  const health = await (await fetch(`${world.url}/health`)).json();
  assertEquals(health.allowUnproven, true);
  const [owner, agent] = [await world.node(1, "colony"), await world.node(3)];
  assertEquals(await owner.register(), "ok");
  assertEquals(await agent.register({ agentId: "a3" }), "ok");
  const thief = await world.node(2, "colony");
  const plain = thief.client({ proves: false });
  // In the owner's name, in its own, and as the agent.
  const unproven = { ...elsewhere, publicKey: owner.publicKey };
  assertEquals(await outcome(plain.register(thief.registration(unproven))), PROVEN_BEFORE);
  assertEquals(await outcome(plain.register(thief.registration(elsewhere))), HELD);
  const asAgent = {
    ...elsewhere,
    role: "agent",
    publicKey: agent.publicKey,
    agentId: "a3",
  } as const;
  assertEquals(await outcome(plain.register(thief.registration(asAgent))), PROVEN_BEFORE);
  const underId = { ...elsewhere, role: "agent", agentId: "a3" } as const;
  assertEquals(
    await outcome(plain.register(thief.registration(underId))),
    "refused: agent_id a3 already registered with different pubkey",
  );
  for (const victim of [owner.registration(), agent.registration()]) {
    assertEquals(await outcome(plain.deregister(victim)), PROVEN_BEFORE);
  }
  const punch = { meshId: MESH, from: owner.publicKey, to: agent.publicKey };
  assertEquals(await outcome(plain.initiatePunch(punch)), PROVEN_BEFORE);
  assertEquals(await world.colonyAt(thief), "192.0.2.1");
  // What nobody has proven stays as open as Coral leaves it.
  assertEquals(await outcome(plain.register(thief.registration({ meshId: "atoll" }))), "ok");
  world.now += 10 * TTL_MS;
  assertEquals(await outcome(plain.register(thief.registration(unproven))), PROVEN_BEFORE);
  assertEquals(await outcome(plain.register(thief.registration(elsewhere))), HELD);
  assertEquals(await owner.register(), "ok");
});

Deno.test("attack: overwrite or deregister another, punch or watch in another's name", async () => {
  await using world = await World.start();
  const [colony, agent] = [await world.node(1, "colony"), await world.node(2)];
  const thief = await world.node(3);
  for (const node of [colony, agent, thief]) assertEquals(await node.register(), "ok");
  const evil = thief.client();
  const victim = agent.registration();
  assertEquals(await outcome(evil.register({ ...victim, ...elsewhere })), OTHER_KEY);
  assertEquals(await outcome(evil.deregister(victim)), OTHER_KEY);
  assertEquals(await outcome(evil.deregister(colony.registration())), OTHER_KEY);
  assertEquals(
    await thief.register({ agentId: agent.publicKey, ...elsewhere }),
    `refused: agent_id ${agent.publicKey} already registered with different pubkey`,
  );
  const punch = { meshId: MESH, from: agent.publicKey, to: colony.publicKey };
  assertEquals(await outcome(evil.initiatePunch(punch)), OTHER_KEY);
  const reasons: string[] = [];
  const ended = new AbortController();
  await evil.watch({
    meshId: MESH,
    publicKey: agent.publicKey,
    signal: ended.signal,
    onEvent: (event) => reasons.push(event.kind),
    onState: (state) => {
      reasons.push(state.connected ? "connected" : state.reason);
      ended.abort();
    },
  });
  assertEquals(reasons.length, 1);
  assertMatch(reasons[0] ?? "", /proves another key/);
  for (const registered of [agent, colony]) {
    assertEquals(await outcome(registered.client({ proves: false }).deregister(victim)), NO_PROOF);
  }
  const found = await colony.client().lookupAgent({ meshId: MESH, publicKey: agent.publicKey });
  assertEquals(found?.endpoints[0]?.hostname, "192.0.2.1");
  assertEquals(await world.colonyAt(agent), "192.0.2.1");
});

Deno.test("attack: release another's relay", async () => {
  const local = {
    id: "own",
    region: "",
    transports: [{ kind: "udp", endpoint: "203.0.113.7:3478" }],
    realm: "moray",
    bandwidthBytesPerSecond: 0,
    secret: "s",
    report: () => ({ load: 0, draining: false, sessions: 0, usage: [] }),
  } as const;
  await using world = await World.start({ relays: { local } });
  const [owner, thief] = [await world.node(1), await world.node(2)];
  const query = { meshId: MESH, publicKey: owner.publicKey, role: "agent" } as const;
  const { sessionId } = await owner.client().requestRelay(query);
  assertEquals(await outcome(thief.client().requestRelay(query)), OTHER_KEY);
  const session = { meshId: MESH, sessionId };
  assertEquals(await thief.client().releaseRelay(session), false);
  assertEquals(await outcome(thief.client({ proves: false }).releaseRelay(session)), NO_PROOF);
  assertEquals((await owner.client().requestRelay(query)).sessionId, sessionId);
  assertEquals(await owner.client().releaseRelay(session), true);
});

Deno.test("attack: replay a request, elsewhere, later, or as another", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using world = await World.start({ store: `${folder}/discovery.db` });
    await using other = await World.start();
    const agent = await world.node(2);
    assertEquals(await agent.register(), "ok");
    await agent.client().deregister(agent.registration());
    assertEquals(await agent.register(), "ok");
    const [register, deregister] = agent.sent;
    assert(register !== undefined && deregister !== undefined);

    assertEquals(await replay(deregister), [401, USED]);
    assertEquals(await replay(register), [401, USED]);
    const path = new URL(deregister.url).pathname;
    const fresh = await outcome(
      agent.client().deregister({ ...agent.registration(), meshId: "none" }),
    );
    assertEquals(fresh, "ok");
    const again = agent.sent.at(-1);
    assert(again !== undefined);
    assertEquals(await replay(again, { url: world.url + path.replace("Agent", "Colony") }), [
      401,
      WRONG,
    ]);
    const body = new TextEncoder().encode(
      JSON.stringify({ meshId: MESH, pubkey: agent.publicKey }),
    );
    assertEquals(await replay(again, { init: { body } }), [401, WRONG]);
    assertEquals(await replay(again, { url: other.url + path }), [
      401,
      "unauthenticated: the proof is for another Discovery's key",
    ]);
    world.now += 30_000;
    await world.restart();
    assertEquals(await replay(deregister, { url: world.url + path }), [401, USED]);
    world.now += 40_000;
    assertEquals(await replay(deregister, { url: world.url + path }), [
      401,
      "unauthenticated: the proof's time is -70 s off Discovery's",
    ]);
    const { endpoints } =
      await agent.client().lookupAgent({ meshId: MESH, publicKey: agent.publicKey }) ??
        { endpoints: [] };
    assertEquals(endpoints[0]?.hostname, "192.0.2.1");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("attack: replay to another replica", async () => {
  await using world = await World.start();
  const store = SqliteStore.open(":memory:");
  try {
    const open = (fill: number): Promise<ProofChecker> =>
      ProofChecker.open({ store, now: () => world.now, freshKey: new Uint8Array(32).fill(fill) });
    const [one, two] = [await open(7), await open(8)];
    assertEquals(one.publicKey, two.publicKey);
    assertEquals(one.publicKey, (await identityOf(7)).text);
    const agent = await world.node(2);
    await agent.register();
    const [sent] = agent.sent;
    const header = new Headers(sent?.init.headers).get(PROOF_HEADER) ?? "";
    const request = {
      method: "RegisterAgent",
      contentType: "application/json",
      body: new Uint8Array(),
    };
    const foreign = await one.check(header, request);
    assertEquals(foreign.proven, false);
    // One made for these replicas is good once.
    const proof = await proofFor(one.publicKey, { world, request });
    assertEquals(await one.check(proof, request), { proven: true, publicKey: agent.publicKey });
    assertEquals(await two.check(proof, request), {
      proven: false,
      reason: "the proof was used before",
    });
    assertEquals(two.counters()["proofsReplayed"], 1);
  } finally {
    await store.close();
  }
});

Deno.test("attack: find out who is there", async () => {
  await using world = await World.start();
  const [colony, agent, outsider] = [
    await world.node(1, "colony"),
    await world.node(2),
    await world.node(3),
  ];
  for (const node of [colony, agent]) await node.register({ agentId: "a2" });
  await outsider.register({ meshId: "atoll" });
  const there = { meshId: MESH, agentId: "a2" };
  const lookups = [there, { meshId: MESH, publicKey: agent.publicKey }, {
    meshId: MESH,
    agentId: "zz",
  }];
  for (const lookup of lookups) {
    assertEquals(await outsider.client().lookupAgent(lookup), undefined);
    assertEquals(await outcome(outsider.client({ proves: false }).lookupAgent(lookup)), NO_PROOF);
  }
  for (const mesh of [MESH, "nowhere"]) {
    assertEquals(await outcome(outsider.client({ proves: false }).lookupColony(mesh)), NO_PROOF);
  }
  const watched = await outcome(
    outsider.client().initiatePunch({
      meshId: MESH,
      from: outsider.publicKey,
      to: agent.publicKey,
    }),
  );
  assertEquals(watched, "refused: from_pubkey is not registered in mesh reef");
  assertEquals((await colony.client().lookupAgent(there))?.publicKey, agent.publicKey);
});

Deno.test("attack: claim another address by X-Forwarded-For", async () => {
  await using world = await World.start();
  const agent = await world.node(2);
  const client = new DiscoveryClient({
    urls: [world.url],
    identity: await identityOf(2),
    now: () => world.now,
    log: () => {},
    fetch: (input, init) => {
      const headers = new Headers(init?.headers);
      for (const name of ["x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip"]) {
        headers.set(name, "198.51.100.66");
      }
      return fetch(input, { ...init, headers });
    },
  });
  await client.register(agent.registration());
  const found = await client.lookupAgent({ meshId: MESH, publicKey: agent.publicKey });
  assertEquals(found?.observedEndpoints, []);
  assertEquals(found?.endpoints, agent.registration().endpoints);
});

Deno.test("a node whose clock is wrong, or whose Discovery began anew, proves itself all the same", async () => {
  await using world = await World.start();
  const agent = await world.node(2);
  let aheadMs = 86_400_000;
  const client = agent.client({ clock: () => world.now + aheadMs });
  assertEquals(await outcome(client.register(agent.registration())), "ok");
  // The clock is set while the client runs: the refusal says the time.
  aheadMs = -3_600_000;
  assertEquals(await outcome(client.register(agent.registration())), "ok");
  assertEquals(world.counters()["proofsRefused"], 1);
});

Deno.test("proofs of many nodes at once are each good", async () => {
  await using world = await World.start();
  const nodes = await Promise.all([...new Array(20).keys()].map((i) => world.node(10 + i)));
  const outcomes = await Promise.all(nodes.map((node) => node.register()));
  assertEquals(new Set(outcomes), new Set(["ok"]));
  assertEquals(world.counters()["proofs"], 20);
});

/** A proof by node 2 for a request to the server with this key. */
async function proofFor(
  serverKey: string,
  { world, request }: {
    readonly world: World;
    readonly request: { method: string; contentType: string; body: Uint8Array };
  },
): Promise<string> {
  const { formatProof, proofKey, proofKeyId, proofMac } = await import("./proof/proof.ts");
  const { formatBase64, parseKey } = await import("../core/mod.ts");
  const identity = await identityOf(2);
  const server = parseKey(serverKey) ?? new Uint8Array();
  const key = await proofKey(identity.secret, {
    node: identity.publicKey,
    server,
    other: "server",
  });
  const at = { issuedAtMs: world.now, nonce: formatBase64(new Uint8Array(16)) };
  const mac = proofMac(key ?? new Uint8Array(), request, at);
  return formatProof({ ...at, keyId: proofKeyId(server), publicKey: identity.text, mac });
}
