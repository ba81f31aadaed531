/** Echoes to a peer: sent in turn, then counted. @module */
import type { PingReply } from "../agent/mod.ts";
import { formatPathKind, formatRemote } from "./status_view.ts";
import { formatMs, type Paint, printable } from "./text_format.ts";

/** What came of all echoes. */
export interface PingStatistics {
  /** Echoes sent. */
  readonly sent: number;
  /** Answers. */
  readonly received: number;
  /** Share without an answer, 0 to 100. */
  readonly lossPercent: number;
  /** Shortest round trip in milliseconds; `null` without an answer. */
  readonly minMs: number | null;
  /** Mean round trip; `null` without an answer. */
  readonly avgMs: number | null;
  /** Longest round trip; `null` without an answer. */
  readonly maxMs: number | null;
}

/** Counts the answers. */
export function pingStatistics(replies: readonly PingReply[]): PingStatistics {
  const times = replies.flatMap(({ rttMs }) => rttMs === null ? [] : [rttMs]);
  const sent = replies.length;
  const lossPercent = sent === 0 ? 0 : (sent - times.length) / sent * 100;
  if (times.length === 0) {
    return { sent, received: 0, lossPercent, minMs: null, avgMs: null, maxMs: null };
  }
  return {
    sent,
    received: times.length,
    lossPercent,
    minMs: times.reduce((a, b) => Math.min(a, b)),
    avgMs: times.reduce((a, b) => a + b) / times.length,
    maxMs: times.reduce((a, b) => Math.max(a, b)),
  };
}

/** Formats one answer: `reply from colony: seq=1 direct 192.0.2.1:51820 time=0.42 ms`. */
export function formatReply(
  peer: string,
  { sequence, path, rttMs }: PingReply,
  paint: Paint,
): string {
  const name = printable(peer);
  if (rttMs === null) return paint("red", `no reply from ${name}: seq=${sequence}`);
  const way = `${formatPathKind(path.kind, paint)} ${formatRemote(path)}`;
  return `reply from ${name}: seq=${sequence} ${way} time=${formatMs(rttMs)}`;
}

/** Formats the count at the end. */
export function formatPingStatistics(statistics: PingStatistics): string {
  const { sent, received, lossPercent, minMs, avgMs, maxMs } = statistics;
  const line = `${sent} sent, ${received} received, ${Math.round(lossPercent)} % lost`;
  if (minMs === null || avgMs === null || maxMs === null) return line;
  return `${line}, min/avg/max ${formatMs(minMs)} / ${formatMs(avgMs)} / ${formatMs(maxMs)}`;
}

/** How to send. */
export interface PingRun {
  /** Sends one echo. */
  readonly send: (sequence: number) => Promise<PingReply>;
  /** Called with each answer. */
  readonly onReply: (reply: PingReply) => void;
  /** How many to send. */
  readonly count: number;
  /** Waits until the next echo is due; resolves early once `signal` aborts. */
  readonly pause: (signal: AbortSignal) => Promise<void>;
  /** Ends the run when aborted; the echo in flight does not count then. */
  readonly signal: AbortSignal;
}

/** Sends echoes one after another and returns the answers. */
export async function sendPings(
  { send, onReply, count, pause, signal }: PingRun,
): Promise<readonly PingReply[]> {
  const aborted = Promise.withResolvers<undefined>();
  signal.addEventListener("abort", () => aborted.resolve(undefined), { once: true });
  const replies: PingReply[] = [];
  while (replies.length < count && !signal.aborted) {
    if (replies.length > 0) await pause(signal);
    if (signal.aborted) break;
    const reply = await Promise.race([send(replies.length + 1), aborted.promise]);
    if (reply === undefined) break;
    replies.push(reply);
    onReply(reply);
  }
  return replies;
}
