/** Attacks on Discovery's edge: too much, too large, too slow, and in another's address. Real HTTP on 127.0.0.1. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { type Cidr, parseCidr } from "../../core/mod.ts";
import type { DiscoveryOptions } from "../mod.ts";
import { RawHttp } from "../testing/raw_http.ts";
import { MESH, outcome, World } from "../testing/world.ts";

const PATH = "/coral.discovery.v1.DiscoveryService";

function block(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed !== undefined);
  return parsed;
}

/** Three requests at once of one address, ten of one node, and twelve of one mesh. */
const TIGHT = {
  limits: {
    address: { ratePerSecond: 1, burst: 3 },
    key: { ratePerSecond: 1, burst: 10 },
    mesh: { ratePerSecond: 1, burst: 12 },
  },
} as const satisfies Partial<DiscoveryOptions>;
const ROOMY = { address: { ratePerSecond: 1000, burst: 10_000 } };

/** How `count` plain requests are answered. */
async function ask(
  world: World,
  count: number,
  headers: (i: number) => Record<string, string> = () => ({}),
): Promise<number[]> {
  const statuses: number[] = [];
  for (let i = 0; i < count; i++) {
    const response = await fetch(`${world.url}/.well-known/jwks.json`, { headers: headers(i) });
    await response.body?.cancel();
    statuses.push(response.status);
  }
  return statuses;
}

Deno.test("attack: escape the limit of an address by X-Forwarded-For", async () => {
  await using world = await World.start(TIGHT);
  const asMany = (i: number): Record<string, string> => ({
    "x-forwarded-for": `198.51.100.${i}`,
    "forwarded": `for=198.51.100.${i}`,
    "x-real-ip": `198.51.100.${i}`,
    "cf-connecting-ip": `198.51.100.${i}`,
    "true-client-ip": `198.51.100.${i}`,
  });
  assertEquals(await ask(world, 5, asMany), [200, 200, 200, 429, 429]);
  assertEquals(world.counters()["requestsLimited"], 2);
});

Deno.test("attack: escape the limit, or use up another's, by X-Forwarded-For through a trusted proxy", async () => {
  await using world = await World.start({ ...TIGHT, trustedProxies: [block("127.0.0.0/8")] });
  // The proxy appends the address that it sees to what the attacker wrote.
  const forged = (i: number): Record<string, string> => ({
    "x-forwarded-for": `198.51.100.${i}, 203.0.113.66`,
  });
  assertEquals(await ask(world, 5, forged), [200, 200, 200, 429, 429]);
  // The victim whose address the attacker wrote has all of its own.
  const victim = (): Record<string, string> => ({ "x-forwarded-for": "198.51.100.1" });
  assertEquals(await ask(world, 3, victim), [200, 200, 200]);
  // A header that the proxy does not know comes through as the attacker wrote it, and is not believed.
  const other = (i: number): Record<string, string> => ({
    "x-forwarded-for": "203.0.113.67",
    "forwarded": `for=198.51.100.${i + 100}`,
  });
  assertEquals(await ask(world, 5, other), [200, 200, 200, 429, 429]);
  assertEquals(world.counters()["forwardedDisagreed"], 5);
  // Whom the proxy does not name shares the proxy's own limit, not a stranger's.
  assertEquals(await ask(world, 1, () => ({ "x-forwarded-for": "" })), [429]);
});

Deno.test("a trusted proxy's word counts for limits and never for endpoints", async () => {
  await using world = await World.start({ trustedProxies: [block("127.0.0.1")] });
  const { publicKey: pubkey } = await world.node(1, "colony");
  const colony = await world.node(1, "colony");
  assertEquals(await colony.register(), "ok");
  const response = await fetch(`${world.url}${PATH}/GetServerInfo`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "x-forwarded-for": "203.0.113.66",
      "x-forwarded-host": "evil.example",
    },
    body: "{}",
  });
  assertEquals(JSON.stringify(await response.json()).match(/203\.0\.113\.66|evil/), null);
  const found = await colony.client().lookupColony(MESH);
  assertEquals([found?.publicKey, found?.observedEndpoints], [pubkey, []]);
  assertEquals(found?.endpoints, colony.registration().endpoints);
});

Deno.test("attack: ask without end, of one address, one key and one mesh", async () => {
  await using world = await World.start({ limits: { ...TIGHT.limits, ...ROOMY } });
  const [colony, agent] = [await world.node(1, "colony"), await world.node(2)];
  assertEquals(await colony.register(), "ok");
  const flood = agent.client();
  const outcomes: string[] = [];
  for (let i = 0; i < 11; i++) outcomes.push(await outcome(flood.lookupColony(MESH)));
  assertEquals(outcomes.slice(0, 10), new Array(10).fill("ok"));
  assertEquals(outcomes[10], "limit: too many requests by this node");
  // Eleven of the mesh's twelve are gone: the last one is anybody's, others' meshes have their own, and so has the mesh's colony.
  assertEquals(await outcome(colony.client().lookupColony(MESH)), "ok");
  const other = await world.node(3);
  assertEquals(
    await outcome(other.client().lookupColony(MESH)),
    "limit: too many requests in this mesh",
  );
  assertEquals(await outcome(colony.client().lookupColony(MESH)), "ok");
  assertEquals(await other.register({ meshId: "atoll" }), "ok");
  // Nothing was lost, and time heals.
  world.now += 2000;
  assertEquals(await world.colonyAt(other), "192.0.2.1");
  const { requestsLimitedByKey, requestsLimitedByMesh } = world.counters();
  // Each client asked once more, after the wait that it was told.
  assertEquals([requestsLimitedByKey, requestsLimitedByMesh], [2, 2]);
});

Deno.test("attack: use up a mesh's requests with many keys", async () => {
  // Registering takes three calls.
  const member = { ratePerSecond: 1, burst: 5 };
  await using world = await World.start({ limits: { ...TIGHT.limits, ...ROOMY, member } });
  const [colony, agent] = [await world.node(1, "colony"), await world.node(2)];
  assertEquals([await colony.register(), await agent.register()], ["ok", "ok"]);
  for (let seed = 10; seed < 25; seed++) {
    await outcome((await world.node(seed)).client().lookupColony(MESH));
  }
  const stranger = await world.node(25);
  const refused = "limit: too many requests in this mesh";
  assertEquals(await stranger.register(), refused);
  assertEquals(await outcome(stranger.client().lookupColony(MESH)), refused);
  // Those who belong to it go on, in every form of a call, and not without end.
  assertEquals([await agent.register(), await colony.register()], ["ok", "ok"]);
  assertEquals(await world.colonyAt(agent), "192.0.2.1");
  assertEquals(await outcome(agent.client().membershipNews({ meshId: MESH, since: 0 })), "ok");
  assertEquals(await outcome(agent.client().lookupColony(MESH)), refused);
  assertEquals(await world.colonyAt(colony), "192.0.2.1");
  assert((world.counters()["requestsSparedForMembers"] ?? 0) >= 9);
});

Deno.test("attack: use up a mesh's requests without a key", async () => {
  await using world = await World.start({ limits: { ...TIGHT.limits, ...ROOMY } });
  const colony = await world.node(1, "colony");
  for (let i = 0; i < 30; i++) {
    const response = await fetch(`${world.url}${PATH}/LookupColony`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ meshId: MESH }),
    });
    await response.body?.cancel();
    assertEquals(response.status, 401);
  }
  assertEquals(await colony.register(), "ok");
});

Deno.test("a call that is refused for its number says when to come again", async () => {
  await using world = await World.start(TIGHT);
  await ask(world, 3);
  for (const path of ["/health", `${PATH}/Health`]) {
    const response = await fetch(
      world.url + path,
      path === "/health" ? {} : {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{}",
      },
    );
    await response.body?.cancel();
    assertEquals([response.status, response.headers.get("retry-after")], [429, "1"]);
  }
});

Deno.test("attack: send more than a request may hold, to every method", async () => {
  await using world = await World.start();
  const methods = [
    ...["RegisterColony", "LookupColony", "RegisterAgent", "LookupAgent", "RequestRelay"],
    ...["ReleaseRelay", "Health", "CreateBootstrapToken", "GetServerInfo", "DeregisterColony"],
    ...["DeregisterAgent", "InitiatePunch", "RegisterRelay"],
  ];
  const large = JSON.stringify({ filler: "x".repeat(70_000) });
  for (const method of methods) {
    for (const proof of ["", "1 x"]) {
      const response = await fetch(`${world.url}${PATH}/${method}`, {
        method: "POST",
        headers: { "content-type": "application/json", ...(proof && { "moray-proof": proof }) },
        body: large,
      });
      const { code } = await response.json();
      assertEquals([method, response.status, code], [method, 429, "resource_exhausted"]);
    }
  }
  // A stream's message is no larger, whatever its envelope says.
  for (const length of [70_000, 0xffffffff]) {
    const body = new Uint8Array(5 + 70_000);
    new DataView(body.buffer).setUint32(1, length);
    const response = await fetch(`${world.url}${PATH}/Watch`, {
      method: "POST",
      headers: { "content-type": "application/connect+json" },
      body,
    });
    assertMatch(await response.text(), /resource_exhausted/);
  }
  // Nothing unpacks to more than it is.
  const packed = new Blob([large]).stream().pipeThrough(new CompressionStream("gzip"));
  const response = await fetch(`${world.url}${PATH}/Health`, {
    method: "POST",
    headers: { "content-type": "application/json", "content-encoding": "gzip" },
    body: await new Response(packed).bytes(),
  });
  assertEquals((await response.json()).code, "unimplemented");
});

// Deno 2.8.3 never settles the read of a body whose request was answered before its end, cancelled or not.
Deno.test("attack: hold requests open by sending them slowly", {
  sanitizeOps: false,
}, async () => {
  await using world = await World.start({
    bodyMsMax: 200,
    limits: { openPerAddressMax: 3 },
  });
  const slow = await Promise.all([1, 2, 3].map(async () => {
    const http = await RawHttp.connect(world.url);
    await http.call("RegisterColony", { length: 1000 });
    await http.write('{"meshId":');
    return http;
  }));
  // While they wait nobody else of this address comes in; other pages do.
  while ((world.counters()["requestsOpen"] ?? 0) < 3) await new Promise((go) => setTimeout(go, 5));
  const refused = await fetch(`${world.url}${PATH}/Health`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  });
  assertEquals([refused.status, refused.headers.get("retry-after")], [429, "1"]);
  await refused.body?.cancel();
  const answers = await Promise.all(slow.map((http) => http.answer()));
  for (const answer of answers) assertMatch(answer, /deadline_exceeded.*longer than 0\.2 s/s);
  for (const http of slow) http[Symbol.dispose]();
  const { requestsSlow, requestsCrowdedOut, requestsOpen } = world.counters();
  assertEquals([requestsSlow, requestsCrowdedOut, requestsOpen ?? 0], [3, 1, 0]);
  assertEquals(await (await world.node(1, "colony")).register(), "ok");
});

Deno.test("attack: open Watch streams without end", async () => {
  await using world = await World.start();
  const colony = await world.node(1, "colony");
  assertEquals(await colony.register(), "ok");
  const ended = new AbortController();
  let live = 0;
  const watches = [1, 2, 3, 4, 5].map(() =>
    colony.client().watch({
      meshId: MESH,
      publicKey: colony.publicKey,
      signal: ended.signal,
      onEvent: () => {},
      onState: ({ connected }) => {
        if (connected) live++;
      },
    })
  );
  while (live < 5) await new Promise((go) => setTimeout(go, 5));
  assert((world.counters()["watches"] ?? 0) <= 2, JSON.stringify(world.counters()));
  ended.abort();
  await Promise.all(watches);
});
