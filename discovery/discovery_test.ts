import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { type Client, Code, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import type { Instant, SocketAddress } from "../core/mod.ts";
import { DiscoveryService } from "../proto/mod.ts";
import {
  type BindingOutcome,
  BindingTransaction,
  type BindingTransactionOptions,
  CHANGE_REQUEST,
} from "../traversal/mod.ts";
import { type DiscoveryOptions, type RunningDiscovery, startDiscovery } from "./mod.ts";
import { key } from "./testing/nodes.ts";
import { bindingRequest, mappedAddress } from "./testing/stun.ts";

const LOCAL = { hostname: "127.0.0.1", port: 0 };

function start(part: Partial<DiscoveryOptions> = {}): Promise<RunningDiscovery> {
  return startDiscovery({
    listen: LOCAL,
    stunListen: [],
    store: ":memory:",
    version: "1.2.3",
    allowUnproven: true,
    log: () => {},
    ...part,
  });
}

/** Calls a method as a Coral client does: plain JSON over POST. */
async function post(
  url: string,
  method: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; json: Record<string, unknown> }> {
  const response = await fetch(`${url}/coral.discovery.v1.DiscoveryService/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: response.status, json: await response.json() };
}

function portOf(listening: string | undefined): number {
  return Number(listening?.split(":").at(-1));
}

const COLONY = {
  meshId: "reef",
  pubkey: key(1),
  endpoints: ["192.0.2.1:51820"],
  meshIpv4: "10.42.0.1",
  connectPort: 9000,
  metadata: { site: "home" },
  observedEndpoint: { ip: "203.0.113.1", port: 40001, protocol: "udp" },
};

Deno.test("Discovery answers Coral's JSON with Coral's JSON", async () => {
  const now = Date.UTC(2026, 0, 2, 3, 4, 5);
  await using server = await start({ stunListen: [LOCAL], now: () => now });
  const stunServers = [server.listening[1]?.replace("stun=", "")];

  const registered = await post(server.url, "RegisterColony", COLONY);
  assertEquals(registered, {
    status: 200,
    json: {
      success: true,
      ttl: 300,
      expiresAt: "2026-01-02T03:09:05Z",
      observedEndpoint: { ip: "203.0.113.1", port: 40001, protocol: "udp" },
      stunServers,
    },
  });
  const colony = await post(server.url, "LookupColony", { meshId: "reef" });
  assertEquals(colony.json, {
    meshId: "reef",
    pubkey: key(1),
    endpoints: ["192.0.2.1:51820"],
    meshIpv4: "10.42.0.1",
    connectPort: 9000,
    metadata: { site: "home" },
    lastSeen: "2026-01-02T03:04:05Z",
    observedEndpoints: [{ ip: "203.0.113.1", port: 40001, protocol: "udp" }],
    registeredAt: "2026-01-02T03:04:05Z",
    generation: String(now),
  });
  const agent = { agentId: "a2", meshId: "reef", pubkey: key(2), endpoints: ["192.0.2.2:1"] };
  // NatHint as a number and as a name; unknown fields of a newer client are ignored.
  assertEquals(
    (await post(server.url, "RegisterAgent", { ...agent, nat: 3, future: {} })).status,
    200,
  );
  const looked = await post(server.url, "LookupAgent", { agentId: "a2" });
  assertEquals([looked.json["pubkey"], looked.json["nat"]], [key(2), "NAT_SYMMETRIC"]);
  const health = {
    status: "ok",
    version: "1.2.3",
    registeredColonies: 1,
    allowUnproven: true,
  };
  assertEquals((await post(server.url, "Health", {})).json, health);
});

Deno.test("Discovery answers faults with Connect's JSON errors", async () => {
  await using server = await start();
  await post(server.url, "RegisterColony", COLONY);
  assertEquals(await post(server.url, "RegisterColony", { ...COLONY, pubkey: key(9) }), {
    status: 409,
    json: {
      code: "already_exists",
      message: "mesh_id reef already registered with different pubkey",
    },
  });
  assertEquals(await post(server.url, "LookupColony", { meshId: "atoll" }), {
    status: 404,
    json: { code: "not_found", message: "colony atoll not found" },
  });
  const bad = { ...COLONY, endpoints: ["192.0.2.1:51820", "192.0.2.1:0"] };
  assertEquals(await post(server.url, "RegisterColony", bad), {
    status: 400,
    json: { code: "invalid_argument", message: 'endpoints[1] "192.0.2.1:0" has port 0' },
  });
  assertEquals((await post(server.url, "RequestRelay", {})).json["code"], "unimplemented");
  for (const body of ["", "{", "[]", "nonsense", '{"meshId": 7}', '{"endpoints": "x"}']) {
    const { status, json } = await post(server.url, "RegisterColony", body);
    assertEquals([status, json["code"]], [400, "invalid_argument"], body);
  }
});

/** The first events of the colony's Watch stream, which the server's end then ends: of who leaves it sooner the runtime keeps the body for a while. */
async function firstEvents(
  client: Client<typeof DiscoveryService>,
  count: number,
  server: { stop(): Promise<void> },
): Promise<(string | undefined)[]> {
  const seen: (string | undefined)[] = [];
  let stopped: Promise<void> | undefined;
  await assertRejects(async () => {
    for await (const { event } of client.watch({ meshId: "reef", pubkey: key(1) })) {
      seen.push(event.case);
      if (seen.length === count) stopped = server.stop();
    }
  }, { code: Code.Unavailable });
  await stopped;
  return seen.slice(0, count);
}

Deno.test("Discovery speaks binary too", async () => {
  await using server = await start();
  const transport = createConnectTransport({ baseUrl: server.url, useBinaryFormat: true });
  const client = createClient(DiscoveryService, transport);
  await client.registerColony(COLONY);
  const colony = await client.lookupColony({ meshId: "reef" });
  assertEquals([colony.pubkey, colony.observedEndpoints[0]?.port], [key(1), 40001]);
  await assertRejects(client.lookupColony({ meshId: "atoll" }), { code: Code.NotFound });

  assertEquals(await firstEvents(client, 1, server), ["snapshotComplete"]);
});

Deno.test("Discovery sends heartbeats on a quiet stream", async () => {
  await using server = await start({ heartbeatMs: 10 });
  await post(server.url, "RegisterColony", COLONY);
  const client = createClient(
    DiscoveryService,
    createConnectTransport({ baseUrl: server.url }),
  );
  assertEquals(await firstEvents(client, 3, server), [
    "snapshotComplete",
    "heartbeat",
    "heartbeat",
  ]);
  await assertRejects(start({ heartbeatMs: 16_000 }), RangeError);
});

Deno.test("Discovery never takes an endpoint from the HTTP connection", async () => {
  await using server = await start();
  const headers = {
    "x-forwarded-for": "198.51.100.7",
    "cf-connecting-ip": "198.51.100.7",
    "forwarded": "for=198.51.100.7",
    "x-real-ip": "198.51.100.7",
  };
  const { observedEndpoint: _, ...unobserved } = COLONY;
  const registered = await post(server.url, "RegisterColony", unobserved, headers);
  assertEquals(registered.json["observedEndpoint"], undefined);
  const { json } = await post(server.url, "LookupColony", { meshId: "reef" });
  assertEquals([json["endpoints"], json["observedEndpoints"]], [COLONY.endpoints, undefined]);
});

Deno.test("Discovery serves its plain pages and nothing else", async () => {
  await using server = await start();
  const page = async (path: string, method = "GET"): Promise<[number, string]> => {
    const response = await fetch(server.url + path, { method });
    return [response.status, await response.text()];
  };
  const [status, text] = await page("/health");
  assertEquals(status, 200);
  const { uptimeSeconds, ...health } = JSON.parse(text);
  assertEquals(health, {
    status: "ok",
    version: "1.2.3",
    registeredColonies: 0,
    allowUnproven: true,
  });
  assertMatch(uptimeSeconds, /^\d+$/);
  const [found, keySet] = await page("/.well-known/jwks.json");
  assertEquals([found, JSON.parse(keySet).keys.length], [200, 3]);
  assertEquals((await page("/health", "DELETE"))[0], 405);
  for (const path of ["/", "/metrics", "/constructor", "/__proto__", "/coral.discovery.v1.X/Y"]) {
    assertEquals((await page(path))[0], 404, path);
  }
});

Deno.test("Discovery bounds request bodies and requests per source", async () => {
  await using server = await start({ now: () => 0 });
  const huge = { ...COLONY, metadata: { x: "x".repeat(70_000) } };
  assertEquals((await post(server.url, "RegisterColony", huge)).json["code"], "resource_exhausted");
  let limited = 0;
  // Whatever a header claims, all of these come from one source.
  for (let i = 0; i < 1010; i++) {
    const headers = { "x-forwarded-for": `198.51.100.${i % 250}` };
    const response = await fetch(`${server.url}/.well-known/jwks.json`, { headers });
    await response.text();
    if (response.status === 429) limited++;
  }
  assertEquals(limited, 11);
  const refused = await post(server.url, "LookupColony", { meshId: "reef" });
  assertEquals([refused.status, refused.json["code"]], [429, "resource_exhausted"]);
  assertEquals(server.counters()["requestsLimited"], 12);
});

Deno.test("Discovery forgets after the TTL", async () => {
  let now = 1_700_000_000_000;
  await using server = await start({ now: () => now, ttlMs: 90_000 });
  assertEquals((await post(server.url, "RegisterColony", COLONY)).json["ttl"], 90);
  now += 89_999;
  assertEquals((await post(server.url, "LookupColony", { meshId: "reef" })).status, 200);
  now += 1;
  assertEquals((await post(server.url, "LookupColony", { meshId: "reef" })).status, 404);
});

Deno.test("Discovery keeps registrations across a restart on a file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const store = `${folder}/discovery.db`;
    const first = await start({ store });
    await post(first.url, "RegisterColony", COLONY);
    await first.stop();
    await using second = await start({ store });
    assertEquals((await post(second.url, "LookupColony", { meshId: "reef" })).status, 200);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("Discovery answers STUN on every listener, and junk with silence", async () => {
  await using server = await start({
    stunListen: [LOCAL, { hostname: "::", port: 0 }],
  });
  const [, ipv4, dual] = server.listening;
  assertMatch(ipv4 ?? "", /^stun=127\.0\.0\.1:\d+$/);
  assertMatch(dual ?? "", /^stun=\[::\]:\d+$/);
  const socket = Deno.listenDatagram({ transport: "udp", ...LOCAL });
  try {
    const own = socket.addr as Deno.NetAddr;
    const id = crypto.getRandomValues(new Uint8Array(12));
    for (const port of [portOf(ipv4), portOf(dual)]) {
      const to = { transport: "udp", hostname: "127.0.0.1", port } as const;
      const request = bindingRequest(id);
      // Junk first: it gets no answer, so the first answer is the request's.
      for (const junk of [new Uint8Array(0), request.slice(0, 19), request.fill(1, 4, 5)]) {
        await socket.send(junk, to);
      }
      await socket.send(bindingRequest(id), to);
      const [answer] = await socket.receive();
      assertEquals(answer.slice(8, 20), id);
      // A dual-stack listener shows an IPv4 client its IPv4 address.
      assertEquals(mappedAddress(answer), `127.0.0.1:${own.port}`);
    }
  } finally {
    socket.close();
  }
  const { stunAnswers, stunIgnored } = server.counters();
  assertEquals([stunAnswers, (stunIgnored ?? 0) >= 4], [2, true]);
});

Deno.test("Discovery takes a wildcard of either family for one port where the system does", async () => {
  const probe = Deno.listenDatagram({ transport: "udp", hostname: "::", port: 0 });
  const { port } = probe.addr as Deno.NetAddr;
  probe.close();
  await using server = await start({
    stunListen: [{ hostname: "0.0.0.0", port }, { hostname: "::", port }],
  });
  assertEquals(server.listening.slice(1).includes(`stun=[::]:${port}`), true);
  const info = await post(server.url, "GetServerInfo", {});
  assertEquals(info.json["stunServers"], [`127.0.0.1:${port}`]);
  assertEquals(info.json["stunPorts"], [port]);
});

Deno.test("Discovery with an alternate STUN address answers from the other sockets, for its credentials only", async () => {
  const primary = LOCAL;
  const alternate = { hostname: "127.0.0.2", port: 0 };
  await using server = await start({ stunListen: [primary], stunAlternates: [alternate] });
  const [first = "", second = "", ...others] = server.listening.slice(1)
    .map((text) => text.replace("stun=", ""));
  const { json } = await post(server.url, "GetServerInfo", {});
  // Clients are told of both addresses; the crossings of hosts and ports are for RFC 5780 alone.
  assertEquals(json["stunServers"], [first, second]);
  assertEquals(others, [
    `127.0.0.1:${portOf(second)}`,
    `127.0.0.2:${portOf(first)}`,
  ]);
  const credentials = {
    username: String(json["stunUsername"]),
    password: String(json["stunPassword"]),
  };
  const address = { hostname: "127.0.0.1", port: portOf(first) };
  const other = { hostname: "127.0.0.2", port: portOf(second) };
  const answer = await transact({ server: address, credentials, bytesMin: 128 });
  assertEquals(answer?.kind === "mapped" && answer.otherAddress, other);
  const plain = await transact({ server: address, bytesMin: 128 });
  assertEquals(plain?.kind === "mapped" && plain.otherAddress, undefined);
  const both = { type: CHANGE_REQUEST, value: Uint8Array.of(0, 0, 0, 6) };
  const changed = { server: address, attributes: [both] };
  assertEquals((await transact(changed))?.kind, "refused");
  const moved = await transact({ ...changed, credentials, answersFrom: other });
  assertEquals(moved?.kind, "mapped");
  const forged = { ...credentials, password: "guess" };
  assertEquals(await transact({ ...changed, credentials: forged }), { kind: "refused", code: 401 });
});

Deno.test("Discovery refuses an alternate STUN address that cannot be one", async () => {
  const wrong: [SocketAddress[], SocketAddress][] = [
    [[], LOCAL],
    [[{ hostname: "0.0.0.0", port: 0 }], LOCAL],
    [[LOCAL], { hostname: "::1", port: 0 }],
    [[{ ...LOCAL, port: 34780 }], { hostname: "127.0.0.2", port: 34780 }],
  ];
  for (const [stunListen, alternate] of wrong) {
    await assertRejects(start({ stunListen, stunAlternates: [alternate] }), { code: "usage" });
  }
});

Deno.test("Discovery says which port is in use and frees the others", async () => {
  await using server = await start({ stunListen: [LOCAL] });
  const http = { hostname: "127.0.0.1", port: portOf(server.listening[0]) };
  const stun = { hostname: "127.0.0.1", port: portOf(server.listening[1]) };
  await assertRejects(start({ listen: http }), {
    name: "MorayError",
    code: "portInUse",
    message: `Cannot listen on 127.0.0.1:${http.port}: address is in use`,
  });
  await assertRejects(start({ stunListen: [LOCAL, stun] }), {
    code: "portInUse",
    message: `Cannot listen on 127.0.0.1:${stun.port} for STUN: address is in use`,
  });
  await assertRejects(start({ listen: { hostname: "192.0.2.1", port: 0 } }), { code: "usage" });
});

Deno.test("Discovery refuses a damaged store in one line", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const store = `${folder}/discovery.db`;
    await Deno.writeTextFile(store, "rubbish ".repeat(2000));
    await assertRejects(start({ store }), {
      code: "corrupt",
      message: `The database ${store} is damaged: file is not a database; it was left untouched`,
    });
    assertEquals(await Deno.readTextFile(store), "rubbish ".repeat(2000));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  await assertRejects(start({ store: "mysql://localhost/x" }), { code: "unsupported" });
});

Deno.test("Discovery answers after its disk has filled up", async () => {
  const lines: string[] = [];
  await using server = await start({
    storeBytesMax: 128 * 1024,
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  let refused: Record<string, unknown> | undefined;
  for (let seed = 1; seed < 250 && refused === undefined; seed++) {
    const { status, json } = await post(server.url, "RegisterAgent", {
      agentId: `a${seed}`,
      meshId: "reef",
      pubkey: key(seed),
      endpoints: ["192.0.2.2:1"],
      metadata: { filler: "x".repeat(1000) },
    });
    if (status !== 200) refused = json;
  }
  assertEquals(refused, {
    code: "resource_exhausted",
    message: "Discovery's disk is full: nothing was stored",
  });
  assertEquals((await post(server.url, "LookupAgent", { agentId: "a1" })).status, 200);
  assertEquals(lines.filter((line) => line.startsWith("error")).length, 1);
});

Deno.test("Discovery stops at once though streams are open, and twice is once", async () => {
  const server = await start({ stunListen: [LOCAL] });
  await post(server.url, "RegisterColony", COLONY);
  const transport = createConnectTransport({ baseUrl: server.url });
  const client = createClient(DiscoveryService, transport);
  const events = client.watch({ meshId: "reef", pubkey: key(1) })[Symbol.asyncIterator]();
  await events.next();
  assertEquals(server.counters()["watches"], 1);
  const before = performance.now();
  await Promise.all([
    server.stop(),
    server.stop(),
    assertRejects(events.next(), { code: Code.Unavailable, rawMessage: "Discovery is stopping" }),
  ]);
  await server.finished;
  assert(performance.now() - before < 2000);
  await assertRejects(fetch(`${server.url}/health`));
});

/** Runs a Binding transaction over a socket of its own. */
async function transact(
  options: Omit<BindingTransactionOptions, "rng">,
): Promise<BindingOutcome | undefined> {
  const socket = Deno.listenDatagram({ transport: "udp", ...LOCAL });
  const now = (): Instant => performance.now() as Instant;
  const transaction = new BindingTransaction(now(), {
    ...options,
    attempts: 2,
    rng: { bytes: (length) => crypto.getRandomValues(new Uint8Array(length)) },
  });
  try {
    transaction.handleTimeout(now());
    const request = transaction.pollTransmit();
    if (request === undefined) return undefined;
    await socket.send(request.payload, { transport: "udp", ...request.destination });
    for (;;) {
      const [payload, from] = await socket.receive();
      const { hostname, port } = from as Deno.NetAddr;
      transaction.handleInput(now(), { source: { hostname, port }, payload });
      const outcome = transaction.pollEvent();
      if (outcome !== undefined) return outcome;
    }
  } finally {
    socket.close();
  }
}
