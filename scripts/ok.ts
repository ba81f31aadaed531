/**
 * `deno task ok`: the gate. Everything that a change must pass, in the order of how fast it fails.
 *
 * Prints what was left out and why where a tool is missing, and ends with one line. `--no-tests` leaves the tests
 * to a run of their own.
 *
 * @module
 */
import { ENTRIES, isInstalled, ROOT, runStep, say, type Step } from "./steps.ts";

/** Folders whose `mod.ts` is documentation for others; `proto` is generated. */
const MODULES = ["core", "wg", "traversal", "discovery", "agent", "io", "cli"];

function denoSteps(): Step[] {
  const modules = [...Object.values(ENTRIES), ...MODULES.map((folder) => `${folder}/mod.ts`)]
    .filter(exists);
  return [
    { title: "Format", command: ["deno", "fmt", "--check", "--quiet"] },
    { title: "Lint", command: ["deno", "lint", "--quiet"] },
    { title: "Types", command: ["deno", "check", "--quiet"] },
    { title: "Documentation of exports", command: ["deno", "doc", "--lint", ...modules] },
    // By themselves: what a program can import names nothing that it cannot.
    {
      title: "Documentation of what programs import",
      command: ["deno", "doc", "--lint", ...Object.values(ENTRIES)],
    },
    {
      title: "Reference in HTML",
      command: ["deno", "run", "-A", "scripts/reference.ts"],
    },
    {
      title: "Exported types are those of docs/surface.txt",
      command: ["deno", "run", "-A", "scripts/surface.ts", "--check"],
    },
    {
      title: "Generated code is current",
      command: ["deno", "run", "-A", "scripts/generate_proto.ts", "--check"],
    },
    {
      title: "List of modules is current",
      command: ["deno", "run", "-A", "scripts/architecture.ts", "--check"],
    },
  ];
}

const TESTS: Step = {
  title: "Tests with leak tracing and documentation examples",
  command: ["deno", "run", "-A", "scripts/run_tests.ts", "--leaks", "--doc"],
};

/** Every crate of the engine, with its own lock file. */
function crateSteps(): Step[] {
  const crates = ["wg/engine", ...listFolders("wg/engine").map((name) => `wg/engine/${name}`)]
    .filter((folder) => exists(`${folder}/Cargo.toml`));
  return crates.flatMap((crate) => {
    const manifest = ["--manifest-path", `${crate}/Cargo.toml`];
    return [
      { title: `Format of ${crate}`, command: ["cargo", "fmt", ...manifest, "--check"] },
      {
        title: `Clippy of ${crate}`,
        command: [
          "cargo",
          "clippy",
          "--quiet",
          "--locked",
          "--all-targets",
          ...manifest,
          "--",
          "-D",
          "warnings",
        ],
      },
    ];
  });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function listFolders(path: string): string[] {
  return [...Deno.readDirSync(path)].filter(({ isDirectory }) => isDirectory).map(({ name }) =>
    name
  )
    .sort();
}

async function main(): Promise<number> {
  const steps = denoSteps();
  if (isInstalled("cargo-clippy") && isInstalled("cargo-fmt")) steps.push(...crateSteps());
  else say("skipped: Format and Clippy of the engine: needs cargo with rustfmt and clippy");
  if (!Deno.args.includes("--no-tests")) steps.push(TESTS);
  const failed: string[] = [];
  for (const step of steps) {
    if (await runStep(step) !== 0) failed.push(step.title);
  }
  say(failed.length === 0 ? "ok" : `not ok: ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
}

Deno.chdir(ROOT);
Deno.exit(await main());
