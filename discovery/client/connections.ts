/** The HTTP connections of a client: kept open between calls, and opened anew after the network has changed. @module */
import type { Fetch } from "./transport.ts";

/**
 * A `fetch` whose connections can be given up.
 *
 * A kept connection from before a move to another network swallows what is sent on it: each call would wait for its timeout.
 */
export class Connections {
  #client: Deno.HttpClient | undefined;
  #epoch = new AbortController();

  /** As the global `fetch`, with the present connections. */
  readonly fetch: Fetch = (input, init) =>
    this.#client === undefined
      ? globalThis.fetch(input, init)
      : globalThis.fetch(input, { ...init, client: this.#client });

  /** Aborted when the present connections are given up. */
  get epoch(): AbortSignal {
    return this.#epoch.signal;
  }

  /** Gives the present connections up; the next call opens new ones. */
  renew(): void {
    this.close();
    this.#client = Deno.createHttpClient({});
    const before = this.#epoch;
    this.#epoch = new AbortController();
    before.abort();
  }

  /** Lets go of what {@linkcode Connections.renew} opened. Calls are possible afterwards. */
  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }
}
