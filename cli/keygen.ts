/** `moray keygen`: a new private key. @module */
import { type Command, defineCommand } from "./command.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: {},
  description:
    "Prints a new WireGuard private key in base64, as wg genkey does. Keep it where only you can read " +
    "it: umask 077 first.",
  examples: ["(umask 077; moray keygen > private.key)", "moray pubkey < private.key"],
  run: async (_settings, context) => {
    const { generatePrivateKey } = await import("../agent/mod.ts");
    const { formatBase64 } = await import("../core/mod.ts");
    context.out(`${formatBase64(generatePrivateKey())}\n`);
    return 0;
  },
});
