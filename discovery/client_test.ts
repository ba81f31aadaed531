import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
  throws as assertThrows,
} from "node:assert/strict";
import {
  DiscoveryClient,
  type DiscoveryClientOptions,
  type PeerEvent,
  type Registration,
  type RunningDiscovery,
  startDiscovery,
  type WatchState,
} from "./mod.ts";
import { BACKOFF_MAX_MS } from "./client/watch_record.ts";
import { identityOf } from "./testing/identity.ts";
import { key } from "./testing/nodes.ts";

const LOCAL = { hostname: "127.0.0.1", port: 0 };
const log = (): void => {};

function start(port = 0, store = ":memory:"): Promise<RunningDiscovery> {
  return startDiscovery({
    listen: { ...LOCAL, port },
    stunListen: [],
    store,
    allowUnproven: true,
    log,
  });
}

function client(
  urls: string | readonly string[],
  part: Partial<DiscoveryClientOptions> = {},
): DiscoveryClient {
  return new DiscoveryClient({ urls: [urls].flat(), log, backoffMinMs: 5, ...part });
}

const COLONY: Registration = {
  meshId: "reef",
  publicKey: key(1),
  role: "colony",
  name: "colony",
  endpoints: [{ hostname: "192.0.2.1", port: 51820 }],
  observedEndpoints: [{ hostname: "203.0.113.1", port: 40001 }, {
    hostname: "2001:db8::1",
    port: 40002,
  }],
  nat: "NAT_RESTRICTED",
  connectPort: 9000,
};

function agent(seed: number): Registration {
  return {
    meshId: "reef",
    publicKey: key(seed),
    role: "agent",
    agentId: `a${seed}`,
    endpoints: [{ hostname: "192.0.2.9", port: seed }],
  };
}

/** An address that nothing listens on. */
function deadUrl(): string {
  const listener = Deno.listen(LOCAL);
  const { port } = listener.addr;
  listener.close();
  return `http://127.0.0.1:${port}`;
}

/** A watch whose events are awaited one by one. */
class Watching implements AsyncDisposable {
  readonly states: WatchState[] = [];
  readonly finished: Promise<string>;
  readonly #abort = new AbortController();
  readonly #lines: string[] = [];
  #wake: () => void = () => {};

  constructor(discovery: DiscoveryClient, seed: number) {
    this.finished = discovery.watch({
      meshId: "reef",
      publicKey: key(seed),
      onEvent: (event) => this.#line(describe(event)),
      onState: (state) => {
        this.states.push(state);
        this.#line(
          state.connected ? "connected" : state.notRegistered ? "not registered" : "lost",
        );
      },
      signal: this.#abort.signal,
    });
  }

  /** The next event or change of state in short. */
  async next(): Promise<string> {
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) return line;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** Skips to a line. */
  async until(wanted: string): Promise<void> {
    while (await this.next() !== wanted);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.finished;
  }

  #line(text: string): void {
    this.#lines.push(text);
    this.#wake();
  }
}

function describe(event: PeerEvent): string {
  switch (event.kind) {
    case "upserted":
      return `+${atob(event.peer.publicKey).charCodeAt(0)}`;
    case "removed":
      return `-${atob(event.publicKey).charCodeAt(0)}`;
    case "punch":
      return `punch ${event.peer.endpoints[0]?.port} ${event.windowMs}`;
    default:
      return event.kind;
  }
}

Deno.test("DiscoveryClient registers, looks up and deregisters", async () => {
  await using server = await start();
  const discovery = client(`${server.url}/`);
  const registered = await discovery.register(COLONY);
  assertEquals(registered, {
    ttlMs: 300_000,
    stunServers: [],
    membersRevision: 0,
    url: server.url,
  });
  const colony = await discovery.lookupColony("reef");
  assertEquals(
    [colony?.publicKey, colony?.role, colony?.name, colony?.nat, colony?.connectPort],
    [key(1), "colony", "colony", "NAT_RESTRICTED", 9000],
  );
  assertEquals(colony?.endpoints, COLONY.endpoints);
  assertEquals(colony?.observedEndpoints, COLONY.observedEndpoints);
  assertEquals(await discovery.lookupColony("atoll"), undefined);

  await discovery.register(agent(2));
  const byId = await discovery.lookupAgent({ meshId: "reef", agentId: "a2" });
  assertEquals(byId?.publicKey, key(2));
  assertEquals((await discovery.lookupAgent({ meshId: "reef", publicKey: key(2) }))?.agentId, "a2");
  assertEquals(await discovery.lookupAgent({ meshId: "reef", agentId: "a3" }), undefined);

  assertEquals(discovery.features, {
    punch: false,
    watch: false,
    deregister: false,
    relay: false,
  });
  assertEquals((await discovery.serverInfo()).features.watch, true);
  assertEquals(discovery.features, {
    punch: true,
    watch: true,
    deregister: true,
    members: true,
    paths: true,
    relay: false,
  });
  assertEquals((await discovery.health()).registeredColonies, 1);
  const node = { meshId: "reef", publicKey: key(1), role: "colony" } as const;
  assertEquals([await discovery.deregister(node), await discovery.deregister(node)], [true, false]);
});

Deno.test("DiscoveryClient hands on the server's words when it is refused", async () => {
  await using server = await start();
  const discovery = client(server.url);
  await discovery.register(COLONY);
  await assertRejects(discovery.register({ ...COLONY, publicKey: key(9) }), {
    name: "MorayError",
    code: "refused",
    message:
      `Discovery at ${server.url} refused: mesh_id reef already registered with different pubkey`,
  });
  await assertRejects(discovery.register({ ...agent(2), endpoints: [] }), { code: "refused" });
});

Deno.test("Two clients watch and punch", async () => {
  await using server = await start();
  const colony = client(server.url);
  const other = client(server.url);
  await colony.register(COLONY);
  await other.register(agent(2));
  await using toColony = new Watching(colony, 1);
  await using toAgent = new Watching(other, 2);
  assertEquals(
    [await toColony.next(), await toColony.next(), await toColony.next()],
    ["+2", "connected", "synchronized"],
  );
  await toAgent.until("synchronized");
  const punched = await other.initiatePunch({ meshId: "reef", from: key(2), to: key(1) });
  assertEquals(
    [punched.delivered, punched.windowMs, punched.peer.publicKey],
    [true, 3000, key(1)],
  );
  assertEquals([await toColony.next(), await toAgent.next()], ["punch 2 3000", "punch 51820 3000"]);
  await assertRejects(other.initiatePunch({ meshId: "reef", from: key(2), to: key(1) }), {
    code: "limit",
  });
  await other.register({ ...agent(2), nat: "NAT_SYMMETRIC" });
  assertEquals(await toColony.next(), "+2");
  await other.deregister({ meshId: "reef", publicKey: key(2), role: "agent" });
  assertEquals(await toColony.next(), "-2");
  assertEquals(await toAgent.next(), "not registered");
});

Deno.test("A watch survives the server's restart and tells what went meanwhile", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const store = `${folder}/discovery.db`;
    const first = await start(0, store);
    const port = Number(new URL(first.url).port);
    const discovery = client(first.url);
    await discovery.register(COLONY);
    await discovery.register(agent(2));
    await discovery.register(agent(3));
    await using watching = new Watching(discovery, 1);
    await watching.until("synchronized");
    await first.stop();
    assertEquals(await watching.next(), "lost");
    const state = watching.states.at(-1);
    assert(state?.connected === false && state.reason.includes("Discovery is stopping"));

    // While it was away, one agent went and one came.
    {
      await using interim = await start(0, store);
      const elsewhere = client(interim.url);
      await elsewhere.deregister({ meshId: "reef", publicKey: key(2), role: "agent" });
      await elsewhere.register(agent(4));
    }
    await using second = await start(port, store);
    const seen = new Set<string>();
    for (let line = ""; line !== "synchronized"; line = await watching.next()) seen.add(line);
    seen.delete("");
    seen.delete("lost");
    // The known one is not told of again.
    assertEquals([...seen].sort(), ["+4", "-2", "connected"]);
    assertEquals(second.counters()["watches"], 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("A watch goes on over new connections when the network has changed, and calls do too", async () => {
  await using server = await start();
  const discovery = client(server.url);
  await discovery.register(COLONY);
  await using watching = new Watching(discovery, 1);
  await watching.until("synchronized");
  try {
    for (const seed of [2, 3]) {
      discovery.reconnect();
      assertEquals(await watching.next(), "synchronized");
      await discovery.register(agent(seed));
      assertEquals(await watching.next(), `+${seed}`);
    }
    assertEquals(watching.states.length, 1, "it never counted as lost");
  } finally {
    discovery.close();
  }
});

Deno.test("A call under way is made again over new connections when the network has changed", async () => {
  let answers = false;
  const asked = Promise.withResolvers<void>();
  const abort = new AbortController();
  await using real = await start();
  const server = Deno.serve({ ...LOCAL, signal: abort.signal, onListen: () => {} }, (request) => {
    if (answers) return fetch(real.url + new URL(request.url).pathname, request);
    asked.resolve();
    return new Promise(() => {});
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  const discovery = client(url, { timeoutMs: 3_600_000 });
  try {
    const call = discovery.register(COLONY);
    await asked.promise;
    answers = true;
    discovery.reconnect();
    assertEquals((await call).url, url);
    const leaving = new AbortController();
    answers = false;
    const left = discovery.register(COLONY, { signal: leaving.signal });
    const reason = new Error("leaving");
    leaving.abort(reason);
    discovery.reconnect();
    await assertRejects(left, reason);
  } finally {
    discovery.close();
    abort.abort();
    await server.finished;
  }
});

Deno.test("DiscoveryClient asks the next URL soon while one is silent, and stays with the one that answers", async () => {
  const asked = Promise.withResolvers<void>();
  const abort = new AbortController();
  const silent = Deno.serve({ ...LOCAL, signal: abort.signal, onListen: () => {} }, () => {
    asked.resolve();
    return new Promise(() => {});
  });
  await using server = await start();
  try {
    // The silent one would have an hour.
    const urls = [`http://127.0.0.1:${silent.addr.port}`, server.url];
    const discovery = client(urls, { timeoutMs: 3_600_000 });
    await discovery.register(COLONY);
    await asked.promise;
    assertEquals(discovery.url, server.url);
  } finally {
    abort.abort();
    await silent.finished;
  }
});

Deno.test("A watch tells that its node must register, and goes on once it has", async () => {
  await using server = await start();
  const discovery = client(server.url);
  await using watching = new Watching(discovery, 1);
  assertEquals(await watching.next(), "not registered");
  await discovery.register(COLONY);
  await watching.until("synchronized");
});

Deno.test("A watch moves on to a server that answers", async () => {
  await using server = await start();
  const discovery = client([deadUrl(), server.url]);
  await client(server.url).register(COLONY);
  await using watching = new Watching(discovery, 1);
  assertEquals([await watching.next(), await watching.next()], ["lost", "connected"]);
  assertEquals(discovery.url, server.url);
});

Deno.test("A watch gives up a stream that has gone silent", async () => {
  // Its heartbeats are 15 s apart.
  await using server = await start();
  const discovery = client(server.url, { silenceMaxMs: 60 });
  await discovery.register(COLONY);
  await using watching = new Watching(discovery, 1);
  await watching.until("synchronized");
  assertEquals(await watching.next(), "lost");
  const state = watching.states.at(-1);
  assert(state?.connected === false && state.reason.includes("no sign of life"));
  await watching.until("synchronized");
});

Deno.test("A watch that waits for its next turn opens its stream at once when it is hurried", async () => {
  await using server = await start();
  const discovery = client(server.url, { silenceMaxMs: 60, backoffMinMs: BACKOFF_MAX_MS });
  await discovery.register(COLONY);
  await using watching = new Watching(discovery, 1);
  await watching.until("synchronized");
  assertEquals(await watching.next(), "lost");
  const lostAt = performance.now();
  discovery.hurry();
  await watching.until("synchronized");
  assert(performance.now() - lostAt < BACKOFF_MAX_MS / 2, "the shortest wait is half the longest");
});

Deno.test("A watch that is aborted from within its callback leaves no connection behind", async () => {
  await using server = await start();
  const discovery = client(server.url);
  await discovery.register(COLONY);
  for (let round = 2; round < 12; round++) {
    await discovery.register(agent(round));
    const abort = new AbortController();
    let punched: Promise<unknown> = Promise.resolve();
    await discovery.watch({
      meshId: "reef",
      publicKey: key(round),
      onEvent: (event) => {
        if (event.kind === "synchronized") {
          punched = discovery.initiatePunch({ meshId: "reef", from: key(1), to: key(round) });
        }
        if (event.kind === "punch") abort.abort();
      },
      signal: abort.signal,
    });
    await punched;
  }
  const deadline = performance.now() + 5000;
  while (server.counters()["watches"] !== undefined && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assertEquals(server.counters()["watches"], undefined);
});

Deno.test("A watch rejects with what its callback throws", async () => {
  await using server = await start();
  const discovery = client(server.url);
  await discovery.register(COLONY);
  const { signal } = new AbortController();
  const fault = new Error("ours");
  const watch = discovery.watch({
    meshId: "reef",
    publicKey: key(1),
    onEvent: () => {
      throw fault;
    },
    signal,
  });
  await assertRejects(watch, fault);
});

Deno.test("DiscoveryClient fails over, stays with what answers, and names every failure", async () => {
  await using server = await start();
  const [dead, gone] = [deadUrl(), deadUrl()];
  const discovery = client([dead, server.url]);
  assertEquals(discovery.url, dead);
  await discovery.register(COLONY);
  assertEquals(discovery.url, server.url);
  await assertRejects(client([dead, gone]).health(), {
    code: "unreachable",
    message: `Cannot reach Discovery at ${dead}: connection refused; ` +
      `Cannot reach Discovery at ${gone}: connection refused`,
  });
  await assertRejects(client(dead).health(), {
    code: "unreachable",
    message: `Cannot reach Discovery at ${dead}: connection refused`,
  });
});

Deno.test("DiscoveryClient gives up on silence, on request, and on what is no Discovery", async () => {
  let answer: (request: Request) => Response | Promise<Response> = () => new Promise(() => {});
  const abort = new AbortController();
  const server = Deno.serve(
    { ...LOCAL, signal: abort.signal, onListen: () => {} },
    (request) => answer(request),
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  try {
    await assertRejects(client(url, { timeoutMs: 30 }).health(), {
      code: "timedOut",
      message: `Discovery at ${url} does not answer`,
    });
    const leaving = new AbortController();
    const call = client(url).health({ signal: leaving.signal });
    const reason = new Error("leaving");
    leaving.abort(reason);
    await assertRejects(call, reason);
    await assertRejects(client(url).health({ signal: leaving.signal }), reason);

    const pages: readonly [Response, RegExp][] = [
      [new Response("<html>", { headers: { "content-type": "text/html" } }), /unreachable/],
      [new Response("{", { headers: { "content-type": "application/json" } }), /unreachable/],
      [new Response("bad gateway", { status: 502 }), /unreachable/],
      [new Response("", { status: 500 }), /unreachable/],
      [Response.redirect("http://127.0.0.1:9/"), /unreachable/],
      [Response.json({ code: "resource_exhausted" }, { status: 429 }), /limit/],
      [Response.json({ code: "permission_denied", message: "no" }, { status: 403 }), /refused/],
      [Response.json({ x: "y".repeat(2 << 20) }), /unreachable/],
    ];
    for (const [response, code] of pages) {
      answer = () => response;
      await assertRejects(client(url).health(), (error: { code: string; message: string }) => {
        assert(code.test(error.code), `${error.code} for ${code}`);
        assert(!error.message.includes("\n") && error.message.includes(url), error.message);
        return true;
      });
    }
    // Odd fields cost themselves only.
    answer = () => Response.json({ status: "ok", version: 7, uptimeSeconds: {}, future: [1] });
    assertEquals(await client(url).health(), {
      status: "ok",
      version: "",
      uptimeSeconds: 0,
      registeredColonies: 0,
      url,
    });
  } finally {
    abort.abort();
    await server.finished;
  }
});

Deno.test("DiscoveryClient works with a plain Coral Discovery", async () => {
  // The deployed service's answers: odd timestamps, HTTP-derived endpoints with port 0, no method beyond its own, and an
  // error 500 for a body that is no plain JSON.
  const bodies: Record<string, Record<string, unknown>> = {};
  const server = Deno.serve({ ...LOCAL, onListen: () => {} }, async (request) => {
    const method = new URL(request.url).pathname.split("/").at(-1) ?? "";
    let body: Record<string, unknown>;
    try {
      body = await request.json();
    } catch {
      return new Response("Internal Server Error", { status: 500 });
    }
    bodies[method] = body;
    switch (method) {
      case "RegisterColony":
      case "RegisterAgent":
        return Response.json({
          success: true,
          ttl: 300,
          expiresAt: { seconds: "1700000300" },
          observedEndpoint: { ip: "198.51.100.1", port: 0, protocol: "udp" },
        });
      case "LookupColony":
        return Response.json({
          meshId: "reef",
          pubkey: key(1),
          endpoints: ["192.0.2.1:51820"],
          connectPort: 9000,
          lastSeen: { seconds: "1700000000" },
          observedEndpoints: [
            { ip: "198.51.100.1", port: 0, protocol: "udp" },
            { ip: "203.0.113.1", port: 40001, protocol: "udp" },
          ],
          nat: 0,
          publicEndpoint: { enabled: true, caFingerprint: { algorithm: 1, value: { 0: 1, 1: 2 } } },
        });
      case "LookupAgent":
        return Response.json({ code: "not_found", message: "agent a2 not found" }, { status: 404 });
      default:
        return Response.json(
          { code: "unimplemented", message: `Unknown RPC: ${method}` },
          { status: 501 },
        );
    }
  });
  try {
    const discovery = client(`http://127.0.0.1:${server.addr.port}`, {
      identity: await identityOf(1),
    });
    const info = await discovery.serverInfo();
    assertEquals(info.features, {
      punch: false,
      watch: false,
      deregister: false,
      relay: false,
    });
    assertEquals((await discovery.register(COLONY)).ttlMs, 300_000);
    assertEquals(bodies["RegisterColony"]?.["observedEndpoint"], {
      ip: "203.0.113.1",
      port: 40001,
      protocol: "udp",
    });
    const colony = await discovery.lookupColony("reef");
    assertEquals(colony?.observedEndpoints, [{ hostname: "203.0.113.1", port: 40001 }]);
    assertEquals([colony?.lastSeenAt, colony?.nat, colony?.name], [undefined, "NAT_UNKNOWN", ""]);
    assertEquals(await discovery.lookupAgent({ meshId: "reef", agentId: "a2" }), undefined);
    assertEquals(bodies["LookupAgent"], { agentId: "a2", meshId: "reef" });
    assertEquals(
      await discovery.deregister({ meshId: "reef", publicKey: key(1), role: "colony" }),
      false,
    );
    await assertRejects(discovery.initiatePunch({ meshId: "reef", from: key(1), to: key(2) }), {
      code: "unsupported",
    });
    const watching = new Watching(discovery, 1);
    assertEquals(await watching.finished, "unsupported");
  } finally {
    await server.shutdown();
  }
});

Deno.test("DiscoveryClient refuses URLs that are none", () => {
  for (const url of ["", "reef", "ftp://reef", "127.0.0.1:8080"]) {
    assertThrows(() => client(url), { code: "usage", message: `Not a Discovery URL: ${url}` });
  }
  assertThrows(() => client([]), { code: "usage" });
});
