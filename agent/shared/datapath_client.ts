/** The main thread's end of the arena: commands with replies, events, and wake-ups. @module */
import { MorayError } from "../../core/mod.ts";
import type { SharedArena } from "./arena.ts";
import { FrameOutbox } from "./frame_outbox.ts";
import type {
  AcceptedEvent,
  Command,
  CommandBody,
  CommandKind,
  CommandValues,
  DatapathEvent,
  Reply,
} from "./protocol.ts";
import type { StreamSlot } from "./stream_slot.ts";

/** Commands without a reply yet. One more is refused with `limit`. */
export const COMMANDS_PENDING_MAX = 4096;

/** The events that concern the node rather than a command or a stream. */
export type NodeEvent = Exclude<DatapathEvent, Reply | AcceptedEvent>;

/** A kernel connection taken from Deno; `TcpSocket` of `io` is one. */
export interface TakenSocket {
  /** Its descriptor. */
  readonly fd: number;
  /** Closes it in order. Safe to call twice. */
  close(): void;
  /** Closes it with a reset. Safe to call twice. */
  reset(): void;
}

/** What a {@linkcode DatapathClient} is made of. */
export interface DatapathClientOptions {
  /** The memory shared with the Worker. */
  readonly arena: SharedArena;
  /** Wakes the Worker: `postMessage`, or an eventfd write. Called only when it has no wake-up under way. */
  readonly wake: () => void;
  /** Called with each event that is neither a reply nor about a stream, in order. What it throws is reported as uncaught. */
  readonly onEvent: (event: NodeEvent) => void;
  /**
   * Takes a connection from Deno for the Worker; `undefined`, with nothing changed, where that is not possible. Absent: it
   * never is.
   */
  readonly takeSocket?: (conn: Deno.Conn) => TakenSocket | undefined;
}

/** Who takes what concerns streams: one per client, the node's `TunnelNetwork`. */
export interface StreamSink {
  /** A listener's port got a connection. */
  accepted(event: AcceptedEvent): void;
  /** Something about the slot has changed. The slot may belong to no stream any more. */
  dirty(slot: StreamSlot): void;
  /** The datapath has ended; every stream fails with this error. Called once. */
  closed(error: MorayError): void;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: MorayError) => void;
}

/** Sends commands to the datapath Worker and hears what it says. */
export class DatapathClient {
  /** The memory shared with the Worker. */
  readonly arena: SharedArena;
  /** As {@linkcode DatapathClientOptions.takeSocket}. */
  readonly takeSocket: (conn: Deno.Conn) => TakenSocket | undefined;
  readonly #wake: () => void;
  readonly #onEvent: (event: NodeEvent) => void;
  readonly #outbox: FrameOutbox;
  readonly #pending = new Map<number, Pending>();
  #sink: StreamSink | undefined;
  #closed: MorayError | undefined;
  #nextId = 1;
  #refused = 0;

  /** A client of the Worker at the other end of `arena`. */
  constructor({ arena, wake, onEvent, takeSocket }: DatapathClientOptions) {
    this.arena = arena;
    this.takeSocket = takeSocket ?? ((): undefined => undefined);
    this.#wake = wake;
    this.#onEvent = onEvent;
    this.#outbox = new FrameOutbox(arena.commands);
  }

  /** Why the client has closed; `undefined` while it is open. */
  get closedBy(): MorayError | undefined {
    return this.#closed;
  }

  /** Commands refused since the start because of a limit. */
  get commandsRefused(): number {
    return this.#refused;
  }

  /** Says who takes what concerns streams. Before the first stream command. */
  attachStreams(sink: StreamSink): void {
    this.#sink = sink;
    if (this.#closed !== undefined) sink.closed(this.#closed);
  }

  /**
   * Sends a command; resolves with the value of its reply.
   *
   * Rejects with `MorayError`: the reply's code, `limit` if too many commands wait or this one is too long, or
   * `closed` once the datapath has ended.
   */
  send<K extends CommandKind>(
    body: Extract<CommandBody, { readonly kind: K }>,
  ): Promise<CommandValues[K]> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const id = this.#nextId++;
    const command: Command = { ...body, id };
    if (this.#pending.size >= COMMANDS_PENDING_MAX || !this.#outbox.send(command)) {
      this.#refused++;
      return Promise.reject(new MorayError("limit", `Too many or too long commands: ${body.kind}`));
    }
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.set(id, { resolve, reject });
    this.ringWorker();
    return promise as Promise<CommandValues[K]>;
  }

  /** Rings for the Worker, and wakes it if it needs that. After writing and marking, never before. */
  ringWorker(): void {
    if (this.#closed === undefined && this.arena.ringWorker()) this.#wake();
  }

  /** Takes in what the Worker has to say whenever it rings; resolves once the client has closed. */
  async listen(): Promise<void> {
    while (this.#closed === undefined) {
      this.handleWake();
      let rung = this.arena.waitForMainBell();
      if (rung === undefined) {
        // There is more already. Twice a turn is enough: the event loop has others to serve.
        rung = this.arena.answerAndWait();
        this.handleWake();
      }
      await rung;
    }
  }

  /** Takes in what the Worker has to say. For whoever does not {@linkcode DatapathClient.listen}: on every wake-up. */
  handleWake(): void {
    if (this.#closed !== undefined) return;
    this.arena.answerMainBell();
    if (this.#outbox.flush()) this.ringWorker();
    for (;;) {
      const event = this.arena.events.popJson();
      if (event === undefined) break;
      this.#dispatch(event as DatapathEvent);
    }
    if (this.arena.events.takeRoomWanted()) this.ringWorker();
    this.arena.takeDirtyForMain((slot) => this.#sink?.dirty(slot));
  }

  /** Ends the datapath in order: sends `stop`, waits for its reply, then closes. Safe to call twice. */
  async stop(): Promise<void> {
    if (this.#closed !== undefined) return;
    try {
      await this.send({ kind: "stop" });
    } finally {
      this.close();
    }
  }

  /**
   * Stops talking to the Worker: pending commands and every stream fail with `closed`. For a Worker that has ended
   * or died. Safe to call twice.
   */
  close(reason = "the datapath has stopped"): void {
    if (this.#closed !== undefined) return;
    const error = new MorayError("closed", `The node is closed: ${reason}`);
    this.#closed = error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#sink?.closed(error);
    // Who listens has nothing to wait for, and nobody may wait on memory that is freed: V8 then mistakes who waits on the next.
    this.arena.notifyMain();
  }

  #dispatch(event: DatapathEvent): void {
    if (event.kind === "reply") return this.#settle(event);
    if (event.kind === "accepted") return this.#sink?.accepted(event);
    try {
      this.#onEvent(event);
    } catch (error) {
      // The rest of the ring must be drained whatever a handler does: its bell has been answered.
      reportError(error);
    }
    if (event.kind === "fatal") this.close(event.message);
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    this.#pending.delete(reply.id);
    if (reply.ok) pending.resolve(reply.value);
    else pending.reject(new MorayError(reply.code, reply.message));
  }
}
