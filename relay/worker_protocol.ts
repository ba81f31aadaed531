/** What a relay in a Worker and the thread that started it say to each other: no key of WireGuard is in it. @module */
import type { ErrorCode } from "../core/mod.ts";
import type { Log } from "./log.ts";
import type { RelayOptions, RelayReport, RelayTransport } from "./server.ts";

/** How a relay in a Worker is started. */
export type WorkerRelayOptions = Omit<RelayOptions, "log" | "signal">;

/** What the Worker is told. */
export type RelayTask =
  /** Start; the first message, once. */
  | { readonly kind: "start"; readonly options: WorkerRelayOptions }
  /** Say what there is to report. */
  | { readonly kind: "report" }
  /** End these sessions. */
  | { readonly kind: "revoke"; readonly sessions: readonly string[] }
  /** Take nobody new, and say when all have gone or the time is over. */
  | { readonly kind: "drain"; readonly ms: number }
  /** End, and say so. */
  | { readonly kind: "stop" };

/** What the Worker tells. */
export type RelayReply =
  /** It listens. */
  | {
    readonly kind: "started";
    readonly transports: readonly RelayTransport[];
    readonly listening: readonly string[];
    readonly driver: string;
  }
  /** It does not start, or has died. */
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string }
  /** What there is to report. */
  | {
    readonly kind: "report";
    readonly report: RelayReport;
    readonly counters: Readonly<Record<string, number>>;
  }
  /** Nobody is left, or the time is over. */
  | { readonly kind: "drained" }
  /** It has ended. */
  | { readonly kind: "stopped" }
  /** A line for the log. */
  | {
    readonly kind: "log";
    readonly level: Parameters<Log>[0];
    readonly message: string;
    readonly fields?: Parameters<Log>[2];
  };
