/** A Worker that does nothing but ring for the main thread, as often as it answers. @module */
/// <reference lib="deno.worker" />
import { SharedArena } from "../mod.ts";

/** The first message to the Worker. It answers with `true` when it was stopped, `false` when nobody did. */
export interface BellWorkerStart {
  /** The arena. */
  readonly buffer: SharedArrayBuffer;
  /** One 32-bit word: not 0 stops the Worker. */
  readonly stop: SharedArrayBuffer;
  /** How long it rings if it is not stopped. */
  readonly longestMs: number;
}

addEventListener("message", ({ data }: MessageEvent<BellWorkerStart>) => {
  const arena = SharedArena.attach(data.buffer);
  const stop = new Int32Array(data.stop);
  const end = performance.now() + data.longestMs;
  while (Atomics.load(stop, 0) === 0 && performance.now() < end) {
    if (arena.ringMain()) arena.notifyMain();
  }
  postMessage(Atomics.load(stop, 0) !== 0);
});
