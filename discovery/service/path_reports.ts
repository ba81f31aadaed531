/**
 * The method ReportPath: from a request to the {@linkcode PathBook}, of this server and of every replica.
 *
 * ```text
 *   node --ReportPath--> checks -> book        shared store: -> waits for the next sweep -> say -> the book of each replica
 * ```
 *
 * @module
 */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Instant } from "../../core/mod.ts";
import {
  type ReportPathRequest,
  type ReportPathResponse,
  ReportPathResponseSchema,
} from "../../proto/mod.ts";
import { SourceLimiter, type SourceLimiterOptions } from "../../traversal/mod.ts";
import type { NodeKey, Store } from "../store/store.ts";
import { PathBook } from "./path_book.ts";
import { decodePathWords, encodePathWords, type SaidReport } from "./path_words.ts";
import { parseNode, parsePaths } from "./requests.ts";
import type { Caller, Gate } from "./proven.ts";

/** Reports that wait until replicas are told. Beyond, the oldest is not told; {@linkcode PathReports.counters} says. */
export const WAITING_MAX = 5000;
/** How often one node may report: a node does so every 10 s at most. */
const LIMIT: SourceLimiterOptions = { ratePerSecond: 1, burst: 60, sourcesMax: 100_000 };

/** Options of {@linkcode PathReports}. */
export interface PathReportsOptions {
  /** Knows who is registered, and carries words between replicas. */
  readonly store: Pick<Store, "node" | "shared" | "say">;
  /** Knows who may do what. */
  readonly gate: Gate;
  /** Runs a call of the store and names its faults. */
  readonly guarded: <T>(body: () => Promise<T>) => Promise<T>;
  /** Now, unix milliseconds. */
  readonly now: () => number;
}

/** Takes reports of paths. */
export class PathReports {
  /** What is known. */
  readonly book = new PathBook();
  readonly #options: PathReportsOptions;
  readonly #limiter = new SourceLimiter(LIMIT);
  #waiting: SaidReport[] = [];
  #untold = 0;

  /** Knows nothing yet. */
  constructor(options: PathReportsOptions) {
    this.#options = options;
  }

  /** Counters by name. */
  counters(): Record<string, number> {
    return { ...this.book.counters(), pathReportsUntold: this.#untold };
  }

  /** Takes a report of a registered node, which proves its key. */
  async report(request: ReportPathRequest, caller: Caller): Promise<ReportPathResponse> {
    const { store, gate, guarded, now } = this.#options;
    const node = parseNode(request);
    const proven = gate.callerFor(caller, node.publicKey);
    const report = parsePaths(request);
    if (!this.#limiter.admit(now() as Instant, `${node.meshId} ${node.publicKey}`)) {
      throw new ConnectError("too many reports of this key", Code.ResourceExhausted);
    }
    const record = await guarded(() => store.node(node, now()));
    if (record === undefined) {
      throw new ConnectError("the node is not registered", Code.FailedPrecondition);
    }
    gate.guard(proven, record);
    const taken = this.book.report(now(), node, report);
    if (store.shared) this.#wait({ node, report });
    return create(ReportPathResponseSchema, { taken });
  }

  /** Takes what a replica said, this one too: what is said twice is the same. */
  heard(text: string): void {
    for (const { node, report } of decodePathWords(text)) {
      this.book.report(this.#options.now(), node, report);
    }
  }

  /** A node has left: what it said goes with it, and is not told any more. */
  left(node: NodeKey): void {
    this.book.leave(node);
    const { meshId, publicKey } = node;
    this.#waiting = this.#waiting.filter(({ node: one }) =>
      one.meshId !== meshId || one.publicKey !== publicKey
    );
  }

  /** Tells replicas what was reported since the last time, and forgets what is old. Rejects as the store does. */
  async sweep(): Promise<void> {
    const { store, guarded, now } = this.#options;
    this.book.sweep(now());
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const word of encodePathWords(waiting)) await guarded(() => store.say(word));
  }

  #wait(report: SaidReport): void {
    if (this.#waiting.length >= WAITING_MAX) {
      this.#waiting.shift();
      this.#untold++;
    }
    this.#waiting.push(report);
  }
}
