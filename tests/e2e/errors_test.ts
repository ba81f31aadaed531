/** What goes wrong around the program gives one line on standard error and the documented exit code. */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
} from "node:assert/strict";
import { parseKey } from "../../core/mod.ts";
import { must } from "../support/child.ts";
import { keyPair } from "../support/keys.ts";
import { startMesh, urlOf } from "../support/mesh.ts";
import { Moray, moray, SOURCE } from "../support/moray.ts";
import { e2e, type Scope } from "../support/scope.ts";
import { openUdp } from "../support/udp.ts";
import { writeConfig } from "../support/wireguard_pair.ts";
import { LOOPBACK } from "./loopback.ts";

/** The codes of DESIGN.md 2.9 and the README's table. */
const EXIT = {
  usage: 2,
  config: 3,
  key: 4,
  portInUse: 5,
  unreachable: 7,
  refused: 8,
  corrupt: 10,
  diskFull: 11,
} as const;

/** How long a failure may take to be reported. */
const FAILURE_MS_MAX = 20_000;

/** Runs a command that must fail, and returns its one line of complaint. */
async function failure(args: readonly string[], kind: keyof typeof EXIT): Promise<string> {
  const { code, stdout, stderr } = await moray([...args, "--log-level", "error"], {
    program: SOURCE,
    timeoutMs: FAILURE_MS_MAX,
  });
  assertEquals(code, EXIT[kind], `${args.join(" ")}: ${stdout}${stderr}`);
  assertMatch(stderr, /^moray: [^\n]+\n$/, "one line");
  return stderr.trim();
}

/** A Discovery service on the loopback interface, and the flags to join it. */
async function discoveryFlags(scope: Scope): Promise<string[]> {
  const { listen, stunListen } = LOOPBACK.discovery;
  const args = ["--listen", listen, "--stun-listen", stunListen, "--store", ":memory:"];
  const discovery = scope.use(await Moray.start(["discovery", ...args], { program: SOURCE }));
  return ["--mesh", "reef", "--discovery", urlOf(discovery)];
}

async function keyFileIn(state: string): Promise<string> {
  for await (const { name, isFile } of Deno.readDir(state)) {
    const path = `${state}/${name}`;
    if (isFile && parseKey((await Deno.readTextFile(path)).trim()) !== undefined) return path;
  }
  throw new Error(`No key file in ${state}`);
}

async function plainConfig(scope: Scope): Promise<string> {
  const { privateKey } = await keyPair();
  const { publicKey } = await keyPair();
  return writeConfig(scope, [
    "[Interface]",
    `PrivateKey = ${privateKey}`,
    "Address = 10.9.0.1/24",
    "[Peer]",
    `PublicKey = ${publicKey}`,
    "AllowedIPs = 10.9.0.2/32",
  ]);
}

e2e("a key file that holds no key, or that others can read, is exit 4", {}, async (scope) => {
  const flags = await discoveryFlags(scope);
  const state = scope.directory();
  const colony = await Moray.start(["colony", ...flags, "--state", state], { program: SOURCE });
  assertEquals(await colony.stop(), 0);
  const file = await keyFileIn(state);
  const key = await Deno.readTextFile(file);

  await Deno.chmod(file, 0o644);
  const open = await failure(["colony", ...flags, "--state", state], "key");
  assert(open.includes(file), open);
  await Deno.chmod(file, 0o600);

  const damaged = `${key.trim().slice(0, 40)}!!!`;
  await Deno.writeTextFile(file, damaged);
  const wrong = await failure(["colony", ...flags, "--state", state], "key");
  assert(wrong.includes(file) && !wrong.includes(damaged.slice(0, 20)), wrong);
  assertEquals(await Deno.readTextFile(file), damaged, "the file is left as it is");
});

e2e("a bad line of a WireGuard configuration is exit 3, with file and line", {}, async (scope) => {
  const { privateKey, publicKey } = await keyPair();
  const good = [
    "[Interface]",
    `PrivateKey = ${privateKey}`,
    "Address = 10.9.0.1/24",
    "[Peer]",
    `PublicKey = ${publicKey}`,
    "AllowedIPs = 10.9.0.2/32",
  ];
  const garbled: [line: number, text: string][] = [
    [1, "[Interfaces]"],
    [2, `PrivateKey = ${privateKey.slice(0, 30)}`],
    [3, "Address = 10.9.0.1/99"],
    [3, "Address 10.9.0.1/24"],
    [5, "PublicKey = \u0000\u001b[31m"],
    [6, "AllowedIPs = 10.9.0.2/32, nonsense"],
    [6, "Endpoint = 10.9.0.2:99999"],
    [6, "PersistentKeepalive = often"],
  ];
  for (const [line, text] of garbled) {
    const file = await writeConfig(scope, good.map((was, i) => i === line - 1 ? text : was));
    const message = await failure(["wireguard", file], "config");
    assert(
      message.includes(`${file}:${line}`) || message.includes(`${file}, line ${line}`),
      message,
    );
    assert(!message.includes(privateKey.slice(0, 20)), "no part of the key is printed");
  }
});

e2e("a port that another program holds is exit 5, and named", {}, async (scope) => {
  const config = await plainConfig(scope);
  const { port: udpPort } = openUdp(scope, "0.0.0.0");
  using tcp = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const tcpPort = (tcp.addr as Deno.NetAddr).port;
  const cases: [port: number, args: string[]][] = [
    [udpPort, ["wireguard", config, "--wg-port", `${udpPort}`]],
    [tcpPort, ["wireguard", config, "--socks5", `127.0.0.1:${tcpPort}`]],
    [tcpPort, ["wireguard", config, "--forward", `127.0.0.1:${tcpPort}:10.9.0.2:80`]],
    [tcpPort, service(`127.0.0.1:${tcpPort}`, "127.0.0.1:0", ":memory:")],
    [udpPort, service("127.0.0.1:0", `0.0.0.0:${udpPort}`, ":memory:")],
  ];
  for (const [port, args] of cases) {
    const message = await failure(args, "portInUse");
    assert(message.includes(String(port)), message);
  }
});

e2e("an unreachable Discovery is exit 7, and named", {}, async (scope) => {
  const closed = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `http://127.0.0.1:${(closed.addr as Deno.NetAddr).port}`;
  closed.close();
  for (const kind of ["colony", "agent"]) {
    const flags = ["--mesh", "reef", "--discovery", url, "--state", scope.directory()];
    const message = await failure([kind, ...flags], "unreachable");
    assert(message.includes(url), message);
  }
});

e2e("a second colony with another key in the same mesh is refused: exit 8", {}, async (scope) => {
  const flags = await discoveryFlags(scope);
  const first = ["colony", ...flags, "--state", scope.directory()];
  scope.use(await Moray.start(first, { program: SOURCE }));
  await failure(["colony", ...flags, "--state", scope.directory()], "refused");
});

e2e("a damaged database is exit 10, is named, and is left as it is", {}, async (scope) => {
  const garbage = `${scope.directory()}/garbage.sqlite`;
  await Deno.writeFile(garbage, crypto.getRandomValues(new Uint8Array(8_192)));
  const damaged = `${scope.directory()}/damaged.sqlite`;
  const first = service("127.0.0.1:0", "127.0.0.1:0", damaged);
  assertEquals(await (await Moray.start(first, { program: SOURCE })).stop(), 0);
  const bytes = await Deno.readFile(damaged);
  // Behind SQLite's header the schema page is overwritten.
  bytes.fill(0xa5, 100, 4_096);
  await Deno.writeFile(damaged, bytes);
  for (const file of [garbage, damaged]) {
    const was = await Deno.readFile(file);
    const message = await failure(service("127.0.0.1:0", "127.0.0.1:0", file), "corrupt");
    assert(message.includes(file), message);
    assertEquals(await Deno.readFile(file), was);
  }
});

e2e("a full disk is exit 11, and the place is named", { needs: ["root"] }, async (scope) => {
  const flags = await discoveryFlags(scope);
  const full = scope.directory();
  await must(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "moray-test", full]);
  scope.defer(async () => {
    await must(["umount", "--lazy", full]);
  });
  await fill(`${full}/filler`);
  const store = await failure(service("127.0.0.1:0", "127.0.0.1:0", `${full}/db`), "diskFull");
  assert(store.includes(full), store);
  const state = await failure(["colony", ...flags, "--state", full], "diskFull");
  assert(state.includes(full), state);
});

e2e("flags that make no sense are exit 2", {}, async (scope) => {
  const state = scope.directory();
  for (
    const args of [
      ["colony", "--discovery", "http://127.0.0.1:1", "--state", state],
      ["agent", "--mesh", "reef", "--discovery", "not a url", "--state", state],
      ["agent", "--mesh", "Not A Label", "--discovery", "http://127.0.0.1:1", "--state", state],
      ["wireguard", await plainConfig(scope), "--expose", "80:127.0.0.1:99999"],
      ["discovery", "--no-such-flag"],
    ]
  ) {
    await failure(args, "usage");
  }
});

e2e("status and ping without a running node, and ping of nobody, are exit 7", {}, async (scope) => {
  const state = scope.directory();
  await failure(["status", "--state", state], "unreachable");
  await failure(["ping", "colony", "--state", state], "unreachable");
  const mesh = await startMesh(scope, { ...LOOPBACK, program: SOURCE });
  await failure(["ping", "nobody", "--state", mesh.state.agent], "unreachable");
});

function service(listen: string, stunListen: string, store: string): string[] {
  return ["discovery", "--listen", listen, "--stun-listen", stunListen, "--store", store];
}

/** Writes until the disk is full. */
async function fill(path: string): Promise<void> {
  using file = await Deno.open(path, { create: true, write: true });
  try {
    while (true) await file.write(new Uint8Array(512));
  } catch (error) {
    assertMatch(String(error), /os error 28/);
  }
}
