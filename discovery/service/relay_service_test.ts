import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { type Client, Code } from "@connectrpc/connect";
import { parseKey } from "../../core/mod.ts";
import { DiscoveryService, type RequestRelayResponse } from "../../proto/mod.ts";
import { type RelayReport, type RelayState, sealReport } from "../relay/report.ts";
import { SqliteStore, type SqliteStoreOptions } from "../store/sqlite_store.ts";
import { key } from "../testing/nodes.ts";
import { provingClients, selfProvingClient } from "../testing/proving_client.ts";
import { relayCredentials } from "./relay_credentials.ts";
import type { RelayServer } from "./relay_registry.ts";
import { type RelayOptions, SESSION_TTL_MS } from "./relay_service.ts";
import { remoteAddress, Service } from "./service.ts";

const START = 1_700_000_000_000;
const SECRET = "shared by relays and Discovery";

const EU: RelayServer = {
  id: "eu",
  region: "eu",
  transports: [
    { kind: "udp", endpoint: "203.0.113.7:3478" },
    { kind: "tls", endpoint: "relay.example:443", serverName: "relay.example" },
    { kind: "websocket", endpoint: "/turn" },
  ],
  realm: "moray",
  bandwidthBytesPerSecond: 1_000_000,
  secret: "the secret of eu alone",
};
const US: RelayServer = {
  ...EU,
  id: "us",
  region: "us",
  transports: [{ kind: "tcp", endpoint: "relay.example:3478" }],
  bandwidthBytesPerSecond: 0,
};

function bytes(seed: number): Uint8Array {
  return parseKey(key(seed)) ?? new Uint8Array();
}

/** A service with relays, its clock, and a client without sockets. */
class World implements AsyncDisposable {
  now = START;
  /** Where the requests come from. */
  address = "";
  readonly log: string[] = [];
  readonly store: SqliteStore;
  readonly service: Service;
  readonly client: Client<typeof DiscoveryService>;
  #ids = 0;

  constructor(
    relays: RelayOptions = { servers: [EU, US], secret: SECRET },
    store: SqliteStoreOptions = {},
  ) {
    this.store = SqliteStore.open(":memory:", store);
    this.service = new Service({
      store: this.store,
      ttlMs: 300_000,
      heartbeatMs: 15_000,
      stun: [],
      version: "1.2.3",
      now: () => this.now,
      randomId: () => `id${this.#ids++}`,
      log: (level, message, fields) =>
        this.log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`),
      relays,
    });
    this.client = selfProvingClient(
      this.service,
      key(1),
      (values) => values.set(remoteAddress, this.address),
    );
  }

  /** Asks for a relay for the agent with key `seed`. */
  ask(
    seed: number,
    more: Parameters<Client<typeof DiscoveryService>["requestRelay"]>[0] = {},
  ): Promise<RequestRelayResponse> {
    const keys = { nodePubkey: bytes(seed), agentPubkey: bytes(seed) };
    return this.client.requestRelay({ meshId: "reef", ...keys, ...more });
  }

  report(part: Partial<RelayReport> = {}, secret = SECRET): Promise<unknown> {
    return this.client.registerRelay(sealReport(secret, {
      id: "asia",
      issuedAt: this.now,
      region: "asia",
      transports: [{ kind: "udp", endpoint: "198.51.100.9:3478" }],
      realm: "moray",
      load: 0,
      draining: false,
      sessions: 0,
      bandwidthBytesPerSecond: 0,
      usage: [],
      ...part,
    }));
  }

  register(seed: number, role: "colony" | "agent", noRelay = false): Promise<unknown> {
    const pubkey = key(seed);
    const common = { meshId: "reef", pubkey, endpoints: ["192.0.2.1:51820"], noRelay };
    return role === "colony"
      ? this.client.registerColony(common)
      : this.client.registerAgent({ ...common, agentId: `a${seed}` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.service.close();
    await this.store.close();
  }
}

Deno.test("a node gets a relay with every way to it and credentials that the relay can check", async () => {
  await using world = new World();
  const answer = await world.ask(2, { relayId: "eu", colonyPubkey: bytes(1) });
  assertEquals(answer.relayId, "eu");
  assertMatch(answer.sessionId, /^[0-9a-f]{8}\.[0-9a-f]{8}\.id1$/);
  const { relayEndpoint: at } = answer;
  assertEquals([at?.ip, at?.port, at?.protocol], ["203.0.113.7", 3478, "udp"]);
  assertEquals(
    answer.transports.map(({ kind, endpoint, serverName }) => [kind, endpoint, serverName]),
    [
      ["udp", "203.0.113.7:3478", ""],
      ["tls", "relay.example:443", "relay.example"],
      ["websocket", "/turn", ""],
    ],
  );
  const expiresAt = START + SESSION_TTL_MS;
  assertEquals([answer.expiresAt, answer.ttl], [BigInt(expiresAt / 1000), 3600]);
  const { sessionId } = answer;
  const { username, password } = relayCredentials(EU.secret, { sessionId, expiresAt });
  assertEquals([answer.username, answer.password], [username, password]);
  assertEquals([answer.realm, answer.bandwidthBytesPerSecond], ["moray", 1_000_000n]);
  assertEquals(answer.relays.map(({ relayId, region, load }) => [relayId, region, load]), [
    ["eu", "eu", 0],
    ["us", "us", 0],
  ]);
  const [session] = await world.store.sessions({ meshId: "reef", publicKey: key(2) }, START);
  assertEquals([session?.agentKey, session?.colonyKey, session?.relayId], [key(2), key(1), "eu"]);
  for (const line of world.log) assert(!line.includes(EU.secret) && !line.includes(password));
});

Deno.test("asking again renews the session; another relay and another node get their own", async () => {
  await using world = new World();
  const first = await world.ask(2, { relayId: "eu" });
  world.now += 1000;
  const again = await world.ask(2, { relayId: "eu" });
  assertEquals([again.sessionId, again.expiresAt], [first.sessionId, first.expiresAt + 1n]);
  assert(again.username !== first.username);
  const other = await world.ask(2, { relayId: "us" });
  const peer = await world.ask(3, { relayId: "eu" });
  assertEquals(new Set([first, other, peer].map((one) => one.sessionId)).size, 3);
  // A name cannot stand in an endpoint.
  assertEquals(other.relayEndpoint, undefined);
  const { relaySessionsOpened, relaySessionsRenewed } = world.service.counters();
  assertEquals([relaySessionsOpened, relaySessionsRenewed], [3, 1]);
});

Deno.test("a request as Coral's clients make it names agent and colony", async () => {
  await using world = new World();
  const request = { meshId: "reef", agentPubkey: bytes(2), colonyPubkey: bytes(1) };
  const { sessionId } = await world.client.requestRelay(request);
  const release = { meshId: "reef", sessionId };
  const agent = provingClients(world.service)(key(2));
  assertEquals((await agent.releaseRelay({ ...release, meshId: "atoll" })).success, false);
  // It is not the colony's, who might have heard its name.
  assertEquals((await world.client.releaseRelay(release)).success, false);
  assertEquals((await agent.releaseRelay(release)).success, true);
  assertEquals((await agent.releaseRelay(release)).success, false);
});

Deno.test("what cannot be a request for a relay is refused, and says why", async () => {
  await using world = new World();
  const good = { meshId: "reef", nodePubkey: bytes(2) };
  const cases = [
    [{ ...good, meshId: "" }, "mesh_id is required"],
    [{ ...good, meshId: "a b" }, /^mesh_id "a b" is not/],
    [{ meshId: "reef" }, "node_pubkey or agent_pubkey is required"],
    [{ meshId: "reef", colonyPubkey: bytes(1) }, "node_pubkey or agent_pubkey is required"],
    [{ ...good, nodePubkey: new Uint8Array(31) }, "node_pubkey is not 32 bytes in base64"],
    [{ ...good, agentPubkey: new Uint8Array(33) }, "agent_pubkey is not 32 bytes in base64"],
    [{ ...good, colonyPubkey: new Uint8Array(32) }, "colony_pubkey is all zeros"],
    [
      { meshId: "reef", agentPubkey: bytes(2), colonyPubkey: bytes(2) },
      "agent_pubkey and colony_pubkey are the same",
    ],
    [{ ...good, relayId: "../eu" }, "relay_id is not a relay's id"],
    [{ ...good, region: "e u" }, "region is not a name"],
    [
      { ...good, failedRelayIds: Array(17).fill("eu") },
      "failed_relay_ids has more than 16 entries",
    ],
  ] as const;
  for (const [request, rawMessage] of cases) {
    await assertRejects(world.client.requestRelay(request), {
      code: Code.InvalidArgument,
      rawMessage,
    });
  }
  assertEquals(world.service.counters()["relaySessionsRefused"], cases.length);
  await assertRejects(world.client.releaseRelay({ meshId: "reef" }), {
    code: Code.InvalidArgument,
    rawMessage: "session_id is required",
  });
  await assertRejects(world.ask(2, { relayId: "mars" }), {
    code: Code.NotFound,
    rawMessage: "relay mars is not offered",
  });
  assertEquals(await world.store.sessionCount(START), 0);
});

Deno.test("without a relay that lives there is none to be had", async () => {
  await using world = new World({ secret: SECRET });
  assertEquals((await world.client.getServerInfo({})).features.includes("relay"), true);
  const nothing = { code: Code.NotFound, rawMessage: "no relay is available now" };
  await assertRejects(world.ask(2), nothing);
  await world.report();
  assertEquals((await world.ask(2)).relayId, "asia");
  world.now += 30_000;
  await assertRejects(world.ask(2), nothing);
});

Deno.test("a node that wants no relay gets none, nor does an agent of such a colony", async () => {
  await using world = new World();
  const refused = {
    code: Code.FailedPrecondition,
    rawMessage: "the node, or its peer, wants no relay",
  };
  await world.register(2, "agent", true);
  await assertRejects(world.ask(2), refused);
  await world.register(3, "agent");
  await world.ask(3);
  await assertRejects(world.ask(3, { agentPubkey: bytes(2) }), refused);
  await world.register(1, "colony", true);
  await assertRejects(world.ask(3), refused);
  await assertRejects(world.ask(1, { agentPubkey: new Uint8Array() }), refused);
  assertEquals((await world.client.lookupColony({ meshId: "reef" })).relays, []);
  assertEquals((await world.client.lookupColony({ meshId: "reef" })).noRelay, true);
  await world.register(1, "colony", false);
  await world.ask(3);
  const { relays } = await world.client.lookupColony({ meshId: "reef" });
  assertEquals(relays.map(({ relayId, endpoint }) => [relayId, endpoint?.ip]), [
    ["eu", "203.0.113.7"],
    ["us", undefined],
  ]);
});

Deno.test("one key, one mesh and one address may ask only so often", async () => {
  const limits = {
    key: { ratePerSecond: 1, burst: 2 },
    mesh: { ratePerSecond: 1, burst: 4 },
    address: { ratePerSecond: 1, burst: 3 },
  };
  await using world = new World({ servers: [EU], limits });
  const refused = (ask: Promise<unknown>, rawMessage: string): Promise<unknown> =>
    assertRejects(ask, { code: Code.ResourceExhausted, rawMessage });
  await world.ask(2);
  await world.ask(2);
  await refused(world.ask(2), "too many relay requests of this key");
  await world.ask(3);
  await world.ask(4);
  await refused(world.ask(5), "mesh_id reef: too many relay requests");
  world.address = "192.0.2.1";
  for (const seed of [2, 3, 4]) await world.ask(seed, { meshId: "atoll" });
  await refused(world.ask(5, { meshId: "lagoon" }), "too many relay requests from this address");
  world.address = "192.0.2.2";
  await world.ask(5, { meshId: "lagoon" });
  world.now += 1000;
  await world.ask(2);
});

Deno.test("node, mesh and store have room for so many sessions", async () => {
  const sessionLimits = { perNode: 1, perMesh: 2, inAll: 3 };
  await using world = new World(undefined, { sessionLimits });
  for (const seed of [2, 3, 4]) await world.register(seed, "agent");
  await world.ask(2, { relayId: "eu" });
  const full = { code: Code.ResourceExhausted };
  await assertRejects(world.ask(2, { relayId: "us" }), {
    ...full,
    rawMessage: "the node has as many relay sessions as it may have",
  });
  await world.ask(2, { relayId: "eu" });
  await world.ask(3);
  await assertRejects(world.ask(4), {
    ...full,
    rawMessage: "mesh_id reef: no room for another relay session",
  });
  await world.ask(2, { meshId: "atoll" });
  await assertRejects(world.ask(3, { meshId: "atoll" }), {
    ...full,
    rawMessage: "no room for another relay session",
  });
});

Deno.test("attack: use up the relays of a mesh that one is none of", async () => {
  const sessionLimits = { perNode: 1, perMesh: 6, inAll: 20 };
  const limits = {
    key: { ratePerSecond: 1, burst: 9 },
    mesh: { ratePerSecond: 1, burst: 7 },
    address: { ratePerSecond: 1, burst: 99 },
  };
  await using world = new World({ servers: [EU], limits }, { sessionLimits });
  for (const seed of [1, 2, 3]) await world.register(seed, seed === 1 ? "colony" : "agent");
  const full = { code: Code.ResourceExhausted };
  const strangers = [11, 12, 13, 14, 15, 16, 17, 18];
  for (const seed of strangers.slice(0, 3)) await world.ask(seed);
  for (const seed of strangers.slice(3, 7)) {
    await assertRejects(world.ask(seed), {
      ...full,
      rawMessage: "mesh_id reef: no room for another relay session",
    });
  }
  await assertRejects(world.ask(18), {
    ...full,
    rawMessage: "mesh_id reef: too many relay requests",
  });
  // What is left is the members', room and requests.
  for (const seed of [1, 2, 3]) assertEquals((await world.ask(seed)).relayId, "eu");
});

Deno.test("sessions end with the node's registration, and by themselves", async () => {
  await using world = new World();
  const count = () => world.store.sessionCount(world.now);
  await world.register(2, "agent");
  await world.ask(2, { relayId: "eu" });
  await world.ask(2, { relayId: "us" });
  await world.ask(3);
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(2) });
  assertEquals(await count(), 1);
  // A node may go before it was ever registered.
  await world.client.deregisterAgent({ meshId: "reef", pubkey: key(3) });
  assertEquals(await count(), 0);

  await world.register(4, "agent");
  await world.ask(4);
  await world.ask(5);
  world.now += 300_000;
  await world.service.sweep();
  assertEquals(await count(), 1);
  world.now += SESSION_TTL_MS;
  await world.service.sweep();
  const { relaySessionsReleased, relaySessionsExpired } = world.service.counters();
  assertEquals([await count(), relaySessionsReleased, relaySessionsExpired], [0, 4, 1]);
});

Deno.test("a relay makes itself known, and is chosen by region and after failures", async () => {
  await using world = new World();
  assertEquals(await world.report(), {
    $typeName: "coral.discovery.v1.RegisterRelayResponse",
    ttl: 30,
    offered: true,
    reason: "",
    revokedSessions: [],
  });
  assertMatch(world.log.join(), /info relay asia reports itself/);
  const asia = await world.ask(2, { region: "asia" });
  const { username, password } = relayCredentials(SECRET, {
    sessionId: asia.sessionId,
    expiresAt: START + SESSION_TTL_MS,
  });
  assertEquals([asia.relayId, asia.username, asia.password], ["asia", username, password]);
  const other = await world.ask(2, { region: "asia", failedRelayIds: ["asia"] });
  assert(other.relayId !== "asia");
  world.now++;
  await world.report({ draining: true });
  assert((await world.ask(3, { region: "asia" })).relayId !== "asia");
  await assertRejects(world.ask(3, { relayId: "asia" }), { code: Code.NotFound });
  world.now += 600_000;
  await world.service.sweep();
  assertMatch(world.log.join(), /warn relay asia has fallen silent/);
});

Deno.test("reports are taken from relays with the secret only, in order, and near the present", async () => {
  await using world = new World();
  await assertRejects(world.report({}, "guess"), {
    code: Code.PermissionDenied,
    rawMessage: "mac does not fit the report: the secret is another",
  });
  await assertRejects(world.client.registerRelay({}), { code: Code.PermissionDenied });
  await assertRejects(world.report({ load: 200 }), {
    code: Code.InvalidArgument,
    rawMessage: "load 200 is not 0 to 100",
  });
  await assertRejects(world.report({ issuedAt: START + 61_000 }), {
    code: Code.FailedPrecondition,
    rawMessage: "the relay's clock is 61 s ahead of Discovery's",
  });
  await assertRejects(world.report({ id: "eu" }), {
    code: Code.AlreadyExists,
    rawMessage: "relay_id eu is another relay's",
  });
  await world.report();
  await assertRejects(world.report(), {
    code: Code.PermissionDenied,
    rawMessage: "the report is not newer than the last",
  });
  const { relayReports, relayReportsRefused } = world.service.counters();
  assertEquals([relayReports, relayReportsRefused], [1, 6]);

  await using closed = new World({ servers: [EU] });
  await assertRejects(closed.report(), {
    code: Code.Unimplemented,
    rawMessage: "this Discovery takes no reports of relays",
  });
});

Deno.test("what sessions carried is kept with them, from reports and from the relay in the process", async () => {
  const states: RelayState[] = [];
  const idle = { load: 0, draining: false, sessions: 0, usage: [] };
  const local = { ...EU, report: () => states.shift() ?? idle };
  await using world = new World({ local, secret: SECRET });
  await world.report();
  const here = await world.ask(2, { relayId: "eu" });
  const there = await world.ask(2, { relayId: "asia" });
  world.now++;
  await world.report({ usage: [{ sessionId: there.sessionId, rxBytes: 7, txBytes: 8 }] });
  states.push({
    ...idle,
    load: 99,
    usage: [{ sessionId: here.sessionId, rxBytes: 1, txBytes: 2 }],
  });
  await world.service.sweep();
  const sessions = await world.store.sessions({ meshId: "reef", publicKey: key(2) }, world.now);
  assertEquals(sessions.map(({ relayId, rxBytes, txBytes }) => [relayId, rxBytes, txBytes]), [
    ["asia", 7, 8],
    ["eu", 1, 2],
  ]);
  const { relayRxBytes, relayTxBytes } = world.service.counters();
  assertEquals([relayRxBytes, relayTxBytes], [8, 10]);
  const { relays } = await world.ask(3);
  assertEquals(relays.map(({ relayId, load }) => [relayId, load]), [["asia", 0], ["eu", 99]]);
});
