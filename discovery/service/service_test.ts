import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { type Client, Code } from "@connectrpc/connect";
import { DiscoveryService, NatHint, PeerRole, type WatchEvent } from "../../proto/mod.ts";
import { SqliteStore } from "../store/sqlite_store.ts";
import { key } from "../testing/nodes.ts";
import { provingClients, selfProvingClient } from "../testing/proving_client.ts";
import { Service, type ServiceOptions } from "./service.ts";

const START = 1_700_000_000_000;
const TTL_MS = 300_000;

/** A service on a memory store, its clock, its log, and a client without sockets. */
class World implements AsyncDisposable {
  now = START;
  readonly log: string[] = [];
  readonly store: SqliteStore;
  readonly service: Service;
  readonly client: Client<typeof DiscoveryService>;
  #ids = 0;

  constructor(part: Partial<ServiceOptions> & { readonly bytesMax?: number } = {}) {
    const { bytesMax, ...options } = part;
    this.store = SqliteStore.open(":memory:", bytesMax === undefined ? {} : { bytesMax });
    this.service = new Service({
      store: this.store,
      ttlMs: TTL_MS,
      heartbeatMs: 15_000,
      stun: [{ host: "127.0.0.1", port: 3478 }],
      version: "1.2.3",
      now: () => this.now,
      randomId: () => `id${this.#ids++}`,
      log: (level, message) => this.log.push(`${level} ${message}`),
      ...options,
    });
    this.client = options.allowUnproven === true
      ? provingClients(this.service)()
      : selfProvingClient(this.service, key(1));
  }

  colony(seed = 1): Promise<unknown> {
    return this.client.registerColony({
      meshId: "reef",
      pubkey: key(seed),
      endpoints: ["192.0.2.1:51820"],
      nat: NatHint.NAT_CONE,
      name: "colony",
      connectPort: 9000,
    });
  }

  agent(seed: number, endpoint = "192.0.2.2:51820"): Promise<unknown> {
    return this.client.registerAgent({
      meshId: "reef",
      agentId: `a${seed}`,
      pubkey: key(seed),
      endpoints: [endpoint],
    });
  }

  watch(seed: number, cursor = ""): Stream {
    return new Stream(this.client, { meshId: "reef", pubkey: key(seed), cursor });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.service.close();
    await this.store.close();
  }
}

/** One Watch stream, read event by event. */
class Stream implements AsyncDisposable {
  cursor = "";
  readonly #abort = new AbortController();
  readonly #events: AsyncIterator<WatchEvent>;

  constructor(
    client: Client<typeof DiscoveryService>,
    request: { meshId: string; pubkey: string; cursor: string },
  ) {
    const options = { signal: this.#abort.signal };
    this.#events = client.watch(request, options)[Symbol.asyncIterator]();
  }

  /** The next event in short. */
  async next(): Promise<string> {
    const { value, done } = await this.#events.next();
    if (done === true) return "end";
    const { cursor, event } = value as WatchEvent;
    if (cursor !== "") this.cursor = cursor;
    switch (event.case) {
      case "peerUpserted": {
        const { name, agentId, endpoints } = event.value;
        return `+${name || agentId} ${endpoints}`;
      }
      case "peerRemoved":
        return `-${atob(event.value.pubkey).charCodeAt(0)}`;
      case "punch":
        return `punch ${event.value.punchId} ${event.value.windowMs} ${event.value.peer?.endpoints}`;
      case "snapshotComplete":
        return event.value.resumed ? "resumed" : "complete";
      default:
        return String(event.case);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    return Promise.resolve();
  }
}

Deno.test("Service registers, looks up with every field, and forgets after the TTL", async () => {
  await using world = new World({ allowUnproven: true });
  const { client } = world;
  const registered = await client.registerColony({
    meshId: "reef",
    pubkey: key(1),
    endpoints: ["192.0.2.1:51820", "[2001:db8::1]:51820"],
    meshIpv4: "10.42.0.1",
    meshIpv6: "fd00::1",
    connectPort: 9000,
    metadata: { site: "home" },
    observedEndpoint: { ip: "203.0.113.1", port: 40001, protocol: "udp" },
    observedEndpoints: [{ ip: "2001:db8::9", port: 40002, protocol: "udp" }],
    nat: NatHint.NAT_RESTRICTED,
    name: "colony",
    publicPort: 8443,
    publicEndpoint: { enabled: true, url: "https://colony.example", caFingerprint: {} },
  });
  assertEquals(registered.success, true);
  assertEquals(registered.ttl, 300);
  assertEquals(registered.expiresAt?.seconds, BigInt((START + TTL_MS) / 1000));
  assertEquals(registered.observedEndpoint?.ip, "203.0.113.1");
  assertEquals(registered.stunServers, ["127.0.0.1:3478"]);

  world.now += TTL_MS - 1;
  const colony = await client.lookupColony({ meshId: "reef" });
  assertEquals(colony.pubkey, key(1));
  assertEquals(colony.endpoints, ["192.0.2.1:51820", "[2001:db8::1]:51820"]);
  assertEquals(colony.observedEndpoints.map((e) => [e.ip, e.port, e.protocol]), [
    ["203.0.113.1", 40001, "udp"],
    ["2001:db8::9", 40002, "udp"],
  ]);
  // Nobody has proven anything here: what is claimed is believed, as plain Coral has it.
  assertEquals(colony.nat, NatHint.NAT_RESTRICTED);
  assertEquals([colony.meshIpv4, colony.meshIpv6, colony.connectPort], [
    "10.42.0.1",
    "fd00::1",
    9000,
  ]);
  assertEquals([colony.metadata["site"], colony.name, colony.publicPort], ["home", "colony", 8443]);
  assertEquals(colony.publicEndpoint?.url, "https://colony.example");
  assertEquals(colony.lastSeen?.seconds, BigInt(START / 1000));
  assertEquals(colony.registeredAt?.seconds, BigInt(START / 1000));
  assertEquals(colony.generation, BigInt(START));

  world.now += 1;
  await assertRejects(client.lookupColony({ meshId: "reef" }), { code: Code.NotFound });
});

Deno.test("Service finds agents by id and by key for those who need prove none", async () => {
  await using world = new World({ allowUnproven: true });
  const { client } = world;
  await world.agent(2);
  const byId = await client.lookupAgent({ agentId: "a2" });
  assertEquals([byId.meshId, byId.pubkey], ["reef", key(2)]);
  assertEquals((await client.lookupAgent({ agentId: "a2", meshId: "reef" })).pubkey, key(2));
  assertEquals((await client.lookupAgent({ pubkey: key(2), meshId: "reef" })).agentId, "a2");
  await client.registerAgent({
    meshId: "atoll",
    agentId: "a2",
    pubkey: key(3),
    endpoints: ["192.0.2.3:1"],
  });
  await assertRejects(client.lookupAgent({ agentId: "a2" }), { code: Code.InvalidArgument });
  assertEquals((await client.lookupAgent({ agentId: "a2", meshId: "atoll" })).pubkey, key(3));
  for (const request of [{ agentId: "a9" }, { meshId: "reef", pubkey: key(9) }]) {
    await assertRejects(client.lookupAgent(request), { code: Code.NotFound });
  }
  await assertRejects(client.lookupAgent({}), { rawMessage: "agent_id is required" });
  await assertRejects(client.lookupAgent({ pubkey: key(2) }), {
    rawMessage: "mesh_id is required",
  });
  // A colony is no agent.
  await world.colony();
  await assertRejects(client.lookupAgent({ meshId: "reef", pubkey: key(1) }), {
    code: Code.NotFound,
  });
});

Deno.test("Service refuses a second colony while the first lives, where none need prove a key", async () => {
  await using world = new World({ allowUnproven: true });
  await world.colony(1);
  await assertRejects(world.colony(9), {
    code: Code.AlreadyExists,
    rawMessage: "mesh_id reef already registered with different pubkey",
  });
  await assertRejects(world.agent(1), { code: Code.AlreadyExists });
  assertEquals((await world.client.lookupColony({ meshId: "reef" })).pubkey, key(1));
  world.now += TTL_MS;
  await world.colony(9);
  assertEquals((await world.client.lookupColony({ meshId: "reef" })).pubkey, key(9));
});

Deno.test("Service streams the records, then changes, removals and expiries", async () => {
  await using world = new World();
  await world.colony();
  await world.agent(2, "192.0.2.2:1");
  await using stream = world.watch(1);
  assertEquals(await stream.next(), "+a2 192.0.2.2:1");
  assertEquals(await stream.next(), "complete");
  world.now += 1000;
  // A mere refresh is no event.
  await world.agent(2, "192.0.2.2:1");
  await world.agent(3, "192.0.2.3:1");
  assertEquals(await stream.next(), "+a3 192.0.2.3:1");
  await world.agent(2, "192.0.2.2:2");
  assertEquals(await stream.next(), "+a2 192.0.2.2:2");
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(2) });
  assertEquals(await stream.next(), "-2");
  world.now += TTL_MS - 500;
  await world.colony();
  world.now += 500;
  assertEquals(await world.service.sweep(), 1);
  assertEquals(await stream.next(), "-3");
  world.service.heartbeat();
  assertEquals(await stream.next(), "heartbeat");
});

Deno.test("Service shows an agent its colony only", async () => {
  await using world = new World();
  await world.agent(2);
  await world.agent(3);
  await using stream = world.watch(2);
  assertEquals(await stream.next(), "complete");
  await world.agent(4);
  await world.colony();
  assertEquals(await stream.next(), "+colony 192.0.2.1:51820");
  await world.client.deregisterColony({ meshId: "reef", pubkey: key(1) });
  assertEquals(await stream.next(), "-1");
});

Deno.test("Service resumes a stream from its cursor", async () => {
  await using world = new World();
  await world.colony();
  await world.agent(2);
  const first = world.watch(1);
  assertEquals([await first.next(), await first.next()], ["+a2 192.0.2.2:51820", "complete"]);
  await first[Symbol.asyncDispose]();
  await world.agent(3);
  await using again = world.watch(1, first.cursor);
  assertEquals([await again.next(), await again.next()], ["+a3 192.0.2.2:51820", "resumed"]);
  await using other = world.watch(1, "gone.c.0");
  assertEquals(await other.next(), "+a2 192.0.2.2:51820");
});

Deno.test("Service frees a stream whose client is gone, and ends those whose registration is", async () => {
  await using world = new World();
  await world.colony();
  await world.agent(2);
  const gone = world.watch(1);
  await gone.next();
  await gone.next();
  assertEquals(world.service.counters()["watches"], 1);
  const pending = gone.next();
  await gone[Symbol.asyncDispose]();
  await assertRejects(pending, { code: Code.Canceled });
  assertEquals(world.service.counters()["watches"], undefined);

  await using own = world.watch(2);
  await own.next();
  await own.next();
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(2) });
  await assertRejects(own.next(), { code: Code.NotFound });
  await assertRejects(world.watch(2).next(), {
    code: Code.NotFound,
    rawMessage: "pubkey is not registered in mesh reef",
  });
});

Deno.test("Service tells both sides of a punch at once, with each other's record", async () => {
  await using world = new World();
  await world.colony();
  await world.agent(2);
  await using colony = world.watch(1);
  await using agent = world.watch(2);
  for (const stream of [colony, agent]) {
    while (await stream.next() !== "complete");
  }
  const request = { meshId: "reef", fromPubkey: key(2), toPubkey: key(1) };
  const punch = await world.client.initiatePunch(request);
  assertEquals([punch.delivered, punch.windowMs], [true, 3000]);
  assertEquals([punch.peer?.pubkey, punch.peer?.role], [key(1), PeerRole.COLONY]);
  assertEquals(await colony.next(), `punch ${punch.punchId} 3000 192.0.2.2:51820`);
  assertEquals(await agent.next(), `punch ${punch.punchId} 3000 192.0.2.1:51820`);

  await assertRejects(world.client.initiatePunch(request), { code: Code.ResourceExhausted });
  world.now += 2000;
  await colony[Symbol.asyncDispose]();
  // The cancellation reaches the server's generator in a later turn.
  for (let turn = 0; world.service.counters()["watches"] !== 1 && turn < 1000; turn++) {
    await Promise.resolve();
  }
  assertEquals((await world.client.initiatePunch(request)).delivered, false);
});

Deno.test("Service punches only between two registered nodes of the mesh", async () => {
  await using world = new World();
  await world.colony();
  const punch = (fromPubkey: string, toPubkey: string): Promise<unknown> =>
    world.client.initiatePunch({ meshId: "reef", fromPubkey, toPubkey });
  await assertRejects(punch(key(2), key(1)), { rawMessage: /^from_pubkey is not registered/ });
  await assertRejects(punch(key(1), key(2)), { rawMessage: /^to_pubkey is not registered/ });
  await assertRejects(punch(key(1), key(1)), { code: Code.InvalidArgument });
  await assertRejects(punch("x", key(1)), { rawMessage: "from_pubkey is not 32 bytes in base64" });
});

Deno.test("Service deregisters each kind by its own method", async () => {
  await using world = new World();
  await world.colony();
  const colony = { meshId: "reef", pubkey: key(1) };
  assertEquals((await world.client.deregisterAgent(colony)).success, false);
  assertEquals((await world.client.deregisterColony(colony)).success, true);
  assertEquals((await world.client.deregisterColony(colony)).success, false);
});

Deno.test("Service says what it has not", async () => {
  await using world = new World();
  const { client } = world;
  await assertRejects(client.requestRelay({}), {
    code: Code.Unimplemented,
    rawMessage: "this Discovery has no relay",
  });
  await assertRejects(client.releaseRelay({}), { code: Code.Unimplemented });
  await assertRejects(provingClients(world.service)().createBootstrapToken({}), {
    code: Code.Unauthenticated,
    rawMessage: "a proof of possession of the node's key is required",
  });
  const info = await client.getServerInfo({});
  assertEquals(info.features, [
    "deregister",
    "members",
    "paths",
    "proof",
    "punch",
    "rotation",
    "statement",
    "stun",
    "token",
    "watch",
  ]);
  assertEquals([info.version, info.ttl, info.heartbeatMs, info.stunPorts], [
    "1.2.3",
    300,
    15_000,
    [3478],
  ]);
});

Deno.test("Service lives through a full disk and says so once", async () => {
  await using world = new World({ bytesMax: 128 * 1024 });
  await world.colony();
  let stored = 0;
  async function fill(): Promise<void> {
    for (let seed = 2; seed < 250; seed++) {
      await world.client.registerAgent({
        meshId: "reef",
        agentId: `a${seed}`,
        pubkey: key(seed),
        endpoints: ["192.0.2.2:1"],
        metadata: { filler: "x".repeat(1000) },
      });
      stored++;
    }
  }
  const full = {
    code: Code.ResourceExhausted,
    rawMessage: "Discovery's disk is full: nothing was stored",
  };
  await assertRejects(fill(), full);
  await assertRejects(fill(), full);
  assert(stored > 5);
  const errors = (): string[] => world.log.filter((line) => line.startsWith("error"));
  assertEquals(errors(), ["error Cannot write the database :memory:: disk is full"]);
  assertEquals((await world.client.health({})).status, "degraded");
  assertEquals((await world.client.lookupColony({ meshId: "reef" })).pubkey, key(1));

  world.now += 30_000;
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(2) });
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(3) });
  await world.agent(251);
  assertEquals((await world.client.health({})).status, "ok");
  assertEquals(errors().length, 1);
  assertEquals(world.log.at(-2), "info the store works again");
});

Deno.test("Service refuses a mesh that is full", async () => {
  const store = SqliteStore.open(":memory:", { nodesPerMeshMax: 2 });
  await using world = new World({ store });
  await world.colony();
  await world.agent(2);
  await assertRejects(world.agent(3), { code: Code.ResourceExhausted });
  await store.close();
});
