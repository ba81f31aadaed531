/** The programs of `examples/`, as processes, against real ones. */
import {
  deepStrictEqual as assertEquals,
  doesNotMatch,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { createHash } from "node:crypto";
import { block, MIB, sha256Of, testSha256, testStream } from "./support/bytes.ts";
import { Child, run } from "./support/child.ts";
import { ExampleMesh } from "./support/example_mesh.ts";
import { postgresFolder, which } from "./support/needs.ts";
import { PostgresServer } from "./support/postgres.ts";
import { e2e, eventually, type Scope } from "./support/scope.ts";
import { startWebServer } from "./support/http.ts";

const TIMEOUT_MS = 90_000;

/** An example that is to end by itself: its whole output. */
async function finished(child: Child): Promise<string> {
  const { code } = await child.exited;
  assertEquals(code, 0, child.log);
  return child.log;
}

/** An example that serves ends in order when it is told to. */
async function stopped(child: Child): Promise<void> {
  assertEquals(await child.stop(), 0, child.log);
}

e2e(
  "hello joins a closed mesh by an invite, and again without a new one",
  { needs: ["root"], timeoutMs: TIMEOUT_MS },
  async (scope) => {
    const mesh = await ExampleMesh.start(scope);
    const { namespace } = mesh.island;
    const web = await startWebServer(scope, { namespace });
    const state = await mesh.closedColony("--expose", `80:${web}`);
    const invite = await mesh.invite(state);
    const cwd = scope.directory();
    // The second time it belongs to the mesh, and the invite is of no use any more.
    for (let time = 1; time <= 2; time++) {
      const hello = mesh.exampleIn(cwd, "hello.ts", invite);
      // The web server's answer to a path that it does not know.
      assertEquals(await finished(hello), "not found");
    }
    const stranger = mesh.example("hello.ts", invite);
    assert((await stranger.exited).code !== 0, "an invite is good for one node");
    doesNotMatch(stranger.log, /not found/);
  },
);

e2e(
  "a ConnectRPC client calls a service of the colony over the tunnel, streams included",
  { needs: ["root"], timeoutMs: TIMEOUT_MS },
  async (scope) => {
    const mesh = await ExampleMesh.start(scope);
    const colony = mesh.example("rpc/colony.ts", mesh.discovery);
    await colony.line(/^ready/);
    const agent = mesh.example("rpc/agent.ts", mesh.discovery, "limpet");
    assertEquals(await finished(agent), "Hello yourself, limpet\n10 cm\n20 cm\n30 cm");
    await stopped(colony);
  },
);

e2e(
  "a local web app is reached through the mesh by curl over SOCKS5, and from nowhere else",
  { needs: ["full", "root", "curl"], timeoutMs: TIMEOUT_MS },
  async (scope) => {
    const mesh = await ExampleMesh.start(scope);
    const { namespace } = mesh.island;
    const web = await startWebServer(scope, { namespace });
    const expose = mesh.example("expose.ts", mesh.discovery, web.split(":")[1] ?? "");
    await expose.line(/^ready/);
    const joining = ["--mesh", "reef", "--discovery", mesh.discovery];
    const state = ["--state", scope.directory()];
    await mesh.moray("agent", ...joining, ...state, "--socks5", "127.0.0.1:1080");
    const curl = ["curl", "-q", "-sS", "-m", "20", "--socks5-hostname", "127.0.0.1:1080"];
    for (const host of ["colony", "colony.reef.internal"]) {
      const answer = await run([...curl, `http://${host}/hello`], { namespace });
      assertEquals(answer, { code: 0, stdout: "hello from behind the colony\n", stderr: "" });
    }
    const direct = await run(["curl", "-q", "-sS", "-m", "5", "http://203.0.113.7/hello"], {
      namespace,
    });
    assertEquals([direct.code, direct.stdout], [7, ""]);
    await stopped(expose);
  },
);

e2e(
  "a file arrives whole, with a progress bar, and a name does not lead out of the folder",
  { needs: ["full", "root"], timeoutMs: TIMEOUT_MS },
  async (scope) => {
    const mesh = await ExampleMesh.start(scope);
    const [folder, source] = [scope.directory(), `${scope.directory()}/whale.bin`];
    await Deno.writeFile(source, testStream(8 * MIB));
    const receiver = mesh.example("file_transfer.ts", "receive", mesh.discovery, folder);
    await receiver.line(/^ready/);
    const sender = mesh.example("file_transfer.ts", "send", mesh.discovery, source);
    const log = await finished(sender);
    assertMatch(log, /^whale\.bin arrived whole$/m);
    const bars = log.split(/[\r\n]/).filter((line) => line.startsWith("["));
    assert(bars.length > 10, `the bar moves: ${bars.length}`);
    assertEquals(bars.at(-1), `[${"#".repeat(30)}] 100 %  8.0 of 8.0 MiB`);
    using arrived = await Deno.open(`${folder}/whale.bin`);
    const expected = { sha256: testSha256(8 * MIB), bytes: 8 * MIB };
    assertEquals(await sha256Of(arrived.readable), expected);
    await receiver.line(/^whale\.bin 8388608 bytes$/);
    // It is there already, and is not written over.
    const again = mesh.example("file_transfer.ts", "send", mesh.discovery, source);
    assert((await again.exited).code !== 0, again.log);
    await receiver.line(/^not received: .*exists/);
    await stopped(receiver);
  },
);

e2e(
  "psql reaches a PostgreSQL database through a forward, and its exit status comes back",
  { needs: ["full", "root", "postgres"], timeoutMs: TIMEOUT_MS },
  async (scope) => {
    const mesh = await ExampleMesh.start(scope);
    const { namespace } = mesh.island;
    const postgres = scope.use(await PostgresServer.start({ namespace }));
    const state = await mesh.closedColony("--expose", `5432:127.0.0.1:${postgres.port}`);
    const psql = which("psql") ?? `${postgresFolder()}/psql`;
    const ask = async (sql: string): Promise<{ code: number; log: string }> => {
      const url = `postgres:///postgres?user=moray&password=${
        encodeURIComponent(postgres.password)
      }`;
      const words = [psql, "-X", "-At", "-v", "ON_ERROR_STOP=1", url, "-c", sql];
      const child = mesh.example("database.ts", await mesh.invite(state), ...words);
      return { code: (await child.exited).code, log: child.log };
    };
    const rows = "SELECT sum(n), md5(string_agg(n::text, ',')) FROM generate_series(1, 100000) n";
    const all = Array.from({ length: 100_000 }, (_, i) => i + 1).join();
    const md5 = createHash("md5").update(all).digest("hex");
    assertEquals(await ask(rows), { code: 0, log: `5000050000|${md5}` });
    // More than fits in any buffer on the way.
    const many = await ask("SELECT n FROM generate_series(1, 200000) n");
    assertEquals([many.code, many.log.split("\n").length], [0, 200_000]);
    const wrong = await ask("SELECT nothing");
    assertEquals(wrong.code, 1, wrong.log);
    assertMatch(wrong.log, /column "nothing" does not exist/);
  },
);

/** A server of OpenSSH's that lets in one key, as a user of this machine. */
async function startSshd(
  scope: Scope,
  namespace: string,
): Promise<{ readonly port: number; readonly key: string; readonly knownHosts: string }> {
  const folder = scope.directory();
  const keygen = (file: string): Promise<unknown> =>
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", `${folder}/${file}`]);
  await Promise.all([keygen("host"), keygen("user")]);
  await Deno.copyFile(`${folder}/user.pub`, `${folder}/authorized_keys`);
  const port = 2222;
  const settings = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${folder}/host`,
    `PidFile ${folder}/pid`,
    `AuthorizedKeysFile ${folder}/authorized_keys`,
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "UsePAM no",
    "Subsystem sftp internal-sftp",
    // The folder of a test belongs to another user than /root's checks expect.
    "StrictModes no",
  ];
  await Deno.writeTextFile(`${folder}/sshd_config`, `${settings.join("\n")}\n`);
  // Where it keeps what it leaves without privileges, which no start script has made here.
  await Deno.mkdir("/run/sshd", { recursive: true });
  const command = [which("sshd") ?? "sshd", "-D", "-e", "-f", `${folder}/sshd_config`];
  const sshd = scope.use(new Child(command, { namespace }));
  await sshd.line(/Server listening/);
  const [algorithm, hostKey] = (await Deno.readTextFile(`${folder}/host.pub`)).split(" ");
  const knownHosts = `${folder}/known_hosts`;
  await Deno.writeTextFile(knownHosts, `colony ${algorithm} ${hostKey}\n`);
  return { port, key: `${folder}/user`, knownHosts };
}

e2e(
  "OpenSSH logs in through the SOCKS5 port, checks the host's key, and copies a file",
  { needs: ["full", "root", "sshd", "ssh", "nc"], timeoutMs: TIMEOUT_MS },
  async (scope) => {
    const mesh = await ExampleMesh.start(scope);
    const { namespace } = mesh.island;
    const { port, key, knownHosts } = await startSshd(scope, namespace);
    const state = await mesh.closedColony("--expose", `22:127.0.0.1:${port}`);
    const joining = ["--join", await mesh.invite(state), "--state", scope.directory()];
    await mesh.moray("agent", ...joining, "--socks5", "127.0.0.1:1080");
    const options = [
      ...["-F", "none", "-i", key, "-o", `UserKnownHostsFile=${knownHosts}`],
      ...["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"],
      ...["-o", "ProxyCommand=nc -X 5 -x 127.0.0.1:1080 %h %p"],
    ];
    const said = await run(["ssh", ...options, "root@colony", "echo $SSH_CONNECTION; exit 3"], {
      namespace,
    });
    assertEquals(said.code, 3, said.stderr);
    assertMatch(said.stdout, /^127\.0\.0\.1 \d+ 127\.0\.0\.1 2222$/m);
    const [from, to] = [`${scope.directory()}/from`, `${scope.directory()}/to`];
    await Deno.writeFile(from, block(1));
    const copied = await run(["scp", ...options, from, `root@colony:${to}`], { namespace });
    assertEquals(copied.code, 0, copied.stderr);
    assertEquals(await Deno.readFile(to), await Deno.readFile(from));
  },
);

e2e(
  "a browser looks at a page of node.serve through the SOCKS5 port, WebSocket included",
  { needs: ["full", "root", "chromium"], timeoutMs: TIMEOUT_MS },
  async (scope) => {
    const { startChromium } = await import("./support/browser.ts");
    const mesh = await ExampleMesh.start(scope);
    const serve = mesh.example("serve.ts", mesh.discovery);
    await serve.line(/^ready/);
    const joining = ["--mesh", "reef", "--discovery", mesh.discovery, "--name", "limpet"];
    const state = ["--state", scope.directory()];
    await mesh.moray("agent", ...joining, ...state, "--socks5", "127.0.0.1:1080");
    const browser = await startChromium(scope, {
      namespace: mesh.island.namespace,
      proxy: "socks5://127.0.0.1:1080",
    });
    const page = await browser.newPage();
    await page.goto("http://colony.reef.internal/");
    assertEquals(await page.textContent("h1"), "Hello, limpet");
    const counted = await eventually("the page to count", async () => {
      const text = await page.textContent("output");
      return Number(text) >= 3 ? Number(text) : undefined;
    });
    assert(counted >= 3);
    const response = await page.goto("http://colony/nowhere");
    assertEquals(response?.status(), 404);
    await page.close();
    await stopped(serve);
  },
);
