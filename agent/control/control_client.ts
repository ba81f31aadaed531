/** Watches the mesh at its colony, inside the tunnel, for as long as the node runs. @module */
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { messageOf } from "../../core/mod.ts";
import { delay } from "../../discovery/mod.ts";
import { ControlService } from "../../proto/control.ts";
import type { Log } from "../options.ts";
import type { SeenRevision } from "./member_list.ts";
import { type MeshView, parseView } from "./mesh_view.ts";

/** Silence after which a stream counts as dead: two heartbeats and a half. */
export const SILENCE_MS = 25_000;
/** Waits before it is asked again. */
const RETRY_MS = 1000;
const RETRY_MS_MAX = 60_000;
/** The wait where a colony tells its list once, and where it has no such service. */
const RARELY_MS = 60_000;
/** Part of each wait that chance may take away. */
const JITTER = 0.5;

/** What a {@linkcode ControlClient} is made of. */
export interface ControlClientOptions {
  /** Mesh id. */
  readonly mesh: string;
  /** The name that the node asks for. */
  readonly name: string;
  /** As the global `fetch`, into the mesh. */
  readonly fetch: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
  /** Resets the connections of `fetch`: once an answer streams, an abort alone may end it only with the next message (Deno 2.8.3). */
  readonly drop: () => void;
  /** What was taken in last. */
  readonly seen: () => SeenRevision;
  /** Called with each view. */
  readonly onView: (view: MeshView) => void;
  /** A number of [0, 1), for jitter. */
  readonly random: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** An agent's stream from its colony. */
export class ControlClient {
  readonly #options: ControlClientOptions;
  readonly #ended = new AbortController();
  #url: string | undefined;
  #running: Promise<void> | undefined;
  /** Ends the wait or the stream that is under way. */
  #anew = new AbortController();
  #connected = false;
  #unusable = 0;

  /** Watches nothing. */
  constructor(options: ControlClientOptions) {
    this.#options = options;
  }

  /** Whether the colony has told something by the stream that stands. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Views that made no sense. */
  get unusable(): number {
    return this.#unusable;
  }

  /** The colony has been reached, and serves at this URL: whatever was under way begins anew, as it may be another one. */
  reached(url: string): void {
    if (this.#ended.signal.aborted) return;
    this.#url = url;
    this.#anew.abort();
    this.#running ??= this.#run();
  }

  /** Ends the stream. Never rejects. */
  async stop(): Promise<void> {
    this.#ended.abort();
    this.#anew.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { random, log } = this.#options;
    let retryMs = RETRY_MS;
    while (!this.#ended.signal.aborted) {
      this.#anew = new AbortController();
      const { signal } = this.#anew;
      const { told, error } = await this.#stream(this.#url ?? "", signal);
      this.#connected = false;
      if (told) retryMs = RETRY_MS;
      if (signal.aborted) continue;
      // Refused: a colony of an earlier version, or of another make.
      const rarely = error === undefined ||
        [Code.Unimplemented, Code.NotFound].includes(error.code);
      const waitMs = rarely ? RARELY_MS : retryMs;
      if (error !== undefined) log("debug", `the colony's control service: ${messageOf(error)}`);
      retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
      await delay(waitMs * (1 - JITTER * random()), [signal]);
    }
  }

  /** Runs one stream to its end. Returns whether it told anything, and why it ended; nothing where the colony ended it in order. */
  async #stream(
    url: string,
    signal: AbortSignal,
  ): Promise<{ readonly told: boolean; readonly error?: ConnectError }> {
    const { seen, name, drop } = this.#options;
    const attempt = new AbortController();
    const abort = (): void => {
      attempt.abort();
      drop();
    };
    signal.addEventListener("abort", abort);
    let silence = setTimeout(abort, SILENCE_MS);
    let told = false;
    try {
      const { instance, revision } = seen();
      const request = { name, instance, revision: BigInt(revision) };
      for await (const { event } of this.#client(url).watchMesh(request, attempt)) {
        clearTimeout(silence);
        silence = setTimeout(abort, SILENCE_MS);
        if (event.case === "view") told = this.#take(event.value) || told;
      }
      return { told };
    } catch (error) {
      return { told, error: ConnectError.from(error) };
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", abort);
      abort();
    }
  }

  #take(message: Parameters<typeof parseView>[0]): boolean {
    const view = parseView(message, this.#options.mesh);
    if (view === undefined) {
      this.#unusable++;
      return false;
    }
    this.#connected = true;
    this.#options.onView(view);
    return true;
  }

  #client(baseUrl: string): Client<typeof ControlService> {
    const { fetch } = this.#options;
    return createClient(
      ControlService,
      createConnectTransport({ baseUrl, fetch, useBinaryFormat: true }),
    );
  }
}
