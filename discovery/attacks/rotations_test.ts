/** Attacks by and on rotations of keys, each with what it must not get and what must not be lost. Real HTTP on 127.0.0.1. */
import { deepStrictEqual as assertEquals, match as assertMatch } from "node:assert/strict";
import {
  DiscoveryClient,
  type DiscoveryOptions,
  type Identity,
  type Role,
  type Rotation,
  type RunningDiscovery,
  type Signed,
  signRotation,
  startDiscovery,
} from "../mod.ts";
import { identityOf } from "../testing/identity.ts";

const MESH = "reef";
const endpoints = [{ hostname: "192.0.2.1", port: 51820 }];

/** A Discovery with the colony (key 1) and two agents (keys 2 and 3) of a mesh. */
class World implements AsyncDisposable {
  now = Date.UTC(2026, 0, 2);
  readonly #options: Partial<DiscoveryOptions>;
  #server: RunningDiscovery | undefined;

  private constructor(options: Partial<DiscoveryOptions>) {
    this.#options = options;
  }

  static async start(options: Partial<DiscoveryOptions> = {}): Promise<World> {
    const world = new World(options);
    await world.restart();
    for (const [seed, role] of [[1, "colony"], [2, "agent"], [3, "agent"]] as const) {
      assertEquals(await (await world.node(seed)).register(role), "ok");
    }
    return world;
  }

  async restart(): Promise<void> {
    await this.#server?.stop();
    this.#server = await startDiscovery({
      listen: { hostname: "127.0.0.1", port: 0 },
      stunListen: [],
      store: ":memory:",
      now: () => this.now,
      log: () => {},
      ...this.#options,
    });
  }

  get url(): string {
    return this.#server?.url ?? "";
  }

  counters(): Record<string, number> {
    return this.#server?.counters() ?? {};
  }

  async node(seed: number): Promise<Node> {
    return new Node(this, await identityOf(seed));
  }

  /** Whose the mesh is. */
  async colony(): Promise<string | undefined> {
    return (await (await this.node(3)).client().lookupColony(MESH))?.publicKey;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.stop();
  }
}

/** A node that holds its key. */
class Node {
  readonly identity: Identity & { readonly text: string };
  readonly #world: World;

  constructor(world: World, identity: Identity & { readonly text: string }) {
    this.#world = world;
    this.identity = identity;
  }

  get key(): string {
    return this.identity.text;
  }

  client(proves = true): DiscoveryClient {
    const { identity } = this;
    const now = (): number => this.#world.now;
    return new DiscoveryClient({
      urls: [this.#world.url],
      now,
      log: () => {},
      ...(proves && { identity }),
    });
  }

  register(role: Role = "agent"): Promise<string> {
    const node = { meshId: MESH, publicKey: this.key, role, endpoints };
    return outcome(this.client().register(node));
  }

  /** Asks to go on with this key, after `old`. */
  async rotate(
    old: Node,
    { signer = old, part = {}, proves = true }: {
      readonly signer?: Node;
      readonly part?: Partial<Rotation>;
      readonly proves?: boolean;
    } = {},
  ): Promise<string> {
    const rotation = { meshId: MESH, oldKey: old.key, newKey: this.key, sequence: 1, ...part };
    const signed = await signRotation(signer.identity.signer, rotation);
    return await rotated(this.client(proves), signed);
  }
}

/** `ok`, or how a rotation was refused. */
async function rotated(client: DiscoveryClient, signed: Signed): Promise<string> {
  let answer = "";
  const outcomeOf = await outcome(client.rotateKey(signed).then((it) => void (answer = it)));
  return outcomeOf !== "ok" || answer === "rotated" ? outcomeOf : answer;
}

/** `ok`, or how a call was refused. */
async function outcome(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    const { code, cause } = error as { code: string; cause?: { rawMessage?: string } };
    return `${code}: ${cause?.rawMessage ?? String(error)}`;
  }
}

const UNSIGNED = "refused: rotation is not one that the key which it gives up has signed";
const RETIRED = "retired";
const GIVEN_UP = "refused: the key was given up for another: register that one";
const TAKEN = "taken";
const UNKNOWN = "unknown";

Deno.test("a colony goes on with another key, also after a restart and beyond its TTL", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using world = await World.start({ store: `${folder}/discovery.db` });
    const [old, next, thief] = [await world.node(1), await world.node(11), await world.node(9)];
    assertEquals(await next.rotate(old), "ok");
    assertEquals(await world.colony(), undefined);
    assertEquals(await next.register("colony"), "ok");
    assertEquals(await world.colony(), next.key);
    // Who did not hear the answer asks again.
    assertEquals(await next.rotate(old), "ok");
    world.now += 3_000_000;
    await world.restart();
    assertEquals(await old.register("colony"), GIVEN_UP);
    assertMatch(await thief.register("colony"), /already registered with different pubkey/);
    assertEquals(await next.register("colony"), "ok");
    assertEquals(world.counters()["keysRotated"], undefined);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("attack: rotate a mesh to one's own key", async () => {
  await using world = await World.start();
  const [colony, thief, stranger] = [await world.node(1), await world.node(3), await world.node(9)];
  for (const evil of [thief, stranger]) {
    assertEquals(await evil.rotate(colony, { signer: evil }), UNSIGNED);
  }
  assertEquals(await stranger.rotate(await world.node(8)), UNKNOWN);
  // In the words for a mesh that is not there.
  assertEquals(await stranger.rotate(await world.node(8), { part: { meshId: "none" } }), UNKNOWN);
  assertEquals(await colony.register("colony"), "ok");
  assertEquals(await world.colony(), colony.key);
  assertEquals(world.counters()["keysRotated"], undefined);
});

Deno.test("attack: use the rotation that somebody else has signed", async () => {
  await using world = await World.start();
  const [colony, next, thief] = [await world.node(1), await world.node(11), await world.node(9)];
  const rotation = { meshId: MESH, oldKey: colony.key, newKey: next.key, sequence: 1 };
  const overheard = await signRotation(colony.identity.signer, rotation);
  assertEquals(
    await rotated(thief.client(), overheard),
    "refused: the request proves another key than its own",
  );
  assertEquals(
    await rotated(thief.client(false), overheard),
    "refused: a proof of possession of the next key is required",
  );
  // The old key's proof does not do for the new one either.
  assertEquals(
    await rotated(colony.client(), overheard),
    "refused: the request proves another key than its own",
  );
  assertEquals(await world.colony(), colony.key);
  assertEquals(await rotated(next.client(), overheard), "ok");
});

Deno.test("attack: rotate without a proof where registrations need none", async () => {
  await using world = await World.start({ allowUnproven: true });
  const [colony, thief] = [await world.node(1), await world.node(9)];
  assertEquals(
    await thief.rotate(colony, { proves: false }),
    "refused: a proof of possession of the next key is required",
  );
  assertEquals(await colony.register("colony"), "ok");
});

Deno.test("attack: change a rotation, or take another statement for one", async () => {
  await using world = await World.start();
  const [colony, next] = [await world.node(1), await world.node(11)];
  const rotation = { meshId: MESH, oldKey: colony.key, newKey: next.key, sequence: 1 };
  const good = await signRotation(colony.identity.signer, rotation);
  const longer = await signRotation(colony.identity.signer, { ...rotation, sequence: 2 });
  const bad = [
    { ...good, statement: longer.statement },
    { ...good, signature: longer.signature },
    { ...good, signature: new Uint8Array(64) },
    { ...good, signature: good.signature.subarray(1) },
    { ...good, statement: new Uint8Array() },
    { ...good, statement: new Uint8Array(5000) },
  ];
  for (const signed of bad) assertEquals(await rotated(next.client(), signed), UNSIGNED);
  assertEquals(await next.rotate(colony, { part: { meshId: "atoll" } }), UNKNOWN);
  assertEquals(await world.colony(), colony.key);
});

Deno.test("attack: play an old rotation again, or go on with a key that was given up", async () => {
  await using world = await World.start();
  const [first, second, third] = [await world.node(1), await world.node(11), await world.node(12)];
  assertEquals(await second.rotate(first, { part: { sequence: 5 } }), "ok");
  assertEquals(
    await third.rotate(second, { part: { sequence: 5 } }),
    "refused: the rotation's sequence is not after that of the one before",
  );
  assertEquals(await third.rotate(second, { part: { sequence: 6 } }), "ok");
  assertEquals(await third.register("colony"), "ok");
  // Whoever stole a key that was given up gets nothing by it.
  assertEquals(await second.rotate(first, { part: { sequence: 5 } }), RETIRED);
  assertEquals(await (await world.node(13)).rotate(first, { part: { sequence: 9 } }), RETIRED);
  assertEquals(await (await world.node(13)).rotate(second, { part: { sequence: 9 } }), RETIRED);
  for (const given of [first, second]) {
    for (const role of ["colony", "agent"] as const) {
      assertEquals(await given.register(role), GIVEN_UP);
    }
  }
  assertEquals(await world.colony(), third.key);
});

Deno.test("attack: rotate to a key that is somebody's", async () => {
  await using world = await World.start();
  const [colony, agent, other] = [await world.node(1), await world.node(2), await world.node(3)];
  assertEquals(await agent.rotate(colony), TAKEN);
  assertEquals(await colony.rotate(agent), TAKEN);
  assertEquals(await other.rotate(agent), TAKEN);
  assertEquals(await world.colony(), colony.key);
  assertEquals(
    (await colony.client().lookupAgent({ meshId: MESH, publicKey: agent.key }))?.publicKey,
    agent.key,
  );
  const next = await world.node(12);
  assertEquals(await next.rotate(agent), "ok");
  assertEquals(await agent.rotate(other), TAKEN);
  assertEquals(await next.rotate(other), TAKEN);
});

Deno.test("attack: listen with a key that was given up", async () => {
  await using world = await World.start();
  const [agent, next] = [await world.node(2), await world.node(12)];
  const ended = new AbortController();
  const [lost, rotated] = [Promise.withResolvers<void>(), Promise.withResolvers<string>()];
  const watch = agent.client().watch({
    meshId: MESH,
    publicKey: agent.key,
    signal: ended.signal,
    onEvent: (event) => {
      if (event.kind === "synchronized") rotated.resolve(next.rotate(agent));
    },
    onState: (state) => {
      if (!state.connected && state.notRegistered) lost.resolve();
    },
  });
  assertEquals(await rotated.promise, "ok");
  await lost.promise;
  ended.abort();
  await watch;
  assertEquals(await agent.register(), GIVEN_UP);
  const query = { meshId: MESH, publicKey: (await world.node(3)).key };
  assertEquals(await agent.client().lookupAgent(query), undefined);
  assertEquals(
    await outcome(agent.client().bootstrapToken({ meshId: MESH, agentId: agent.key })),
    "refused: colony reef not found",
  );
});
