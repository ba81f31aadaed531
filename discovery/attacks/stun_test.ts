/** Attacks on observed endpoints, and on others by way of STUN. Real HTTP and UDP on 127.0.0.0/8. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { parseSocketAddress, type SocketAddress } from "../../core/mod.ts";
import {
  type BindingOutcome,
  CHANGE_HOST,
  CHANGE_PORT,
  CHANGE_REQUEST,
  decodeStun,
  OTHER_ADDRESS,
  RESPONSE_ORIGIN,
  RESPONSE_PORT,
  type StunCredentials,
} from "../../traversal/mod.ts";
import type { Observed } from "../mod.ts";
import { StunSocket } from "../testing/stun_exchange.ts";
import { MESH, type Node, outcome, World } from "../testing/world.ts";

const LOCAL: SocketAddress = { hostname: "127.0.0.1", port: 0 };
/** Where a victim is who never asked for anything. */
const VICTIM: SocketAddress = { hostname: "198.51.100.66", port: 6666 };
/** Longer than an answer on loopback takes, however busy the machine is. */
const SILENCE_MS = 400;

interface Stage extends AsyncDisposable {
  readonly world: World;
  /** The STUN listener. */
  readonly server: SocketAddress;
  /** Its second address, if it has one. */
  readonly other: SocketAddress | undefined;
}

async function stage(alternates: readonly SocketAddress[] = []): Promise<Stage> {
  const world = await World.start({ stunListen: [LOCAL], stunAlternates: alternates });
  const { stunServers } = await (await world.node(9)).client().serverInfo();
  const [server, other] = stunServers.map((text) => parseSocketAddress(text));
  assert(server !== undefined);
  return { world, server, other, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

async function credentialsOf(node: Node, meshId = MESH): Promise<StunCredentials> {
  const { stunCredentials } = await node.client().serverInfo({ meshId });
  assert(stunCredentials !== undefined);
  return stunCredentials;
}

/** Has a node seen by STUN, from a socket of its own or a given one. */
async function seen(
  { server }: Stage,
  node: Node,
  { socket, meshId }: { readonly socket: StunSocket; readonly meshId?: string },
): Promise<Observed> {
  const found = await socket.transact({ server, credentials: await credentialsOf(node, meshId) });
  return observedOf(found);
}

function observedOf(found: BindingOutcome): Observed {
  assert(found.kind === "mapped" && found.receipt !== undefined);
  return { address: found.address, receipt: found.receipt };
}

/** Registers a node at the addresses that these receipts are said to be for. */
function register(node: Node, ...observations: readonly Observed[]): Promise<string> {
  return node.register({
    observedEndpoints: observations.map(({ address }) => address),
    observations,
  });
}

/** What Discovery itself says of an agent: where it saw it, and what is a claim. */
async function told(node: Node): Promise<{ observed: string[]; claimed: string[] }> {
  const { publicKey } = node;
  let body: { observedEndpoints?: { ip: string; port: number }[]; endpoints?: string[] } = {};
  const client = node.client({
    answers: async (response) => {
      const text = await response.text();
      if (response.ok) body = JSON.parse(text);
      return new Response(text, response);
    },
  });
  assert(await client.lookupAgent({ meshId: MESH, publicKey }) !== undefined);
  const { observedEndpoints = [], endpoints = [] } = body;
  return {
    observed: observedEndpoints.map(({ ip, port }) => `${ip}:${port}`),
    claimed: endpoints.filter((text) => !text.startsWith("192.0.2.1:")),
  };
}

function text({ hostname, port }: SocketAddress): string {
  return `${hostname}:${port}`;
}

Deno.test("a node is observed where Discovery's STUN saw it, and nowhere else", async () => {
  await using here = await stage();
  using socket = new StunSocket();
  const agent = await here.world.node(2);
  const vouched = await seen(here, agent, { socket });
  assertEquals(vouched.address, socket.address);
  const observedEndpoints = [VICTIM, vouched.address];
  assertEquals(await agent.register({ observedEndpoints, observations: [vouched] }), "ok");
  assertEquals(await told(agent), {
    observed: [text(socket.address)],
    claimed: [text(VICTIM)],
  });
  assertEquals([here.world.counters()["receipts"], here.world.counters()["receiptsRefused"]], [
    1,
    undefined,
  ]);
});

Deno.test("attack: endpoint hijack through STUN: an address that is only claimed", async () => {
  await using here = await stage();
  const agent = await here.world.node(2);
  assertEquals(await agent.register({ observedEndpoints: [VICTIM] }), "ok");
  assertEquals(await told(agent), { observed: [], claimed: [text(VICTIM)] });
});

Deno.test("attack: endpoint hijack through STUN: a forged receipt, somebody else's, or one for another address", async () => {
  await using here = await stage();
  using socket = new StunSocket();
  using other = new StunSocket("127.0.0.3");
  const [agent, thief] = [await here.world.node(2), await here.world.node(3)];
  const own = await seen(here, agent, { socket });
  assertEquals(await register(agent, own), "ok");
  const bad: Record<string, Observed> = {
    forged: { address: VICTIM, receipt: crypto.getRandomValues(new Uint8Array(20)) },
    "somebody else's": own,
    "for another address": { ...await seen(here, thief, { socket: other }), address: VICTIM },
    "for another port": {
      ...await seen(here, thief, { socket: other }),
      address: { ...other.address, port: other.address.port ^ 1 },
    },
  };
  let refused = 0;
  for (const [name, observation] of Object.entries(bad)) {
    // The registration is taken, and the address is a claim like any other.
    assertEquals(await register(thief, observation), "ok", name);
    assertEquals(await told(thief), {
      observed: [],
      claimed: [text(observation.address)],
    }, name);
    const counted = here.world.counters()["receiptsRefused"] ?? 0;
    assert(counted > refused, name);
    refused = counted;
  }
  // Nobody else can speak for the agent, and what was seen of it stands.
  const instead = { ...agent.registration(), observedEndpoints: [VICTIM], observations: [] };
  assertEquals(
    await outcome(thief.client().register(instead)),
    "refused: the request proves another key than its own",
  );
  assertEquals((await told(agent)).observed, [text(socket.address)]);
});

Deno.test("attack: endpoint hijack through STUN: credentials for another's key", async () => {
  await using here = await stage();
  using socket = new StunSocket("127.0.0.3");
  const [agent, thief] = [await here.world.node(2), await here.world.node(3)];
  // Anybody may ask for credentials for any key: here the thief is seen where the agent is not.
  const vouched = await seen(here, agent, { socket });
  assertEquals(await register(thief, vouched), "ok");
  assertEquals((await told(thief)).observed, []);
  const posing = { ...agent.registration(), observations: [vouched] };
  assertEquals(
    await outcome(thief.client().register(posing)),
    "refused: the request proves another key than its own",
  );
  assertEquals(await agent.register(), "ok");
  assertEquals((await told(agent)).observed, []);
});

Deno.test("attack: endpoint hijack through STUN: an address observed for another mesh", async () => {
  await using here = await stage();
  using socket = new StunSocket();
  const agent = await here.world.node(2);
  const elsewhere = await seen(here, agent, { socket, meshId: "atoll" });
  assertEquals(await register(agent, elsewhere), "ok");
  assertEquals((await told(agent)).observed, []);
  assertEquals(here.world.counters()["receiptsRefused"], 1);
  assertEquals(await register(agent, await seen(here, agent, { socket })), "ok");
  assertEquals((await told(agent)).observed, [text(socket.address)]);
});

Deno.test("attack: endpoint hijack through STUN: a stale receipt", async () => {
  await using here = await stage();
  using socket = new StunSocket();
  const agent = await here.world.node(2);
  const vouched = await seen(here, agent, { socket });
  here.world.now += 299_000;
  assertEquals(await register(agent, vouched), "ok");
  assertEquals((await told(agent)).observed, [text(socket.address)]);
  // Somebody else may be behind the address by now.
  here.world.now += 1_000;
  assertEquals(await register(agent, vouched), "ok");
  assertEquals(await told(agent), { observed: [], claimed: [text(socket.address)] });
  assertEquals(await register(agent, await seen(here, agent, { socket })), "ok");
  assertEquals((await told(agent)).observed, [text(socket.address)]);
});

Deno.test("attack: endpoint hijack through STUN: another Discovery's receipt, or one of its life before", async () => {
  await using here = await stage();
  await using there = await stage();
  using socket = new StunSocket();
  const agent = await here.world.node(2);
  const foreign = await seen(there, await there.world.node(2), { socket });
  assertEquals(await register(agent, foreign), "ok");
  assertEquals((await told(agent)).observed, []);
  assertEquals(here.world.counters()["receiptsRefused"], 1);
});

Deno.test("attack: endpoint hijack through STUN: repeat a node's request from another address", async () => {
  await using here = await stage();
  using socket = new StunSocket();
  using thief = new StunSocket("127.0.0.3");
  const agent = await here.world.node(2);
  const { server } = here;
  let overheard = new Uint8Array();
  const credentials = await credentialsOf(agent);
  const vouched = observedOf(
    await socket.transact({ server, credentials }, (request) => {
      overheard = request.slice();
      return Promise.resolve();
    }),
  );
  // The answer would say, in Discovery's hand, that the agent is where the thief is.
  await thief.send(overheard, server);
  assertEquals(await thief.next(SILENCE_MS), undefined);
  assertEquals(here.world.counters()["stunElsewhere"], 1);
  // The agent asks again as often as it likes.
  await socket.send(overheard, server);
  assert(await socket.next(10_000) !== undefined);
  assertEquals(await register(agent, vouched), "ok");
  assertEquals((await told(agent)).observed, [text(socket.address)]);
});

Deno.test("attack: endpoint hijack through STUN: a spoofed source", async () => {
  await using here = await stage();
  // Who sends in another's name never sees the answer: all that there is to see goes to that other, and is no longer than what was sent.
  using victim = new StunSocket("127.0.0.3");
  const thief = await here.world.node(3);
  const credentials = await credentialsOf(thief);
  let sent = 0;
  const answer = await victim.transact({ server: here.server, credentials }, (request) => {
    sent = request.length;
    return Promise.resolve();
  });
  assert(answer.kind === "mapped" && sent > 0);
  await victim.transact({ server: here.server, credentials }, async (request) => {
    await victim.send(request, here.server);
    const echoed = await victim.next(10_000);
    assert(echoed !== undefined && echoed.payload.length <= request.length);
  });
  // Without it, the thief's word is all there is.
  assertEquals(await thief.register({ observedEndpoints: [victim.address] }), "ok");
  assertEquals((await told(thief)).observed, []);
});

Deno.test("attack: reflect STUN to third parties by RFC 5780 without credentials, or with wrong ones", async () => {
  await using here = await stage([{ hostname: "127.0.0.2", port: 0 }]);
  const { server, other } = here;
  assert(other !== undefined);
  using asker = new StunSocket();
  using third = new StunSocket();
  const node = await here.world.node(2);
  const credentials = await credentialsOf(node);
  const { port } = third.address;
  const asks = [
    { type: CHANGE_REQUEST, value: Uint8Array.of(0, 0, 0, CHANGE_HOST | CHANGE_PORT) },
    { type: CHANGE_REQUEST, value: Uint8Array.of(0, 0, 0, CHANGE_PORT) },
    { type: RESPONSE_PORT, value: Uint8Array.of(port >> 8, port & 255, 0, 0) },
  ];
  for (const attribute of asks) {
    const asked = { server, attributes: [attribute], bytesMin: 160 };
    assertEquals(await asker.transact(asked), { kind: "refused", code: 420 });
    const forged = { ...credentials, password: "guess" };
    assertEquals(await asker.transact({ ...asked, credentials: forged }), {
      kind: "refused",
      code: 401,
    });
  }
  assertEquals(await third.next(SILENCE_MS), undefined);
  // Nor does anybody without credentials learn of the other sockets.
  let plain: Uint8Array = new Uint8Array();
  await asker.transact({ server, bytesMin: 160 }, async (request) => {
    await asker.send(request, server);
    plain = (await asker.next(10_000))?.payload ?? plain;
  });
  const types = decodeStun(plain)?.attributes.map(({ type }) => type) ?? [];
  assert(types.length > 0 && !types.includes(OTHER_ADDRESS) && !types.includes(RESPONSE_ORIGIN));
  // Who has credentials is answered from the other socket, and told of it.
  const [both] = asks;
  assert(both !== undefined);
  const moved = await asker.transact({
    server,
    credentials,
    attributes: [both],
    answersFrom: other,
    bytesMin: 160,
  });
  assertEquals(moved.kind === "mapped" && moved.otherAddress, other);
});

Deno.test("what is no observation is refused, and changes nothing", async () => {
  await using here = await stage();
  using socket = new StunSocket();
  const agent = await here.world.node(2);
  const vouched = await seen(here, agent, { socket });
  assertEquals(await register(agent, vouched), "ok");
  const { receipt } = vouched;
  const bad: [string, readonly Observed[]][] = [
    ["observations[0].receipt has 19 bytes, not 20", [
      { ...vouched, receipt: receipt.subarray(1) },
    ]],
    ["observations[0].receipt has 0 bytes, not 20", [{ ...vouched, receipt: new Uint8Array() }]],
    ["observations[0].endpoint.port 0 is not 1 to 65535", [{
      receipt,
      address: { ...LOCAL },
    }]],
    ['observations[0].endpoint.ip "host" is not an IP literal', [{
      receipt,
      address: { hostname: "host", port: 1 },
    }]],
    ["observations has 33 entries, at most 32 are allowed", new Array(33).fill(vouched)],
  ];
  for (const [message, observations] of bad) {
    assertEquals(await agent.register({ observations }), `refused: ${message}`);
  }
  assertEquals((await told(agent)).observed, [text(socket.address)]);
});

Deno.test("STUN credentials are for a key and a mesh that are ones", async () => {
  await using here = await stage();
  const agent = await here.world.node(2);
  assertEquals(
    await outcome(agent.client().serverInfo({ meshId: "no mesh" })),
    'refused: mesh_id "no mesh" is not 1 to 253 letters, digits, ".", "_" or "-"',
  );
});
