/** What forwards of datagrams share: flows with an end, counters, and an orderly stop. @module */
import { systemClock } from "../io/mod.ts";
import { FLOW_IDLE_MS, FLOWS_MAX, FlowTable } from "./flow_table.ts";
import { messageOf } from "../core/mod.ts";
import type { Log } from "./options.ts";

/** What happened at a forward of datagrams since its start. */
export interface DatagramCounters {
  /** Flows begun: one for each client's address and port. */
  readonly flows: number;
  /** Flows now. */
  readonly active: number;
  /** Flows that had to go for others. */
  readonly evicted: number;
  /** Flows that could not begin. */
  readonly failed: number;
  /** Datagrams carried from clients to the service. */
  readonly datagramsOut: number;
  /** Datagrams carried back. */
  readonly datagramsIn: number;
  /** Bytes of payload carried from clients to the service. */
  readonly bytesOut: number;
  /** Bytes carried back. */
  readonly bytesIn: number;
  /** Datagrams for which there was no room or no way. */
  readonly dropped: number;
  /** Datagrams that were longer than the path to the peer carries. */
  readonly tooLong: number;
  /** Datagrams from somebody else than was sent to. */
  readonly strangers: number;
  /** Datagrams that the peer says nobody takes. */
  readonly refused: number;
}

/** A running forward of datagrams. */
export interface DatagramServer {
  /** Counters since the start. */
  readonly counters: DatagramCounters;
  /** Ends all flows, and stops. Safe to call twice. */
  stop(): Promise<void>;
}

/** One flow. */
export interface Flow {
  /** Ends it. Safe to call twice. */
  close(): void | Promise<void>;
}

/** Limits that may be other than usual. */
export interface FlowOptions {
  /** How long a flow stays without a datagram, in milliseconds; RFC 4787 asks for two minutes at least. @default FLOW_IDLE_MS */
  readonly idleMs?: number;
  /** Flows at once; one more takes the place of the one that was silent longest. @default FLOWS_MAX */
  readonly flowsMax?: number;
}

/** Counters as they are counted. */
export type Counts = { -readonly [Name in keyof Omit<DatagramCounters, "active">]: number };

/** Flows that end when nothing is said any more. */
export class DatagramFlows<T extends Flow> {
  /** What happened. */
  readonly counts: Counts = {
    flows: 0,
    evicted: 0,
    failed: 0,
    datagramsOut: 0,
    datagramsIn: 0,
    bytesOut: 0,
    bytesIn: 0,
    dropped: 0,
    tooLong: 0,
    strangers: 0,
    refused: 0,
  };
  readonly #table: FlowTable<T>;
  readonly #idleMs: number;
  readonly #name: string;
  readonly #log: Log;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** No flows. `name` is what the log calls them. */
  constructor(
    { name, log, idleMs = FLOW_IDLE_MS, flowsMax = FLOWS_MAX }: FlowOptions & {
      readonly name: string;
      readonly log: Log;
    },
  ) {
    this.#name = name;
    this.#log = log;
    this.#idleMs = idleMs;
    this.#table = new FlowTable({ idleMs, flowsMax });
  }

  /** As {@linkcode DatagramServer.counters}. */
  get counters(): DatagramCounters {
    return { ...this.counts, active: this.#table.size };
  }

  /** The flow of `key`, or one that `open` makes; `undefined` where it cannot, which is counted and logged. */
  use(key: string, open: () => T): T | undefined {
    const now = systemClock.now();
    const known = this.#table.use(now, key);
    if (known !== undefined) return known;
    let flow: T;
    try {
      flow = open();
    } catch (error) {
      if (this.counts.failed++ === 0) this.#log("warn", `${this.#name}: ${messageOf(error)}`);
      return undefined;
    }
    this.counts.flows++;
    const evicted = this.#table.add(now, key, flow);
    if (evicted !== undefined) {
      if (this.counts.evicted++ === 0) this.#log("warn", `${this.#name}: too many clients at once`);
      void evicted.close();
    }
    this.#timer ??= setInterval(() => this.#expire(), this.#idleMs / 8);
    return flow;
  }

  /** Keeps a flow that has heard something. */
  touch(key: string): void {
    this.#table.use(systemClock.now(), key);
  }

  /** Ends a flow that leads nowhere: the next datagram begins another. */
  end(key: string): void {
    this.#table.delete(key);
  }

  /** Ends all flows. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await Promise.all(this.#table.clear().map((flow) => flow.close()));
  }

  #expire(): void {
    for (const flow of this.#table.expire(systemClock.now())) void flow.close();
    if (this.#table.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
