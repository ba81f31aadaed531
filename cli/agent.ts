/** `moray agent`: a node that joins a mesh. @module */
import { type Command, defineCommand } from "./command.ts";
import { defined } from "./defined.ts";
import { logOf, meshOptions, runNode } from "./node_run.ts";
import { COMMON, JOINING, MESH_NODE } from "./parameters.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { ...MESH_NODE, ...JOINING, ...COMMON },
  description:
    "Finds the colony of a mesh through Discovery and reaches it over WireGuard, directly where the " +
    "network allows it. With --join nothing else is needed than a state directory. Prints one line " +
    "that starts with ready once it listens. Stops cleanly on Ctrl-C.",
  examples: [
    "moray agent --join moray1.eyJ... --state ./agent --socks5 127.0.0.1:1080",
    "moray agent --mesh reef --discovery http://127.0.0.1:8080 --state ./agent --socks5 127.0.0.1:1080",
    "curl --socks5-hostname 127.0.0.1:1080 http://colony/",
  ],
  run: async (settings, context) => {
    const { joinedMesh, startAgent } = await import("../agent/mod.ts");
    const { state, join } = settings;
    const joined = await joinedMesh({ state, join });
    const mesh = settings.mesh ?? joined?.mesh ?? MESH_NODE.mesh.resolve(undefined);
    const given = settings.discovery.length > 0 ? settings.discovery : joined?.discovery;
    const discovery = given ?? MESH_NODE.discovery.resolve(undefined);
    const name = settings.name ?? joined?.name;
    const all = { ...settings, mesh, discovery, name };
    const options = await meshOptions(all, logOf(settings.logLevel, context));
    const start = () => startAgent({ ...options, ...defined({ join }) });
    return await runNode({ kind: "agent", mesh, start }, context);
  },
});
