import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { EXIT_CODES } from "./exit_codes.ts";
import { runCommandLine } from "./run.ts";
import { testContext } from "./testing/context.ts";
// Commands load it when they are called; it binds a function of libc, which must not look like a leak of a test.
import "../agent/wireguard_node.ts";

Deno.test("--version and -V print the version", async () => {
  for (const flag of ["--version", "-V"]) {
    const context = testContext();
    assertEquals(await runCommandLine([flag], context), 0);
    assertEquals(context.printed, ["moray 1.2.3\n"]);
  }
});

Deno.test("no word, help, --help and -h print the overview", async () => {
  for (const args of [[], ["help"], ["--help"], ["-h"]]) {
    const context = testContext();
    assertEquals(await runCommandLine(args, context), 0);
    const text = context.printed.join("");
    ok(text.startsWith("moray 1.2.3: "), text);
    ok(text.includes("moray demo"), text);
  }
});

Deno.test("help exit-codes prints the whole table", async () => {
  const context = testContext();
  assertEquals(await runCommandLine(["help", "exit-codes"], context), 0);
  const text = context.printed.join("");
  for (const { status, meaning } of EXIT_CODES) {
    ok(new RegExp(`^ +${status} .*${meaning.slice(0, 20)}`, "m").test(text), meaning);
  }
});

const ERRORS: readonly {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly status: number;
  readonly message: RegExp;
}[] = [
  { args: ["colnoy"], status: 2, message: /"colnoy"; did you mean moray colony\?/ },
  { args: ["\x1b[2J"], status: 2, message: /There is no command "\\u001b\[2J"; see moray --help/ },
  { args: ["--vers"], status: 2, message: /no flag "--vers"; did you mean moray --version\?/ },
  { args: ["help", "reef"], status: 2, message: /^moray: TOPIC: "reef" is not one of demo, / },
  { args: ["colony"], status: 2, message: /--mesh is missing: .*MORAY_MESH/ },
  { args: ["colony", "--mesh", "A"], status: 2, message: /--mesh: "A" is not a name/ },
  {
    args: ["colony"],
    env: { MORAY_MESH: "A" },
    status: 2,
    message: /^moray: MORAY_MESH: "A" is not a name/,
  },
  {
    args: ["status", "--state", "x", "--config", "no-such-file.toml"],
    status: 3,
    message: /Cannot read no-such-file\.toml: there is no such file/,
  },
  { args: ["wireguard", "no-such.conf"], status: 3, message: /Cannot read no-such\.conf/ },
  { args: ["ping"], status: 2, message: /PEER is missing: name a peer/ },
  { args: ["pubkey"], status: 4, message: /stdin: not a WireGuard key/ },
];

for (const { args, env, status, message } of ERRORS) {
  Deno.test(`${JSON.stringify(args)} fails with ${status} and one line`, async () => {
    const context = testContext(env === undefined ? {} : { env });
    assertEquals(await runCommandLine(args, context), status);
    const text = context.complained.join("");
    ok(/^moray: [^\n]+\n$/.test(text), text);
    ok(message.test(text), text);
    assertEquals(context.printed, []);
  });
}

Deno.test("--log-level debug adds the stack, wherever it stands", async () => {
  const variants = [
    { args: ["colony", "--log-level", "debug"] },
    { args: ["colony", "--log-level=debug"] },
    { args: ["colony"], env: { MORAY_LOG_LEVEL: "debug" } },
  ];
  for (const { args, env = {} } of variants) {
    const context = testContext({ env });
    assertEquals(await runCommandLine(args, context), 2);
    const [first = "", second = ""] = context.complained.join("").split("\n");
    ok(first.startsWith("moray: --mesh is missing"), first);
    ok(second.startsWith("MorayError: "), second);
  }
});

Deno.test("a bad line of the file is named", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/moray.toml`;
    await Deno.writeTextFile(path, 'mesh = "reef"\ndiscovery = "x y"\n');
    const context = testContext({ env: { MORAY_CONFIG: path, MORAY_STATE: directory } });
    assertEquals(await runCommandLine(["agent"], context), 3);
    const text = context.complained.join("");
    ok(text.startsWith(`moray: ${path}:2: discovery: "x y" is not an http or https URL`), text);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
