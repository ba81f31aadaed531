/**
 * The command line: flags, environment and file in, text and exit status out. No logic of its own.
 *
 * ```
 *   args -> command.ts (which) -> command_line.ts (texts) -> settings.ts (values) -> COMMAND.ts -> exit status
 * ```
 *
 * ```ts
 * import { EXIT_CODES } from "./mod.ts";
 *
 * for (const { status, meaning } of EXIT_CODES) console.log(status, meaning);
 * ```
 *
 * @module
 */
export { type Context, processContext, type StopSignal } from "./context.ts";
export { EXIT_CODES, type ExitCode, exitStatusOf } from "./exit_codes.ts";
export { reportError, runCommandLine } from "./run.ts";
