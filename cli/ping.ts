/** `moray ping PEER`: the round trip through the tunnel. @module */
import { type Command, defineCommand } from "./command.ts";
import { exitStatusOf } from "./exit_codes.ts";
import { operand } from "./parameter.ts";
import { COMMON_QUIET, JSON_OUTPUT, PING, STATE } from "./parameters.ts";
import { formatPingStatistics, formatReply, pingStatistics, sendPings } from "./ping_view.ts";
import { painter } from "./text_format.ts";
import { text } from "./values.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: {
    peer: operand("peer", text("PEER", "a node's name or mesh address, for example colony"), {
      description: "Name or mesh address of the peer.",
      hint: "name a peer, for example moray ping colony --state ./agent",
    }),
    state: STATE,
    ...PING,
    json: JSON_OUTPUT,
    ...COMMON_QUIET,
  },
  description:
    "Sends ICMP echoes through the tunnel of the node that runs with this state directory, and says " +
    "which path each answer took. Exit status 0 if any answer came, 9 if none did.",
  examples: [
    "moray ping colony --state ./agent",
    "moray ping 10.42.0.1 --state ./agent --count 10",
  ],
  run: async ({ peer, state, count, interval, timeout, json }, context) => {
    const { connectLocalApi } = await import("../agent/mod.ts");
    using node = await connectLocalApi(state);
    const paint = painter(context.outColour);
    const stop = new AbortController();
    const unlisten = context.onSignal(() => stop.abort());
    const replies = await sendPings({
      send: (sequence) => node.ping(peer, { sequence, timeoutMs: timeout }),
      onReply: (reply) => json === true || context.out(`${formatReply(peer, reply, paint)}\n`),
      count,
      pause: (signal) => pause(interval, signal),
      signal: stop.signal,
    }).finally(unlisten);
    const statistics = pingStatistics(replies);
    context.out(
      json === true
        ? `${JSON.stringify({ peer, replies, statistics }, null, 2)}\n`
        : `${formatPingStatistics(statistics)}\n`,
    );
    return statistics.received > 0 ? 0 : exitStatusOf("timedOut");
  },
});

/** Waits, or returns at once when aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
}
