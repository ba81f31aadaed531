/** Agents that talk to each other without their colony in between, by real nodes in one process. */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { Node } from "../../agent/embed/mod.ts";
import { startDiscovery } from "../../discovery/mod.ts";
import { say } from "../support/say.ts";

const EVERYBODY = `[[allow]]\nfrom = ["*"]\nto = ["*"]\n`;
const MANY = 20;
/** Issue 8: from the start of the first agent to direct paths between all. */
const FULL_MESH_MS = 10_000;

/** How long this thread, which all nodes share, was ready to run and others had the processor, in milliseconds. */
function waitedMs(): number {
  const [, waited = "0"] = Deno.readTextFileSync("/proc/thread-self/schedstat").split(" ");
  return Number(waited) / 1e6;
}

/** A mesh whose colony has a policy file. */
async function startMesh(policy: string): Promise<
  AsyncDisposable & {
    readonly colony: Node;
    readonly policyFile: string;
    readonly join: (name: string) => Promise<Node>;
  }
> {
  await using stack = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const policyFile = `${directory}/policy.toml`;
  await Deno.writeTextFile(policyFile, policy);
  const local = { hostname: "127.0.0.1", port: 0 };
  const discovery = stack.use(
    await startDiscovery({ listen: local, stunListen: [local], store: ":memory:", log: () => {} }),
  );
  const common = { mesh: "reef", discovery: discovery.url, portMapping: false };
  const colony = stack.use(
    await Node.start({ ...common, role: "colony", open: true, policyFile }),
  );
  const nodes = stack.use(new AsyncDisposableStack());
  const ends: Node[] = [];
  nodes.defer(async () => void await Promise.all(ends.map((node) => node.stop())));
  const join = async (name: string): Promise<Node> => {
    const node = await Node.start({ ...common, name });
    ends.push(node);
    return node;
  };
  const all = stack.move();
  return { colony, policyFile, join, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Resolves once the peers that a node reaches directly are those; looks after each change of a path. */
async function reaches(node: Node, names: readonly string[], timeoutMs = 15_000): Promise<void> {
  const wanted = JSON.stringify([...names].sort());
  let seen = "";
  const isThere = async (): Promise<boolean> => {
    const peers = await node.peers();
    const direct = peers.filter(({ path }) => path.kind === "direct").map(({ name }) => name);
    seen = JSON.stringify(direct.sort());
    return seen === wanted;
  };
  const done = new AbortController();
  const late = setTimeout(() => done.abort(), timeoutMs);
  // That a peer was forgotten is no change of a path.
  const tick = setInterval(async () => void (await isThere() && done.abort()), 500);
  try {
    if (await isThere()) return;
    for await (const _ of node.events({ signal: done.signal })) if (await isThere()) return;
  } finally {
    clearTimeout(late);
    clearInterval(tick);
    done.abort();
  }
  assertEquals(seen, wanted);
}

async function echoes(from: Node, to: Node, hostname: string): Promise<void> {
  using listener = to.listen({ port: 4000 });
  const served = listener.accept();
  using conn = await from.connect({ hostname, port: 4000, timeoutMs: 5000 });
  using accepted = await served;
  await accepted.write(new TextEncoder().encode("here"));
  const buffer = new Uint8Array(16);
  assertEquals(new TextDecoder().decode(buffer.subarray(0, await conn.read(buffer) ?? 0)), "here");
}

Deno.test(`${MANY} agents of one colony talk to each other directly within 10 s of the first one's start`, async () => {
  await using mesh = await startMesh(EVERYBODY);
  const names = Array.from({ length: MANY }, (_, i) => `agent${i}`);
  const [startedAt, waitedAt] = [performance.now(), waitedMs()];
  const nodes: Node[] = [];
  // All at once they would keep Discovery, on the same thread, from answering.
  for (let at = 0; at < MANY; at += 5) {
    nodes.push(...await Promise.all(names.slice(at, at + 5).map((name) => mesh.join(name))));
  }
  const joinedMs = performance.now() - startedAt;
  await Promise.all(nodes.map((node, i) => {
    const others = names.filter((name) => name !== names[i]);
    return reaches(node, [...others, "colony"], 60_000);
  }));
  const fullMs = performance.now() - startedAt;
  const otherMs = waitedMs() - waitedAt;
  const [joined, full, other] = [joinedMs, fullMs, otherMs].map((ms) => ms.toFixed(0));
  say(`${MANY} agents: registered in ${joined} ms, full mesh in ${full} ms, of which ${other} ms`);
  say("  were other programs' on the one thread that all 21 nodes and Discovery have here");
  const [first, last] = [nodes[0], nodes[MANY - 1]];
  assert(first && last);
  await echoes(first, last, `agent${MANY - 1}.reef.internal`);
  await echoes(last, first, (await first.status()).node.meshIpv4 ?? "none");
  assertEquals((await last.ping("agent0")).path.kind, "direct");
  assert(fullMs - otherMs < FULL_MESH_MS, `full mesh after ${full} ms, ${other} ms not ours`);
});

Deno.test("agents are peers of those that the policy names, and of others no more when it changes", async () => {
  await using mesh = await startMesh(
    `[[allow]]\nfrom = ["agents"]\nto = ["colony"]\n[[allow]]\nfrom = ["a"]\nto = ["b"]\n`,
  );
  const [a, b, c] = await Promise.all(["a", "b", "c"].map(mesh.join));
  assert(a && b && c);
  await reaches(a, ["b", "colony"]);
  await reaches(b, ["a", "colony"]);
  await reaches(c, ["colony"]);
  await echoes(a, b, "b");
  await assertRejects(c.connect({ hostname: "b", port: 4000, timeoutMs: 1000 }));
  await Deno.writeTextFile(
    mesh.policyFile,
    `[[allow]]\nfrom = ["agents"]\nto = ["colony"]\n[[allow]]\nfrom = ["c"]\nto = ["b"]\n`,
  );
  await reaches(c, ["b", "colony"]);
  await reaches(a, ["colony"]);
  await echoes(c, b, "b.reef.internal");
  // What is no policy leaves things as they are.
  await Deno.writeTextFile(mesh.policyFile, "nonsense = [");
  const late = await mesh.join("d");
  await reaches(late, ["colony"]);
  await reaches(c, ["b", "colony"]);
});

Deno.test("a fellow that is thrown out is cut off by every agent within 5 s", async () => {
  await using mesh = await startMesh(EVERYBODY);
  const [a, b, c] = await Promise.all(["a", "b", "c"].map(mesh.join));
  assert(a && b && c);
  await reaches(a, ["b", "c", "colony"]);
  await reaches(b, ["a", "c", "colony"]);
  const at = performance.now();
  await mesh.colony.revoke((await c.status()).node.publicKey);
  await Promise.all([reaches(a, ["b", "colony"]), reaches(b, ["a", "colony"])]);
  const ms = performance.now() - at;
  assert(ms < 5000, `cut off after ${ms.toFixed(0)} ms`);
});

Deno.test("fellows find each other again without their colony and Discovery's Watch, from what they know", async () => {
  await using mesh = await startMesh(EVERYBODY);
  const [a, b] = await Promise.all(["a", "b"].map(mesh.join));
  assert(a && b);
  await reaches(a, ["b", "colony"]);
  await mesh.colony.stop();
  await echoes(a, b, "b");
  await echoes(b, a, "a");
});
