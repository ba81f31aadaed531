/**
 * The live part of the status page as Server-Sent Events: whoever looks on is sent the parts that have changed.
 *
 * An event's id is what of each part the looker has, so that a stream that begins anew, here or at another replica, sends the rest
 * only. A stream whose reader is slow waits for it, and skips what has passed meanwhile.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { Html } from "./html.ts";
import { type SectionId, SECTIONS } from "./sections.ts";

/** Streams at once; further ones are refused. */
export const STREAMS_MAX = 32;
/** How often it is looked whether anything has changed. */
export const LOOK_MS = 1000;
/** Silence after which a comment shows that the stream lives. */
export const HEARTBEAT_MS = 15_000;
/** How soon a broken stream is opened again, which the browser does. */
const RETRY_MS = 2000;
/** Characters of a part's tag. */
const TAG_LENGTH = 8;

/** What there is to see. */
export interface LiveView {
  /** The parts. */
  readonly sections: Readonly<Record<SectionId, Html>>;
  /** The sentence for screen readers. */
  readonly summary: string;
}

/** Options of {@linkcode LiveStreams}. */
export interface LiveStreamsOptions {
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Resolves after so many milliseconds, or when a signal is aborted. */
  readonly wait: (ms: number, signals: readonly AbortSignal[]) => Promise<void>;
}

/** One stream. */
export interface LiveStream {
  /** Finds what there is to see. What it rejects with ends no stream: it looks again. */
  readonly look: () => Promise<LiveView>;
  /** When whoever looks on has to sign in again, unix milliseconds; `Infinity` for never. */
  readonly endsAt: number;
  /** The `Last-Event-ID` of the stream before; empty for none. */
  readonly lastEventId: string;
}

/** The streams of a server. */
export class LiveStreams {
  readonly #options: LiveStreamsOptions;
  readonly #closed = new AbortController();
  #open = 0;
  #refused = 0;

  /** No stream yet. */
  constructor(options: LiveStreamsOptions) {
    this.#options = options;
  }

  /** Streams that are open, and those refused. */
  counters(): Record<string, number> {
    return { statusStreams: this.#open, statusStreamsRefused: this.#refused };
  }

  /** Opens a stream; `undefined` where there are {@linkcode STREAMS_MAX}, or after the end. */
  open(stream: LiveStream): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
    if (this.#open >= STREAMS_MAX || this.#closed.signal.aborted) {
      this.#refused++;
      return undefined;
    }
    this.#open++;
    const gone = new AbortController();
    const events = this.#events(stream, gone.signal);
    const encoder = new TextEncoder();
    let counted = true;
    const end = (): void => {
      if (counted) this.#open--;
      counted = false;
    };
    return new ReadableStream({
      async pull(controller): Promise<void> {
        const { value, done } = await events.next();
        if (gone.signal.aborted) return;
        if (done === true) {
          end();
          controller.close();
        } else controller.enqueue(encoder.encode(value));
      },
      cancel(): void {
        end();
        gone.abort();
      },
    }, { highWaterMark: 0 });
  }

  /** Ends every stream. */
  close(): void {
    this.#closed.abort();
  }

  async *#events(
    { look, endsAt, lastEventId }: LiveStream,
    gone: AbortSignal,
  ): AsyncGenerator<string, void> {
    const { now, wait } = this.#options;
    const signals = [gone, this.#closed.signal];
    let seen = parseId(lastEventId);
    let saidAt = now();
    yield `retry: ${RETRY_MS}\n\n`;
    while (!signals.some(({ aborted }) => aborted)) {
      if (now() >= endsAt) {
        yield "event: signedOut\ndata: {}\n\n";
        return;
      }
      const view = await look().catch(() => undefined);
      if (view !== undefined) {
        const tags = Object.fromEntries(
          SECTIONS.map((id) => [id, tagOf(view.sections[id].text)]),
        ) as Record<SectionId, string>;
        const changed = SECTIONS.filter((id) => tags[id] !== seen[id]);
        if (changed.length > 0) {
          const parts = Object.fromEntries(changed.map((id) => [id, view.sections[id].text]));
          const data = JSON.stringify({ parts, summary: view.summary });
          const id = SECTIONS.map((id) => tags[id]).join(".");
          yield `id: ${id}\nevent: parts\ndata: ${data}\n\n`;
          seen = tags;
          saidAt = now();
        }
      }
      if (now() >= saidAt + HEARTBEAT_MS) {
        yield ": still here\n\n";
        saidAt = now();
      }
      await wait(LOOK_MS, signals);
    }
  }
}

function parseId(id: string): Partial<Record<SectionId, string>> {
  const tags = id.split(".");
  if (tags.length !== SECTIONS.length) return {};
  return Object.fromEntries(SECTIONS.map((section, i) => [section, tags[i]]));
}

function tagOf(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, TAG_LENGTH);
}
