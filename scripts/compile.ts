/**
 * `deno task compile [--output FILE]`: the whole program as one executable, `dist/moray`.
 *
 * The runtime inside is the one that `DENORT_BIN` names, otherwise Deno downloads the one of its own version.
 * The file is complete: it needs no Deno, no other file and no environment. Do not `strip` it.
 *
 * @module
 */
import { ROOT, say } from "./steps.ts";

/** Files that the program opens at run time. Workers are named because Deno does not find them by itself. */
const INCLUDED = ["agent/datapath/worker.ts", "wg/engine.wasm"];

async function main(): Promise<number> {
  const at = Deno.args.indexOf("--output");
  const output = at < 0 ? "dist/moray" : Deno.args[at + 1];
  if (output === undefined) return fail("--output needs a path");
  const runtime = Deno.env.get("DENORT_BIN");
  if (runtime !== undefined && !await isFile(runtime)) {
    return fail(`DENORT_BIN names ${runtime}, which is no file`);
  }
  const { code, stderr } = await run(Deno.execPath(), [
    "compile",
    "--quiet",
    "--frozen",
    "-A",
    "--unstable-net",
    // Otherwise every package of the import map goes in, the code generators too.
    "--exclude-unused-npm",
    ...INCLUDED.flatMap((file) => ["--include", file]),
    "--output",
    output,
    "main.ts",
  ]);
  if (code !== 0) {
    // What Deno says of a runtime it cannot get: the address of the archive, or "denort".
    if (runtime === undefined && /denort|download/i.test(stderr)) {
      return fail(
        "Deno cannot download its runtime here; set DENORT_BIN to the path of a denort of this version",
      );
    }
    return fail(firstLines(stderr));
  }
  const { stdout, code: started, stderr: complaint } = await run(output, ["--version"]);
  if (started !== 0) return fail(`${output} does not start: ${firstLines(complaint)}`);
  const { size } = await Deno.stat(output);
  say(`${output}: ${stdout.trim()}, ${(size / 1e6).toFixed(0)} MB`);
  return 0;
}

async function run(
  name: string,
  args: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const process = new Deno.Command(name, {
    args: [...args],
    stdin: "null",
    env: { NO_COLOR: "1" },
  });
  const { code, stdout, stderr } = await process.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}

function firstLines(text: string): string {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").slice(0, 6)
    .join("; ");
}

function fail(message: string): number {
  Deno.stderr.writeSync(new TextEncoder().encode(`compile: ${message}\n`));
  return 1;
}

Deno.chdir(ROOT);
Deno.exit(await main());
