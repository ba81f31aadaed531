/** How the examples that serve are ended. @module */

/** Aborts on Ctrl-C and on SIGTERM, which then end the program in order. */
export function untilStopped(): AbortSignal {
  const stopping = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stopping.abort(new Error(signal)));
  }
  return stopping.signal;
}
