/** Every way in and out of the mesh between real processes on 127.0.0.1: two agents of a closed mesh under a policy. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import type { NodeStatus } from "../../agent/status.ts";
import { type Output, run } from "../support/child.ts";
import { aloneBinary, Moray, moray, type Program, SOURCE } from "../support/moray.ts";
import { startWebServer } from "../support/http.ts";
import { urlOf } from "../support/mesh.ts";
import { type Need, ROOT } from "../support/needs.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

const PASSWORD = "correct horse";
/** `walker` may open the web port and the echo of `server`, and nobody anything else of it. */
const NARROW = `
[[allow]]
from = ["agents"]
to = ["colony"]

[[allow]]
from = ["walker"]
to = ["server"]
ports = ["tcp/80", "udp/7"]
`;
/** Port 81 too. */
const WIDER = NARROW.replace('"udp/7"', '"udp/7", "tcp/81"');

/** Answers each datagram with itself in capitals. */
function startUpperCase(scope: Scope): number {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const answering = (async () => {
    for await (const [payload, from] of socket) {
      const text = new TextDecoder().decode(payload).toUpperCase();
      await socket.send(new TextEncoder().encode(text), from);
    }
  })();
  scope.defer(async () => {
    socket.close();
    await answering;
  });
  return (socket.addr as Deno.NetAddr).port;
}

/** Sends a datagram, again until it is answered: the first may come before there is a path. */
async function ask(scope: Scope, to: string, text: string): Promise<string> {
  const { hostname, port } = new URL(`udp://${to}`);
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  scope.defer(() => socket.close());
  const answer = socket.receive();
  let heard: string | undefined;
  answer.then(([bytes]) => heard = new TextDecoder().decode(bytes), () => {});
  return await eventually("an answer by UDP", async () => {
    const at = { transport: "udp", hostname, port: Number(port) } as const;
    if (heard === undefined) await socket.send(new TextEncoder().encode(text), at);
    return heard;
  });
}

function curl(...args: readonly string[]): Promise<Output> {
  return run(["curl", "-sS", "--max-time", "5", ...args], { timeoutMs: 10_000 });
}

/** Fetches until it works. */
function page(...args: readonly string[]): Promise<string> {
  return eventually(`curl ${args.join(" ")}`, async () => {
    const { code, stdout } = await curl(...args);
    return code === 0 ? stdout : undefined;
  }, { timeoutMs: 20_000 });
}

function waysTests(
  makeProgram: (scope: Scope) => Program,
  { title, needs }: { title: string; needs: readonly Need[] },
): void {
  e2e(
    `${title}, loopback: every way into the mesh leads from agent to agent, and only where the policy says`,
    {
      needs: [...needs, "curl", "python3"],
      timeoutMs: 120_000,
    },
    async (scope) => {
      const program = makeProgram(scope);
      const start = async (...args: readonly string[]): Promise<Moray> => {
        const node = scope.use(await Moray.start(args, { program }));
        scope.explain(() => Promise.resolve(`--- ${args[0]}\n${node.child.log.slice(-3_000)}`));
        return node;
      };
      const [colonyState, walkerState, serverState, files] = [
        scope.directory(),
        scope.directory(),
        scope.directory(),
        scope.directory(),
      ];
      const policy = `${files}/policy.toml`;
      await Deno.writeTextFile(policy, NARROW);
      await Deno.writeTextFile(`${files}/password`, `${PASSWORD}\n`);
      const statusOf = async (state: string): Promise<NodeStatus> => {
        const { code, stdout, stderr } = await moray(["status", "--json", "--state", state], {
          program,
        });
        assertEquals(code, 0, stderr);
        return JSON.parse(stdout) as NodeStatus;
      };
      const invite = async (name: string): Promise<string> => {
        const args = ["invite", "--state", colonyState, "--name", name];
        const { code, stdout, stderr } = await moray(args, { program });
        assertEquals(code, 0, stderr);
        return stdout.trim();
      };
      const discovery = await start(
        ...["discovery", "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"],
        ...["--store", ":memory:"],
      );
      const startColony = (): Promise<Moray> =>
        start(
          ...["colony", "--mesh", "reef", "--discovery", urlOf(discovery), "--state", colonyState],
          ...["--policy", policy, "--no-port-mapping"],
        );
      let colony = await startColony();

      // Who is invited waits for a colony that is away, and says so.
      const invites = [await invite("walker"), await invite("server")] as const;
      assertEquals(await colony.stop(), 0);
      const web = await startWebServer(scope);
      const server = await start(
        ...["agent", "--join", invites[1], "--state", serverState, "--no-port-mapping"],
        ...["--expose", `80:${web}`, "--expose", `81:${web}`],
        ...["--expose", `7:127.0.0.1:${startUpperCase(scope)}/udp`],
        ...["--expose", `82:unix:${files}/service.sock`],
      );
      await server.child.line(/info waiting for the colony to let this node in/);
      colony = await startColony();
      await server.child.line(/info the colony has let this node in/);

      const walker = await start(
        ...["agent", "--join", invites[0], "--state", walkerState, "--no-port-mapping"],
        ...["--socks5", "127.0.0.1:0", "--socks5-user", "me"],
        ...["--socks5-password-file", `${files}/password`, "--http-proxy", "127.0.0.1:0"],
        ...["--forward", "127.0.0.1:0:server.reef.internal:80"],
        ...["--forward", `unix:${files}/web.sock:server:80`],
        ...["--forward", "127.0.0.1:0:server:7/udp"],
      );
      const socks5 = walker.address("socks5");
      const proxy = ["-x", `http://${walker.address("http-proxy")}`];
      const socks = (user: string): string[] => ["-x", `socks5h://${user}@${socks5}`];
      const mine = socks(`me:${encodeURIComponent(PASSWORD)}`);
      const [forward = "", unix = "", udp = ""] = walker.addresses("forward");
      assertEquals(unix, `unix:${files}/web.sock`);
      const hello = await page(`http://${web}/hello`);

      // By name, through each.
      for (const host of ["server", "server.reef.internal", "SERVER.reef.internal."]) {
        assertEquals(await page(...mine, `http://${host}/hello`), hello, host);
        assertEquals(await page(...proxy, `http://${host}/hello`), hello, host);
        assertEquals(await page(...proxy, "-p", `http://${host}/hello`), hello, host);
      }
      assertEquals(await page(`http://${forward}/hello`), hello);
      assertEquals(await page("--unix-socket", `${files}/web.sock`, "http://any/hello"), hello);
      assertEquals(((await Deno.stat(`${files}/web.sock`)).mode ?? 0) & 0o777, 0o600);
      assertEquals(await ask(scope, udp.replace(/\/udp$/, ""), "echo"), "ECHO");
      const client = [`${ROOT}agent/testing/socks5_client.py`, socks5.split(":")[1] ?? ""];
      const answer = await run(["python3", ...client, "server", "7", "datagram", "me", PASSWORD]);
      assertMatch(answer.stdout, /DATAGRAM/, answer.stderr);

      // Strangers to the proxy, and names of nobody.
      for (const args of [socks("me:hunter2"), ["-x", `socks5h://${socks5}`]]) {
        const { code, stderr } = await curl(...args, "http://server/hello");
        assertEquals(code, 97, stderr);
      }
      const nobody = await curl(...proxy, "-w", "%{http_code}", "http://nobody.reef.internal/");
      assertMatch(nobody.stdout, /nobody[^]*502$/);
      const nobodyBySocks = await curl(...mine, "http://nobody/");
      assertEquals(nobodyBySocks.code, 97, nobodyBySocks.stderr);

      // What is not allowed is refused where it arrives, and both ends say why.
      const denied = await curl(...proxy, "-w", "%{http_code}", "http://server:81/hello");
      assertMatch(denied.stdout, /policy[^]*502$/);
      await server.child.line(/refused .*tcp\/81.* from walker: policy/);
      const { peers } = await statusOf(serverState);
      const refused = peers.find(({ name }) => name === "walker")?.refused;
      assert((refused?.policy ?? 0) > 0, "the refusal is in the status");
      const shown = await moray(["status", "--state", serverState], { program });
      assertMatch(shown.stdout, /refused by policy: .*tcp\/81/);

      // A file that says nothing is kept out; a new one takes effect at once.
      await Deno.writeTextFile(policy, "[[allow]]\nfrom = 7\n");
      await colony.child.line(/error .*policy\.toml.*/);
      assertEquals(await page(...mine, "http://server/hello"), hello);
      await Deno.writeTextFile(policy, WIDER);
      assertEquals(await page(...proxy, "-f", "http://server:81/hello"), hello);

      // A local service on a unix socket, allowed by then.
      const service = Deno.serve({ path: `${files}/service.sock`, onListen: () => {} }, () => {
        return new Response("by a unix socket");
      });
      scope.defer(() => service.shutdown());
      await Deno.writeTextFile(policy, WIDER.replace('"tcp/81"', '"tcp/82"'));
      assertEquals(await page(...proxy, "-f", "http://server:82/"), "by a unix socket");
      await eventually("port 81 to be closed again", async () => {
        const { stdout } = await curl(...proxy, "-w", "%{http_code}", "http://server:81/hello");
        return /502$/.test(stdout) || undefined;
      });

      const logs = [walker, server, colony].map(({ child }) => child.log).join("\n");
      assert(!logs.includes(PASSWORD) && !logs.includes("hunter2"), "no password is in a log");
      for (const node of [walker, server, colony, discovery]) assertEquals(await node.stop(), 0);
    },
  );
}

waysTests(() => SOURCE, { title: "source", needs: ["full"] });
waysTests(aloneBinary, { title: "binary", needs: ["full", "binary"] });
