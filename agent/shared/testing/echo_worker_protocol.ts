/** What the tests and the echo Worker agree on. @module */

/** Sends back what it gets, and FIN after FIN. */
export const ECHO_PORT = 7;
/** Drops what it gets. */
export const SINK_PORT = 9;
/** Sends {@linkcode SOURCE_BYTE} as fast as it is read. */
export const SOURCE_PORT = 19;
/** Sends `hello`, then resets. */
export const RESET_PORT = 13;
/** Never answers. */
export const SILENT_PORT = 11;
/** What {@linkcode SOURCE_PORT} sends. */
export const SOURCE_BYTE = 0x5a;
/** A `ping` to this address makes the Worker emit as many log events as its sequence number, 1 kB each. */
export const CHATTER_ADDRESS = "10.42.0.99";

/** The first message to the Worker. Every other is `0`, a wake-up. */
export interface EchoWorkerStart {
  /** The arena. */
  readonly buffer: SharedArrayBuffer;
  /** Whether the Worker is woken by messages, or sleeps in `Atomics.wait` and hears none. */
  readonly mode: "messages" | "blocking";
}
