/** `moray peers`: the peers of a running node. @module */
import { type Command, defineCommand } from "./command.ts";
import { COMMON_QUIET, JSON_OUTPUT, STATE, VERBOSE } from "./parameters.ts";
import { formatPeers } from "./status_view.ts";
import { painter } from "./text_format.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { state: STATE, verbose: VERBOSE, json: JSON_OUTPUT, ...COMMON_QUIET },
  description: "Asks the node that runs with this state directory for its peers and their paths.",
  examples: ["moray peers --state ./agent", "moray peers --state ./agent --json"],
  run: async ({ state, verbose = false, json }, context) => {
    const { connectLocalApi } = await import("../agent/mod.ts");
    using node = await connectLocalApi(state);
    const { peers } = await node.status();
    context.out(
      json === true
        ? `${JSON.stringify(peers, null, 2)}\n`
        : formatPeers(peers, { now: Date.now(), paint: painter(context.outColour), verbose }),
    );
    return 0;
  },
});
