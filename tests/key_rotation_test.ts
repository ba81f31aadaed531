/** How a node goes on with another key, against a real Discovery: what is in the state directory after each step. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { formatBase64 } from "../core/mod.ts";
import { earlierKeys, type Identity, SigningKey, startDiscovery } from "../discovery/mod.ts";
import { DiscoveryClient } from "../discovery/mod.ts";
import { privateCryptoKey } from "../io/x25519.ts";
import { openSocket } from "../agent/local_socket.ts";
import { KEY_FILE, type KeyPair } from "../agent/key_file.ts";
import {
  formatRotations,
  loadKeys,
  NEXT_KEY_FILE,
  type NodeKeys,
  parseRotations,
  prepareRotation,
  ROTATIONS_FILE,
} from "../agent/key_rotation.ts";

const MESH = "reef";
const NOWHERE = "http://127.0.0.1:9";

async function identityOf({ privateKey, publicKey }: KeyPair): Promise<Identity> {
  const secret = await privateCryptoKey(privateKey);
  const randomBytes = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count));
  return { publicKey, secret, signer: new SigningKey({ privateKey, randomBytes }) };
}

/** A colony's state directory, and a Discovery that knows its key. */
class World implements AsyncDisposable {
  readonly state = Deno.makeTempDirSync();
  readonly log: string[] = [];
  readonly #stack: AsyncDisposableStack;
  readonly url: string;

  private constructor(url: string, stack: AsyncDisposableStack) {
    this.url = url;
    this.#stack = stack;
    stack.defer(() => Deno.removeSync(this.state, { recursive: true }));
  }

  static async start(): Promise<World> {
    const stack = new AsyncDisposableStack();
    const listen = { hostname: "127.0.0.1", port: 0 };
    const log = (): void => {};
    const server = await startDiscovery({ listen, stunListen: [], store: ":memory:", log });
    stack.use(server);
    return new World(server.url, stack);
  }

  /** Starts as a node does, with the files of the state directory or of a copy. */
  load({ state = this.state, url = this.url } = {}): Promise<NodeKeys> {
    const log = (level: string, message: string): void => void this.log.push(`${level} ${message}`);
    return loadKeys({ state, mesh: MESH, discovery: [url], identityOf, now: Date.now, log });
  }

  async register(keys: NodeKeys): Promise<void> {
    const identity = await identityOf(keys);
    const client = new DiscoveryClient({ urls: [this.url], identity, log: () => {} });
    const endpoints = [{ hostname: "192.0.2.1", port: 51820 }];
    const publicKey = formatBase64(keys.publicKey);
    await client.register({ meshId: MESH, publicKey, role: "colony", endpoints });
  }

  async files(): Promise<string[]> {
    return (await Array.fromAsync(Deno.readDir(this.state))).map(({ name }) => name).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function text({ publicKey }: KeyPair): string {
  return formatBase64(publicKey);
}

async function earlier(keys: NodeKeys): Promise<readonly string[]> {
  return await earlierKeys(keys.rotations, { meshId: MESH, publicKey: text(keys) });
}

Deno.test("a node goes on with its next key once Discovery has taken it, and can be known by the earlier ones", async () => {
  await using world = await World.start();
  const first = await world.load();
  assertEquals(first.rotations, []);
  await world.register(first);
  const prepared = await prepareRotation(world.state);
  assertEquals(prepared.oldKey, text(first));
  const { mode } = await Deno.stat(`${world.state}/${NEXT_KEY_FILE}`);
  if (Deno.build.os !== "windows") assertEquals((mode ?? 0) & 0o777, 0o600);
  const second = await world.load();
  assertEquals(text(second), prepared.newKey);
  assertEquals(await earlier(second), [text(first)]);
  assertEquals(await world.files(), [ROTATIONS_FILE, KEY_FILE]);
  await world.register(second);
  await assertRejects(world.register(first), { code: "refused" });
  await prepareRotation(world.state);
  const third = await world.load();
  assertEquals(await earlier(third), [text(second), text(first)]);
  assertEquals((await world.load()).rotations, third.rotations);
});

Deno.test("a rotation that is cut off between two steps is done at the next start, as the same one", async () => {
  await using world = await World.start();
  const first = await world.load();
  await world.register(first);
  const { newKey } = await prepareRotation(world.state);
  await assertRejects(prepareRotation(world.state), { code: "refused" });
  // The end comes before Discovery has heard of it: signed, and nothing else.
  const away = await world.load({ url: NOWHERE });
  assertEquals([text(away), away.rotations], [text(first), []]);
  assertMatch(world.log.join(), /warn the node keeps its key for now: /);
  const signed = await Deno.readTextFile(`${world.state}/${ROTATIONS_FILE}`);
  await world.register(away);
  // The end comes after Discovery has taken it, before the key is in its place: as a copy of before shows.
  const copy = `${world.state}/copy`;
  await Deno.mkdir(copy, { mode: 0o700 });
  for (const file of [KEY_FILE, NEXT_KEY_FILE, ROTATIONS_FILE]) {
    await Deno.copyFile(`${world.state}/${file}`, `${copy}/${file}`);
  }
  assertEquals(text(await world.load()), newKey);
  const again = await world.load({ state: copy });
  assertEquals([text(again), await earlier(again)], [newKey, [text(first)]]);
  assertEquals(await Deno.readTextFile(`${copy}/${ROTATIONS_FILE}`), signed);
  await world.register(again);
});

Deno.test("a node whose key was given up for another does not start", async () => {
  await using world = await World.start();
  const first = await world.load();
  await world.register(first);
  const stolen = `${world.state}/stolen`;
  await Deno.mkdir(stolen, { mode: 0o700 });
  await Deno.copyFile(`${world.state}/${KEY_FILE}`, `${stolen}/${KEY_FILE}`);
  await prepareRotation(world.state);
  const second = await world.load();
  await prepareRotation(stolen);
  await assertRejects(world.load({ state: stolen }), {
    code: "refused",
    message: /was given up for another one/,
  });
  await world.register(second);
});

Deno.test({
  name: "a second node with the state directory of one that runs changes no key",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using world = await World.start();
    const first = await world.load();
    await world.register(first);
    const { newKey } = await prepareRotation(world.state);
    const { listener, close } = await openSocket(world.state);
    assertEquals(text(await world.load()), text(first));
    (await listener.accept()).close();
    await close();
    await world.register(first);
    assertEquals(text(await world.load()), newKey);
  },
});

Deno.test("a node that its Discovery does not know goes on with its next key", async () => {
  await using world = await World.start();
  const first = await world.load();
  const { newKey } = await prepareRotation(world.state);
  const second = await world.load();
  assertEquals([text(second), await earlier(second)], [newKey, [text(first)]]);
});

Deno.test("a node keeps its key where Discovery has no rotations", async () => {
  await using world = await World.start();
  const first = await world.load();
  await prepareRotation(world.state);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("not found", { status: 404 }),
  );
  try {
    const url = `http://127.0.0.1:${server.addr.port}`;
    assertEquals(text(await world.load({ url })), text(first));
    assertMatch(world.log.join(), /does not take the next one: it has no rotations/);
  } finally {
    await server.shutdown();
  }
  assert((await world.files()).includes(NEXT_KEY_FILE));
});

Deno.test("a state directory without a key, or with a next one that is none, is refused in one line", async () => {
  await using world = await World.start();
  await assertRejects(prepareRotation(world.state), { code: "key", message: /holds no key yet/ });
  await world.load();
  await Deno.writeTextFile(`${world.state}/${NEXT_KEY_FILE}`, "no key", { mode: 0o600 });
  await assertRejects(world.load(), { code: "key", message: /does not hold a WireGuard key/ });
});

Deno.test("parseRotations takes what formatRotations made, for the same mesh, and throws never", () => {
  const rotations = [1, 2].map((fill) => ({
    statement: new Uint8Array(9).fill(fill),
    signature: new Uint8Array(64).fill(fill),
  }));
  const file = formatRotations(MESH, rotations);
  assertEquals(parseRotations(file, MESH), rotations);
  assertEquals(parseRotations(file, "atoll"), []);
  const [first] = rotations;
  const many = formatRotations(MESH, new Array(20).fill(first));
  assertEquals(parseRotations(many, MESH)?.length, 8);
  for (const text of ["", "{", "[]", "{}", '{"version":2,"rotations":[]}', '{"version":1}']) {
    assertEquals(parseRotations(text, MESH), undefined, text);
  }
  const odd = {
    version: 1,
    mesh: MESH,
    rotations: [null, 7, {}, { statement: "?", signature: "?" }],
  };
  assertEquals(parseRotations(JSON.stringify(odd), MESH), []);
});
