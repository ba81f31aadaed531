import { deepStrictEqual as assertEquals, rejects } from "node:assert/strict";
import { createPrivateFile, ensurePrivateDirectory, quote, readTextFile } from "./files.ts";
import { writePrivateFile } from "./files.ts";

Deno.test("writePrivateFile replaces the file, keeps it private, leaves nothing beside it", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/key`;
    await Deno.writeTextFile(path, "old and longer", { mode: 0o644 });
    await writePrivateFile(path, "new");
    assertEquals(await readTextFile(path), "new");
    assertEquals(modeOf(path), 0o600);
    assertEquals(namesIn(directory), ["key"]);
  });
});

Deno.test("writePrivateFile names the file when it cannot write", async () => {
  await withDirectory(async (directory) => {
    await rejects(writePrivateFile(`${directory}/none/key`, "x"), {
      code: "usage",
      message: `Cannot write ${directory}/none/key: no such file`,
    });
    await Deno.mkdir(`${directory}/full`);
    await rejects(writePrivateFile(`${directory}/full`, "x"), { code: "usage" });
    assertEquals(namesIn(directory), ["full"]);
  });
});

Deno.test("createPrivateFile has one winner and never replaces", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/key`;
    const contents = ["a", "b", "c", "d", "e"];
    const won = await Promise.all(contents.map((content) => createPrivateFile(path, content)));
    assertEquals(won.filter(Boolean).length, 1);
    assertEquals(await readTextFile(path), contents[won.indexOf(true)]);
    assertEquals(namesIn(directory), ["key"]);
  });
});

Deno.test("a full disk leaves the old content, no temporary file, and one clear line", async (t) => {
  const script = `
    import { writePrivateFile } from ${JSON.stringify(import.meta.resolve("./files.ts"))};
    const path = Deno.args[0] + "/key";
    await writePrivateFile(path, "old");
    let said = "wrote it";
    try { await writePrivateFile(path, new Uint8Array(1 << 20)); } catch (e) { said = e.code + ": " + e.message; }
    console.log(JSON.stringify([said, await Deno.readTextFile(path), [...Deno.readDirSync(Deno.args[0])].length]));`;
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/fill.ts`, script);
    await Deno.mkdir(`${directory}/disk`);
    const mount = `mount -t tmpfs -o size=64k none "$2" && exec "$1" run -A "$3" "$2"`;
    const args = ["-m", "sh", "-c", mount, "sh", Deno.execPath(), `${directory}/disk`];
    let output: Deno.CommandOutput;
    try {
      output = await new Deno.Command("unshare", { args: [...args, `${directory}/fill.ts`] })
        .output();
    } catch (error) {
      return skip(t.name, `unshare cannot run: ${error}`);
    }
    const told = new TextDecoder().decode(output.stderr).trim();
    if (/unshare:|mount:/.test(told)) {
      return skip(t.name, `no mount namespace: ${told}`);
    }
    assertEquals(JSON.parse(new TextDecoder().decode(output.stdout)), [
      `diskFull: No space left to write ${directory}/disk/key`,
      "old",
      1,
    ]);
  });
});

Deno.test("readTextFile refuses what is too long or no text", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/f`;
    await Deno.writeFile(path, Uint8Array.of(0xff, 0xfe));
    await rejects(readTextFile(path), {
      code: "config",
      message: `Cannot read ${path}: it is not UTF-8 text`,
    });
    await Deno.writeTextFile(path, "12345");
    assertEquals(await readTextFile(path, { bytesMax: 5 }), "12345");
    await rejects(readTextFile(path, { bytesMax: 4 }), {
      code: "config",
      message: `Cannot read ${path}: it is longer than 4 bytes`,
    });
    await rejects(readTextFile(directory), { code: "usage" });
  });
});

Deno.test("ensurePrivateDirectory creates 0700, closes an empty one, leaves a full one, refuses an open one", async () => {
  await withDirectory(async (directory) => {
    const fresh = `${directory}/a/b/`;
    await ensurePrivateDirectory(fresh);
    assertEquals([modeOf(fresh), modeOf(`${directory}/a`) & 0o700], [0o700, 0o700]);
    await ensurePrivateDirectory(fresh);

    const empty = `${directory}/empty`;
    await Deno.mkdir(empty);
    await Deno.chmod(empty, 0o777);
    await ensurePrivateDirectory(empty);
    assertEquals(modeOf(empty), 0o700);

    const used = `${directory}/used`;
    await Deno.mkdir(`${used}/x`, { recursive: true });
    await Deno.chmod(used, 0o755);
    await ensurePrivateDirectory(used);
    assertEquals(modeOf(used), 0o755);
    await Deno.chmod(used, 0o777);
    await rejects(ensurePrivateDirectory(used), {
      code: "permission",
      message: `Others can write to ${used}: run chmod 700 ${used}, or choose another directory`,
    });

    await Deno.writeTextFile(`${directory}/file`, "");
    await rejects(ensurePrivateDirectory(`${directory}/file`), { code: "usage" });
  });
});

Deno.test("quote makes one shell word", () => {
  assertEquals(["/a/b-c.d", "/a b", "it's"].map(quote), ["/a/b-c.d", "'/a b'", "'it'\\''s'"]);
});

async function withDirectory(act: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await act(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function modeOf(path: string): number {
  return (Deno.statSync(path).mode ?? 0) & 0o777;
}

function namesIn(directory: string): string[] {
  return Array.from(Deno.readDirSync(directory), (entry) => entry.name);
}

function skip(name: string, reason: string): void {
  // deno-lint-ignore no-console
  console.log(`skipped: ${name}: ${reason}`);
}
