/** `moray pubkey`: the public key of a private key on stdin. @module */
import { MorayError, parseKey } from "../core/mod.ts";
import { type Command, defineCommand } from "./command.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: {},
  description: "Reads a WireGuard private key in base64 from stdin and prints its public key.",
  examples: ["moray pubkey < private.key"],
  run: async (_settings, context) => {
    const { publicKeyOf } = await import("../agent/mod.ts");
    const { formatBase64 } = await import("../core/mod.ts");
    const key = parseKey((await context.stdin()).trim());
    if (key === undefined) {
      throw new MorayError("key", "stdin: not a WireGuard key; 44 characters of base64 are needed");
    }
    context.out(`${formatBase64(await publicKeyOf(key))}\n`);
    return 0;
  },
});
