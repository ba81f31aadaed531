/** The demo as a person runs it, and the commands that look at its nodes. */
import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import type { NodeStatus, PeerStatus } from "../agent/mod.ts";
import { MAIN, moray, readyLineOf, run, startMoray } from "./testing/program.ts";

/** Longest demo in milliseconds. */
const DEMO_MS_MAX = 10_000;

Deno.test("the demo fetches the page over a direct path and leaves nothing behind", async () => {
  const directory = await Deno.makeTempDir({ prefix: "moray-cli-test-" });
  try {
    const startedAt = performance.now();
    const { code, out, err } = await run(Deno.execPath(), ["run", "-A", MAIN, "demo"], {
      env: { TMPDIR: directory },
    });
    assertEquals([code, err], [0, ""], out);
    ok(performance.now() - startedAt < DEMO_MS_MAX, "the demo takes less than 10 s");
    assertEquals(out.match(/^ {2}✓ .*\d m?s$/gm)?.length, 7, out);
    ok(/The path: {2}direct \S+:\d+, round trip \d+(\.\d+)? ms\n/.test(out), out);
    ok(/│ Ticket of this visit: [0-9a-f]{8} +│/.test(out), out);
    assertEquals(await Array.fromAsync(Deno.readDir(directory)), []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test({
  name: "demo --keep answers status, peers and ping, and cleans up on SIGTERM",
  // Windows knows no SIGTERM.
  ignore: Deno.build.os === "windows",
  async fn(): Promise<void> {
    const directory = await Deno.makeTempDir({ prefix: "moray-cli-test-" });
    const child = startMoray(["demo", "--keep"], { TMPDIR: directory });
    const output = new Response(child.stdout).text();
    try {
      const { line, rest } = await readyLineOf(child);
      ok(/^ready demo socks5=127\.0\.0\.1:\d+ web=127\.0\.0\.1:\d+$/.test(line), line);
      const [parent] = await Array.fromAsync(Deno.readDir(directory));
      await lookAt(`${directory}/${parent?.name}/agent`);
      child.kill("SIGTERM");
      const { code } = await child.status;
      assertEquals([code, await rest], [0, ""], await output);
      assertEquals(await Array.fromAsync(Deno.readDir(directory)), []);
    } finally {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already, as it should.
      }
      await output;
      await Deno.remove(directory, { recursive: true });
    }
  },
});

/** Asks a running agent in every way that the command line has. */
async function lookAt(state: string): Promise<void> {
  const status = await moray("status", "--state", state, "--json");
  assertEquals([status.code, status.err], [0, ""]);
  const { node, discovery, peers } = JSON.parse(status.out) as NodeStatus;
  assertEquals([node.name, discovery?.connected], ["agent", true]);
  assertEquals(peers.map(({ name, path }) => [name, path.kind]), [["colony", "direct"]]);

  const table = await moray("status", "--state", state);
  ok(/^Node +agent /m.test(table.out), table.out);
  ok(/^colony .* direct +\S+:\d+ /m.test(table.out), table.out);

  const list = await moray("peers", "--state", state, "--json");
  const [peer] = JSON.parse(list.out) as PeerStatus[];
  assertEquals([list.code, peer?.publicKey], [0, peers[0]?.publicKey]);

  const ping = await moray("ping", "colony", "--state", state, "--count", "2", "--interval", "10");
  assertEquals([ping.code, ping.err], [0, ""]);
  ok(/^reply from colony: seq=1 direct \S+:\d+ time=\d+(\.\d+)? ms\n/.test(ping.out));
  ok(/^2 sent, 2 received, 0 % lost, min\/avg\/max /m.test(ping.out), ping.out);

  const stranger = await moray("ping", "nobody", "--state", state);
  assertEquals([stranger.code, stranger.out], [7, ""]);
  ok(/^moray: [^\n]*nobody[^\n]*\n$/.test(stranger.err), stranger.err);
}
