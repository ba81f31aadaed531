/** The whole mesh on 127.0.0.1, without root: the same tests for the source and for the binary. @module */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import type { PingReply } from "../../agent/status.ts";
import { Child, must } from "../support/child.ts";
import { MIB, sha256Of, testSha256, testStream } from "../support/bytes.ts";
import { assertStatusShape, startMesh } from "../support/mesh.ts";
import { moray, type Program } from "../support/moray.ts";
import type { Need } from "../support/needs.ts";
import { e2e, eventually, type Scope } from "../support/scope.ts";

/** Everything on the loopback interface, ports chosen by the system. */
export const LOOPBACK = {
  discovery: { listen: "127.0.0.1:0", stunListen: "127.0.0.1:0" },
} as const;

/** DESIGN.md 2.9: SIGTERM closes cleanly within 2 s. */
const STOP_MS_MAX = 2_000;
const BODY_BYTES = 16 * MIB;

/** Registers the tests for a program. */
export function loopbackTests(
  makeProgram: (scope: Scope) => Program,
  { title, needs }: { title: string; needs: readonly Need[] },
): void {
  e2e(
    `${title}, loopback: bytes cross the tunnel both ways through SOCKS5 and --forward, and all parts end on SIGTERM`,
    { needs, timeoutMs: 120_000 },
    async (scope) => {
      const mesh = await startMesh(scope, { ...LOOPBACK, program: makeProgram(scope) });
      const socks5 = mesh.agent.address("socks5");
      const proxied = Deno.createHttpClient({ proxy: { url: `socks5h://${socks5}` } });
      scope.defer(() => proxied.close());
      await transfer("http://colony:8080", { client: proxied, signal: scope.signal });
      await transfer(`http://colony.${mesh.name}.internal:8080`, {
        client: proxied,
        signal: scope.signal,
      });
      await transfer(`http://${mesh.agent.address("forward")}`, { signal: scope.signal });

      for (const node of ["agent", "colony"] as const) {
        const status = await mesh.status(node);
        assertStatusShape(status);
        assertEquals(status.peers.length, 1);
        assertEquals(status.peers[0]?.path.kind, "direct");
        assertEquals(status.discovery?.connected, true);
        if (status.node.datapath === "fast") {
          const { socketsSpliced = 0 } = status.counters;
          assert(socketsSpliced > 0, "connections cross the Worker alone");
        }
      }
      const [agent, colony] = [await mesh.status("agent"), await mesh.status("colony")];
      assertEquals(agent.peers[0]?.name, "colony");
      assertEquals(agent.peers[0]?.publicKey, colony.node.publicKey);
      assertEquals(colony.peers[0]?.publicKey, agent.node.publicKey);
      // Three downloads to the agent, three uploads from it.
      assert((agent.peers[0]?.rxBytes ?? 0) > 3 * BODY_BYTES, "received bytes are counted");
      assert((agent.peers[0]?.txBytes ?? 0) > 3 * BODY_BYTES, "sent bytes are counted");

      const ping = await mesh.command("agent", ["ping", "colony", "--json", "--count", "2"]);
      assertEquals(ping.code, 0, ping.stderr);
      const told = ping.stdout.trim().split("\n").map((line) => JSON.parse(line));
      assertEquals(told.map(({ event }) => event), ["path", "reply", "reply", "summary"]);
      const replies = told.filter(({ event }) => event === "reply") as PingReply[];
      assertEquals(replies.map(({ sequence }) => sequence), [1, 2]);
      assertEquals([told[3].sent, told[3].received, told[3].lossPercent], [2, 2, 0]);
      for (const { rttMs, path } of replies) {
        assert(rttMs !== null && rttMs > 0 && rttMs < 5_000, ping.stdout);
        assertEquals(path.kind, "direct");
      }

      for (const part of [mesh.agent, mesh.colony, mesh.discovery]) {
        assertEquals(await part.stop(STOP_MS_MAX), 0, part.child.log);
      }
    },
  );

  e2e(
    `${title}, loopback: names of the mesh by DNS, as dig asks for them`,
    { needs: [...needs, "dig"], timeoutMs: 60_000 },
    async (scope) => {
      const program = makeProgram(scope);
      const nodeFlags = ["--dns", "127.0.0.1:0"];
      const mesh = await startMesh(scope, { ...LOOPBACK, program, nodeFlags });
      const { node } = await eventually("the agent to have an IPv4 address", async () => {
        const status = await mesh.status("agent");
        return status.node.meshIpv4 === null ? undefined : status;
      });
      for (const part of [mesh.agent, mesh.colony]) {
        const [host = "", port = ""] = part.address("dns").split(":");
        const dig = async (...words: string[]): Promise<string[]> => {
          const command = ["dig", `@${host}`, "-p", port, "+tries=1", "+noall", ...words];
          return (await must(command)).trim().split("\n");
        };
        for (const way of ["+notcp", "+tcp"]) {
          assertEquals(await dig(way, "+short", "walker.reef.internal", "A"), [node.meshIpv4]);
          assertEquals(await dig(way, "+short", "walker.reef.internal", "AAAA"), [node.meshIpv6]);
          for (const address of [node.meshIpv4, node.meshIpv6]) {
            const name = await dig(way, "+short", "-x", `${address}`);
            assertEquals(name, ["walker.reef.internal."]);
          }
        }
        assertMatch((await dig("+comments", "nobody.reef.internal")).join(" "), /NXDOMAIN.* aa/);
        assertMatch((await dig("+comments", "example.com")).join(" "), /status: REFUSED/);
      }
      const { counters } = await mesh.status("agent");
      assertEquals(counters["dnsRefused"], 1);
    },
  );

  e2e(
    `${title}, loopback: ping waits for a direct path, ends on Ctrl-C with its count, and status shows every path`,
    { needs, timeoutMs: 120_000 },
    async (scope) => {
      const program = makeProgram(scope);
      const mesh = await startMesh(scope, { ...LOOPBACK, program });
      const state = ["--state", mesh.state.agent];
      const direct = await mesh.command("agent", ["ping", "colony", "--until-direct", "-c", "20"]);
      assertEquals(direct.code, 0, direct.stdout + direct.stderr);
      assertMatch(direct.stdout, /^reply from colony: seq=\d+ direct [^ ]+ time=/m);
      assertMatch(direct.stdout, /^\d+ sent, \d+ received, \d+ % lost, min\/avg\/max /m);

      const endless = scope.use(
        new Child([...program.command, "ping", "colony", "-c", "0", "-i", "50", ...state], {
          ...program.options,
        }),
      );
      await endless.line(/seq=3 direct/);
      endless.signal("SIGINT");
      assertEquals((await endless.exited).code, 0, endless.log);
      assertMatch(endless.log, /^\d+ sent, \d+ received, 0 % lost, min\/avg\/max /m);

      const { stdout } = await mesh.command("agent", ["status", "--verbose"]);
      assertMatch(stdout, /^Endpoints {2}[^ ]+ \(\w+\)/m);
      assertMatch(stdout, /^ {2}candidates [^ ]+ \(host\)/m);
      const [peer] = (await mesh.status("agent")).peers;
      assert((peer?.candidates.length ?? 0) > 0, "the colony's candidates are known");
      assertEquals([peer?.path.kind, peer?.reason], ["direct", null]);
      const watch = scope.use(
        new Child([...program.command, "status", "--watch", "--json", ...state], program.options),
      );
      await watch.line(/^\{"node":.*"connected":true.*"kind":"direct"/);
      assertEquals(await mesh.discovery.stop(), 0);
      await watch.line(/^\{"node":.*"connected":false.*"kind":"direct"/);
      watch.signal("SIGINT");
      assertEquals((await watch.exited).code, 0, watch.log);
      assertEquals(await mesh.colony.stop(), 0);
      const lost = await mesh.command("agent", ["ping", "colony", "-c", "1", "--timeout", "500"]);
      assertEquals(lost.code, 9, lost.stdout + lost.stderr);
      assertMatch(lost.stdout, /^no reply from colony: seq=1$/m);
    },
  );

  e2e(
    `${title}, loopback: demo fetches its page through the tunnel and says how`,
    { needs },
    async (scope) => {
      const { code, stdout, stderr } = await moray(["demo"], { program: makeProgram(scope) });
      assertEquals(code, 0, stderr);
      assertMatch(stdout, /direct/i);
      assertMatch(stdout, /\d ms|\d s/);
    },
  );

  e2e(
    `${title}: keygen makes a key whose public half pubkey prints`,
    { needs },
    async (scope) => {
      const program = makeProgram(scope);
      const key = await moray(["keygen"], { program });
      assertEquals([key.code, key.stderr], [0, ""]);
      assertMatch(key.stdout, /^[A-Za-z0-9+/]{43}=\n$/);
      assertEquals(await publicKeyOf(program, key.stdout), await expectedPublicKey(key.stdout));
    },
  );

  e2e(
    `${title}: --version is one line, --help names every command`,
    { needs },
    async (scope) => {
      const program = makeProgram(scope);
      const version = await moray(["--version"], { program });
      assertEquals(version.code, 0, version.stderr);
      assertMatch(version.stdout.trim(), /^(moray )?\d+\.\d+\.\d+[^\n]*$/);
      const help = await moray(["--help"], { program });
      assertEquals(help.code, 0, help.stderr);
      for (const command of COMMANDS) assert(help.stdout.includes(command), `help of ${command}`);
    },
  );
}

const COMMANDS = [
  "demo",
  "discovery",
  "colony",
  "agent",
  "wireguard",
  "status",
  "ping",
  "keygen",
  "pubkey",
];

async function transfer(
  origin: string,
  init: { client?: Deno.HttpClient; signal: AbortSignal },
): Promise<void> {
  const down = await fetch(`${origin}/bytes?mib=${BODY_BYTES / MIB}`, init);
  assert(down.body !== null, `${origin}: ${down.status}`);
  const expected = { sha256: testSha256(BODY_BYTES), bytes: BODY_BYTES };
  assertEquals(await sha256Of(down.body), expected, origin);
  const body = testStream(BODY_BYTES);
  const up = await fetch(`${origin}/upload`, { ...init, method: "PUT", body });
  assertEquals(await up.text(), `${expected.sha256} ${BODY_BYTES}\n`, origin);
}

async function publicKeyOf(program: Program, privateKey: string): Promise<string> {
  const [name = "", ...args] = program.command;
  const process = new Deno.Command(name, {
    args: [...args, "pubkey"],
    stdin: "piped",
    stdout: "piped",
    ...(program.options.cwd === undefined ? {} : { cwd: program.options.cwd }),
    ...(program.options.clearEnv === true ? { clearEnv: true } : {}),
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(privateKey));
  await writer.close();
  const { code, stdout } = await process.output();
  assertEquals(code, 0);
  return new TextDecoder().decode(stdout).trim();
}

async function expectedPublicKey(privateKey: string): Promise<string> {
  const raw = Uint8Array.fromBase64(privateKey.trim());
  // RFC 8410: the PKCS #8 frame of an X25519 key.
  const frame = Uint8Array.fromHex("302e020100300506032b656e04220420");
  const pkcs8 = new Uint8Array([...frame, ...raw]);
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, "X25519", true, ["deriveBits"]);
  const { x = "" } = await crypto.subtle.exportKey("jwk", key);
  return Uint8Array.fromBase64(x, { alphabet: "base64url" }).toBase64();
}
