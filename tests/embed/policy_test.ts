/** The policy by real nodes: what each form of rule lets in and keeps out, what the one who is refused learns, changes while nodes run. */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { Node } from "../../agent/embed/mod.ts";
import { startDiscovery } from "../../discovery/mod.ts";
import { eventually } from "../support/scope.ts";

/** What is tried at a node. */
const TRIES = ["tcp/22", "tcp/80", "tcp/8050", "udp/53", "icmp"] as const;
type Try = typeof TRIES[number];

/** How long something that passes may take, and what does not pass is waited for where nothing tells. */
const PASSES_MS = 10_000;
const REFUSED_MS = 300;

/** A mesh whose colony has a policy file. */
class World implements AsyncDisposable {
  readonly logged: string[] = [];
  readonly colony: Node;
  readonly laptop: Node;
  readonly phone: Node;
  readonly #path: string;
  readonly #stack: AsyncDisposableStack;
  #changed = Promise.withResolvers<void>();

  private constructor(stack: AsyncDisposableStack, parts: {
    readonly path: string;
    readonly nodes: readonly [Node, Node, Node];
    readonly onLog: (listener: (message: string) => void) => void;
  }) {
    this.#stack = stack;
    this.#path = parts.path;
    [this.colony, this.laptop, this.phone] = parts.nodes;
    parts.onLog((message) => {
      this.logged.push(message);
      if (/policy has changed|policy stays/.test(message)) this.#changed.resolve();
    });
  }

  static async start(policy: string): Promise<World> {
    await using stack = new AsyncDisposableStack();
    const directory = await Deno.makeTempDir();
    stack.defer(() => Deno.remove(directory, { recursive: true }));
    const path = `${directory}/policy.toml`;
    await Deno.writeTextFile(path, policy);
    const local = { hostname: "127.0.0.1", port: 0 };
    const discovery = stack.use(
      await startDiscovery({
        listen: local,
        stunListen: [local],
        store: ":memory:",
        log: () => {},
      }),
    );
    const common = { mesh: "reef", discovery: discovery.url, portMapping: false };
    let onLog: (message: string) => void = () => {};
    const log = (_: string, message: string): void => onLog(message);
    const colony = stack.use(
      await Node.start({ ...common, role: "colony", open: true, policyFile: path, log }),
    );
    const laptop = stack.use(await Node.start({ ...common, name: "laptop" }));
    const phone = stack.use(await Node.start({ ...common, name: "phone" }));
    // Names count once the colony has given them.
    for (const node of [laptop, phone]) {
      await eventually("the colony to name its agents", async () => await named(node) || undefined);
    }
    const world = new World(stack.move(), {
      path,
      nodes: [colony, laptop, phone],
      onLog: (listener) => onLog = listener,
    });
    return world;
  }

  /** Writes another policy, and resolves when the colony has taken or refused it. */
  async write(policy: string): Promise<void> {
    this.#changed = Promise.withResolvers();
    await Deno.writeTextFile(this.#path, policy);
    await this.#changed.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** Whether the colony has given a node its address, and with it its name. */
async function named(node: Node): Promise<boolean> {
  return (await node.status()).node.meshIpv4 !== null;
}

/** Opens what is tried at a node, for as long as the returned stack lives. */
function open(node: Node): DisposableStack {
  const stack = new DisposableStack();
  for (const port of [22, 80, 8050]) {
    const listener = stack.use(node.listen({ port }));
    void (async () => {
      for await (const conn of listener) conn.close();
    })();
  }
  const datagrams = node.listenDatagram({ port: 53 });
  stack.defer(() => datagrams.close());
  void (async () => {
    for await (const [payload, from] of datagrams) await datagrams.send(payload, from);
  })();
  return stack;
}

/** Tries one thing; says whether it passed. What should not is waited for only as long as nothing tells. */
async function passes(
  from: Node,
  { to, what, expected }: {
    readonly to: string;
    readonly what: Try;
    readonly expected: boolean;
  },
): Promise<boolean> {
  const timeoutMs = expected ? PASSES_MS : REFUSED_MS;
  if (what === "icmp") return (await from.ping(to, { timeoutMs })).rttMs !== null;
  const port = Number(what.split("/")[1]);
  if (what === "udp/53") {
    const datagrams = from.listenDatagram({ port: 0 });
    const timer = setTimeout(() => datagrams.close(), timeoutMs);
    try {
      await datagrams.send(Uint8Array.of(1), { transport: "udp", hostname: to, port });
      await datagrams.receive();
      return true;
    } catch (error) {
      assert(error instanceof Deno.errors.Interrupted, String(error));
      return false;
    } finally {
      clearTimeout(timer);
      datagrams.close();
    }
  }
  try {
    using _ = await from.connect({ hostname: to, port, timeoutMs: PASSES_MS });
    return true;
  } catch (error) {
    // Not a timeout: the one who is refused is told.
    assert(
      error instanceof Error && /refused by the mesh's policy/.test(error.message),
      `${error}`,
    );
    return false;
  }
}

/** Waits until one thing passes, or does not any more. An attempt in the middle of the change may be cut off as connections are. */
async function becomes(
  from: Node,
  { to, what, passing }: { readonly to: string; readonly what: Try; readonly passing: boolean },
): Promise<void> {
  await eventually(`${what} to ${passing ? "pass" : "be refused"}`, async () => {
    try {
      return await passes(from, { to, what, expected: true }) === passing || undefined;
    } catch (error) {
      assert(/reset the connection/.test(String(error)), String(error));
      return undefined;
    }
  }, { timeoutMs: PASSES_MS, everyMs: 10 });
}

async function allOf(from: Node, to: string, expected: readonly Try[]): Promise<void> {
  const passed: Try[] = [];
  for (const what of TRIES) {
    if (await passes(from, { to, what, expected: expected.includes(what) })) passed.push(what);
  }
  assertEquals(passed, expected);
}

function rule(from: string, to: string, ports?: string): string {
  const last = ports === undefined ? "" : `ports = ${ports}\n`;
  return `[[allow]]\nfrom = ${from}\nto = ${to}\n${last}`;
}

Deno.test("each form of rule lets in what it says and nothing else", async () => {
  const first = rule('["agents"]', '["colony"]', '["tcp/80"]');
  await using world = await World.start(first);
  const { colony, laptop, phone } = world;
  using _ = open(colony);
  const key = (await laptop.status()).node.publicKey;
  const ops = '[groups]\nops = ["phone"]\n';
  // Every agent may reach the colony's control service, and so ask whether the colony is there.
  const all: readonly Try[] = ["tcp/22", "tcp/80", "tcp/8050", "icmp"];
  const cases: readonly [string, readonly Try[], readonly Try[]][] = [
    [first, ["tcp/80", "icmp"], ["tcp/80", "icmp"]],
    [rule('["*"]', '["*"]', '["tcp/8000-8100"]'), ["tcp/8050", "icmp"], ["tcp/8050", "icmp"]],
    [rule('["laptop"]', '["colony"]', '["udp/53"]'), ["udp/53", "icmp"], ["icmp"]],
    [ops + rule('["group:ops"]', '["colony"]', '["tcp/22"]'), ["icmp"], ["tcp/22", "icmp"]],
    [rule(`["${key}"]`, '["colony"]'), TRIES, ["icmp"]],
    [rule('["phone"]', '["colony"]', '["tcp"]'), ["icmp"], all],
    [rule('["laptop"]', '["colony"]', '["udp", "tcp/22"]'), ["tcp/22", "udp/53", "icmp"], ["icmp"]],
    [rule('["colony"]', '["agents"]'), ["icmp"], ["icmp"]],
  ];
  for (const [policy, ofLaptop, ofPhone] of cases) {
    if (policy !== first) await world.write(policy);
    await allOf(laptop, "colony", ofLaptop);
    await allOf(phone, "colony", ofPhone);
  }
});

Deno.test("a refused port is told to who tries it, counted, logged and shown at the receiver", async () => {
  await using world = await World.start(rule('["agents"]', '["colony"]', '["tcp/80"]'));
  const { colony, laptop } = world;
  using _ = open(colony);
  const startedAt = performance.now();
  await assertRejects(
    laptop.connect({ hostname: "colony", port: 22 }),
    /refused by the mesh's policy/,
  );
  assert(performance.now() - startedAt < 5000, "before a timeout would");
  const { policy, peers } = await colony.status();
  assertEquals(policy?.origin, "file");
  const refused = peers.find(({ name }) => name === "laptop")?.refused;
  assertEquals(refused?.last.map(({ what }) => what), ["tcp/22"]);
  assertEquals(refused?.policy, 1);
  assertEquals(peers.find(({ name }) => name === "phone")?.refused, undefined);
  assertEquals(world.logged.filter((line) => line.startsWith("refused")), [
    "refused tcp/22 from laptop: policy",
  ]);
});

Deno.test("a changed file takes effect while nodes run: connections that are allowed no longer end", async () => {
  const theirs = rule('["colony"]', '["agents"]', '["tcp/7"]');
  const both = rule('["agents"]', '["colony"]', '["tcp/22", "tcp/80"]') + theirs;
  await using world = await World.start(both);
  const { colony, laptop } = world;
  using first = colony.listen({ port: 22 });
  using second = colony.listen({ port: 80 });
  const accepted = Promise.all([first.accept(), second.accept()]);
  using lost = await laptop.connect({ hostname: "colony", port: 22 });
  using kept = await laptop.connect({ hostname: "colony", port: 80 });
  const [cut, stays] = await accepted;
  // The colony's own connection to the agent is not the agent's to be refused.
  using service = laptop.listen({ port: 7 });
  const [mine, answering] = await Promise.all([
    colony.connect({ hostname: "laptop", port: 7, timeoutMs: PASSES_MS }),
    service.accept(),
  ]);
  await world.write(rule('["agents"]', '["colony"]', '["tcp/80"]') + theirs);
  await assertRejects(lost.read(new Uint8Array(8)), "reset");
  await assertRejects(cut.read(new Uint8Array(8)), /policy/);
  for (const [one, other] of [[stays, kept], [answering, mine]] as const) {
    await one.write(Uint8Array.of(42));
    const buffer = new Uint8Array(8);
    assertEquals([await other.read(buffer), buffer[0]], [1, 42]);
  }
  for (const conn of [cut, stays, mine, answering]) conn.close();
  // What is no policy changes nothing.
  await world.write("[[allow]]\nfrom = 7\n");
  assert(
    world.logged.some((line) => /policy\.toml:2: .*policy stays as it was/.test(line)),
    `${world.logged}`,
  );
  using again = await laptop.connect({ hostname: "colony", port: 80, timeoutMs: PASSES_MS });
  assert(again.remoteAddr.hostname !== "");
});

Deno.test("an agent keeps to what its colony says of it", async () => {
  await using world = await World.start(rule('["agents"]', '["colony"]'));
  const { colony, laptop } = world;
  using _ = open(laptop);
  await allOf(colony, "laptop", []);
  assertEquals((await laptop.status()).policy?.origin, "colony");
  const refused = (await laptop.status()).peers.find(({ name }) => name === "colony")?.refused;
  assert((refused?.policy ?? 0) > 0);
  await world.write(rule('["*"]', '["laptop"]', '["tcp/80"]'));
  // The agent hears of it over its stream.
  await becomes(colony, { to: "laptop", what: "tcp/80", passing: true });
  await allOf(colony, "laptop", ["tcp/80", "icmp"]);
  await world.write(rule('["colony"]', '["agents"]', '["icmp"]'));
  await becomes(colony, { to: "laptop", what: "tcp/80", passing: false });
  await allOf(colony, "laptop", ["icmp"]);
});
