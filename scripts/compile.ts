/**
 * `deno task compile [--output FILE]`: the whole program as one executable, `dist/moray`.
 *
 * ```text
 *   main.ts ----------------------> agent/datapath/main.js, chunk-*.js  (one for each lazy import)
 *   agent/datapath/worker.ts -----> agent/datapath/worker.js
 *   relay/relay_worker.ts --------> agent/datapath/relay_worker.js
 *   wg/engine.wasm ---------------> wg/engine.wasm
 *   wg/aead-x86_64.so ------------> wg/aead-x86_64.so
 * ```
 *
 * The sources are bundled first. The runtime reads everything that is embedded at every start and keeps it in memory: whole
 * packages would be 8 MB of it, the bundles with the engine are 1.8. They lie in the folder of `agent/datapath/loading.ts`, from
 * which the Worker and the engine are named.
 *
 * Deno's bundler is esbuild, in the version that Deno names; it is fetched from npm at the first use. The runtime inside is the
 * one that `DENORT_BIN` names, otherwise Deno downloads the one of its own version.
 * The file is complete: it needs no Deno, no other file and no environment. Do not `strip` it.
 *
 * @module
 */
import { ROOT, say } from "./steps.ts";

/** Where the bundles are made, and the folder in it that stands for `agent/datapath`. */
const STAGE = `${ROOT}dist/program`;
const SCRIPTS = `${STAGE}/agent/datapath`;
/** Files that the program opens at run time, and that Deno does not find by itself. */
const INCLUDED = [
  "agent/datapath/worker.js",
  "agent/datapath/relay_worker.js",
  "wg/engine.wasm",
  "wg/aead-x86_64.so",
];
/** The Workers, each beside the file that starts it. In the bundles all are in one folder, and JavaScript. */
const WORKERS = ["agent/datapath/worker", "relay/relay_worker"];

/** A step that failed: one line for the user. */
class CompileError extends Error {}

async function main(): Promise<void> {
  const at = Deno.args.indexOf("--output");
  const output = at < 0 ? "dist/moray" : Deno.args[at + 1];
  if (output === undefined) throw new CompileError("--output needs a path");
  const runtime = Deno.env.get("DENORT_BIN");
  if (runtime !== undefined && !await isFile(runtime)) {
    throw new CompileError(`DENORT_BIN names ${runtime}, which is no file`);
  }
  await bundle();
  const path = output.startsWith("/") ? output : `${ROOT}${output}`;
  await pack(path, { downloads: runtime === undefined });
  const { stdout, code, stderr } = await run(path, ["--version"]);
  if (code !== 0) throw new CompileError(`${output} does not start: ${firstLines(stderr)}`);
  const { size } = await Deno.stat(path);
  say(`${output}: ${stdout.trim()}, ${(size / 1e6).toFixed(0)} MB`);
}

/** Makes the folder that is embedded. */
async function bundle(): Promise<void> {
  await Deno.remove(STAGE, { recursive: true }).catch(() => {});
  await Deno.mkdir(SCRIPTS, { recursive: true });
  await Deno.mkdir(`${STAGE}/wg`);
  for (const name of ["engine.wasm", "aead-x86_64.so"]) {
    await Deno.copyFile(`${ROOT}wg/${name}`, `${STAGE}/wg/${name}`);
  }
  // Not minified: what a stack trace names is worth the megabyte.
  const common = ["bundle", "--quiet", "--frozen", "--check"];
  for (
    const args of [
      [...common, "--code-splitting", "--outdir", SCRIPTS, "main.ts"],
      // Apart, so that each Worker is one file: nothing in it is lazy.
      ...WORKERS.map((worker) => [
        ...common,
        "--output",
        `${SCRIPTS}/${nameOf(worker)}.js`,
        `${worker}.ts`,
      ]),
    ]
  ) {
    const { code, stderr } = await run(Deno.execPath(), args);
    if (code !== 0) throw new CompileError(firstLines(stderr));
  }
  for (const worker of WORKERS) await nameWorker(nameOf(worker));
}

/** A file's name without its folder. */
function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Lets the main thread start a bundled Worker. */
async function nameWorker(name: string): Promise<void> {
  let found = 0;
  for await (const file of Deno.readDir(SCRIPTS)) {
    const text = await Deno.readTextFile(`${SCRIPTS}/${file.name}`);
    const parts = text.split(`"./${name}.ts"`);
    found += parts.length - 1;
    if (parts.length > 1) {
      await Deno.writeTextFile(`${SCRIPTS}/${file.name}`, parts.join(`"./${name}.js"`));
    }
  }
  if (found !== 1) throw new CompileError(`${name}.ts is named ${found} times, not once`);
}

async function pack(output: string, { downloads }: { downloads: boolean }): Promise<void> {
  const args = [
    "compile",
    "--quiet",
    // The repository's configuration speaks of packages, and those are in the bundles already.
    "--no-config",
    "--no-check",
    // The cache would be a file in /tmp that anybody may have put there, read as code; the start is no faster with it.
    "--no-code-cache",
    "-A",
    // As in deno.json.
    "--unstable-net",
    "--unstable-no-legacy-abort",
    ...INCLUDED.flatMap((file) => ["--include", file]),
    "--output",
    output,
    "agent/datapath/main.js",
  ];
  const { code, stderr } = await run(Deno.execPath(), args, STAGE);
  if (code === 0) return;
  // What Deno says of a runtime it cannot get: the address of the archive, or "denort".
  throw new CompileError(
    downloads && /denort|download/i.test(stderr)
      ? "Deno cannot download its runtime here; set DENORT_BIN to the path of a denort of this version"
      : firstLines(stderr),
  );
}

async function run(
  name: string,
  args: readonly string[],
  cwd: string = ROOT,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const process = new Deno.Command(name, {
    args: [...args],
    cwd,
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

try {
  await main();
} catch (error) {
  if (!(error instanceof CompileError)) throw error;
  Deno.stderr.writeSync(new TextEncoder().encode(`compile: ${error.message}\n`));
  Deno.exit(1);
}
