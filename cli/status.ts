/** `moray status`: a running node and its peers. @module */
import { type Command, defineCommand } from "./command.ts";
import { COMMON_QUIET, JSON_OUTPUT, STATE, VERBOSE, WATCH } from "./parameters.ts";
import { formatFrame, watchStatus } from "./status_watch.ts";
import { formatStatus } from "./status_view.ts";
import { painter } from "./text_format.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { state: STATE, verbose: VERBOSE, watch: WATCH, json: JSON_OUTPUT, ...COMMON_QUIET },
  description:
    "Asks the node that runs with this state directory, and says why a peer is not direct. With --watch " +
    "it goes on until Ctrl-C: a terminal is redrawn every second and when a path changes; a pipe gets what " +
    "has changed, with --json one object a line.",
  examples: [
    "moray status --state ./agent",
    "moray status --state ./agent -v",
    "moray status --state ./agent --watch",
    "moray status --state ./agent --json",
  ],
  run: async ({ state, verbose = false, watch = false, json = false }, context) => {
    const { connectLocalApi } = await import("../agent/mod.ts");
    using node = await connectLocalApi(state);
    const paint = painter(context.outColour);
    if (!watch) {
      const status = await node.status();
      context.out(
        json
          ? `${JSON.stringify(status, null, 2)}\n`
          : formatStatus(status, { now: Date.now(), paint, verbose }),
      );
      return 0;
    }
    const redraws = context.rows !== undefined && !json;
    const stop = new AbortController();
    const unlisten = context.onSignal(() => stop.abort());
    let first = true;
    await watchStatus({
      status: () => node.status(),
      nextStatus: (timeoutMs) => node.nextStatus({ timeoutMs }),
      steady: !redraws,
      signal: stop.signal,
      show: (status) => {
        const text = formatStatus(status, { now: Date.now(), paint, verbose });
        const { rows } = context;
        if (json) context.out(`${JSON.stringify(status)}\n`);
        else if (redraws && rows !== undefined) context.out(formatFrame(text, rows, first));
        else context.out(first ? text : `\n${text}`);
        first = false;
      },
    }).finally(unlisten);
    return 0;
  },
});
