/** The entry of the `moray` program, and the only place that ends the process. @module */
import project from "./deno.json" with { type: "json" };

/** How long after a service is ready the memory of its start is given back: by then its first connections are made. */
const SETTLE_MS = 2_000;
/** The exit status of `permission`, whose table is not loaded then. */
const UNREADABLE = 6;
/** How often what was needed since is given back, in about a millisecond. */
const RELEASE_MS = 5_000;

/**
 * Answers `--version` before anything else loads: scripts ask for it often. What is imported here, and by commands, later than at the
 * start is named `as string`, so that `deno run` does not read it ahead (decision 0044).
 */
async function main(args: readonly string[]): Promise<number> {
  if (args.length === 1 && (args[0] === "--version" || args[0] === "-V")) {
    await Deno.stdout.write(new TextEncoder().encode(`moray ${project.version}\n`));
    return 0;
  }
  const program = await loadProgram();
  if (program === undefined) return UNREADABLE;
  const { processContext, reportError, runCommandLine } = program;
  const { exit } = Deno;
  const context = processContext({ version: project.version, exit, settled });
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    Deno.exit(reportError(event.reason, args, context));
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    Deno.exit(reportError(event.error, args, context));
  });
  return await runCommandLine(args, context);
}

/** The command line; `undefined` when Deno may not read it, which is said. */
async function loadProgram(): Promise<typeof import("./cli/mod.ts") | undefined> {
  try {
    return await import("./cli/mod.ts" as string);
  } catch (error) {
    if (!(error instanceof TypeError) || !error.message.startsWith("Requires read access")) {
      throw error;
    }
    // Deno's words name the file and the flag.
    await Deno.stderr.write(new TextEncoder().encode(`moray: Cannot load: ${error.message}\n`));
    return undefined;
  }
}

function settled(): void {
  const timer = setTimeout(async () => {
    // An executable's threads start from a snapshot, which has no way to ask; nor has it that much to collect.
    if (!Deno.build.standalone) {
      const garbage = await import("./io/garbage.ts" as string) as typeof import("./io/garbage.ts");
      garbage.collectGarbage();
    }
    const { IdleMemory } = await import("./io/mod.ts" as string) as typeof import("./io/mod.ts");
    const memory = IdleMemory.find();
    if (memory === undefined) return;
    memory.release();
    Deno.unrefTimer(setInterval(() => memory.release(), RELEASE_MS));
  }, SETTLE_MS);
  Deno.unrefTimer(timer);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
