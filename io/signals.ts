/** SIGINT and SIGTERM as an `AbortSignal`. @module */

/** What {@linkcode onTermination} returns. */
export interface Termination extends Disposable {
  /** Aborted by the first signal; its reason is the signal's name, as `SIGTERM`. */
  readonly signal: AbortSignal;
}

/** What asks a program to end. Windows has no SIGTERM, and tells of a closed console by SIGBREAK. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/**
 * Listens for the signals that ask a program to end. After the first one they have their default effect again, so
 * a second Ctrl-C ends a program that hangs while it closes. Disposing stops listening.
 */
export function onTermination(): Termination {
  const controller = new AbortController();
  const handlers = SIGNALS.map((name) => {
    const handle = (): void => {
      stop();
      controller.abort(name);
    };
    Deno.addSignalListener(name, handle);
    return { name, handle };
  });
  function stop(): void {
    for (const { name, handle } of handlers.splice(0)) Deno.removeSignalListener(name, handle);
  }
  return { signal: controller.signal, [Symbol.dispose]: stop };
}
