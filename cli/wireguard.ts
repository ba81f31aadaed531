/** `moray wireguard FILE`: a plain WireGuard peer. @module */
import { type Command, defineCommand } from "./command.ts";
import { readNamedFile } from "./context.ts";
import { commonOptions, logOf, runNode } from "./node_run.ts";
import { operand } from "./parameter.ts";
import { COMMON, WIREGUARD_NODE } from "./parameters.ts";
import { FILE } from "./values.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: {
    file: operand("file", FILE, {
      description: "Standard WireGuard configuration with [Interface] and [Peer] sections.",
      hint: "give a WireGuard configuration, for example moray wireguard wg0.conf",
    }),
    ...WIREGUARD_NODE,
    ...COMMON,
  },
  description:
    "Talks to any WireGuard without root and without Discovery. The tunnel is used through a proxy, " +
    "a forwarded or an exposed port. Prints one line that starts with ready once it listens.",
  examples: ["moray wireguard wg0.conf --socks5 127.0.0.1:1080"],
  run: async (settings, context) => {
    const { startWireGuard } = await import("../agent/mod.ts");
    const text = await readNamedFile(settings.file);
    const options = await commonOptions(settings, logOf(settings.logLevel, context));
    const start = () => startWireGuard({ ...options, file: settings.file, text });
    return await runNode({ kind: "wireguard", start }, context);
  },
});
