/** The program itself, as another process: what scripts rely on. */
import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import project from "../deno.json" with { type: "json" };
import { COMMANDS } from "./command.ts";

const MAIN = `${import.meta.dirname}/../main.ts`;

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a program with text on stdin and nothing of this project in its environment. */
async function run(
  program: string,
  args: readonly string[],
  { stdin = "", env = {} }: { stdin?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<Outcome> {
  const kept = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    clearEnv: true,
    env: { ...Object.fromEntries(kept), ...env },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}

/** Whether a program can be started. */
function installed(program: string): boolean {
  try {
    return new Deno.Command(program, { args: ["--version"] }).outputSync().success;
  } catch {
    return false;
  }
}

function moray(...args: string[]): Promise<Outcome> {
  return run(Deno.execPath(), ["run", "-A", MAIN, ...args]);
}

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
