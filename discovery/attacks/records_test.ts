/** Attacks by Discovery itself: a proxy that lies in front of a real one, and nodes that hold their keys. Real HTTP on 127.0.0.1. */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { formatBase64, parseBase64 } from "../../core/mod.ts";
import {
  type DiscoveredPeer,
  DiscoveryClient,
  type PeerEvent,
  type RememberedRecords,
  type Role,
  type RunningDiscovery,
  startDiscovery,
} from "../mod.ts";
import { identityOf } from "../testing/identity.ts";
import { inRecords, type Json, LyingProxy } from "../testing/lying_proxy.ts";

const MESH = "reef";
/** Where an attacker would have the traffic go. */
const EVIL = "203.0.113.66:6666";

/** A Discovery, and the proxy through which the nodes of the test speak to it. */
class World implements AsyncDisposable {
  readonly discovery: RunningDiscovery;
  readonly proxy: LyingProxy;
  readonly #clients: DiscoveryClient[] = [];

  private constructor(discovery: RunningDiscovery) {
    this.discovery = discovery;
    this.proxy = new LyingProxy(discovery.url);
  }

  static async start(): Promise<World> {
    // A clock that runs fast: punches of one pair are 2 s apart.
    let ahead = 0;
    return new World(
      await startDiscovery({
        listen: { hostname: "127.0.0.1", port: 0 },
        stunListen: [],
        store: ":memory:",
        now: () => Date.now() + (ahead += 1000),
        log: () => {},
      }),
    );
  }

  async node(
    seed: number,
    role: Role,
    { remembered, clock = Date.now }: {
      readonly remembered?: RememberedRecords;
      readonly clock?: () => number;
    } = {},
  ): Promise<Node> {
    const identity = await identityOf(seed);
    const client = new DiscoveryClient({
      urls: [this.proxy.url],
      identity,
      log: () => {},
      backoffMinMs: 5,
      now: clock,
      ...(remembered && { remembered }),
    });
    this.#clients.push(client);
    return new Node(client, identity.text, role);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.proxy[Symbol.asyncDispose]();
    await this.discovery.stop();
  }
}

/** A node, and what it believes. */
class Node {
  readonly client: DiscoveryClient;
  readonly key: string;
  readonly #role: Role;

  constructor(client: DiscoveryClient, key: string, role: Role) {
    this.client = client;
    this.key = key;
    this.#role = role;
  }

  async register(port: number): Promise<void> {
    const endpoints = [{ hostname: "192.0.2.1", port }];
    await this.client.register({ meshId: MESH, publicKey: this.key, role: this.#role, endpoints });
  }

  /** Where the colony is, as a look-up and a punch say: ports. */
  async colonyAt(colony: Node): Promise<string> {
    const found = await this.client.lookupColony(MESH);
    const punched = await this.client.initiatePunch({
      meshId: MESH,
      from: this.key,
      to: colony.key,
    })
      .catch(() => undefined);
    return `${portOf(found)} ${portOf(punched?.peer)}`;
  }

  async agentAt({ key: publicKey }: Node): Promise<number | undefined> {
    return portOf(await this.client.lookupAgent({ meshId: MESH, publicKey }));
  }

  /** What a Watch stream tells until it stands, and how often it was opened. */
  async watched(): Promise<readonly PeerEvent[]> {
    const events: PeerEvent[] = [];
    const ended = new AbortController();
    const done = Promise.withResolvers<void>();
    const watching = this.client.watch({
      meshId: MESH,
      publicKey: this.key,
      signal: ended.signal,
      onEvent: (event) => {
        if (event.kind === "synchronized") done.resolve();
        else events.push(event);
      },
    });
    await done.promise;
    ended.abort();
    await watching;
    return events;
  }
}

function portOf(peer: DiscoveredPeer | undefined): number | undefined {
  if (peer === undefined) return undefined;
  const [{ hostname, port } = { hostname: "", port: 0 }, ...others] = peer.endpoints;
  assertEquals([hostname, others.length, peer.observedEndpoints], ["192.0.2.1", 0, []]);
  return port;
}

/** A mesh whose agent has met its colony, or (`met` false) has not. */
async function mesh(
  world: World,
  met = true,
): Promise<{ readonly colony: Node; readonly agent: Node }> {
  const [colony, agent] = [await world.node(1, "colony"), await world.node(2, "agent")];
  await colony.register(1);
  await agent.register(2);
  for (const node of [colony, agent]) await node.client.serverInfo();
  if (met) {
    assertEquals(await agent.colonyAt(colony), "1 1");
    assertEquals(await colony.agentAt(agent), 2);
  }
  return { colony, agent };
}

/** The statement of a record with some of its bytes turned over. */
function damaged(statement: Json, field: "statement" | "signature"): Json {
  const bytes = parseBase64(String(statement[field])) ?? new Uint8Array();
  bytes[40] = (bytes[40] ?? 0) ^ 1;
  return { ...statement, [field]: formatBase64(bytes) };
}

const FORGERIES: Readonly<Record<string, (record: Json, others: Json) => Json>> = {
  "other endpoints": (record) => ({ ...record, endpoints: [EVIL], observedEndpoints: [] }),
  "no statement": ({ statement: _, ...record }) => ({ ...record, endpoints: [EVIL] }),
  "a statement with another content": (record) => ({
    ...record,
    endpoints: [EVIL],
    statement: damaged(record["statement"] as Json, "statement"),
  }),
  "a statement with another signature": (record) => ({
    ...record,
    endpoints: [EVIL],
    statement: damaged(record["statement"] as Json, "signature"),
  }),
  "another node's statement": (record, others) => ({
    ...record,
    endpoints: [EVIL],
    statement: others["statement"],
  }),
  "another mesh": (record) => ({ ...record, meshId: "lagoon" }),
};

for (const [name, forge] of Object.entries(FORGERIES)) {
  Deno.test(`attack: Discovery forges records: ${name}`, async () => {
    await using world = await World.start();
    const { colony, agent } = await mesh(world);
    const other = await world.node(3, "agent");
    await other.register(3);
    let others: Json = {};
    world.proxy.lie = inRecords((record) =>
      record["pubkey"] === other.key ? others = record : record
    );
    assertEquals(await agent.agentAt(other), 3);
    world.proxy.lie = inRecords((record) => forge(record, others));
    const lies = world.proxy.lies;
    // In a punch the mesh is the record's word: one of another mesh is no answer.
    const known = name === "another mesh" ? "1 undefined" : "1 1";
    assertEquals(await agent.colonyAt(colony), known, "what was known stays");
    assertEquals(await colony.agentAt(agent), 2);
    assert(world.proxy.lies >= lies + 3, "the attack was made");
    for (const event of [...await agent.watched(), ...await colony.watched()]) {
      if (event.kind === "upserted") assert([1, 2, 3].includes(portOf(event.peer) ?? 0));
      else assert(event.kind !== "punch", "nobody is sent anywhere else");
    }

    // A node that knew nothing believes nothing of it.
    const newcomer = await world.node(4, "agent");
    await newcomer.register(4);
    await newcomer.client.serverInfo();
    const told = await newcomer.client.lookupColony(MESH);
    assert([undefined, 1].includes(portOf(told)), "the truth or nothing");
    world.proxy.lie = (_, message) => message;
    assertEquals(await newcomer.colonyAt(colony), "1 1", "and the truth afterwards");
    assertEquals(await agent.colonyAt(colony), "1 1");
  });
}

Deno.test("attack: Discovery puts its own colony in the place of the mesh's", async () => {
  await using world = await World.start();
  const { colony, agent } = await mesh(world);
  // The attacker's colony is signed as it should be, by a key of its own, of the same mesh.
  await using elsewhere = await World.start();
  const impostor = await elsewhere.node(66, "colony");
  await impostor.register(66);
  let evil: Json = {};
  elsewhere.proxy.lie = inRecords((record) => evil = { ...record, role: "PEER_ROLE_COLONY" });
  const visitor = await elsewhere.node(67, "agent");
  assertEquals(portOf(await visitor.client.lookupColony(MESH)), 66, "it is a good record");

  world.proxy.lie = inRecords((record) => record["pubkey"] === colony.key ? evil : record);
  assertEquals(await agent.colonyAt(colony), "undefined undefined");
  assertEquals(await agent.watched(), []);
  assertEquals(agent.client.counters()["recordsColonyReplaced"], 3);
  // Nor in the agent's next run, whether it still knows where the colony was or not.
  for (const peers of [[], [await honest(world, agent)]]) {
    const next = await world.node(2, "agent", {
      remembered: agent.client.remembered(MESH, peers),
    });
    await next.client.serverInfo();
    assertEquals(await next.client.lookupColony(MESH), undefined);
  }
  // Under the right key it is a forgery.
  world.proxy.lie = inRecords((record) =>
    record["pubkey"] === colony.key ? { ...evil, pubkey: colony.key } : record
  );
  assertEquals(await agent.colonyAt(colony), "1 1");
  world.proxy.lie = (_, message) => message;
  assertEquals(await agent.colonyAt(colony), "1 1");
});

/** The colony as the real Discovery has it. */
async function honest(world: World, agent: Node): Promise<DiscoveredPeer> {
  const { lie } = world.proxy;
  world.proxy.lie = (_, message) => message;
  const colony = await agent.client.lookupColony(MESH);
  world.proxy.lie = lie;
  assert(colony !== undefined);
  return colony;
}

Deno.test("attack: Discovery replays an older record, also after the restart of who reads it", async () => {
  await using world = await World.start();
  const { colony, agent } = await mesh(world, false);
  const old = new Map<string, Json>();
  world.proxy.lie = inRecords((record) => {
    const role = record["pubkey"] === colony.key ? "PEER_ROLE_COLONY" : "PEER_ROLE_AGENT";
    old.set(String(record["pubkey"]), { ...record, role });
    return record;
  });
  assertEquals(await agent.colonyAt(colony), "1 1");
  assertEquals(await colony.agentAt(agent), 2);
  world.proxy.lie = (_, message) => message;
  await colony.register(11);
  await agent.register(12);
  assertEquals(await agent.colonyAt(colony), "11 11");
  assertEquals(await colony.agentAt(agent), 12);

  world.proxy.lie = inRecords((record) => ({
    ...old.get(String(record["pubkey"])),
    generation: "99999999999999",
  }));
  assertEquals(await agent.colonyAt(colony), "11 11");
  assertEquals(await colony.agentAt(agent), 12);
  for (const event of [...await agent.watched(), ...await colony.watched()]) {
    if (event.kind === "upserted") assert([11, 12].includes(portOf(event.peer) ?? 0));
  }
  assertEquals([agent, colony].map(({ client }) => client.counters()), [
    { recordsOutdated: 3 },
    { recordsOutdated: 2 },
  ]);
  const known = [await honest(world, agent)];
  for (const [peers, expected] of [[known, 11], [[], undefined]] as const) {
    const next = await world.node(2, "agent", {
      remembered: agent.client.remembered(MESH, peers),
    });
    await next.client.serverInfo();
    assertEquals(portOf(await next.client.lookupColony(MESH)), expected);
    world.proxy.lie = (_, message) => message;
    assertEquals(portOf(await next.client.lookupColony(MESH)), 11, "the truth is believed");
    world.proxy.lie = inRecords((record) => old.get(String(record["pubkey"])));
  }
});

Deno.test("attack: Discovery relabels a node's record as another's", async () => {
  await using world = await World.start();
  const { colony, agent } = await mesh(world);
  const other = await world.node(3, "agent");
  await other.register(3);
  assertEquals(await colony.agentAt(other), 3);
  const records = new Map<string, Json>();
  world.proxy.lie = inRecords((record) => {
    records.set(String(record["pubkey"]), record);
    return record;
  });
  await colony.watched();
  // Each agent's record under the other's name, with and without its own key in it.
  const swap = (record: Json, part: Json): Json => {
    const { key } = record["pubkey"] === agent.key ? other : agent;
    return record["pubkey"] === colony.key ? record : { ...records.get(key), ...part };
  };
  for (const keepsKey of [true, false]) {
    world.proxy.lie = inRecords((record) =>
      swap(record, keepsKey ? { pubkey: record["pubkey"], agentId: record["agentId"] } : {})
    );
    const expected = keepsKey ? [2, 3] : [undefined, undefined];
    assertEquals([await colony.agentAt(agent), await colony.agentAt(other)], expected);
    const punched = await colony.client
      .initiatePunch({ meshId: MESH, from: colony.key, to: agent.key })
      .then(({ peer }) => peer.publicKey, () => "refused");
    assertEquals(punched, keepsKey ? agent.key : "refused");
  }
  // An agent as the colony: of another role than it signed.
  world.proxy.lie = inRecords(() => ({ ...records.get(other.key), role: "PEER_ROLE_COLONY" }));
  assertEquals(await agent.client.lookupColony(MESH), undefined);
  world.proxy.lie = (_, message) => message;
  assertEquals([await colony.agentAt(agent), await colony.agentAt(other)], [2, 3]);
});

Deno.test("attack: Discovery says that it is a plain one, to be believed without signatures", async () => {
  await using world = await World.start();
  const { colony, agent } = await mesh(world);
  const forged = inRecords(({ statement: _, ...record }) => ({ ...record, endpoints: [EVIL] }));
  world.proxy.lie = (method, message) =>
    method === "GetServerInfo" ? { ...message, features: [] } : forged(method, message);
  for (const node of [agent, colony]) {
    assertEquals((await node.client.serverInfo()).features.watch, false);
  }
  assertEquals(portOf(await agent.client.lookupColony(MESH)), 1);
  const next = await world.node(2, "agent", {
    remembered: agent.client.remembered(MESH, []),
  });
  await next.client.serverInfo();
  assertEquals(await next.client.lookupColony(MESH), undefined);
  assertEquals(next.client.counters(), { recordsUnsigned: 1 });
});

Deno.test("attack: Discovery drives a node's sequence on by a record that the node has not signed", async () => {
  await using world = await World.start();
  const { colony, agent } = await mesh(world);
  // The same node, which has lost its memory, beside a clock that was set back: its record is older than the one stored.
  const back = await world.node(1, "colony", { clock: () => Date.now() - 3_600_000 });
  const refusal = { code: "refused", message: /sequence is not after that of the stored one/ };
  for (const field of ["statement", "signature"] as const) {
    world.proxy.lie = inRecords((record) => ({
      ...record,
      statement: damaged(record["statement"] as Json, field),
    }));
    await assertRejects(back.register(21), refusal);
  }
  world.proxy.lie = inRecords(() => undefined);
  await assertRejects(back.register(21), refusal);
  assertEquals(await honest(world, agent).then(portOf), 1, "nothing was lost");
  // By what it has signed itself it goes on.
  world.proxy.lie = (_, message) => message;
  await back.register(21);
  assertEquals(await agent.colonyAt(colony), "21 21");
});
