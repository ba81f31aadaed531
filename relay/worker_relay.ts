/** Starts a relay in a Worker of its own. @module */
import { MorayError } from "../core/mod.ts";
import type { Log } from "./log.ts";
import type { RelayReport, RelayTransport } from "./server.ts";
import type { RelayReply, RelayTask, WorkerRelayOptions } from "./worker_protocol.ts";

/** How long the Worker may take to end, besides a drain. */
const STOP_MS = 500;
/** How long it may take to answer: the last report, the goodbye to Discovery and the end have the 2 s of a node's stop together. */
const REPORT_MS = 500;

/** Options of {@linkcode startRelayWorker}. */
export interface RelayWorkerOptions extends WorkerRelayOptions {
  /** Where the log goes. */
  readonly log: Log;
}

/** A relay in a Worker. */
export interface RunningRelayWorker extends AsyncDisposable {
  /** Ways to it by its external address. */
  readonly transports: readonly RelayTransport[];
  /** Every listening address as `key=value`. */
  readonly listening: readonly string[];
  /** Which UDP sockets it has. */
  readonly driver: string;
  /** Resolves when it has stopped by {@linkcode RunningRelayWorker.stop}; rejects if it died. */
  readonly finished: Promise<void>;
  /** What it has done and what it held when it was last asked for a report, by name. */
  readonly counters: Readonly<Record<string, number>>;
  /** What there is to report; each byte is reported once. Rejects with `timedOut` or `closed`. */
  report(): Promise<RelayReport>;
  /** Ends sessions, and takes their credentials no more. */
  revoke(sessions: readonly string[]): void;
  /** Takes nobody new, tells clients, and resolves when all have gone or after `ms`. */
  drain(ms: number): Promise<void>;
  /** Ends it and its Worker. Takes at most 500 ms. Safe to call twice. */
  stop(): Promise<void>;
}

/** Starts a relay as `startRelay` does, and rejects as that does. */
export async function startRelayWorker(
  { log, ...options }: RelayWorkerOptions,
): Promise<RunningRelayWorker> {
  const relay = new RelayWorker(log);
  await relay.start(options);
  return relay;
}

type Kind = RelayReply["kind"];

class RelayWorker implements RunningRelayWorker {
  readonly finished: Promise<void>;
  transports: readonly RelayTransport[] = [];
  listening: readonly string[] = [];
  driver = "unknown";
  counters: Readonly<Record<string, number>> = {};
  readonly #worker = new Worker(new URL("./relay_worker.ts", import.meta.url), { type: "module" });
  readonly #log: Log;
  readonly #over = Promise.withResolvers<void>();
  /** Who waits for which word. */
  readonly #waiting = new Map<Kind, PromiseWithResolvers<RelayReply>>();
  #dead: MorayError | undefined;
  #stopping: Promise<void> | undefined;

  constructor(log: Log) {
    this.#log = log;
    this.finished = this.#over.promise;
    // Whoever does not ask must not be ended by the answer.
    this.finished.catch(() => {});
    this.#worker.onmessage = ({ data }: MessageEvent<RelayReply>): void => this.#take(data);
    this.#worker.onerror = (event): void => {
      // Handled here: an uncaught error of a Worker otherwise ends the process.
      event.preventDefault();
      this.#die(new MorayError("internal", `The relay has died: ${event.message}`));
    };
  }

  async start(options: WorkerRelayOptions): Promise<void> {
    try {
      const started = await this.#ask({ kind: "start", options }, "started");
      if (started.kind !== "started") return;
      this.transports = started.transports;
      this.listening = started.listening;
      this.driver = started.driver;
    } catch (error) {
      this.#worker.terminate();
      throw error;
    }
  }

  async report(): Promise<RelayReport> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new MorayError("timedOut", "The relay does not answer")),
      REPORT_MS,
    );
    try {
      const answer = await Promise.race([this.#ask({ kind: "report" }, "report"), late]);
      if (answer.kind !== "report") throw new MorayError("internal", "The relay has no report");
      this.counters = answer.counters;
      return answer.report;
    } finally {
      clearTimeout(timer);
    }
  }

  revoke(sessions: readonly string[]): void {
    this.#tell({ kind: "revoke", sessions });
  }

  async drain(ms: number): Promise<void> {
    await this.#ask({ kind: "drain", ms }, "drained");
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, STOP_MS);
    await Promise.race([this.#ask({ kind: "stop" }, "stopped").catch(() => {}), late]);
    clearTimeout(timer);
    this.#worker.terminate();
    this.#end(new MorayError("closed", "The relay has stopped"));
    this.#over.resolve();
  }

  #tell(task: RelayTask): void {
    if (this.#dead === undefined) this.#worker.postMessage(task);
  }

  /** Tells the Worker something and waits for its word; two who ask the same get one answer. */
  #ask(task: RelayTask, kind: Kind): Promise<RelayReply> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const waiting = this.#waiting.get(kind);
    if (waiting !== undefined) return waiting.promise;
    const asked = Promise.withResolvers<RelayReply>();
    this.#waiting.set(kind, asked);
    this.#worker.postMessage(task);
    return asked.promise;
  }

  #take(reply: RelayReply): void {
    if (reply.kind === "log") return this.#log(reply.level, reply.message, reply.fields);
    if (reply.kind === "failed") return this.#die(new MorayError(reply.code, reply.message));
    this.#waiting.get(reply.kind)?.resolve(reply);
    this.#waiting.delete(reply.kind);
  }

  #die(error: MorayError): void {
    this.#end(error);
    this.#over.reject(error);
  }

  /** Nobody gets an answer any more. */
  #end(error: MorayError): void {
    this.#dead ??= error;
    for (const asked of this.#waiting.values()) {
      asked.promise.catch(() => {});
      asked.reject(error);
    }
    this.#waiting.clear();
  }
}
