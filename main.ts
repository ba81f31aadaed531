/** The entry of the `moray` program, and the only place that ends the process. @module */
import project from "./deno.json" with { type: "json" };

/** Answers `--version` before anything else loads: scripts ask for it often. */
async function main(args: readonly string[]): Promise<number> {
  if (args.length === 1 && (args[0] === "--version" || args[0] === "-V")) {
    await Deno.stdout.write(new TextEncoder().encode(`moray ${project.version}\n`));
    return 0;
  }
  const { processContext, reportError, runCommandLine } = await import("./cli/mod.ts");
  const context = processContext(project.version, Deno.exit);
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

if (import.meta.main) Deno.exit(await main(Deno.args));
