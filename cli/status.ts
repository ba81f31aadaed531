/** `moray status`: a running node and its peers. @module */
import { type Command, defineCommand } from "./command.ts";
import { COMMON_QUIET, JSON_OUTPUT, STATE, VERBOSE } from "./parameters.ts";
import { formatStatus } from "./status_view.ts";
import { painter } from "./text_format.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { state: STATE, verbose: VERBOSE, json: JSON_OUTPUT, ...COMMON_QUIET },
  description:
    "Asks the node that runs with this state directory, and says why a peer is not direct.",
  examples: [
    "moray status --state ./agent",
    "moray status --state ./agent -v",
    "moray status --state ./agent --json",
  ],
  run: async ({ state, verbose = false, json }, context) => {
    const { connectLocalApi } = await import("../agent/mod.ts");
    using node = await connectLocalApi(state);
    const status = await node.status();
    context.out(
      json === true
        ? `${JSON.stringify(status, null, 2)}\n`
        : formatStatus(status, { now: Date.now(), paint: painter(context.outColour), verbose }),
    );
    return 0;
  },
});
