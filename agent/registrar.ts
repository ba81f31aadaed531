/** Keeps a node registered with Discovery: at the start, at every change, and before the registration expires. @module */
import { messageOf } from "../core/mod.ts";
import type { DiscoveryClient, Registration } from "../discovery/mod.ts";
import type { Log } from "./options.ts";

/** Changes of candidates that come together are registered together. */
const REGISTER_SOON_MS = 50;
/** A registration is refreshed after this part of its life, less up to a tenth at random. */
const REFRESH_PART = 1 / 3;
/** Wait after a failed registration, doubled each time. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 30_000;

/** What a {@linkcode Registrar} works with. */
export interface RegistrarOptions {
  /** Where to register. */
  readonly discovery: DiscoveryClient;
  /** What to register, asked each time. */
  readonly registration: () => Registration;
  /** Called after each success and each failure. */
  readonly onResult: (succeeded: boolean) => void;
  /** Where failures go. */
  readonly log: Log;
  /** Ends it; the registration stays until {@linkcode Registrar.deregister}. */
  readonly signal: AbortSignal;
}

/** One node's registration. */
export class Registrar {
  readonly #options: RegistrarOptions;
  #registered = false;
  #registering: Promise<void> | undefined;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retryMs = RETRY_MS;

  /** A registrar that has not registered. */
  constructor(options: RegistrarOptions) {
    this.#options = options;
    options.signal.addEventListener("abort", () => clearTimeout(this.#timer), { once: true });
  }

  /** Registers now. A call while one is under way is followed by one more. Rejects as `DiscoveryClient.register` does. */
  register(): Promise<void> {
    if (this.#registering !== undefined) {
      this.#again = true;
      return this.#registering;
    }
    this.#registering = this.#once().finally(() => {
      this.#registering = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.#registerIn(0);
    });
    return this.#registering;
  }

  /** What is to be registered has changed: registers soon, if it ever was. */
  changed(): void {
    if (this.#registered) this.#registerIn(REGISTER_SOON_MS);
  }

  /** Discovery does not know the node any more. */
  lost(): void {
    this.#registerIn(0);
  }

  /** Removes the registration, if there is one, within `timeoutMs`. Never rejects: it expires by itself. */
  async deregister(timeoutMs: number): Promise<void> {
    if (!this.#registered) return;
    const { discovery, registration, log } = this.#options;
    const { meshId, publicKey, role } = registration();
    try {
      const signal = AbortSignal.timeout(timeoutMs);
      await discovery.deregister({ meshId, publicKey, role }, { signal });
    } catch (error) {
      log("debug", `deregister: ${messageOf(error)}`);
    }
  }

  async #once(): Promise<void> {
    const { discovery, registration, onResult, signal } = this.#options;
    const { ttlMs } = await discovery.register(registration(), { signal });
    this.#registered = true;
    this.#retryMs = RETRY_MS;
    onResult(true);
    this.#registerIn(ttlMs * REFRESH_PART * (1 - Math.random() / 10));
  }

  #registerIn(ms: number): void {
    const { signal, log, onResult } = this.#options;
    clearTimeout(this.#timer);
    if (signal.aborted) return;
    this.#timer = setTimeout(() => {
      this.register().catch((error) => {
        if (signal.aborted) return;
        onResult(false);
        log("warn", `registration: ${messageOf(error)}`);
        this.#registerIn(this.#retryMs);
        this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
      });
    }, ms);
    Deno.unrefTimer(this.#timer);
  }
}
