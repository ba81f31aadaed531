import { deepStrictEqual as assertEquals, ok, rejects } from "node:assert/strict";
import { formatBase64, formatHex, parseKey, type Rng } from "../core/mod.ts";
import { publicKeyOf } from "../io/mod.ts";
import { generatePrivateKey, loadOrCreateKey } from "./key_file.ts";

const SEEDED: Rng = { bytes: (length) => Uint8Array.from({ length }, (_, i) => 255 - i) };

Deno.test("publicKeyOf gives the public keys of RFC 7748 section 6.1", async () => {
  const cases = [
    [
      "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
      "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    ],
    [
      "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
      "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    ],
  ];
  for (const [secret = "", open = ""] of cases) {
    assertEquals(formatHex(await publicKeyOf(bytesOf(secret))), open);
  }
});

Deno.test("generatePrivateKey clamps as RFC 7748 section 5 asks", () => {
  const key = generatePrivateKey(SEEDED);
  assertEquals([key[0], key[1], key[30], key[31]], [0xf8, 254, 225, 224 & 0x7f | 0x40]);
  for (let i = 0; i < 100; i++) {
    const [first = 0] = generatePrivateKey();
    assertEquals(first & 7, 0);
  }
});

Deno.test("publicKeyOf agrees with wg pubkey, for clamped and for other keys", async (t) => {
  const keys = [generatePrivateKey(), generatePrivateKey(SEEDED), SEEDED.bytes(32)];
  for (const key of keys) {
    const expected = await wgPubkey(formatBase64(key));
    // deno-lint-ignore no-console
    if (expected === undefined) return console.log(`skipped: ${t.name}: no wg on this machine`);
    assertEquals(formatBase64(await publicKeyOf(key)), expected);
  }
});

Deno.test("loadOrCreateKey makes a private directory and file, and finds the same key again", async () => {
  await withDirectory(async (directory) => {
    const state = `${directory}/state/`;
    const made = await loadOrCreateKey(state, SEEDED);
    assertEquals(made.privateKey, generatePrivateKey(SEEDED));
    assertEquals(made.publicKey, await publicKeyOf(made.privateKey));
    assertEquals([modeOf(state), modeOf(`${state}wireguard.key`)], [0o700, 0o600]);
    assertEquals(
      parseKey((await Deno.readTextFile(`${state}wireguard.key`)).trim()),
      made.privateKey,
    );
    assertEquals(await loadOrCreateKey(state), made);
  });
});

Deno.test("loadOrCreateKey gives every process that starts at once the same key", async () => {
  await withDirectory(async (directory) => {
    const pairs = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateKey(directory)));
    assertEquals(new Set(pairs.map(({ privateKey }) => formatHex(privateKey))).size, 1);
  });
});

Deno.test({
  name: "loadOrCreateKey refuses a file that others can read, and says what to run",
  ignore: Deno.build.os === "windows",
  async fn(): Promise<void> {
    await withDirectory(async (directory) => {
      await loadOrCreateKey(directory);
      const path = `${directory}/wireguard.key`;
      for (const mode of [0o640, 0o604, 0o644, 0o660]) {
        await Deno.chmod(path, mode);
        await rejects(loadOrCreateKey(directory), {
          code: "key",
          message: `Others can read the private key in ${path}: run chmod 600 ${path}`,
        });
      }
    });
  },
});

Deno.test("loadOrCreateKey never shows what a garbled file holds", async () => {
  const secret = formatBase64(generatePrivateKey());
  const contents = [
    "",
    secret.slice(1),
    `${secret}${secret}`,
    `x${secret}`,
    `${secret}\n`.repeat(9),
    Uint8Array.of(0xff, 0xfe, 0),
  ];
  await withDirectory(async (directory) => {
    const path = `${directory}/wireguard.key`;
    for (const content of contents) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await Deno.writeFile(path, bytes, { mode: 0o600 });
      const error: unknown = await loadOrCreateKey(directory).catch((error) => error);
      ok(error instanceof Error);
      assertEquals(
        [error.message, "code" in error && error.code],
        [
          `${path} does not hold a WireGuard key: restore it, or remove it to become a new node`,
          "key",
        ],
      );
      ok(!Deno.inspect(error).includes(secret.slice(1, 20)));
    }
    await Deno.remove(path);
    await Deno.mkdir(path, { mode: 0o700 });
    await rejects(loadOrCreateKey(directory), { code: "key" });
  });
});

async function wgPubkey(privateKey: string): Promise<string | undefined> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command("wg", { args: ["pubkey"], stdin: "piped", stdout: "piped" }).spawn();
  } catch {
    return undefined;
  }
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(`${privateKey}\n`));
  await writer.close();
  return new TextDecoder().decode((await child.output()).stdout).trim();
}

async function withDirectory(act: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await act(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function modeOf(path: string): number {
  return (Deno.statSync(path).mode ?? 0) & 0o777;
}
