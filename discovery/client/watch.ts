/** A Watch stream that survives: it reconnects, resumes, and notices when the server has gone silent. @module */
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import { assert, messageOf } from "../../core/mod.ts";
import type { DiscoveryService, PeerRecord, WatchEvent } from "../../proto/mod.ts";
import type { Log } from "../log.ts";
import type { Membership } from "../membership/statement.ts";
import type { NodeKey } from "../store/store.ts";
import { delay } from "../delay.ts";
import { type DiscoveredPeer, parsePeer } from "./peer.ts";
import { retryAfterMs } from "./patience.ts";
import type { RecordBook } from "./record_book.ts";
import { callError, hasCode } from "./transport.ts";
import { WatchRecord } from "./watch_record.ts";

/** Longest window of a punch that is believed. */
const PUNCH_WINDOW_MAX_MS = 30_000;

/** What a server that has Watch streams says when it opens none, and what the network says. */
const OUR_REFUSALS: ReadonlySet<Code> = new Set([
  Code.Aborted,
  Code.Canceled,
  Code.DeadlineExceeded,
  Code.NotFound,
  Code.PermissionDenied,
  Code.ResourceExhausted,
  Code.Unauthenticated,
  Code.Unavailable,
]);

/** What a Watch stream tells. */
export type PeerEvent =
  /** A node appeared or its record changed. */
  | { readonly kind: "upserted"; readonly peer: DiscoveredPeer }
  /** A node deregistered or expired. */
  | { readonly kind: "removed"; readonly publicKey: string }
  /** Send handshakes to this peer now, for `windowMs`. */
  | {
    readonly kind: "punch";
    readonly punchId: string;
    readonly windowMs: number;
    readonly peer: DiscoveredPeer;
  }
  /** Every node that can be seen has been told. Comes after each (re)connection. */
  | { readonly kind: "synchronized" };

/** Whether the stream stands. */
export type WatchState =
  | { readonly connected: true; readonly url: string }
  | {
    readonly connected: false;
    /** Why, in one line. */
    readonly reason: string;
    /** Whether the server does not know the node (any more): register again. */
    readonly notRegistered: boolean;
  };

/** Options of a watch. */
export interface WatchOptions extends NodeKey {
  /** Called with each event, in order. What it throws ends the watch. */
  readonly onEvent: (event: PeerEvent) => void;
  /** Called with what the mesh's colony has signed about the watcher, or about a node that it throws out. It must not throw. */
  readonly onMembership?: (membership: Membership) => void;
  /** Called with each change of the state. */
  readonly onState?: (state: WatchState) => void;
  /** Ends the watch. */
  readonly signal: AbortSignal;
}

/** How a watch ended: by its signal, or because no server has Watch streams (a plain Coral Discovery). */
export type WatchEnd = "aborted" | "unsupported";

/** What a watch needs of its client. */
export interface WatchContext {
  /** The URLs and their clients, in order. */
  readonly servers: readonly {
    readonly url: string;
    readonly client: Client<typeof DiscoveryService>;
  }[];
  /** Which to begin with. */
  readonly first: number;
  /** Called with the index of a server that answered. */
  readonly onServer: (index: number) => void;
  /** The signal that is aborted when the network has changed, so that the stream must be opened again. */
  readonly epoch: () => AbortSignal;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Says which records are believed. */
  readonly records: Pick<RecordBook, "open" | "openMembership">;
  /** A number of [0, 1) for jitter. */
  readonly random: () => number;
  /** Silence after which a stream counts as dead, in milliseconds. */
  readonly silenceMaxMs: number;
  /** Time until the first message of a stream, in milliseconds. */
  readonly timeoutMs: number;
  /** First wait before a stream is opened again, in milliseconds. */
  readonly backoffMinMs: number;
  /** Where the log goes. */
  readonly log: Log;
}

/** Keeps a Watch stream open until its signal is aborted. */
export class Watcher {
  readonly #context: WatchContext;
  readonly #options: WatchOptions;
  readonly #record = new WatchRecord();
  /** Servers that have said that they have Watch streams. */
  readonly #confirmed = new Set<number>();
  #cursor = "";
  /** Ends the wait between two streams. */
  #waiting: AbortController | undefined;

  /** Creates a watcher; {@linkcode Watcher.run} starts it. */
  constructor(context: WatchContext, options: WatchOptions) {
    this.#context = context;
    this.#options = options;
  }

  /** Runs until the signal is aborted or every server says that it has no Watch streams. */
  async run(): Promise<WatchEnd> {
    const { servers, random, backoffMinMs, log } = this.#context;
    const { signal } = this.#options;
    const unsupported = new Set<number>();
    let index = this.#context.first;
    while (!signal.aborted) {
      const server = servers[index];
      assert(server !== undefined, "a watch has a server");
      const epoch = this.#context.epoch();
      const outcome = await this.#stream(index, { ...server, epoch });
      if (outcome.callback !== undefined) throw outcome.callback.error;
      if (signal.aborted) break;
      if (epoch.aborted) {
        this.#record.renewed();
        continue;
      }
      this.#record.ended(outcome);
      if (hasCode(outcome.error, Code.Unimplemented)) {
        unsupported.add(index);
        if (unsupported.size === servers.length) {
          this.#lost(outcome.error, false);
          return "unsupported";
        }
      }
      const notRegistered = hasCode(outcome.error, Code.NotFound);
      this.#lost(outcome.error, notRegistered);
      log("debug", "watch interrupted", { reason: messageOf(outcome.error) });
      if (!outcome.live && !notRegistered) index = (index + 1) % servers.length;
      this.#waiting = new AbortController();
      const waitMs = Math.max(
        this.#record.waitMs(random(), backoffMinMs),
        retryAfterMs(outcome.error),
      );
      await delay(waitMs, [signal, epoch, this.#waiting.signal]);
    }
    return "aborted";
  }

  /** Opens the next stream now, where one is waited for. */
  hurry(): void {
    this.#waiting?.abort();
  }

  /** Runs one stream to its end. */
  async #stream(
    index: number,
    { url, client, epoch }: WatchContext["servers"][number] & { readonly epoch: AbortSignal },
  ): Promise<StreamOutcome> {
    const { meshId, publicKey, signal } = this.#options;
    const attempt = new AbortController();
    const abort = (): void => attempt.abort(signal.reason);
    const renew = (): void =>
      attempt.abort(new ConnectError("the network has changed", Code.Unavailable));
    signal.addEventListener("abort", abort);
    epoch.addEventListener("abort", renew);
    let silence: ReturnType<typeof setTimeout> | undefined;
    const listen = (ms: number): void => {
      clearTimeout(silence);
      silence = setTimeout(
        () => attempt.abort(new ConnectError("no sign of life", Code.Unavailable)),
        ms,
      );
    };
    let live = false;
    this.#record.begin();
    try {
      listen(this.#context.timeoutMs);
      const request = { meshId, pubkey: publicKey, cursor: this.#cursor };
      for await (const event of client.watch(request, { signal: attempt.signal })) {
        listen(this.#context.silenceMaxMs);
        if (signal.aborted) break;
        live = await this.#accept(event, { index, url }) || live;
      }
      return { live, error: new Error(`Discovery at ${url} ended the stream`) };
    } catch (error) {
      if (error instanceof CallbackError) return { live, error, callback: { error: error.cause } };
      const asked = { index, client, signal: attempt.signal };
      const explained = live ? error : await this.#explain(error, asked);
      return { live, error: callError(explained, { url, signal }) };
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", abort);
      epoch.removeEventListener("abort", renew);
      // Also ends the request where the loop was left early.
      attempt.abort();
    }
  }

  /**
   * What a stream that never stood failed on. Asks the server once whether it has Watch streams where it answered in no words of
   * ours: a plain Coral Discovery answers the stream's body with an error 500.
   */
  async #explain(
    error: unknown,
    { index, client, signal }: {
      readonly index: number;
      readonly client: Client<typeof DiscoveryService>;
      readonly signal: AbortSignal;
    },
  ): Promise<unknown> {
    if (this.#confirmed.has(index) || OUR_REFUSALS.has(ConnectError.from(error).code)) return error;
    try {
      const { features } = await client.getServerInfo({}, { signal });
      if (!features.includes("watch")) {
        return new ConnectError("no Watch streams", Code.Unimplemented);
      }
      this.#confirmed.add(index);
      return error;
    } catch (reason) {
      return reason;
    }
  }

  /** Takes one message. Returns whether the stream is past its snapshot. */
  async #accept(
    { cursor, event }: WatchEvent,
    server: { index: number; url: string },
  ): Promise<boolean> {
    if (cursor !== "") this.#cursor = cursor;
    switch (event.case) {
      case "peerUpserted":
        this.#upsert(event.value.pubkey, await this.#open(event.value));
        return false;
      case "peerRemoved":
        this.#remove(event.value.pubkey);
        return false;
      case "punch": {
        const { punchId, windowMs, peer: record } = event.value;
        const peer = record && await this.#open(record);
        if (peer !== undefined && peer.meshId === this.#options.meshId) {
          const bounded = Math.min(windowMs, PUNCH_WINDOW_MAX_MS);
          this.#tell({ kind: "punch", punchId, windowMs: bounded, peer });
        }
        return false;
      }
      case "snapshotComplete":
        for (const publicKey of this.#record.completed(event.value.resumed)) {
          this.#tell({ kind: "removed", publicKey });
        }
        this.#context.onServer(server.index);
        if (this.#record.stands()) {
          this.#options.onState?.({ connected: true, url: server.url });
        }
        this.#tell({ kind: "synchronized" });
        return true;
      case "membership": {
        const { meshId, onMembership } = this.#options;
        const membership = await this.#context.records.openMembership(meshId, event.value);
        if (membership !== undefined) onMembership?.(membership);
        return false;
      }
      case "heartbeat":
      case undefined:
        return false;
      default:
        // A newer server's event.
        event satisfies never;
        return false;
    }
  }

  /** What is to be believed about a node with this record. */
  async #open(record: PeerRecord): Promise<DiscoveredPeer | undefined> {
    const { records, now } = this.#context;
    // The own record comes back only from a server that errs.
    if (record.pubkey === this.#options.publicKey) return undefined;
    return await records.open(parsePeer(record, now()), record.statement);
  }

  #upsert(publicKey: string, peer: DiscoveredPeer | undefined): void {
    // Who is named is there, whatever else is wrong with the record.
    if (peer === undefined) return this.#record.named(publicKey);
    if (peer.meshId !== this.#options.meshId) return;
    if (this.#record.upserted(peer)) this.#tell({ kind: "upserted", peer });
  }

  #remove(publicKey: string): void {
    if (this.#record.removed(publicKey)) this.#tell({ kind: "removed", publicKey });
  }

  #tell(event: PeerEvent): void {
    try {
      this.#options.onEvent(event);
    } catch (error) {
      throw new CallbackError(error);
    }
  }

  /** Every loss is told, as its reason may change. */
  #lost(error: unknown, notRegistered: boolean): void {
    const reason = messageOf(error);
    this.#options.onState?.({ connected: false, reason, notRegistered });
  }
}

/** How a stream ended. */
interface StreamOutcome {
  /** Whether it got past its snapshot. */
  readonly live: boolean;
  /** Why it ended. */
  readonly error: unknown;
  /** What `onEvent` threw, if it did. */
  readonly callback?: { readonly error: unknown };
}

/** What `onEvent` threw, in its cause: our caller's fault, not the stream's. */
class CallbackError extends Error {
  constructor(cause: unknown) {
    super("onEvent threw", { cause });
  }
}
