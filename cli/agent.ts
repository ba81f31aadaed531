/** `moray agent`: a node that joins a mesh. @module */
import { type Command, defineCommand } from "./command.ts";
import { logOf, meshOptions, runNode } from "./node_run.ts";
import { COMMON, MESH_NODE } from "./parameters.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { ...MESH_NODE, ...COMMON },
  description:
    "Finds the colony of a mesh through Discovery and reaches it over WireGuard, directly where the " +
    "network allows it. Prints one line that starts with ready once it listens. Stops cleanly on " +
    "Ctrl-C.",
  examples: [
    "moray agent --mesh reef --discovery http://127.0.0.1:8080 --state ./agent --socks5 127.0.0.1:1080",
    "curl --socks5-hostname 127.0.0.1:1080 http://colony/",
  ],
  run: async (settings, context) => {
    const { startAgent } = await import("../agent/mod.ts");
    const options = meshOptions(settings, logOf(settings.logLevel, context));
    const start = () => startAgent(options);
    return await runNode({ kind: "agent", mesh: settings.mesh, start }, context);
  },
});
