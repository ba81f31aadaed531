/** The life of a node inside a program. */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
  throws as assertThrows,
} from "node:assert/strict";
import { connectLocalApi } from "../../agent/mod.ts";
import { startDiscovery } from "../../discovery/mod.ts";
import { MorayError, Node } from "../../mod.ts";
import { startEmbeddedMesh } from "../support/embedded_mesh.ts";

Deno.test("a node tells who its peers are, how they are reached, and of every change", async () => {
  await using mesh = await startEmbeddedMesh();
  const events = mesh.colony.events();
  const other = await mesh.join({ name: "other" });
  const { rttMs, path } = await other.ping("colony", { timeoutMs: 10_000 });
  assert(rttMs !== null && rttMs > 0);
  assertEquals(path.kind, "direct");
  for await (const { name, kind, missed } of events) {
    assertEquals([kind, missed], ["direct", 0]);
    if (name === "other") break;
  }
  const names = (await mesh.colony.peers()).map(({ name }) => name);
  assert(names.includes("other"), names.join());
  const { node: { meshIpv6, publicKey } } = await other.status();
  assertEquals((await mesh.colony.whois(meshIpv6 ?? ""))?.publicKey, publicKey);
  assertEquals(await mesh.colony.whois("fd00::77"), undefined);
  await assertRejects(mesh.agent.ping("nobody"), MorayError);
});

Deno.test("a node's end is the end of what it has: servers, listeners, connections, iterations", async () => {
  await using mesh = await startEmbeddedMesh();
  const { colony, agent } = mesh;
  const server = colony.serve({ port: 80 }, () => new Response("here"));
  assertEquals(await (await agent.fetch("http://colony/")).text(), "here");
  const listener = colony.listen({ port: 81 });
  const accepting = listener.accept();
  const conn = await agent.connect({ hostname: "colony", port: 81 });
  const far = await accepting;
  const [waiting, reading] = [listener.accept(), far.read(new Uint8Array(1))];
  const ends = Promise.allSettled([waiting, reading]);
  const over = (async () => {
    for await (const _ of colony.events());
  })();
  await colony.stop();
  await Promise.all([server.finished, over, colony.finished]);
  const [accepted, read] = await ends;
  assertEquals(accepted.status, "rejected");
  assert(read.status === "rejected" || read.value === null, JSON.stringify(read));
  conn.close();
  await colony.stop();
  await assertRejects(agent.connect({ hostname: "colony", port: 81, timeoutMs: 500 }), Error);
});

Deno.test("ports: two on one are refused, as are those that are none", async () => {
  await using mesh = await startEmbeddedMesh();
  using _first = mesh.colony.listen({ port: 4000 });
  assertThrows(() => mesh.colony.listen({ port: 4000 }), Deno.errors.AddrInUse);
  assertThrows(() => mesh.colony.serve({ port: 4000 }, () => new Response()), {
    name: "AddrInUse",
  });
  assertThrows(() => mesh.colony.listen({ port: 70_000 }), /not 1 to 65535/);
  await assertRejects(mesh.agent.connect({ hostname: "colony", port: 0 }), RangeError);
  await assertRejects(mesh.agent.connect({ hostname: "nobody", port: 80 }), {
    name: "NetworkUnreachable",
    message: "No node is called nobody",
  });
});

Deno.test("with a state directory a node is the same each time, without one another", async () => {
  await using mesh = await startEmbeddedMesh();
  const state = await Deno.makeTempDir();
  const keys: string[] = [];
  for (const options of [{ state }, { state }, {}, {}]) {
    const node = await mesh.join({ name: "again", ...options });
    keys.push((await node.status()).node.publicKey);
    await node.stop();
  }
  assertEquals(keys[0], keys[1]);
  assertEquals(new Set(keys).size, 3);
  await Deno.remove(state, { recursive: true });
});

Deno.test("a signal ends a start that has not begun, and a node that runs", async () => {
  await using mesh = await startEmbeddedMesh();
  const reason = new Error("no longer wanted");
  await assertRejects(mesh.join({ signal: AbortSignal.abort(reason) }), (e) => e === reason);
  const ending = new AbortController();
  const node = await mesh.join({ name: "brief", signal: ending.signal });
  ending.abort();
  await node.finished;
});

Deno.test("a node that cannot start leaves nothing behind", async () => {
  const made: string[] = [];
  const { makeTempDir } = Deno;
  Deno.makeTempDir = async (options): Promise<string> => {
    const path = await makeTempDir(options);
    made.push(path);
    return path;
  };
  try {
    const options = { discovery: "http://127.0.0.1:9", portMapping: false };
    await assertRejects(Node.start({ mesh: "Not A Mesh", ...options }), { code: "usage" });
    await assertRejects(Node.start({ mesh: "reef", ...options }), { code: "unreachable" });
  } finally {
    Deno.makeTempDir = makeTempDir;
  }
  assertEquals(made.length, 2);
  for (const path of made) await assertRejects(Deno.stat(path), Deno.errors.NotFound);
});

Deno.test("what a node is not told of its mesh, an invite says; and it starts when it is let in", async () => {
  const local = { hostname: "127.0.0.1", port: 0 };
  await using discovery = await startDiscovery({
    listen: local,
    stunListen: [local],
    store: ":memory:",
    log: () => {},
  });
  const [state, home] = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  const common = { mesh: "reef", discovery: discovery.url, portMapping: false };
  try {
    await using colony = await Node.start({ ...common, role: "colony", open: false, state: home });
    colony.serve((_, { remoteAddr }) => new Response(remoteAddr.hostname));
    using api = await connectLocalApi(home);
    const { invite } = await api.membership.invite({ lifeMs: 60_000, name: "limpet" });
    for (const options of [{ join: invite, state }, { state }]) {
      await using node = await Node.start({ ...options, portMapping: false });
      assertEquals(node.mesh, "reef");
      const { node: { name, meshIpv6 } } = await node.status();
      assertEquals(name, "limpet");
      // At once: nobody has to wait for the name of the colony.
      assertEquals(await (await node.fetch("http://colony/")).text(), meshIpv6);
    }
  } finally {
    for (const path of [state, home]) await Deno.remove(path, { recursive: true });
  }
  await assertRejects(Node.start({ discovery: "http://127.0.0.1:9" }), {
    code: "usage",
    message: /needs mesh/,
  });
  await assertRejects(Node.start({ role: "colony", mesh: "reef" }), {
    code: "usage",
    message: /needs discovery/,
  });
});

Deno.test("a node tells the ports that the system chose for it", async () => {
  await using mesh = await startEmbeddedMesh();
  const socks5 = { hostname: "127.0.0.1", port: 0 };
  const node = await mesh.join({ name: "other", socks5 });
  assert(node.listening.some((line) => /^socks5=127\.0\.0\.1:[1-9]\d*$/.test(line)));
});
