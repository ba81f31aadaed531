/**
 * Waits as long as a Discovery says (`Retry-After`) before it is asked the same again: within bounds, whatever it says. Each method
 * waits by itself, as what is too much of one need not be of another.
 *
 * ```text
 *   429, Retry-After: 1  --> this call waits and asks once more; others wait for their turn too
 *   429, Retry-After: 30 --> this call fails, and so do others at once, without a request, until then
 * ```
 *
 * @module
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { MorayError } from "../../core/mod.ts";
import { delay } from "../delay.ts";
import { type Fetch, urlOf } from "./transport.ts";

/** Longest time that a server is left alone, whatever it says. */
export const RETRY_AFTER_MS_MAX = 60_000;
/** Longest wait within a call: a call takes 5 s at most. */
export const WAIT_IN_CALL_MS_MAX = 2000;
/** Waits are longer by up to this part of themselves, so that those who wait do not all come at once. */
const JITTER = 0.25;

/** Options of {@linkcode Patience}. */
export interface PatienceOptions {
  /** Makes the requests. */
  readonly fetch: Fetch;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** A number of [0, 1) for jitter. */
  readonly random: () => number;
  /** Resolves after so many milliseconds, or when a signal is aborted. @default with the system's timers */
  readonly wait?: (ms: number, signals: readonly AbortSignal[]) => Promise<void>;
}

/** Leaves one server alone while it wants that. */
export class Patience {
  readonly #options: PatienceOptions;
  /** When each method may be called again, by its URL: as many as the client has methods. */
  readonly #until = new Map<string, number>();

  /** Nothing is known of the server yet. */
  constructor(options: PatienceOptions) {
    this.#options = options;
  }

  /** As the global `fetch`; rejects with a `ConnectError` `RESOURCE_EXHAUSTED` while the server is left alone for long. */
  readonly fetch: Fetch = async (input, init) => {
    const url = urlOf(input);
    const signal = init?.signal ?? undefined;
    await this.#turn(url, signal);
    const response = await this.#send(input, init);
    const leftMs = this.#leftMs(url);
    if (response.status !== 429 || leftMs === 0 || leftMs > WAIT_IN_CALL_MS_MAX) return response;
    await response.body?.cancel();
    await this.#turn(url, signal);
    return await this.#send(input, init);
  };

  async #send(input: string | URL | Request, init: RequestInit | undefined): Promise<Response> {
    const response = await this.#options.fetch(input, init);
    if (response.status !== 429) {
      this.#until.delete(urlOf(input));
      return response;
    }
    const waitMs = parseRetryAfter(response.headers.get("retry-after"));
    const { now, random } = this.#options;
    if (waitMs > 0) this.#until.set(urlOf(input), now() + waitMs * (1 + JITTER * random()));
    return response;
  }

  /** Waits until the method may be called. */
  async #turn(url: string, signal: AbortSignal | undefined): Promise<void> {
    const leftMs = this.#leftMs(url);
    if (leftMs === 0) return;
    if (leftMs > WAIT_IN_CALL_MS_MAX) {
      const seconds = Math.ceil(leftMs / 1000);
      const retry = { "retry-after": String(seconds) };
      throw new ConnectError(`asked to wait ${seconds} s`, Code.ResourceExhausted, retry);
    }
    await (this.#options.wait ?? delay)(leftMs, signal === undefined ? [] : [signal]);
    signal?.throwIfAborted();
  }

  /** How long the server wants to be left alone with this yet. A clock that went back does not make that longer. */
  #leftMs(url: string): number {
    const leftMs = (this.#until.get(url) ?? 0) - this.#options.now();
    return leftMs <= RETRY_AFTER_MS_MAX * (1 + JITTER) ? Math.max(0, leftMs) : 0;
  }
}

/** How long an error of a call says to wait, in milliseconds; 0 where it does not say. */
export function retryAfterMs(error: unknown): number {
  const cause = error instanceof MorayError ? error.cause : error;
  if (!(cause instanceof ConnectError) || cause.code !== Code.ResourceExhausted) return 0;
  return parseRetryAfter(cause.metadata.get("retry-after"));
}

/** Seconds, which is all that Discovery says, as milliseconds within the bounds; 0 for anything else. */
function parseRetryAfter(text: string | null): number {
  if (text === null || !/^\d{1,9}$/.test(text)) return 0;
  return Math.min(RETRY_AFTER_MS_MAX, Number(text) * 1000);
}
