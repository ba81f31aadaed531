/** Nodes go on with other keys: real processes on this machine, restarted as `moray rotate` says. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import type { NodeStatus } from "../../agent/status.ts";
import { startWebServer } from "../support/http.ts";
import { urlOf } from "../support/mesh.ts";
import { Moray, moray } from "../support/moray.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

/** A colony with a page, and an agent that fetches it. */
class World {
  readonly colonyState: string;
  readonly agentState: string;
  readonly #scope: Scope;
  readonly #joining: readonly string[];
  readonly #web: string;

  private constructor(scope: Scope, url: string, web: string) {
    this.#scope = scope;
    this.#joining = ["--mesh", "reef", "--discovery", url];
    this.#web = web;
    this.colonyState = scope.directory();
    this.agentState = scope.directory();
  }

  static async start(scope: Scope): Promise<World> {
    const local = ["--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"];
    const store = ["--store", `${scope.directory()}/discovery.db`];
    const discovery = scope.use(await Moray.start(["discovery", ...local, ...store]));
    return new World(scope, urlOf(discovery), await startWebServer(scope, {}));
  }

  colony(): Promise<Moray> {
    const expose = ["--expose", `8080:${this.#web}`];
    return this.#start([
      "colony",
      ...this.#joining,
      "--state",
      this.colonyState,
      "--open",
      ...expose,
    ]);
  }

  agent(): Promise<Moray> {
    const forward = ["--name", "walker", "--forward", "127.0.0.1:0:colony:8080"];
    return this.#start(["agent", ...this.#joining, "--state", this.agentState, ...forward]);
  }

  /** Prepares the next key of a state directory. */
  async rotate(state: string): Promise<{ readonly old: string; readonly next: string }> {
    const { code, stdout, stderr } = await moray(["rotate", "--state", state, "--json"]);
    assertEquals(code, 0, stderr);
    const { oldPublicKey: old, newPublicKey: next } = JSON.parse(stdout);
    return { old, next };
  }

  async status(state: string): Promise<NodeStatus> {
    const { code, stdout, stderr } = await moray(["status", "--state", state, "--json"]);
    assertEquals(code, 0, stderr);
    return JSON.parse(stdout) as NodeStatus;
  }

  async #start(args: readonly string[]): Promise<Moray> {
    const node = this.#scope.use(await Moray.start(args));
    const [name] = args;
    this.#scope.explain(() => Promise.resolve(`--- ${name}\n${node.child.log.slice(-3000)}`));
    return node;
  }
}

/** Resolves once the agent gets the colony's page. */
async function fetched(agent: Moray): Promise<void> {
  const url = `http://${agent.address("forward")}/bytes?mib=1`;
  await eventually("the agent to fetch the page", async () => {
    const signal = AbortSignal.timeout(3000);
    const bytes = await fetch(url, { signal }).then((it) => it.bytes()).catch(() => undefined);
    return bytes?.length === 1 << 20 ? true : undefined;
  }, { timeoutMs: 30_000, everyMs: 250 });
}

async function keysOfPeers(world: World, state: string): Promise<string[]> {
  return (await world.status(state)).peers.map(({ publicKey }) => publicKey);
}

e2e(
  "a colony goes on with another key: a running agent follows, and one that was away for two rotations",
  {
    timeoutMs: 150_000,
  },
  async (scope) => {
    const world = await World.start(scope);
    let colony = await world.colony();
    let agent = await world.agent();
    await fetched(agent);
    const first = await world.rotate(world.colonyState);
    assertEquals(await keysOfPeers(world, world.agentState), [first.old]);
    // The key is the old one until the node starts again, which it does after a sudden end.
    await colony[Symbol.asyncDispose]();
    colony = await world.colony();
    assertEquals((await world.status(world.colonyState)).node.publicKey, first.next);
    await fetched(agent);
    assertEquals(await keysOfPeers(world, world.agentState), [first.next]);

    assertEquals(await agent.stop(), 0);
    const last = [];
    for (let i = 0; i < 2; i++) {
      last.push((await world.rotate(world.colonyState)).next);
      assertEquals(await colony.stop(), 0);
      colony = await world.colony();
    }
    agent = await world.agent();
    await fetched(agent);
    assertEquals(await keysOfPeers(world, world.agentState), last.slice(-1));
  },
);

e2e("an agent goes on with another key: its colony knows it by that, under its name", {
  timeoutMs: 120_000,
}, async (scope) => {
  const world = await World.start(scope);
  await world.colony();
  const before = await world.agent();
  await fetched(before);
  const { old, next } = await world.rotate(world.agentState);
  assertEquals(await keysOfPeers(world, world.colonyState), [old]);
  await before[Symbol.asyncDispose]();
  const agent = await world.agent();
  await fetched(agent);
  const { peers } = await world.status(world.colonyState);
  assertEquals(peers.map(({ name, publicKey }) => [name, publicKey]), [["walker", next]]);
  assert(peers[0]?.path.kind !== "none", peers[0]?.path.kind);
});
