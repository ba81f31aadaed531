/** `moray demo`: a whole mesh on this machine, shown step by step. @module */
import { type Command, defineCommand } from "./command.ts";
import type { Context } from "./context.ts";
import type { DemoResult, DemoStep } from "./demo_run.ts";
import { formatDemoHeader, formatDemoResult, formatDemoStep, formatDemoUse } from "./demo_view.ts";
import { logOf } from "./node_run.ts";
import { COMMON_QUIET, KEEP } from "./parameters.ts";
import { readyLine, runService } from "./service.ts";
import { painter } from "./text_format.ts";

/** The command. */
export const command: Command = defineCommand({
  parameters: { keep: KEEP, logLevel: COMMON_QUIET.logLevel },
  description:
    "Starts Discovery with STUN and a relay, a small web page, a colony that exposes it and an agent that joins by an invite, " +
    "all in this process; fetches the page through the tunnel and shows the path it took. Keeps " +
    "nothing: its files are temporary.",
  examples: ["moray demo", "moray demo --keep"],
  run: async ({ keep, logLevel }, context) => {
    const { startDemo } = await import("./demo_run.ts");
    const style = { paint: painter(context.outColour) };
    const startedAt = performance.now();
    context.out(formatDemoHeader(context.version, style));
    return await runService({
      start: async (signal) => {
        const demo = await startDemo({
          onStep: (step: DemoStep) => context.out(formatDemoStep(step, style)),
          now: () => performance.now(),
          ticket: crypto.randomUUID().slice(0, 8),
          version: context.version,
          log: logOf(logLevel, context),
          signal,
        });
        return { ...demo, finished: keep === true ? demo.finished : Promise.resolve() };
      },
      onReady: ({ result }) => {
        context.out(formatDemoResult(result, performance.now() - startedAt, style));
        if (keep === true) showUse(result, context);
      },
    }, context);
  },
});

function showUse(result: DemoResult, context: Context): void {
  const { program, outColour } = context;
  context.out(formatDemoUse(result, { paint: painter(outColour), program }));
  context.err(`${readyLine("demo", [`socks5=${result.socks5}`, `web=${result.web}`])}\n`);
}
