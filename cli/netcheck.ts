/** `moray netcheck`: what the network lets through, and what that means. @module */
import { MorayError } from "../core/mod.ts";
import type { NetcheckReport } from "../agent/mod.ts";
import { type Command, defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import { exitStatusOf } from "./exit_codes.ts";
import { formatNetcheck } from "./netcheck_view.ts";
import { logOf } from "./node_run.ts";
import type { Settings } from "./parameter.ts";
import { COMMON_QUIET, JSON_OUTPUT, NETCHECK } from "./parameters.ts";
import { painter } from "./text_format.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { ...NETCHECK, json: JSON_OUTPUT, ...COMMON_QUIET },
  description:
    "Finds out by STUN whether UDP passes, which addresses the outside sees, how the NAT maps and " +
    "filters, and says what that means for connections to peers. Needs no running node; with --state it " +
    "asks one what it has found out, and the other flags have no effect. Filtering and lifetime need a server that helps: a Discovery with --stun-alternate, or any STUN server of RFC " +
    "5780. Exit status 0 if UDP passes, 7 if it does not.",
  examples: [
    "moray netcheck --discovery https://discovery.example.com",
    "moray netcheck --state ./agent",
    "moray netcheck --stun-servers stun.example.com:3478 --lifetime --json",
  ],
  run: async ({ json, ...settings }, context) => {
    const report = await reportOf(settings, context);
    context.out(
      json === true
        ? `${JSON.stringify(report, null, 2)}\n`
        : formatNetcheck(report, painter(context.outColour)),
    );
    return report.ipv4.udp === true || report.ipv6.udp === true ? 0 : exitStatusOf("unreachable");
  },
});

/** Asks a running node, or examines the network without one. */
async function reportOf(
  settings: Omit<Settings<typeof NETCHECK & typeof COMMON_QUIET>, "config">,
  context: Context,
): Promise<NetcheckReport> {
  const { state, discovery, stunServers, lifetime, noPortMapping, logLevel } = settings;
  const { connectLocalApi, netcheck } = await import("../agent/mod.ts");
  if (state !== undefined) {
    using node = await connectLocalApi(state);
    return await node.netcheck();
  }
  const stop = new AbortController();
  const unlisten = context.onSignal(() => {
    stop.abort(new MorayError("closed", "Broken off by a signal"));
  });
  return await netcheck({
    discovery,
    stunServers,
    lifetime: lifetime === true,
    portMapping: noPortMapping !== true,
    log: logOf(logLevel, context),
    signal: stop.signal,
  }).finally(unlisten);
}
