/** The program itself, as another process: what scripts rely on. */
import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import project from "../deno.json" with { type: "json" };
import { COMMANDS } from "./command.ts";
import { installed, MAIN, moray, readyLineOf, run, startMoray } from "./testing/program.ts";

const DISCOVERY = ["discovery", "--store", ":memory:", "--log-level", "error"];

Deno.test("moray --version", async () => {
  const expected = { code: 0, out: `moray ${project.version}\n`, err: "" };
  assertEquals(await moray("--version"), expected);
});

Deno.test("moray COMMAND --help for every command", async () => {
  for (const { name, brief } of COMMANDS) {
    const { code, out, err } = await moray(name, "--help");
    assertEquals([code, err], [0, ""], name);
    ok(out.startsWith(`${brief}\n\nUsage: moray ${name}`), out);
    assertEquals(out.includes("\x1b"), false);
  }
});

Deno.test("an unknown flag of any command is one line on stderr, exit 2", async () => {
  for (const name of ["agent", "demo", "discovery", "keygen"]) {
    const { code, out, err } = await moray(name, "--no-such-flag");
    assertEquals([code, out], [2, ""], name);
    ok(/^moray: Unexpected option or argument: --no-such-flag[^\n]*--help\n$/.test(err), err);
  }
});

Deno.test("keygen makes a clamped key, and pubkey its public key", async () => {
  const key = await moray("keygen");
  assertEquals([key.code, key.err], [0, ""]);
  ok(/^[A-Za-z0-9+/]{43}=\n$/.test(key.out), "a key is 44 characters of base64 and a newline");
  // A private key is clamped as wg genkey clamps it.
  const bytes = Uint8Array.from(atob(key.out.trim()), (char) => char.charCodeAt(0));
  assertEquals([(bytes[0] ?? 0) & 7, (bytes[31] ?? 0) & 0xc0], [0, 0x40]);
  const args = ["run", "-A", MAIN, "pubkey"];
  const own = await run(Deno.execPath(), args, { stdin: key.out });
  assertEquals([own.code, own.err], [0, ""]);
  // RFC 7748 section 6.1, Alice.
  const alice = await run(Deno.execPath(), args, {
    stdin: "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n",
  });
  assertEquals(alice.out, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n");
});

Deno.test({
  name: `pubkey agrees with wg pubkey${installed("wg") ? "" : " (skipped: wg is not installed)"}`,
  ignore: !installed("wg"),
  async fn(): Promise<void> {
    const { out: key } = await moray("keygen");
    const own = await run(Deno.execPath(), ["run", "-A", MAIN, "pubkey"], { stdin: key });
    assertEquals(own, await run("wg", ["pubkey"], { stdin: key }));
  },
});

Deno.test({
  name:
    "discovery says ready with every address, serves, and stops within 2 s on SIGTERM and SIGINT",
  // Windows knows neither signal.
  ignore: Deno.build.os === "windows",
  async fn(): Promise<void> {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const child = startMoray([
        ...DISCOVERY,
        "--listen",
        "127.0.0.1:0",
        "--stun-listen",
        "127.0.0.1:0",
      ]);
      const { line, rest } = await readyLineOf(child);
      const match = /^ready discovery http=(127\.0\.0\.1:\d+) stun=127\.0\.0\.1:\d+$/.exec(line);
      ok(match !== null, line);
      const response = await fetch(`http://${match[1]}/health`);
      await response.body?.cancel();
      assertEquals(response.status, 200);
      const askedAt = performance.now();
      child.kill(signal);
      const { code } = await child.status;
      ok(performance.now() - askedAt < 2500, "the stop takes at most 2 s");
      assertEquals([code, (await rest).includes("moray:")], [0, false]);
      await child.stdout.cancel();
    }
  },
});

Deno.test("discovery on a busy port is one line, exit 5", async () => {
  using held = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const listen = `127.0.0.1:${held.addr.port}`;
  const { code, out, err } = await moray(
    ...DISCOVERY,
    "--listen",
    listen,
    "--stun-listen",
    "127.0.0.1:0",
  );
  assertEquals([code, out], [5, ""]);
  ok(/^moray: [^\n]+\n$/.test(err) && err.includes(String(held.addr.port)), err);
});

Deno.test("wireguard with a bad line names file and line, exit 3, and not the key", async () => {
  const file = await Deno.makeTempFile({ suffix: ".conf" });
  try {
    const key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBm";
    await Deno.writeTextFile(file, `[Interface]\n\nPrivateKey = ${key}\n`);
    const { code, out, err } = await moray("wireguard", file);
    assertEquals([code, out], [3, ""]);
    ok(/^moray: [^\n]+:3: [^\n]+\n$/.test(err) && err.includes(file), err);
    ok(!err.includes(key.slice(0, 8)), "the key is not repeated");
  } finally {
    await Deno.remove(file);
  }
});

Deno.test({
  name: `bash accepts its script${installed("bash") ? "" : " (skipped: bash is not installed)"}`,
  ignore: !installed("bash"),
  async fn(): Promise<void> {
    const script = await moray("completions", "bash");
    assertEquals([script.code, script.err], [0, ""]);
    const checked = await run("bash", ["-n"], { stdin: script.out });
    assertEquals([checked.code, checked.err], [0, ""]);
  },
});

Deno.test("completions: a script for each shell, and the answers that it asks for", async () => {
  for (const shell of ["bash", "zsh", "fish", "nu", "pwsh"]) {
    const { code, out } = await moray("completions", shell);
    assertEquals([code, out.includes("completions")], [0, true], shell);
  }
  const answer = await moray("completions", "bash", "--", "colony", "--wg");
  assertEquals(answer.out.trim(), "--wg-port");
});
