// deno-lint-ignore-file no-console -- what a script prints is its result
/**
 * Lints `proto/` and the example's `examples/rpc/`, and rebuilds the `gen` folder of each.
 *
 * ```sh
 * deno run -A scripts/generate_proto.ts           # rebuild
 * deno run -A scripts/generate_proto.ts --check   # exit status 1 unless each gen is what the .proto files give
 * ```
 *
 * The compiler is the `buf` of the import map. Where it cannot be had (no network, no build for this system),
 * `--check` says so and succeeds: the generated files are committed, nothing else needs the compiler.
 *
 * @module
 */
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import configuration from "../deno.json" with { type: "json" };

/** Folders with `.proto` files, a `buf.yaml` and a `buf.gen.yaml`. */
const FOLDERS = ["../proto", "../examples/rpc"]
  .map((path) => fileURLToPath(new URL(path, import.meta.url)));
const BUF = configuration.imports["@bufbuild/buf"];
const PLUGIN = configuration.imports["@bufbuild/protoc-gen-es"];

/** What a finished `buf` said. */
interface Outcome {
  /** Whether it exited with status 0. */
  readonly success: boolean;
  /** Both of its outputs. */
  readonly text: string;
}

/** Runs `buf` in a folder. The Deno that runs this script comes first on the PATH, for the plugin's sake. */
async function buf(cwd: string, ...args: readonly string[]): Promise<Outcome> {
  const path = `${dirname(Deno.execPath())}${delimiter}${Deno.env.get("PATH") ?? ""}`;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", BUF, ...args],
    cwd,
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

async function main(proto: string, check: boolean): Promise<number> {
  const title = relative(Deno.cwd(), proto) || proto;
  const available = await buf(proto, "--version");
  if (!available.success) {
    console.error(
      `${title}: ${check ? "skipped" : "failed"}: cannot run ${BUF}: ${available.text}`,
    );
    return check ? 0 : 1;
  }
  const lint = await buf(proto, "lint");
  const format = await buf(proto, "format", "--diff", "--exit-code");
  for (const step of [lint, format]) {
    if (!step.success) {
      console.error(step.text);
      return 1;
    }
  }
  const generated = join(proto, "gen");
  const folder = await Deno.makeTempDir({ prefix: "proto-" });
  try {
    const generate = await buf(proto, "generate", "--output", folder);
    if (!generate.success) {
      console.error(generate.text);
      return 1;
    }
    const fresh = await read(join(folder, "gen"));
    if (!check) {
      await Deno.remove(generated, { recursive: true }).catch(ignoreMissing);
      for (const [path, text] of fresh) {
        await Deno.mkdir(dirname(join(generated, path)), { recursive: true });
        await Deno.writeTextFile(join(generated, path), text);
      }
      console.error(`${title}: ${fresh.size} file(s) written`);
      return 0;
    }
    const stale = differences(fresh, await read(generated));
    if (stale.length === 0) {
      console.error(`${title}: current`);
      return 0;
    }
    console.error(`${title}: not current: ${stale.join(", ")}; run scripts/generate_proto.ts`);
    return 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

if (import.meta.main) {
  for (const folder of FOLDERS) {
    const template = await Deno.readTextFile(join(folder, "buf.gen.yaml"));
    if (template.includes(`"${PLUGIN}"`)) {
      Deno.exitCode ||= await main(folder, Deno.args.includes("--check"));
    } else {
      console.error(`${folder}/buf.gen.yaml does not use ${PLUGIN}, the version in deno.json`);
      Deno.exitCode = 1;
    }
  }
}
