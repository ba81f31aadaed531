/**
 * Notices that this machine or process has slept: suspended, its lid closed, or stopped (SIGSTOP).
 *
 * ```text
 *   wall clock       ----x----x----x------------------------x----     suspended: the wall clock went on alone
 *   monotonic clock  ----x----x----x--------x----                     stopped: a tick came late by both
 * ```
 *
 * @module
 */

/** Absences shorter than this are a busy machine's. */
export const SLEPT_LEAST_MS = 5000;

/** Compares the clocks at each tick. */
export class SleepDetector {
  #monotonicMs: number;
  #wallMs: number;

  /** Starts at the present of both clocks. */
  constructor(monotonicMs: number, wallMs: number) {
    this.#monotonicMs = monotonicMs;
    this.#wallMs = wallMs;
  }

  /**
   * Takes a tick that was due `everyMs` after the last. Returns for how long the machine or the process was away, 0 if it was
   * not. A wall clock that is set forward passes for a sleep, which costs an inquiry; one that is set back is none.
   */
  handleTick(
    { monotonicMs, wallMs, everyMs }: {
      readonly monotonicMs: number;
      readonly wallMs: number;
      readonly everyMs: number;
    },
  ): number {
    const elapsedMs = Math.max(monotonicMs - this.#monotonicMs, wallMs - this.#wallMs);
    this.#monotonicMs = monotonicMs;
    this.#wallMs = wallMs;
    const awayMs = elapsedMs - everyMs;
    return awayMs >= SLEPT_LEAST_MS ? awayMs : 0;
  }
}

/** Options of {@linkcode watchSleep}. */
export interface WatchSleepOptions {
  /** Time between two looks at the clocks, in milliseconds. */
  readonly everyMs: number;
  /** Ends the watch. */
  readonly signal: AbortSignal;
  /** Called after an absence with its length. */
  readonly onWake: (awayMs: number) => void;
}

/** Calls `onWake` after each sleep. The watch does not keep the process alive. */
export function watchSleep({ everyMs, signal, onWake }: WatchSleepOptions): void {
  if (signal.aborted) return;
  const detector = new SleepDetector(performance.now(), Date.now());
  const timer = setInterval(() => {
    const awayMs = detector.handleTick({
      monotonicMs: performance.now(),
      wallMs: Date.now(),
      everyMs,
    });
    if (awayMs > 0) onWake(awayMs);
  }, everyMs);
  Deno.unrefTimer(timer);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
