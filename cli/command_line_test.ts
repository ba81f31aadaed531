import { deepStrictEqual as assertEquals, ok, throws } from "node:assert/strict";
import { COMMANDS } from "./command.ts";
import { commandPage, parseFlags, suggestions } from "./command_line.ts";
import { MESH_NODE, OPEN } from "./parameters.ts";

const SOCKS5 = ["--socks5", "--socks5-user", "--socks5-password-file"];
const NODE = ["--mesh", "--discovery", "--state", "--name", "--wg-port", "--datapath", ...SOCKS5];
const MORE = [
  "--http-proxy",
  "--tun",
  "--dns",
  "--public-endpoint",
  "--stun-servers",
  "--no-port-mapping",
  "--no-guess",
  "--no-report",
  "--no-direct",
  "--no-relay",
  "--relay-bandwidth",
  ...["--offer-relay", "--offer-relay-port", "--offer-relay-ports", "--offer-relay-bandwidth"],
  ...["--offer-relay-sessions", "--offer-relay-private"],
  "--forward",
  "--expose",
];
const COMMON = ["--log-level", "--config"];

/** The contract of DESIGN.md 2.9: every flag of every command, no more and no fewer. */
const CONTRACT: Readonly<Record<string, readonly string[]>> = {
  demo: ["--keep", "--log-level"],
  discovery: [
    ...["--listen", "--stun-listen", "--stun-alternate", "--store", "--allow-unproven"],
    ...["--tls-cert", "--tls-key", "--metrics", "--trusted-proxy"],
    ...["--status-token", "--status-token-file"],
    ...["--relay", "--relay-secret", "--relay-listen", "--relay-external-ip", "--relay-id"],
    ...["--relay-region", "--relay-bandwidth", "--relay-allow-private-peers"],
    ...["--relay-server", "--relay-server-secret", "--no-volunteers"],
    ...COMMON,
  ],
  relay: [
    "--listen-udp",
    "--listen-tcp",
    "--listen-tls",
    "--cert",
    "--key",
    "--listen-websocket",
    "--external-ip",
    "--relay-ports",
    "--secret",
    "--realm",
    "--allow-private-peers",
    "--discovery",
    "--relay-id",
    "--region",
    "--session-bandwidth",
    "--total-bandwidth",
    "--drain-seconds",
    "--metrics",
    "--datapath",
    ...COMMON,
  ],
  colony: [...NODE, ...MORE, "--open", "--policy", "--mesh-subnet", ...COMMON],
  agent: [...NODE, ...MORE, "--join", ...COMMON],
  invite: ["--state", "--name", "--expires", "--list", "--cancel", "--json", ...COMMON],
  revoke: ["--state", "--json", ...COMMON],
  wireguard: [
    "--wg-port",
    "--datapath",
    ...SOCKS5,
    "--http-proxy",
    "--forward",
    "--expose",
    "--tun",
    ...COMMON,
  ],
  status: ["--state", "--verbose", "--watch", "--json", ...COMMON],
  peers: ["--state", "--verbose", "--json", ...COMMON],
  ping: ["--state", "--count", "--interval", "--timeout", "--until-direct", "--json", ...COMMON],
  netcheck: [
    "--discovery",
    "--state",
    "--stun-servers",
    "--no-port-mapping",
    "--lifetime",
    "--json",
    ...COMMON,
  ],
  rotate: ["--state", "--json", ...COMMON],
  keygen: [],
  pubkey: [],
  completions: [],
  help: [],
};

Deno.test("the commands and their flags are those of the contract", async () => {
  assertEquals(COMMANDS.map(({ name }) => name).sort(), Object.keys(CONTRACT).sort());
  for (const { name, load } of COMMANDS) {
    const { parameters } = await load();
    const flags = Object.values(parameters).filter(({ group }) => group !== "Arguments");
    const expected = [...CONTRACT[name] ?? []].sort();
    assertEquals(flags.map((flag) => `--${flag.name}`).sort(), expected, name);
  }
});

Deno.test("a help page explains every flag with default and environment", async () => {
  for (const entry of COMMANDS) {
    const command = await entry.load();
    const page = commandPage(entry, command, { columns: 100, colour: false });
    ok(page.includes(`Usage: moray ${entry.name}`), page);
    ok(page.includes("\nExamples:\n  "), page);
    const words = page.replaceAll(/\s+/g, " ");
    for (const parameter of Object.values(command.parameters)) {
      if (parameter.group === "Arguments") continue;
      ok(words.includes(`--${parameter.name} `), `${entry.name} --${parameter.name}`);
      for (const variable of parameter.variables) ok(words.includes(variable), variable);
      ok(parameter.required || parameter.fallback !== undefined, parameter.name);
    }
    for (const line of page.split("\n")) {
      if (line.startsWith("  moray") || line.startsWith("  curl")) continue;
      ok([...line].length <= 100, line);
      assertEquals(line, line.trimEnd());
    }
  }
});

Deno.test("flags come out as texts, and are not judged yet", () => {
  const parameters = { ...MESH_NODE, open: OPEN };
  const args = ["--mesh", "A B", "--discovery=x", "--open", "--discovery", "y"];
  const texts = parseFlags("colony", parameters, args);
  assertEquals(texts["mesh"], "A B");
  assertEquals(texts["discovery"], ["x", "y"]);
  assertEquals(texts["open"], true);
  assertEquals(texts["name"], undefined);
});

const BAD: readonly (readonly [args: readonly string[], message: RegExp])[] = [
  [["--mehs", "x"], /^Unexpected option or argument: --mehs\. Did you mean .*--mesh.*; see moray/],
  [["--mesh"], /^--mesh requires MESH; see moray colony --help$/],
  [["--mesh", "a", "--mesh", "b"], /^--mesh cannot be used multiple times; see/],
  [["word"], /^Unexpected option or argument: word; see/],
  [["--open=yes"], /--open/],
  [["-x"], /^Unexpected option or argument: -x/],
];

for (const [args, message] of BAD) {
  Deno.test(`${args.join(" ")} is refused in one line`, () => {
    throws(() => parseFlags("colony", { ...MESH_NODE, open: OPEN }, args), (error: Error) => {
      ok(message.test(error.message), error.message);
      ok(!error.message.includes("\n"), error.message);
      assertEquals("code" in error && error.code, "usage");
      return true;
    });
  });
}

Deno.test("completion offers commands, flags, words and files", async () => {
  const literals = async (...words: string[]): Promise<string[]> =>
    (await suggestions(words)).flatMap((found) => found.kind === "literal" ? [found.text] : []);
  assertEquals(await literals("co"), ["colony", "completions"]);
  assertEquals((await literals("")).length, COMMANDS.length);
  assertEquals(await literals("colony", "--da"), ["--datapath"]);
  assertEquals(await literals("colony", "--datapath", ""), ["auto", "portable", "fast", "wasm"]);
  assertEquals(await literals("completions", "f"), ["fish"]);
  assertEquals(await literals("nothing", ""), []);
  const files = await suggestions(["wireguard", "wg"]);
  assertEquals(files.some((found) => found.kind === "file" && found.type === "file"), true);
});
