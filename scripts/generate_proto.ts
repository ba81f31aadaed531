// deno-lint-ignore-file no-console -- what a script prints is its result
/**
 * Lints `proto/` and rebuilds `proto/gen` from it.
 *
 * ```sh
 * deno run -A scripts/generate_proto.ts           # rebuild
 * deno run -A scripts/generate_proto.ts --check   # exit status 1 unless proto/gen is what the .proto files give
 * ```
 *
 * The compiler is the `buf` of the import map. Where it cannot be had (no network, no build for this system),
 * `--check` says so and succeeds: the generated files are committed, nothing else needs the compiler.
 *
 * @module
 */
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import configuration from "../deno.json" with { type: "json" };

const PROTO = fileURLToPath(new URL("../proto", import.meta.url));
const GENERATED = join(PROTO, "gen");
const BUF = configuration.imports["@bufbuild/buf"];
const PLUGIN = configuration.imports["@bufbuild/protoc-gen-es"];

/** What a finished `buf` said. */
interface Outcome {
  /** Whether it exited with status 0. */
  readonly success: boolean;
  /** Both of its outputs. */
  readonly text: string;
}

/** Runs `buf` in `proto/`. The Deno that runs this script comes first on the PATH, for the plugin's sake. */
async function buf(...args: readonly string[]): Promise<Outcome> {
  const path = `${dirname(Deno.execPath())}${delimiter}${Deno.env.get("PATH") ?? ""}`;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", BUF, ...args],
    cwd: PROTO,
    env: { PATH: path },
  });
  const { success, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { success, text: `${decoder.decode(stdout)}${decoder.decode(stderr)}`.trim() };
}

/** Returns every file below `folder`: path relative to it, and content. */
async function read(folder: string, prefix = ""): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for await (const entry of Deno.readDir(join(folder, prefix))) {
    const path = join(prefix, entry.name);
    if (entry.isDirectory) { for (const file of await read(folder, path)) files.set(...file); }
    else files.set(path, await Deno.readTextFile(join(folder, path)));
  }
  return files;
}

/** Returns the paths whose content differs or that only one side has. */
function differences(a: Map<string, string>, b: Map<string, string>): string[] {
  const paths = new Set([...a.keys(), ...b.keys()]);
  return [...paths].filter((path) => a.get(path) !== b.get(path)).sort();
}

async function main(check: boolean): Promise<number> {
  const available = await buf("--version");
  if (!available.success) {
    console.error(`proto: ${check ? "skipped" : "failed"}: cannot run ${BUF}: ${available.text}`);
    return check ? 0 : 1;
  }
  const lint = await buf("lint");
  const format = await buf("format", "--diff", "--exit-code");
  for (const step of [lint, format]) {
    if (!step.success) {
      console.error(step.text);
      return 1;
    }
  }
  const folder = await Deno.makeTempDir({ prefix: "proto-" });
  try {
    const generate = await buf("generate", "--output", folder);
    if (!generate.success) {
      console.error(generate.text);
      return 1;
    }
    const fresh = await read(join(folder, "gen"));
    if (!check) {
      await Deno.remove(GENERATED, { recursive: true }).catch(ignoreMissing);
      for (const [path, text] of fresh) {
        await Deno.mkdir(dirname(join(GENERATED, path)), { recursive: true });
        await Deno.writeTextFile(join(GENERATED, path), text);
      }
      console.error(`proto: ${fresh.size} file(s) written`);
      return 0;
    }
    const stale = differences(fresh, await read(GENERATED));
    if (stale.length === 0) {
      console.error("proto: current");
      return 0;
    }
    console.error(`proto: not current: ${stale.join(", ")}; run scripts/generate_proto.ts`);
    return 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

if (import.meta.main) {
  const template = await Deno.readTextFile(join(PROTO, "buf.gen.yaml"));
  if (template.includes(`"${PLUGIN}"`)) {
    Deno.exitCode = await main(Deno.args.includes("--check"));
  } else {
    console.error(`proto: buf.gen.yaml does not use ${PLUGIN}, the version in deno.json`);
    Deno.exitCode = 1;
  }
}
