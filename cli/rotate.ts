/** `moray rotate`: a node goes on with another key. @module */
import { type Command, defineCommand } from "./command.ts";
import { COMMON_QUIET, JSON_OUTPUT, STATE } from "./parameters.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { state: STATE, json: JSON_OUTPUT, ...COMMON_QUIET },
  description:
    "Makes the next key of the node with this state directory. The node goes on with it at its next " +
    "start: it signs with the present key for the next one, Discovery gives the place of the one to the other " +
    "for ever, and peers that know the node follow, also those that are away now. The present key is " +
    "removed once Discovery has answered; until then the node goes on with it. Restart the node afterwards.",
  examples: ["moray rotate --state ./colony", "moray rotate --state ./agent --json"],
  run: async ({ state, json }, context) => {
    const { prepareRotation } = await import("../agent/mod.ts");
    const { oldKey, newKey } = await prepareRotation(state);
    const lines = json === true
      ? JSON.stringify({ oldPublicKey: oldKey, newPublicKey: newKey })
      : `public key now   ${oldKey}\nafter a restart  ${newKey}`;
    context.out(`${lines}\n`);
    return 0;
  },
});
