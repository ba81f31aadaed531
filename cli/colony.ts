/** `moray colony`: the node that a mesh gathers around. @module */
import { type Command, defineCommand } from "./command.ts";
import { defined } from "./defined.ts";
import { logOf, meshOptions, runNode } from "./node_run.ts";
import { COLONY_NODE, COMMON, MESH_NODE } from "./parameters.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { ...MESH_NODE, ...COLONY_NODE, ...COMMON },
  description:
    "Registers as the colony of a mesh, keeps its WireGuard key in the state directory, and lets " +
    "agents in. Prints one line that starts with ready once it listens. Stops cleanly on Ctrl-C.",
  examples: [
    "moray colony --mesh reef --discovery http://127.0.0.1:8080 --state ./colony --expose 80:127.0.0.1:3000",
  ],
  run: async (settings, context) => {
    const { startColony } = await import("../agent/mod.ts");
    const options = await meshOptions(settings, logOf(settings.logLevel, context));
    const { open, policyFile, meshSubnet } = settings;
    const own = defined({ open, policyFile, meshSubnet });
    return await runNode(
      {
        kind: "colony",
        mesh: settings.mesh,
        start: () => startColony({ ...options, ...own }),
      },
      context,
    );
  },
});
