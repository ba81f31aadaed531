/** Networks that pass little: which way to the relay is found, and how soon. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { Child } from "../support/child.ts";
import { Moray, SOURCE } from "../support/moray.ts";
import { Lab } from "../support/natlab.ts";
import { startNatWorld } from "../support/nat_mesh.ts";
import { ROOT } from "../support/needs.ts";
import { say } from "../support/say.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";
import { selfSigned } from "../support/turn.ts";

const PORT = 3480;
const TLS_PORT = 5349;
const PROXY_PORT = 3128;
const SECRET = "of the lab";
const DELAY = "delay=10ms";
/** How soon a way is there once the node runs. What the process takes until then is a matter of the machine. */
const READY_MS_MAX = 3_000;

/** Only Discovery and the proxy can be reached. */
const PROXIED = `httponly,tcpports=80+${PROXY_PORT}`;

interface Case {
  readonly name: string;
  readonly colony: string;
  readonly agent: string;
  /** Ways to the relay that Discovery tells of besides UDP. */
  readonly ways: (address: string) => readonly string[];
  readonly by: "tls" | "websocket";
}

const tls443 = (address: string): string[] => [`turns:${address}:443`];
const web443 = (address: string): string[] => [
  `turn:${address}:${PORT}?transport=tcp`,
  `turns:${address}:${TLS_PORT}`,
  `wss://${address}/turn`,
];

const CASES: readonly Case[] = [
  {
    name: "no UDP, and TCP to 443 alone: TLS",
    colony: "fullcone",
    agent: "udpblocked,tcpports=80+443",
    ways: (address) => [`turn:${address}:${PORT}?transport=tcp`, ...tls443(address)],
    by: "tls",
  },
  {
    name: "no UDP, and TCP to 443 alone, where TURN has another port: a WebSocket",
    colony: "fullcone",
    agent: "udpblocked,tcpports=80+443",
    ways: web443,
    by: "websocket",
  },
  {
    name: "a proxy on one side: TLS through it",
    colony: "fullcone",
    agent: PROXIED,
    ways: tls443,
    by: "tls",
  },
  {
    name: "a proxy on both sides: TLS through it",
    colony: PROXIED,
    agent: PROXIED,
    ways: tls443,
    by: "tls",
  },
  {
    name: "a proxy that passes 443 alone, where TURN has another port: a WebSocket through it",
    colony: PROXIED,
    agent: PROXIED,
    ways: web443,
    by: "websocket",
  },
];

for (const [index, { name, colony, agent, ways, by }] of CASES.entries()) {
  e2e(`${name}, within 3 s of the node's start`, {
    needs: ["full", "natlab"],
    timeoutMs: 120_000,
  }, async (scope) => {
    const lab = scope.use(
      await Lab.up(`relayways${index}`, {
        servers: ["disco:2", "turns", "proxy"],
        sites: [`c=${colony},${DELAY}`, `a=${agent},${DELAY}`],
      }),
    );
    const address = lab.address("turns", 4);
    const { key, certificate } = await selfSigned(scope.directory(), [address]);
    scope.use(
      await Moray.start([
        ...["relay", "--listen-udp", `${address}:${PORT}`, "--listen-tcp", `${address}:${PORT}`],
        ...["--listen-tls", `${address}:443`, "--listen-tls", `${address}:${TLS_PORT}`],
        ...["--cert", certificate, "--key", key, "--external-ip", address, "--secret", SECRET],
      ], { program: SOURCE, namespace: lab.namespace("turns"), timeoutMs: 60_000 }),
    );
    const env = { ...SOURCE.options.env, DENO_CERT: certificate };
    const proxy = await startProxy(scope, lab);
    const world = await startNatWorld(scope, {
      lab,
      program: { ...SOURCE, options: { ...SOURCE.options, env } },
      httpPort: 80,
      discoveryFlags: [
        ...["--relay-secret", SECRET],
        ...[`turn:${address}:${PORT}?transport=udp`, ...ways(address)]
          .flatMap((url) => ["--relay-server", `far=${url}`]),
      ],
    });
    const behind = (site: string): Record<string, string> =>
      site === PROXIED ? { HTTPS_PROXY: proxy.url } : {};
    await world.start("colony", { mesh: "reef", host: "c1", env: behind(colony) });
    const walker = await world.start("agent", {
      mesh: "reef",
      host: "a1",
      name: "walker",
      env: behind(agent),
    });
    const runsAt = performance.now();
    await walker.process.child.line(/relay far is ready/, 20_000);
    const readyMs = performance.now() - runsAt;
    await eventually("the colony to answer", () => walker.echo("colony", 500), {
      timeoutMs: 20_000,
      everyMs: 20,
    });
    const [startMs, answerMs] = [runsAt, performance.now()].map((at) => at - walker.startedAt);
    say(
      `the node ran after ${Math.round(startMs ?? 0)} ms, had the relay ${
        Math.round(readyMs)
      } ms ` +
        `later, and its first echo ${Math.round(answerMs ?? 0)} ms after the start`,
    );
    const own = (await walker.status()).relays ?? [];
    assertEquals(own.map(({ id, transport }) => [id, transport]), [["far", by]]);
    assertEquals((await walker.path("colony"))?.kind, "relayed");
    const asked = proxy.child.log.includes(`CONNECT ${address}:443 `);
    assertEquals(asked, [colony, agent].includes(PROXIED));
    assert(readyMs <= READY_MS_MAX, `${readyMs} ms`);
  });
}

/** A proxy that connects to port 443 alone. */
async function startProxy(
  scope: Scope,
  lab: Lab,
): Promise<{ readonly url: string; readonly child: Child }> {
  const address = `${lab.address("proxy", 4)}:${PROXY_PORT}`;
  const script = `${ROOT}tests/support/proxy_server.ts`;
  const command = [Deno.execPath(), "run", "-A", script, "--listen", address, "--port", "443"];
  const child = scope.use(new Child(command, { namespace: lab.namespace("proxy"), cwd: ROOT }));
  await child.line(/^ready proxy=/);
  return { url: `http://${address}`, child };
}
