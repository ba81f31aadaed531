/** The way back that README describes: a mesh that has signed its records goes on at a plain Coral Discovery. */
import { deepStrictEqual as assertEquals, rejects as assertRejects } from "node:assert/strict";
import { startDiscovery } from "../../discovery/mod.ts";
import { Node, type NodeOptions } from "../../mod.ts";
import { PlainCoral } from "../support/plain_coral.ts";

Deno.test("a mesh of invited nodes goes on at a plain Coral Discovery once what it knew of records is removed", async () => {
  const root = await Deno.makeTempDir();
  const states = { colony: `${root}/colony`, agent: `${root}/agent` };
  const start = (role: "colony" | "agent", options: Omit<NodeOptions, "mesh">): Promise<Node> =>
    Node.start({ mesh: "reef", role, state: states[role], portMapping: false, ...options });
  const local = { hostname: "127.0.0.1", port: 0 };
  const keyOf = async (node: Node): Promise<string> => (await node.status()).node.publicKey;
  const fetched = async (agent: Node, ms: number): Promise<string> =>
    await (await agent.fetch("http://colony/", { signal: AbortSignal.timeout(ms) })).text();
  try {
    const keys: string[] = [];
    await using coral = await PlainCoral.start();
    {
      await using discovery = await startDiscovery({
        listen: local,
        stunListen: [local],
        store: ":memory:",
        log: () => {},
      });
      await using colony = await start("colony", { discovery: discovery.url });
      colony.serve({ port: 80 }, () => new Response("inside"));
      const { invite } = await colony.invite();
      await using agent = await start("agent", { discovery: discovery.url, join: invite });
      assertEquals(await fetched(agent, 20_000), "inside");
      keys.push(await keyOf(colony), await keyOf(agent));
    }
    const discovery = coral.url;
    await Deno.remove(`${states.colony}/peers.json`);
    await using colony = await start("colony", { discovery, open: true });
    colony.serve({ port: 80 }, () => new Response("plain"));
    {
      // An agent that still knows believes what is signed, and nothing else.
      await using agent = await start("agent", { discovery });
      await assertRejects(fetched(agent, 4000));
    }
    for (const file of ["peers.json", "join.json"]) await Deno.remove(`${states.agent}/${file}`);
    await using agent = await start("agent", { discovery });
    assertEquals(await fetched(agent, 20_000), "plain");
    assertEquals([await keyOf(colony), await keyOf(agent)], keys, "the keys stay");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
