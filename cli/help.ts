/** `moray help [TOPIC]`: the overview, a command, or the exit codes. @module */
import { MorayError } from "../core/mod.ts";
import { type Command, commandEntry, COMMANDS, defineCommand } from "./command.ts";
import { EXIT_CODES } from "./exit_codes.ts";
import { optionalOperand } from "./parameter.ts";
import { columns, painter } from "./text_format.ts";
import { choice } from "./values.ts";

const EXIT_CODES_TOPIC = "exit-codes";

/** The command. */
export const command: Command = defineCommand({
  parameters: {
    topic: optionalOperand(
      "topic",
      choice("TOPIC", [...COMMANDS.map(({ name }) => name), EXIT_CODES_TOPIC]),
      { description: "A command, or exit-codes. Without it: the overview." },
    ),
  },
  description: "Explains moray: all commands, one command, or the exit codes.",
  examples: ["moray help agent", "moray help exit-codes"],
  run: async ({ topic }, context) => {
    const { commandPage, overviewPage } = await import("./command_line.ts");
    const style = { columns: context.columns, colour: context.outColour };
    if (topic === undefined) {
      context.out(overviewPage(context.version, style));
      return 0;
    }
    if (topic === EXIT_CODES_TOPIC) {
      context.out(exitCodesPage(context.outColour));
      return 0;
    }
    const entry = commandEntry(topic);
    if (entry === undefined) throw new MorayError("internal", `No command ${topic}`);
    context.out(commandPage(entry, await entry.load(), style));
    return 0;
  },
});

function exitCodesPage(colour: boolean): string {
  const paint = painter(colour);
  const rows = EXIT_CODES.map(({ status, code, meaning }) => [
    String(status).padStart(4),
    code ?? "",
    meaning,
  ]);
  const head = ["EXIT", "CODE", "MEANING"].map((word) => paint("dim", word));
  return `${
    columns([head, ...rows]).join("\n")
  }\n\nA second signal: 130 (Ctrl-C) or 143 (SIGTERM).\n`;
}
