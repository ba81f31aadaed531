/** From the words of a command line to an exit status. @module */
import { MorayError } from "../core/mod.ts";
import { type CommandEntry, commandEntry, COMMANDS } from "./command.ts";
import type { Context } from "./context.ts";
import { formatError } from "./error_line.ts";
import { errorFrom, exitStatusOf } from "./exit_codes.ts";
import { LOG_LEVELS } from "./log.ts";
import type { Parameters } from "./parameter.ts";
import { asksForHelp, readPlainFlags } from "./plain_flags.ts";
import { type Layers, resolveOne, resolveSettings } from "./settings.ts";
import { painter } from "./text_format.ts";

/** Runs a command line. Returns the exit status; errors are printed, never thrown. */
export async function runCommandLine(args: readonly string[], context: Context): Promise<number> {
  try {
    return await dispatch(args, context);
  } catch (error) {
    return reportError(error, args, context);
  }
}

/** Prints an error that nothing has caught, and returns its exit status. */
export function reportError(thrown: unknown, args: readonly string[], context: Context): number {
  const error = errorFrom(thrown);
  const line = formatError(error, {
    paint: painter(context.errColour),
    debug: wantsStack(args, context),
  });
  context.err(`${line}\n`);
  return exitStatusOf(error.code);
}

async function dispatch(args: readonly string[], context: Context): Promise<number> {
  const [name = "help", ...rest] = args;
  if (name === "--version" || name === "-V") {
    context.out(`moray ${context.version}\n`);
    return 0;
  }
  if (name === "--help" || name === "-h") return await dispatch(["help", ...rest], context);
  const entry = commandEntry(name) ?? await unknownCommand(name);
  return await runCommand(entry, rest, context);
}

async function runCommand(
  entry: CommandEntry,
  args: readonly string[],
  context: Context,
): Promise<number> {
  const command = await entry.load();
  if (asksForHelp(args)) {
    const { commandPage } = await loadCommandLine();
    const style = { columns: context.columns, colour: context.outColour };
    context.out(commandPage(entry, command, style));
    return 0;
  }
  const flags = readPlainFlags(command.parameters, args) ??
    (await loadCommandLine()).parseFlags(entry.name, command.parameters, args);
  const layers = await withFile(command.parameters, { flags, env: context.env });
  return await command.run(resolveSettings(command.parameters, layers), context);
}

/** Adds the file that `--config` names, where the command knows the flag. */
async function withFile(parameters: Parameters, layers: Layers): Promise<Layers> {
  const parameter = parameters["config"];
  const path = parameter && resolveOne(parameter, layers.flags["config"], layers);
  if (typeof path !== "string") return layers;
  const [{ parseConfigFile }, { FILE_KEYS }, { readNamedFile }] = await Promise.all([
    import("./config_file.ts" as string) as Promise<typeof import("./config_file.ts")>,
    import("./parameters.ts"),
    import("./context.ts"),
  ]);
  return { ...layers, file: parseConfigFile(path, await readNamedFile(path), FILE_KEYS) };
}

/** Loads the parser that explains. */
async function loadCommandLine(): Promise<typeof import("./command_line.ts")> {
  return await import("./command_line.ts" as string);
}

async function unknownCommand(name: string): Promise<never> {
  const { closest } = await loadCommandLine();
  const flag = name.startsWith("-");
  const known = flag ? ["--help", "--version"] : COMMANDS.map((entry) => entry.name);
  const similar = await closest(name, known);
  const hint = similar === undefined ? "see moray --help" : `did you mean moray ${similar}?`;
  const shown = JSON.stringify(name.slice(0, 80));
  throw new MorayError("usage", `There is no ${flag ? "flag" : "command"} ${shown}; ${hint}`);
}

/** Whether the stack is wanted: read without parsing, as the error may be one of parsing. */
function wantsStack(args: readonly string[], context: Context): boolean {
  const [debug] = LOG_LEVELS;
  const at = args.lastIndexOf("--log-level");
  if (at >= 0) return args[at + 1] === debug;
  if (args.some((word) => word.startsWith("--log-level="))) {
    return args.includes(`--log-level=${debug}`);
  }
  return context.env("MORAY_LOG_LEVEL") === debug;
}
