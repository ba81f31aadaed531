/** Real nodes whose Discovery lies: what runs goes on, and what starts anew finds its peers by what it remembers. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { create, toJson } from "@bufbuild/protobuf";
import type { NodeStatus } from "../../agent/status.ts";
import { OwnStatements } from "../../discovery/client/own_statement.ts";
import { recordOf } from "../../discovery/client/registration.ts";
import { identityOf } from "../../discovery/testing/identity.ts";
import { inRecords, type Json, type Lie, LyingProxy } from "../../discovery/testing/lying_proxy.ts";
import { PeerRecordSchema } from "../../proto/mod.ts";
import { block } from "../support/bytes.ts";
import { startWebServer } from "../support/http.ts";
import { urlOf } from "../support/mesh.ts";
import { Moray, moray } from "../support/moray.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

const MESH = "reef";
/** Where an attacker would have the handshakes go: nobody is there. */
const EVIL = "127.0.0.1:9";
/** The longest pause of a transfer on a machine that does much else. */
const SILENCE_MS_MAX = 2_000;
/** Blocks of the transfer that are waited for in each lie: 50 a second at most. */
const BLOCKS_EACH = 40;

/** A transfer through the tunnel, each byte of it checked. */
class Flow {
  blocks = 0;
  longestMs = 0;
  failure: unknown;
  #lastAt = performance.now();

  constructor(scope: Scope, url: string) {
    const ended = new AbortController();
    const running = this.#run(url, ended.signal).catch((error) => {
      if (!ended.signal.aborted) this.failure = error;
    });
    scope.defer(async () => {
      ended.abort();
      await running;
    });
  }

  /** Resolves once it has gone on by so many blocks. */
  async goesOn(blocks: number): Promise<void> {
    const wanted = this.blocks + blocks;
    await eventually("the transfer to go on", () => {
      if (this.failure !== undefined) throw this.failure;
      return this.blocks >= wanted ? true : undefined;
    }, { timeoutMs: 20_000, everyMs: 20 });
  }

  async #run(url: string, signal: AbortSignal): Promise<void> {
    const { body } = await fetch(url, { signal });
    assert(body !== null);
    let [wanted, at] = [block(0), 0];
    for await (const chunk of body) {
      const now = performance.now();
      this.longestMs = Math.max(this.longestMs, now - this.#lastAt);
      this.#lastAt = now;
      for (const byte of chunk) {
        assert(byte === wanted[at], `block ${this.blocks} is as it was sent`);
        if (++at < wanted.length) continue;
        [wanted, at] = [block(++this.blocks), 0];
      }
    }
  }
}

/** A Discovery, the proxy before it, and a colony and an agent that know the proxy only. */
class World {
  readonly proxy: LyingProxy;
  readonly #scope: Scope;
  readonly #state: { readonly colony: string; readonly agent: string };
  readonly #web: string;
  #nodes = new Map<"colony" | "agent", Moray>();

  private constructor(scope: Scope, proxy: LyingProxy, web: string) {
    this.proxy = proxy;
    this.#scope = scope;
    this.#web = web;
    this.#state = { colony: scope.directory(), agent: scope.directory() };
    for (const node of ["colony", "agent"] as const) {
      scope.explain(() => Promise.resolve(`--- ${node}\n${this.#nodes.get(node)?.child.log}`));
    }
  }

  static async start(scope: Scope): Promise<World> {
    const listen = ["--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"];
    const discovery = scope.use(await Moray.start(["discovery", ...listen, "--store", ":memory:"]));
    const proxy = scope.use(new LyingProxy(urlOf(discovery)));
    proxy.forgetful = true;
    const world = new World(scope, proxy, await startWebServer(scope));
    await world.startColony();
    await world.startAgent();
    return world;
  }

  async startColony(): Promise<void> {
    await this.#start("colony", ["--open", "--expose", `80:${this.#web}`]);
  }

  /** Starts the agent, again as after a loss of power: it says no goodbye. */
  async startAgent(): Promise<void> {
    const before = this.#nodes.get("agent");
    before?.child.signal("SIGKILL");
    await before?.child.exited;
    await this.#start("agent", ["--forward", "127.0.0.1:0:colony:80"]);
  }

  /** The address of the way to the colony's web server. */
  get forward(): string {
    return `http://${this.#nodes.get("agent")?.address("forward")}`;
  }

  async stopColony(): Promise<void> {
    assertEquals(await this.#nodes.get("colony")?.stop(), 0);
  }

  async status(node: "colony" | "agent"): Promise<NodeStatus> {
    const { code, stdout, stderr } = await moray(
      ["status", "--json", "--state", this.#state[node]],
    );
    assertEquals(code, 0, stderr);
    return JSON.parse(stdout) as NodeStatus;
  }

  /** Resolves once the agent keeps the colony with this sequence at least for its next start. Returns the sequence. */
  async kept(key: string, after = 0): Promise<number> {
    return await eventually("the agent to remember its colony", async () => {
      const text = await Deno.readTextFile(`${this.#state.agent}/peers.json`).catch(() => "{}");
      const { sequences = {}, peers = [] } = JSON.parse(text);
      const known = peers.some(({ publicKey }: { publicKey: string }) => publicKey === key);
      return known && sequences[key] > after ? Number(sequences[key]) : undefined;
    }, { timeoutMs: 20_000 });
  }

  /** Has Discovery lie from now on, and both nodes hear of it. */
  async lie(lie: Lie): Promise<void> {
    this.proxy.lie = lie;
    const { lies } = this.proxy;
    this.proxy.breakStreams();
    await eventually("both to be lied to", () => this.proxy.lies >= lies + 2 ? true : undefined, {
      timeoutMs: 30_000,
    });
  }

  /** Resolves once the agent fetches the colony's page. */
  async fetches(): Promise<void> {
    await eventually("the agent to reach its colony", async () => {
      const signal = AbortSignal.timeout(2_000);
      const text = await fetch(`${this.forward}/hello`, { signal }).then((it) => it.text())
        .catch(() => "");
      return text.startsWith("hello") ? true : undefined;
    }, { timeoutMs: 20_000 });
  }

  async #start(node: "colony" | "agent", flags: readonly string[]): Promise<void> {
    const joining = ["--mesh", MESH, "--discovery", this.proxy.url, "--state", this.#state[node]];
    this.#nodes.set(node, this.#scope.use(await Moray.start([node, ...joining, ...flags])));
  }
}

/** A colony of the attacker's own, with a record that is signed as it should be. */
async function impostor(): Promise<Json> {
  const { text: publicKey, signer } = await identityOf(66);
  const [hostname = "", port] = EVIL.split(":");
  const endpoints = [{ hostname, port: Number(port) }];
  const record = recordOf({ meshId: MESH, role: "colony", publicKey, endpoints });
  const statement = await new OwnStatements({ signer, now: Date.now }).of(record);
  return toJson(PeerRecordSchema, create(PeerRecordSchema, { ...record, statement })) as Json;
}

/** A record that leads elsewhere, under a signature that was another content's. */
function forged(record: Json): Json {
  const statement = record["statement"] as Json;
  const text = String(statement["statement"]);
  const changed = `${text.slice(0, 100)}${text[100] === "A" ? "B" : "A"}${text.slice(101)}`;
  return {
    ...record,
    endpoints: [EVIL],
    observedEndpoints: [],
    statement: { ...statement, statement: changed },
  };
}

e2e(
  "a Discovery that forges, replays, swaps and withholds records neither stops what runs nor keeps a node from its colony",
  { needs: ["full"], timeoutMs: 180_000 },
  async (scope) => {
    const world = await World.start(scope);
    await world.fetches();
    const colonyKey = (await world.status("colony")).node.publicKey;
    const flow = new Flow(scope, `${world.forward}/stream?seconds=170&pauseMs=20`);
    await flow.goesOn(BLOCKS_EACH);
    const first = await world.kept(colonyKey);
    const before = (await world.status("agent")).peers.map(({ publicKey, path }) => [
      publicKey,
      path.kind,
      path.remote,
    ]);
    assertEquals(before.map(([key, kind]) => [key, kind]), [[colonyKey, "direct"]]);

    const evil = await impostor();
    const lies: Readonly<Record<string, Lie>> = {
      forged: inRecords(forged),
      unsigned: inRecords(({ statement: _, ...record }) => ({ ...record, endpoints: [EVIL] })),
      swapped: inRecords((record) => record["pubkey"] === colonyKey ? evil : forged(record)),
      withheld: inRecords(() => undefined),
    };
    for (const [name, lie] of Object.entries(lies)) {
      await world.lie(lie);
      await flow.goesOn(BLOCKS_EACH);
      const { peers } = await world.status("agent");
      const seen = peers.map(({ publicKey, path }) => [publicKey, path.kind, path.remote]);
      assertEquals(seen, before, name);
    }
    const { counters } = await world.status("agent");
    for (const name of ["recordsUnsigned", "recordsForged", "recordsColonyReplaced"]) {
      // What leads the agent to its colony is told of the colony alone: one of each is enough.
      assert((counters[name] ?? 0) > 0, `${name}: ${JSON.stringify(counters)}`);
    }
    assert(((await world.status("colony")).counters["recordsForged"] ?? 0) > 0);
    const { longestMs } = flow;
    say(`the transfer paused for ${longestMs.toFixed(0)} ms at most while Discovery lied`);
    assert(longestMs < SILENCE_MS_MAX, `the transfer paused for ${longestMs} ms`);

    // An agent that starts anew under each lie.
    for (const [name, lie] of Object.entries(lies)) {
      world.proxy.lie = lie;
      await world.startAgent();
      await world.fetches();
      const { peers } = await world.status("agent");
      assertEquals(peers.map(({ publicKey }) => publicKey), [colonyKey], name);
    }

    // The colony moves, the agent learns that, and Discovery goes back to what it was.
    const old = new Map<string, Json>();
    world.proxy.lie = inRecords((record) => {
      if (!old.has(String(record["pubkey"]))) old.set(String(record["pubkey"]), record);
      return record;
    });
    world.proxy.breakStreams();
    await eventually("Discovery to be heard", () => old.has(colonyKey) ? true : undefined);
    await world.stopColony();
    await world.startColony();
    const second = await world.kept(colonyKey, first);
    world.proxy.lie = inRecords((record) => {
      const { role } = record;
      const replayed = old.get(String(record["pubkey"]));
      return replayed && { ...replayed, ...(role !== undefined && { role }) };
    });
    await world.startAgent();
    await world.fetches();
    const replayed = await world.status("agent");
    assert((replayed.counters["recordsOutdated"] ?? 0) > 0, JSON.stringify(replayed.counters));
    assertEquals(replayed.peers.map(({ publicKey }) => publicKey), [colonyKey]);
    assert(await world.kept(colonyKey, second - 1) >= second);
  },
);
