/** A bounded queue in front of a frame ring that may be full. @module */
import type { FrameRing } from "./frame_ring.ts";

/** Frames that wait for room in the ring. A frame beyond them is refused. */
export const OUTBOX_FRAMES_MAX = 1024;

/**
 * Sends JSON frames in order, whether or not the ring has room just now.
 *
 * Whoever finds the ring full asks the reader for a wake-up; call {@linkcode FrameOutbox.flush} on every wake-up.
 */
export class FrameOutbox {
  readonly #ring: FrameRing;
  readonly #queue: Uint8Array[] = [];
  readonly #encoder = new TextEncoder();
  #refused = 0;

  /** An outbox in front of a ring of which this thread is the writer. */
  constructor(ring: FrameRing) {
    this.#ring = ring;
  }

  /** Frames that wait. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Frames refused since the start, because too many waited or they were too long. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Sends a value, now or later. `false` if it is refused: {@linkcode OUTBOX_FRAMES_MAX} wait already, or its text is
   * over the ring's limit. Ring the other side afterwards.
   */
  send(value: unknown): boolean {
    const frame = this.#encoder.encode(JSON.stringify(value));
    this.flush();
    if (frame.length > this.#ring.frameBytesMax || this.#queue.length >= OUTBOX_FRAMES_MAX) {
      this.#refused++;
      return false;
    }
    this.#queue.push(frame);
    this.flush();
    return true;
  }

  /** Moves what waits into the ring as far as it fits. Returns whether anything was moved: then ring the other side. */
  flush(): boolean {
    let moved = 0;
    for (const frame of this.#queue) {
      if (!this.#push(frame)) break;
      moved++;
    }
    this.#queue.splice(0, moved);
    return moved > 0;
  }

  #push(frame: Uint8Array): boolean {
    if (this.#ring.push(frame)) return true;
    this.#ring.wantRoom();
    // Between the two, the reader may have made room and seen no request.
    return this.#ring.push(frame);
  }
}
