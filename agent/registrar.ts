/**
 * When a node registers with Discovery: at the start, at every change, before the registration expires, and again when
 * Discovery has forgotten it. Pure.
 *
 * ```text
 *   begin(), changed(), forgotten()          succeeded()
 *   idle ----------------------> registering ------------> registered --- a third of its life ---> registering
 *                                    ^   | failed()
 *                                    +---+ after 1, 2, 4 ... 30 s, each up to a third shorter at random
 * ```
 *
 * @module
 */
import { after, assert, type Instant, type Rng } from "../core/mod.ts";
import { jittered } from "./pace.ts";

/** Changes of candidates that come together are registered together. */
const REGISTER_SOON_MS = 50;
/** A registration is refreshed after this part of its life, less a part at random. */
const REFRESH_PART = 1 / 3;
/** Part of a wait that chance may take away, so that a thousand nodes do not come at once. */
const REFRESH_JITTER = 0.1;
const RETRY_JITTER = 0.33;
/** Wait after a failed registration, doubled each time. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 30_000;

/** Says when to register. */
export class Registrar {
  readonly #rng: Rng;
  #registered = false;
  #registering = false;
  /** Something changed while a registration was under way. */
  #again = false;
  #dueAt: Instant | undefined;
  #retryMs = RETRY_MS;

  /** A registrar that has not registered. */
  constructor(rng: Rng) {
    this.#rng = rng;
  }

  /** Whether a registration has ever succeeded. */
  get registered(): boolean {
    return this.#registered;
  }

  /** Whether a registration is under way. */
  get underWay(): boolean {
    return this.#registering;
  }

  /** Whether the last registration was not taken. */
  get failing(): boolean {
    return this.#retryMs > RETRY_MS;
  }

  /** Registers at `now`: the start, or Discovery does not know the node any more. */
  begin(now: Instant): void {
    if (!this.#registering) this.#dueBy(now);
  }

  /** What is to be registered has changed: registers soon, if the node ever began to. */
  changed(now: Instant): void {
    if (this.#registering) this.#again = true;
    else if (this.#registered) this.#dueBy(after(now, REGISTER_SOON_MS));
  }

  /** Returns whether to register now; then one is under way until {@linkcode succeeded} or {@linkcode failed}. */
  take(now: Instant): boolean {
    if (this.#registering || this.#dueAt === undefined || now < this.#dueAt) return false;
    this.#registering = true;
    this.#again = false;
    this.#dueAt = undefined;
    return true;
  }

  /** The registration under way was taken, for `ttlMs`. */
  succeeded(now: Instant, ttlMs: number): void {
    assert(this.#registering, "a registration is under way");
    this.#registering = false;
    this.#registered = true;
    this.#retryMs = RETRY_MS;
    const part = jittered(this.#rng, ttlMs * REFRESH_PART, REFRESH_JITTER);
    this.#dueAt = after(now, this.#again ? REGISTER_SOON_MS : part);
    this.#again = false;
  }

  /** The registration under way was not taken. */
  failed(now: Instant): void {
    assert(this.#registering, "a registration is under way");
    this.#registering = false;
    this.#again = false;
    this.#dueAt = after(now, jittered(this.#rng, this.#retryMs, RETRY_JITTER));
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS_MAX);
  }

  /** When to ask {@linkcode Registrar.take}; `undefined` for never. */
  pollTimeout(): Instant | undefined {
    return this.#dueAt;
  }

  #dueBy(at: Instant): void {
    this.#dueAt = this.#dueAt === undefined || at < this.#dueAt ? at : this.#dueAt;
  }
}
