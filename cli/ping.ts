/** `moray ping PEER`: the round trip through the tunnel, and the path that it takes. @module */
import { type Command, defineCommand } from "./command.ts";
import { exitStatusOf } from "./exit_codes.ts";
import { operand } from "./parameter.ts";
import { COMMON_QUIET, JSON_OUTPUT, PING, STATE } from "./parameters.ts";
import {
  encodePingEvent,
  encodePingStatistics,
  formatPingEvent,
  formatPingStatistics,
  PingCount,
  sendPings,
} from "./ping_view.ts";
import { painter } from "./text_format.ts";
import { text } from "./values.ts";

/** Echoes where no count is given. */
const COUNT = 4;

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
    "Sends ICMP echoes through the tunnel of the node that runs with this state directory, says which " +
    "path each answer took and when the path changes, and counts at the end, or at Ctrl-C. With --json " +
    "one object a line: event path, reply or summary. Exit status 0 if any answer came (with " +
    "--until-direct: over a direct path), 9 if not.",
  examples: [
    "moray ping colony --state ./agent",
    "moray ping 10.42.0.1 --state ./agent -c 10",
    "moray ping colony --state ./agent --until-direct",
  ],
  run: async (settings, context) => {
    const { peer, state, interval, timeout, json, untilDirect = false } = settings;
    const { connectLocalApi } = await import("../agent/mod.ts");
    using node = await connectLocalApi(state);
    const paint = painter(context.outColour);
    const stop = new AbortController();
    const unlisten = context.onSignal(() => stop.abort());
    const counted = new PingCount();
    const startedAt = performance.now();
    await sendPings({
      send: (sequence) => node.ping(peer, { sequence, timeoutMs: timeout }),
      onReply: (reply) => {
        for (const event of counted.handleReply(reply, performance.now() - startedAt)) {
          const line = json === true
            ? encodePingEvent(peer, event)
            : formatPingEvent(peer, event, paint);
          if (line !== undefined) context.out(`${line}\n`);
        }
        return !(untilDirect && counted.direct);
      },
      count: settings.count ?? (untilDirect ? 0 : COUNT),
      pause: (signal) => pause(interval, signal),
      signal: stop.signal,
    }).finally(unlisten);
    const { statistics } = counted;
    const summary = json === true
      ? encodePingStatistics(peer, statistics)
      : formatPingStatistics(statistics);
    context.out(`${summary}\n`);
    const reached = untilDirect ? counted.direct : statistics.received > 0;
    return reached ? 0 : exitStatusOf("timedOut");
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
