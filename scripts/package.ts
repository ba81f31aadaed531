/**
 * `deno task package`: the npm package `dist/npm/moray-VERSION.tgz`, which runs on Deno.
 *
 * ```text
 *   mod.ts, testing.ts, main.ts, both Workers --tsc--> .js and .d.ts, one for each file, in the folders of the sources
 *   wg/*.wasm, wg/*.so ------------------------------> beside them
 *   deno.json ---------------------------------------> package.json: version, licence, and those dependencies that are imported
 * ```
 *
 * Files and not a bundle: what is imported twice is there once, and a stack names the file. Deno strips no types in
 * `node_modules`, so the sources alone are no package.
 *
 * @module
 */
import ts from "typescript";
import configuration from "../deno.json" with { type: "json" };
import { ENTRIES, ROOT, say } from "./steps.ts";

const NAME = "moray";
const STAGE = `${ROOT}dist/npm/package`;
/** What is started by its URL, in a Worker. */
const WORKERS = ["agent/datapath/worker.ts", "relay/relay_worker.ts"];
const PROGRAM = "main.ts";
/** Deno 2.8.3 is what all of it is tested with. */
const DENO_MIN = "2.8.3";
const NEEDS_DENO = "needs_deno.js";

/** A step that failed: one line for the user. */
class PackageError extends Error {}

/** Writes `.js` and `.d.ts` of everything that the roots import, and returns the names of the packages among that. */
async function emit(): Promise<string[]> {
  const types = `${ROOT}dist/npm/deno.d.ts`;
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["types"] }).output();
  await Deno.writeFile(types, stdout);
  const roots = [...Object.values(ENTRIES), PROGRAM, ...WORKERS].map((file) => `${ROOT}${file}`);
  const program = ts.createProgram([...roots, types], {
    target: ts.ScriptTarget.ESNext,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ["lib.esnext.d.ts", "lib.dom.d.ts", "lib.dom.asynciterable.d.ts"],
    types: [],
    rootDir: ROOT,
    outDir: STAGE,
    declaration: true,
    // `deno check` has done that.
    noCheck: true,
    rewriteRelativeImportExtensions: true,
    allowImportingTsExtensions: true,
    removeComments: false,
    resolveJsonModule: true,
    verbatimModuleSyntax: true,
    skipLibCheck: true,
  });
  const packages = new Set<string>();
  const { diagnostics } = program.emit(undefined, (path, text) => {
    Deno.mkdirSync(path.replace(/[^/]*$/, ""), { recursive: true });
    // What is imported `as string` goes through a function of tsc's, which puts `.js` for `.ts`.
    const imports = /(?:from|import\((?:__\w+\()?) ?"((?:@[\w-]+\/)?[\w-]+)[^"]*"/g;
    for (const [, name] of text.matchAll(imports)) {
      if (name !== undefined && name !== "node") packages.add(name);
    }
    // What a Worker is started from is no import, and imports of declarations are not renamed by the compiler.
    const renamed = path.endsWith(".d.ts")
      ? text.replaceAll(/((?:from |import\()"\.[^"]+)\.ts"/g, '$1.js"')
      : text.replaceAll(/(new URL\("[^"]+)\.ts"/g, '$1.js"');
    Deno.writeTextFileSync(path, renamed);
  });
  const wrong = diagnostics.filter(({ category }) => category === ts.DiagnosticCategory.Error);
  if (wrong.length > 0) {
    const host = {
      getCanonicalFileName: (name: string): string => name,
      getCurrentDirectory: (): string => ROOT,
      getNewLine: (): string => "\n",
    };
    throw new PackageError(ts.formatDiagnostics(wrong, host));
  }
  await Deno.remove(types);
  return [...packages].sort();
}

/** The dependencies of a package, in the versions of the import map. */
function dependencies(packages: readonly string[]): Record<string, string> {
  const imports: Readonly<Record<string, string>> = configuration.imports;
  return Object.fromEntries(packages.map((name) => {
    const version = imports[name]?.replace(/^npm:.*@/, "");
    if (version === undefined) throw new PackageError(`deno.json does not import ${name}`);
    return [name, version];
  }));
}

/** What `import` leads to: on anything but Deno to a sentence that says so. */
function exportsOf(): Record<string, unknown> {
  const entries = Object.entries(ENTRIES).map(([name, file]) => {
    const base = `./${file.replace(/\.ts$/, "")}`;
    const path = name === NAME ? "." : `.${name.slice(NAME.length)}`;
    return [path, { types: `${base}.d.ts`, deno: `${base}.js`, default: `./${NEEDS_DENO}` }];
  });
  return Object.fromEntries(entries);
}

async function main(): Promise<void> {
  await Deno.remove(STAGE, { recursive: true }).catch(() => {});
  await Deno.mkdir(`${STAGE}/wg`, { recursive: true });
  const packages = await emit();
  for await (const { name } of Deno.readDir(`${ROOT}wg`)) {
    if (/\.(wasm|so)$/.test(name)) await Deno.copyFile(`${ROOT}wg/${name}`, `${STAGE}/wg/${name}`);
  }
  await Deno.copyFile(`${ROOT}LICENSE`, `${STAGE}/LICENSE`);
  await Deno.copyFile(`${ROOT}scripts/package_readme.md`, `${STAGE}/README.md`);
  const sentence = `${NAME} runs on Deno ${DENO_MIN} or later; its README says what Node lacks.`;
  await Deno.writeTextFile(
    `${STAGE}/${NEEDS_DENO}`,
    `throw new Error(${JSON.stringify(sentence)});\n`,
  );
  const { version, license } = configuration;
  const description =
    "A WireGuard node in userspace, without root: a mesh inside your Deno program";
  const manifest = {
    name: NAME,
    version,
    description,
    license,
    type: "module",
    engines: { deno: `>=${DENO_MIN}` },
    exports: exportsOf(),
    bin: { [NAME]: `./${PROGRAM.replace(/\.ts$/, ".js")}` },
    dependencies: dependencies(packages),
  };
  // The program reads its version there; what else the project's own file says is not for others.
  const { unstable } = configuration;
  await Deno.writeTextFile(`${STAGE}/deno.json`, `${JSON.stringify({ version, unstable })}\n`);
  await Deno.writeTextFile(`${STAGE}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
  const pack = new Deno.Command("npm", {
    args: ["pack", "--silent", STAGE],
    cwd: `${ROOT}dist/npm`,
  });
  const { code, stdout, stderr } = await pack.output().catch(() => {
    throw new PackageError(
      "npm packs it, and there is none: install Node",
    );
  });
  if (code !== 0) throw new PackageError(new TextDecoder().decode(stderr).trim());
  const file = `dist/npm/${new TextDecoder().decode(stdout).trim()}`;
  const { size } = await Deno.stat(`${ROOT}${file}`);
  say(`${file}: ${(size / 1e6).toFixed(1)} MB`);
}

try {
  await main();
  // Only for packing: what lies about is looked at as if it were source.
  await Deno.remove(STAGE, { recursive: true });
} catch (error) {
  if (!(error instanceof PackageError)) throw error;
  say(`package: ${error.message}`);
  Deno.exitCode = 1;
}
