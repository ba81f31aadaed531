import { deepStrictEqual as assertEquals } from "node:assert/strict";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { formatBase64, KEY_BYTES } from "../../core/mod.ts";
import { ControlService } from "../../proto/control.ts";
import { meshIpv6Of } from "../addressing.ts";
import { MeshHttpClient } from "../embed/mesh_fetch.ts";
import type { MeshPeer } from "../mesh_peers.ts";
import { NameTable } from "../names.ts";
import { MemoryMesh } from "../testing/memory_network.ts";
import { found } from "../testing/mesh_world.ts";
import { AgentDesk } from "./agent_desk.ts";
import { ColonyDesk } from "./colony_desk.ts";
import type { ControlOptions } from "./control_side.ts";

const MESH = "reef";
const PORT = 9000;
const SUBNET = { address: Uint8Array.of(10, 42, 0, 0), prefix: 16 };
/** Only the walker may be reached, and only under its name. */
const POLICY = '[[allow]]\nfrom = ["colony"]\nto = ["walker"]\nports = ["tcp/80"]\n';
const [COLONY, WALKER, NEXT] = [1, 2, 3].map((number) => {
  const bytes = new Uint8Array(KEY_BYTES).fill(number);
  return { publicKey: formatBase64(bytes), meshIpv6: meshIpv6Of(MESH, bytes) };
}) as [Keys, Keys, Keys];

interface Keys {
  readonly publicKey: string;
  readonly meshIpv6: string;
}

function peerOf(
  keys: Keys,
  role: "colony" | "agent",
  earlierKeys: readonly string[] = [],
): MeshPeer {
  const { publicKey } = keys;
  const record = { ...found(1, role), publicKey, connectPort: PORT, earlierKeys };
  return { ...keys, role, record } as Partial<MeshPeer> as MeshPeer;
}

/** What either side of the service is made of. */
function optionsOf(keys: Keys, state: string, names: NameTable): ControlOptions {
  return {
    ...keys,
    state,
    names,
    mesh: MESH,
    role: keys === COLONY ? "colony" : "agent",
    name: keys === COLONY ? "colony" : "walker",
    subnet: SUBNET,
    port: PORT,
    now: () => 1_700_000_000_000,
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
    log: () => {},
  };
}

/** A colony's desk, the names that it knows, and the agents that come to it. */
class World implements AsyncDisposable {
  readonly names: NameTable;
  readonly colony: ColonyDesk;
  /** How many rules an agent was told last. */
  rules = 0;
  readonly #state: string;
  readonly #mesh = new MemoryMesh();
  readonly #peers = new Map<string, MeshPeer>();

  private constructor(state: string, colony: ColonyDesk, names: NameTable) {
    this.#state = state;
    this.colony = colony;
    this.names = names;
    const all = new Map([COLONY, WALKER, NEXT].map((one) => [one.publicKey, one.meshIpv6]));
    colony.start(this.#mesh.node("colony", COLONY.meshIpv6), {
      peerAt: (address) => this.#peers.get(address),
      onAssigned: (publicKey, { name, ipv4 }) => {
        names.set(name, all.get(publicKey) ?? "", ipv4);
      },
      onOwn: () => {},
      onMesh: () => {},
    });
  }

  static async start(): Promise<World> {
    const state = await Deno.makeTempDir();
    const names = new NameTable(MESH);
    const policyFile = `${state}/policy.toml`;
    await Deno.writeTextFile(policyFile, POLICY);
    const options = { ...optionsOf(COLONY, state, names), policyFile };
    return new World(state, await ColonyDesk.open(options), names);
  }

  /** What an agent is called and which address it has, once its colony has told it. */
  async comes(keys: Keys, earlierKeys: readonly string[] = []): Promise<readonly unknown[]> {
    this.#peers.set(keys.meshIpv6, peerOf(keys, "agent", earlierKeys));
    const state = `${this.#state}/${keys.meshIpv6.replaceAll(":", "")}`;
    await Deno.mkdir(state);
    const agent = await AgentDesk.open(optionsOf(keys, state, new NameTable(MESH)));
    const told = Promise.withResolvers<void>();
    agent.start(this.#mesh.node("walker", keys.meshIpv6), {
      peerAt: () => undefined,
      onAssigned: () => {},
      onOwn: told.resolve,
      onMesh: ({ rules }) => {
        this.rules = rules?.rules.length ?? 0;
      },
    });
    agent.handleConnected(peerOf(COLONY, "colony"));
    await told.promise;
    await agent.stop();
    return [agent.name, agent.ipv4];
  }

  /** Asks the service by hand, under one name after the other: `told`, or how that is refused. */
  async answersTo(keys: Keys, names: readonly string[]): Promise<readonly string[]> {
    this.#peers.set(keys.meshIpv6, peerOf(keys, "agent"));
    const network = this.#mesh.node("walker", keys.meshIpv6);
    const http = new MeshHttpClient({ network, ...optionsOf(keys, "", this.names) });
    const calls = createClient(
      ControlService,
      createConnectTransport({
        baseUrl: `http://[${COLONY.meshIpv6}]:${PORT}`,
        fetch: (input, init) => fetch(input, { ...init, client: http.client }),
        useBinaryFormat: true,
      }),
    );
    const answers: string[] = [];
    const streams: AsyncIterator<unknown>[] = [];
    for (const name of names) {
      const stream = calls.watchMesh({ name })[Symbol.asyncIterator]();
      streams.push(stream);
      try {
        const { value } = await stream.next();
        answers.push(value?.event.case ?? "nothing");
      } catch (error) {
        answers.push(Code[ConnectError.from(error).code]);
      }
    }
    await this.colony.stop();
    for (const stream of streams) {
      while (await stream.next().then(({ done }) => done !== true, () => false));
    }
    await http.stop();
    return answers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.colony.stop();
    await Deno.remove(this.#state, { recursive: true });
  }
}

for (const closed of [false, true]) {
  Deno.test(`ColonyDesk: in ${closed ? "a closed" : "an open"} mesh a member that goes on with another key keeps name and address`, async () => {
    await using world = await World.start();
    const before = await world.comes(WALKER);
    assertEquals(before[0], "walker");
    assertEquals(world.names.resolve("walker"), WALKER.meshIpv6);
    // Its gate throws the earlier key out.
    if (closed) world.colony.handleExpelled(WALKER.publicKey, NEXT.publicKey);
    assertEquals(await world.comes(NEXT, [WALKER.publicKey]), before);
    assertEquals(world.names.resolve("walker"), NEXT.meshIpv6);
    assertEquals(world.rules, 1);
    const agents = world.colony.members.filter(({ role }) => role === "agent");
    assertEquals(agents.map(({ publicKey }) => publicKey), [NEXT.publicKey]);
  });
}

Deno.test("ColonyDesk: a node that asks for ever other names is told to wait, before it costs anybody anything", async () => {
  await using world = await World.start();
  const asked = Array.from({ length: 30 }, (_, i) => `walker${i}`);
  const answers = await world.answersTo(WALKER, asked);
  assertEquals(answers, [...Array(20).fill("view"), ...Array(10).fill("ResourceExhausted")]);
  assertEquals(world.colony.counters(), { controlRequestsLimited: 10 });
  assertEquals(world.colony.members.map(({ name }) => name), ["colony", "walker19"]);
});

Deno.test("ColonyDesk: who is thrown out leaves name and address to others", async () => {
  await using world = await World.start();
  await world.comes(WALKER);
  world.colony.handleExpelled(WALKER.publicKey);
  assertEquals(world.names.resolve("walker"), undefined);
  assertEquals((await world.comes(NEXT))[0], "walker");
});
