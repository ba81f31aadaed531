/** `moray completions SHELL`: the script that a shell loads, and the answers that the script asks for. @module */
import { type Command, defineCommand } from "./command.ts";
import { operand, operands } from "./parameter.ts";
import { choice, type Value } from "./values.ts";

const SHELLS = ["bash", "zsh", "fish", "nu", "pwsh"] as const;

/** A word of the command line being typed; may be empty. */
const WORD: Value<string> = {
  metavar: "WORD",
  expected: "a word",
  parse: (input) => input,
};

/** The command. */
export const command: Command = defineCommand({
  parameters: {
    shell: operand("shell", choice("SHELL", SHELLS), {
      description: `The shell: ${SHELLS.join(", ")}.`,
      hint: "name a shell, for example moray completions bash",
    }),
    words: operands("words", WORD, {
      description: "Words typed so far: the script asks with them, after --.",
    }),
  },
  description: "Prints the script that teaches a shell to complete moray's commands and flags.",
  examples: [
    "moray completions bash > ~/.local/share/bash-completion/completions/moray",
    "moray completions zsh > ~/.zfunc/_moray",
    "moray completions fish > ~/.config/fish/completions/moray.fish",
  ],
  run: async ({ shell, words }, context) => {
    const shells = await import("@optique/core/completion");
    if (words.length === 0) {
      context.out(`${shells[shell].generateScript("moray", ["completions", shell, "--"])}\n`);
      return 0;
    }
    const { suggestions } = await import("./command_line.ts");
    for (const chunk of shells[shell].encodeSuggestions(await suggestions(words))) {
      context.out(chunk);
    }
    return 0;
  },
});
