/** The test mesh, by tests that its users could have written. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
  throws as assertThrows,
} from "node:assert/strict";
import type { MeshConn, Node } from "../../mod.ts";
import { TestMesh, type TestMeshOptions } from "../../testing.ts";

const QUIET = { permissions: "none" } as const;

/** A pair of connected ends. */
async function connected(
  mesh: TestMesh,
  from = "agent",
  to = "colony",
): Promise<[MeshConn, MeshConn]> {
  using listener = mesh.node(to).listen({ port: 7 });
  return await Promise.all([
    mesh.node(from).connect({ hostname: to, port: 7 }),
    listener.accept(),
  ]);
}

async function readAll(conn: MeshConn): Promise<Uint8Array> {
  return new Uint8Array(await new Response(conn.readable).arrayBuffer());
}

async function writeAll(conn: MeshConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

Deno.test("nodes talk without any permission, and time is what the links take", QUIET, async () => {
  await using mesh = await TestMesh.start({ link: { delayMs: 40 } });
  const [near, far] = await connected(mesh);
  assertEquals(mesh.now, 80);
  await writeAll(near, new TextEncoder().encode("hello"));
  const buffer = new Uint8Array(9);
  assertEquals(await far.read(buffer), 5);
  assertEquals(mesh.now, 120);
  await near.closeWrite();
  assertEquals(await far.read(buffer), null);
  assertEquals((await mesh.node("agent").ping("colony")).rttMs, 80);
  const { node, peers: [peer] } = await mesh.node("agent").status();
  assertEquals([peer?.name, peer?.path.kind, peer?.txBytes, peer?.rxBytes], [
    "colony",
    "direct",
    5,
    0,
  ]);
  const { remoteAddr } = far;
  assertEquals(remoteAddr.hostname, node.meshIpv6);
  assertEquals((await mesh.node("colony").whois(remoteAddr.hostname))?.name, "agent");
});

Deno.test(
  "a mebibyte arrives whole over a link that loses and delays, the same for each seed",
  QUIET,
  async () => {
    const bytes = new Uint8Array(1 << 20).map((_, i) => i * 31 + (i >> 8));
    const run = async (seed: number): Promise<number> => {
      const link = { delayMs: 20, jitterMs: 30, loss: 0.1 };
      await using mesh = await TestMesh.start({ link, seed });
      const [near, far] = await connected(mesh);
      const reading = readAll(far);
      await writeAll(near, bytes);
      await near.closeWrite();
      assertEquals(await reading, bytes);
      return mesh.now;
    };
    const [first, again, other] = [await run(1), await run(1), await run(2)];
    assertEquals(first, again);
    assert(first !== other, "another seed is another world");
    // 1 MiB in windows of 64 KiB, each a round trip, and some of them lost.
    assert(first > 16 * 40 + 200, `${first} ms`);
  },
);

Deno.test("who does not read makes the other wait", QUIET, async () => {
  await using mesh = await TestMesh.start();
  const [near, far] = await connected(mesh);
  let written = 0;
  const writing = (async () => {
    while (written < 300_000) written += await near.write(new Uint8Array(20_000));
  })();
  await mesh.sleep(1000);
  assertEquals(written, 65_536);
  far[Symbol.dispose]();
  await assertRejects(writing, Deno.errors.ConnectionReset);
});

Deno.test(
  "errors are Deno's: nobody listens, nobody is called so, a port is taken, a reset, a stop",
  QUIET,
  async () => {
    await using mesh = await TestMesh.start({ nodes: ["colony", "a"] });
    const [colony, a] = [mesh.node("colony"), mesh.node("a")];
    await assertRejects(a.connect({ hostname: "colony", port: 9 }), Deno.errors.ConnectionRefused);
    await assertRejects(a.connect({ hostname: "x", port: 9 }), Deno.errors.NetworkUnreachable);
    using _listener = colony.listen({ port: 9 });
    assertThrows(() => colony.listen({ port: 9 }), Deno.errors.AddrInUse);
    const [near, far] = await connected(mesh, "a");
    await writeAll(near, Uint8Array.of(1, 2));
    await mesh.sleep(10);
    near.abort();
    await mesh.sleep(10);
    // What had arrived comes first.
    assertEquals(await far.read(new Uint8Array(5)), 2);
    await assertRejects(far.read(new Uint8Array(5)), Deno.errors.ConnectionReset);
    const [, open] = await connected(mesh, "a");
    await a.stop();
    await assertRejects(open.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
    await assertRejects(colony.connect({ hostname: "a", port: 7 }), Deno.errors.NetworkUnreachable);
    assertEquals(await colony.peers(), []);
  },
);

Deno.test(
  "a cut link: what was said waits, new connections and echoes time out, events tell",
  QUIET,
  async () => {
    await using mesh = await TestMesh.start({ nodes: ["colony", "a", "b"] });
    const events = mesh.node("colony").events();
    const [near, far] = await connected(mesh, "a");
    mesh.cut("a", "colony");
    await writeAll(near, Uint8Array.of(7));
    const asked = mesh.now;
    await assertRejects(
      mesh.node("a").connect({ hostname: "colony", port: 7 }),
      Deno.errors.TimedOut,
    );
    assertEquals(mesh.now, asked + 30_000);
    const { rttMs, path, reason } = await mesh.node("a").ping("colony");
    assertEquals([rttMs, path.kind, reason], [null, "none", "the link is cut"]);
    // The others do not mind.
    assertEquals((await mesh.node("b").ping("colony")).rttMs, 2);
    mesh.mend("a", "colony");
    const buffer = new Uint8Array(4);
    assertEquals([await far.read(buffer), buffer[0]], [1, 7]);
    const told: string[] = [];
    for await (const { name, kind } of events) {
      told.push(`${name} ${kind}`);
      if (told.length === 2) break;
    }
    assertEquals(told, ["a none", "a direct"]);
  },
);

Deno.test(
  "time stands still where it is told to, and a program's own timeouts can be tried",
  QUIET,
  async () => {
    await using mesh = await TestMesh.start({ link: { delayMs: 100 }, time: "manual" });
    using listener = mesh.node("colony").listen({ port: 7 });
    const accepting = listener.accept();
    let known = false;
    const connecting = mesh.node("agent").connect({ hostname: "colony", port: 7 });
    void connecting.then(() => known = true);
    await mesh.advance(199);
    assertEquals([mesh.now, known], [199, false]);
    await mesh.advance(1);
    assertEquals([mesh.now, known], [200, true]);
    await (await accepting).closeWrite();
    const reason = new Error("too slow");
    const stopping = new AbortController();
    const given = mesh.node("agent").connect({
      hostname: "colony",
      port: 7,
      signal: stopping.signal,
    });
    stopping.abort(reason);
    await assertRejects(given, (error) => error === reason);
    await mesh.advance(1000);
  },
);

Deno.test("nodes come later, links change, and what cannot be is refused", QUIET, async () => {
  await using mesh = await TestMesh.start({ nodes: ["colony"], mesh: "reef" });
  const late: Node = await mesh.join("late");
  mesh.link("late", "colony", { delayMs: 7 });
  assertEquals((await late.ping("colony.reef.internal")).rttMs, 14);
  const ipv4 = (await mesh.node("colony").status()).node.meshIpv4;
  assertMatch(ipv4 ?? "", /^10\.42\.0\.1$/);
  assertEquals((await late.ping(ipv4 ?? "")).rttMs, 14);
  await assertRejects(late.invite(), { code: "unsupported" });
  await assertRejects(mesh.join("late"), /already/);
  await assertRejects(mesh.join("No Name"), /Not a node name/);
  assertThrows(() => mesh.node("nobody"), /no node called nobody/);
  assertThrows(() => mesh.link("late", "late", {}), /no link/);
  assertThrows(() => mesh.link("late", "colony", { loss: 1 }), /loss is 1/);
  assertThrows(() => mesh.link("late", "colony", { delayMs: -1 }), /delayMs is -1/);
  const wrong: TestMeshOptions = { link: { loss: NaN } };
  await assertRejects(TestMesh.start(wrong), /loss is NaN/);
});

Deno.test("HTTP: serve and fetch, with the permission for both, over a slow link", {
  permissions: { net: ["127.0.0.1", "colony:80"] },
}, async () => {
  await using mesh = await TestMesh.start({ nodes: ["colony", "limpet"], link: { delayMs: 500 } });
  const colony = mesh.node("colony");
  colony.serve(async (request, { remoteAddr }) => {
    const peer = await colony.whois(remoteAddr.hostname);
    return new Response(`${peer?.name} sent ${await request.text()}`);
  });
  const from = performance.now();
  const response = await mesh.node("limpet").fetch("http://colony/", {
    method: "POST",
    body: "a shell",
  });
  assertEquals(await response.text(), "limpet sent a shell");
  assert(mesh.now >= 2000, `two round trips at least: ${mesh.now}`);
  assert(performance.now() - from < 1900, "nobody waits for them");
});

Deno.test(
  "whoever connects or pings from a node that stops hears of it, though time stands still",
  QUIET,
  async () => {
    await using mesh = await TestMesh.start({ time: "manual" });
    const node = mesh.node("agent");
    using listener = mesh.node("colony").listen({ port: 7 });
    const connecting = node.connect({ hostname: "colony", port: listener.addr.port });
    const pinging = node.ping("colony");
    const refused = assertRejects(connecting);
    const unanswered = assertRejects(pinging);
    await node.stop();
    await Promise.all([refused, unanswered]);
  },
);
