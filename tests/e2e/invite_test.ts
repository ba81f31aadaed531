/** A closed mesh with real processes: invite, join, use again, restart, revoke. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { MAIN, readyLineOf, run, startMoray } from "../../cli/testing/program.ts";

const moray = (args: readonly string[]): ReturnType<typeof run> =>
  run(Deno.execPath(), ["run", "-A", MAIN, ...args]);

/** Processes of one test, which end with it. */
class Mesh implements AsyncDisposable {
  readonly directory: string;
  readonly #running = new Set<Deno.ChildProcess>();
  url = "";

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Starts a command, and returns its ready line. */
  async start(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<{ child: Deno.ChildProcess; line: string }> {
    const child = startMoray(args, env);
    this.#running.add(child);
    const { line, rest } = await readyLineOf(child);
    rest.catch(() => {});
    return { child, line };
  }

  async stop(child: Deno.ChildProcess): Promise<void> {
    this.#running.delete(child);
    try {
      child.kill("SIGTERM");
    } catch {
      // It has ended by itself, which the test says.
    }
    await child.status;
    await child.stdout.cancel().catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of [...this.#running]) await this.stop(child);
    await Deno.remove(this.directory, { recursive: true });
  }
}

const common = ["--no-port-mapping", "--wg-port", "0"];

async function fetchPage(socks5: string): Promise<string> {
  using client = Deno.createHttpClient({ proxy: { url: `socks5h://${socks5}` } });
  const signal = AbortSignal.timeout(4000);
  return await (await fetch("http://colony/", { client, signal })).text();
}

/** Fetches until it works or the time is over. */
async function fetchSoon(socks5: string, ms = 20_000): Promise<string> {
  const until = Date.now() + ms;
  for (;;) {
    try {
      return await fetchPage(socks5);
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const socks5Of = (line: string): string => /socks5=(\S+)/.exec(line)?.[1] ?? "";

Deno.test("an agent joins a closed mesh by an invite, once, and is thrown out for good", async (t) => {
  await using mesh = new Mesh(await Deno.makeTempDir({ prefix: "moray-invite-" }));
  const { directory } = mesh;
  await using web = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("inside"),
  );
  const discovery = await mesh.start([
    ...["discovery", "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"],
    ...["--store", `${directory}/discovery.db`],
  ]);
  const url = `http://${/http=([0-9.:]+)/.exec(discovery.line)?.[1]}`;
  const colonyArgs = [
    ...["colony", "--mesh", "reef", "--discovery", url, "--state", `${directory}/colony`],
    ...["--expose", `80:127.0.0.1:${web.addr.port}`, ...common],
  ];
  let colony = await mesh.start(colonyArgs);
  const invite = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await moray(["invite", "--state", `${directory}/colony`, ...args]);
    assertEquals([code, err], [0, ""]);
    return out.trim();
  };
  const agentArgs = (name: string, ...args: string[]): string[] => [
    ...["agent", "--state", `${directory}/${name}`, "--socks5", "127.0.0.1:0", ...common, ...args],
  ];
  const joining = await invite("--name", "laptop");
  let agent = await mesh.start(agentArgs("laptop", "--join", joining));

  await t.step("the string alone is enough", async () => {
    assertMatch(agent.line, /mesh=reef name=laptop/);
    assertEquals(await fetchSoon(socks5Of(agent.line)), "inside");
    const list = JSON.parse(await invite("--list", "--json"));
    assertEquals(list.open, false);
    assertEquals(list.invites, []);
    assertEquals(
      list.members.map(({ name, state }: { name: string; state: string }) => [name, state]),
      [["laptop", "admitted"]],
    );
    for (const file of ["colony/members.json", "laptop/join.json"]) {
      const { mode } = await Deno.stat(`${directory}/${file}`);
      assertEquals((mode ?? 0) & 0o777, 0o600, file);
    }
  });

  await t.step("the same string lets nobody else in", async () => {
    const { code, err } = await moray(agentArgs("thief", "--join", joining));
    assertEquals(code, 8, err);
    const last = err.trim().split("\n").at(-1) ?? "";
    assertMatch(last, /^moray: .*invite .*: ask for another one/);
    assert(!err.includes(joining.slice(20)), "the string is in no message");
    assertEquals(await fetchPage(socks5Of(agent.line)), "inside");
  });

  await t.step("without an invite nobody comes in", async () => {
    const args = agentArgs("stranger", "--mesh", "reef", "--discovery", url);
    const { code, err } = await moray(args);
    assertEquals(code, 8, err);
    assertMatch(err, /mesh reef is closed: an invite of its colony is needed/);
  });

  await t.step("the agent starts again without the string", async () => {
    await mesh.stop(agent.child);
    agent = await mesh.start(agentArgs("laptop"));
    assertEquals(await fetchSoon(socks5Of(agent.line)), "inside");
    const kept = await Deno.readTextFile(`${directory}/laptop/join.json`);
    const { invite: text } = JSON.parse(kept);
    const value = JSON.parse(
      new TextDecoder().decode(
        Uint8Array.fromBase64(text.split(".")[1], { alphabet: "base64url" }),
      ),
    );
    assertMatch(value.s, /^A+=$/);
  });

  await t.step("who is thrown out is cut off at once", async () => {
    const { code, err } = await moray(["revoke", "laptop", "--state", `${directory}/colony`]);
    assertEquals([code, err], [0, ""]);
    const from = Date.now();
    for (;;) {
      const reached = await fetchPage(socks5Of(agent.line)).then(() => true, () => false);
      if (!reached) break;
      assert(Date.now() < from + 5000, "cut off within 5 s");
    }
  });

  await t.step("and stays out, whoever starts again", async () => {
    await mesh.stop(colony.child);
    colony = await mesh.start(colonyArgs);
    await mesh.stop(agent.child);
    const { code, err } = await moray(agentArgs("laptop"));
    assertEquals(code, 8, err);
    assertMatch(err, /has thrown this node out/);
  });

  await t.step("a new invite lets it in again", async () => {
    agent = await mesh.start(agentArgs("laptop", "--join", await invite()));
    assertEquals(await fetchSoon(socks5Of(agent.line)), "inside");
  });
});
