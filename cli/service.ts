/** Runs what listens until a signal or its own end: the `ready` line, the stop, the second signal. @module */
import { MorayError } from "../core/mod.ts";
import type { Context } from "./context.ts";
import { SIGNAL_STATUS } from "./exit_codes.ts";
import { printable } from "./text_format.ts";

/** Something that runs: a node, or a Discovery service. */
export interface Service {
  /** Resolves when it has stopped; rejects if it died. */
  readonly finished: Promise<void>;
  /** Stops it in order. Safe to call twice. */
  stop(): Promise<void>;
}

/** How to run a service. */
export interface ServiceRun<S extends Service> {
  /** Starts it. A signal meanwhile aborts `signal`; a start that cannot heed it is cut short. */
  readonly start: (signal: AbortSignal) => Promise<S>;
  /** Called once it runs: prints the ready line. */
  readonly onReady: (service: S) => void | Promise<void>;
  /** Longest clean stop in milliseconds. @default 2000 */
  readonly stopMsMax?: number;
}

/** Longest clean stop in milliseconds; what is not closed by then, the process's end closes. */
const STOP_MS_MAX = 2000;

/**
 * Starts a service and waits for its end. Returns the exit status: 0 after a signal and a clean stop.
 *
 * A second signal ends the process at once. Rejects with what killed the service, with what `start` rejects with,
 * or with `timedOut` if the stop took too long.
 */
export async function runService<S extends Service>(
  { start, onReady, stopMsMax = STOP_MS_MAX }: ServiceRun<S>,
  context: Context,
): Promise<number> {
  const first = Promise.withResolvers<"signal">();
  const aborter = new AbortController();
  const unlisten = context.onSignal((signal) => {
    if (aborter.signal.aborted) context.exit(SIGNAL_STATUS[signal]);
    first.resolve("signal");
    aborter.abort();
  });
  try {
    const starting = start(aborter.signal);
    const started = await Promise.race([starting, first.promise]);
    if (started === "signal") {
      await stopsInTime(starting.then((service) => service.stop(), () => {}), stopMsMax);
      return 0;
    }
    const ended = started.finished.then(() => "ended" as const);
    await Promise.race([onReady(started), ended]);
    context.settled();
    await Promise.race([first.promise, ended]);
    if (await stopsInTime(started.stop(), stopMsMax)) return 0;
    throw new MorayError(
      "timedOut",
      `The stop took longer than ${stopMsMax} ms and was cut short`,
    );
  } finally {
    unlisten();
  }
}

/** Formats the line that says a service is ready: `ready colony mesh=reef name=colony wg=0.0.0.0:51820`. */
export function readyLine(kind: string, fields: readonly string[]): string {
  return ["ready", kind, ...fields.map((field) => printable(field))].join(" ");
}

/** Waits for the stop; `false` if it takes too long. */
async function stopsInTime(stopping: Promise<void>, stopMsMax: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), stopMsMax);
  try {
    return await Promise.race([stopping.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
