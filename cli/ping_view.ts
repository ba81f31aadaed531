/** Echoes to a peer: sent in turn, the path of each, then counted. @module */
import type { PathStatus, PingReply } from "../agent/mod.ts";
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
  /** Changes of the path between two answers. */
  readonly pathChanges: number;
  /** Time from the start to the first answer over a direct path, in milliseconds; `null` without one. */
  readonly directAfterMs: number | null;
}

/** A path that is another than the one before. */
export interface PathChange {
  /** The path before; `null` at the first. */
  readonly from: PathStatus | null;
  /** The path now. */
  readonly to: PathStatus;
  /** Why it is not direct; `null` if it is. */
  readonly reason: string | null;
  /** Time since the start in milliseconds. */
  readonly afterMs: number;
}

/** What happened, in order. */
export type PingEvent =
  | { readonly kind: "reply"; readonly reply: PingReply }
  | { readonly kind: "path"; readonly change: PathChange };

/** Counts answers as they come, in bounded memory, and notices changes of the path. */
export class PingCount {
  #sent = 0;
  #received = 0;
  #sum = 0;
  #min = Infinity;
  #max = 0;
  #changes = 0;
  #directAfterMs: number | null = null;
  #path: PathStatus | undefined;

  /** Whether an answer came over a direct path. */
  get direct(): boolean {
    return this.#directAfterMs !== null;
  }

  /** Takes an answer, or its absence, `afterMs` after the start. Returns what there is to tell. */
  handleReply(reply: PingReply, afterMs: number): readonly PingEvent[] {
    const { rttMs, path, reason } = reply;
    this.#sent++;
    if (rttMs !== null) {
      this.#received++;
      this.#sum += rttMs;
      this.#min = Math.min(this.#min, rttMs);
      this.#max = Math.max(this.#max, rttMs);
      if (path.kind === "direct") this.#directAfterMs ??= afterMs;
    }
    const events: PingEvent[] = [];
    const before = this.#path;
    if (before === undefined || !samePath(before, path)) {
      if (before !== undefined) this.#changes++;
      events.push({ kind: "path", change: { from: before ?? null, to: path, reason, afterMs } });
    }
    this.#path = path;
    return [...events, { kind: "reply", reply }];
  }

  /** The figures until now. */
  get statistics(): PingStatistics {
    const sent = this.#sent;
    const received = this.#received;
    const any = received > 0;
    return {
      sent,
      received,
      lossPercent: sent === 0 ? 0 : (sent - received) / sent * 100,
      minMs: any ? this.#min : null,
      avgMs: any ? this.#sum / received : null,
      maxMs: any ? this.#max : null,
      pathChanges: this.#changes,
      directAfterMs: this.#directAfterMs,
    };
  }
}

function samePath(a: PathStatus, b: PathStatus): boolean {
  return a.kind === b.kind && a.remote === b.remote && a.relay === b.relay;
}

/**
 * Formats what happened as one line: `reply from colony: seq=1 direct 192.0.2.1:51820 time=0.42 ms`. `undefined` for what goes
 * without saying: that the first path is direct, as the reply says too.
 */
export function formatPingEvent(peer: string, event: PingEvent, paint: Paint): string | undefined {
  const name = printable(peer);
  if (event.kind === "reply") return formatReply(name, event.reply, paint);
  const { from, to, reason, afterMs } = event.change;
  if (from === null && to.kind === "direct") return undefined;
  const ways = [...from === null ? [] : [wayOf(from, paint)], wayOf(to, paint)].join(" -> ");
  const since = `after ${formatMs(afterMs)}`;
  const why = reason === null ? "" : paint("dim", ` because ${printable(reason)}`);
  return `path to ${name}: ${ways} ${since}${why}`;
}

function formatReply(name: string, { sequence, path, rttMs }: PingReply, paint: Paint): string {
  if (rttMs === null) return paint("red", `no reply from ${name}: seq=${sequence}`);
  return `reply from ${name}: seq=${sequence} ${wayOf(path, paint)} time=${formatMs(rttMs)}`;
}

function wayOf(path: PathStatus, paint: Paint): string {
  const kind = formatPathKind(path.kind, paint);
  return path.kind === "none" ? kind : `${kind} ${formatRemote(path)}`;
}

/** What happened as one JSON line for programs, without the line end. */
export function encodePingEvent(peer: string, event: PingEvent): string {
  const { kind } = event;
  return JSON.stringify(
    kind === "reply"
      ? { event: kind, peer, ...event.reply }
      : { event: kind, peer, ...event.change },
  );
}

/** The figures as one JSON line. */
export function encodePingStatistics(peer: string, statistics: PingStatistics): string {
  return JSON.stringify({ event: "summary", peer, ...statistics });
}

/** Formats the count at the end. */
export function formatPingStatistics(statistics: PingStatistics): string {
  const { sent, received, lossPercent, minMs, avgMs, maxMs } = statistics;
  const parts = [`${sent} sent, ${received} received, ${Math.round(lossPercent)} % lost`];
  if (minMs !== null && avgMs !== null && maxMs !== null) {
    parts.push(`min/avg/max ${formatMs(minMs)} / ${formatMs(avgMs)} / ${formatMs(maxMs)}`);
  }
  const { pathChanges: changes, directAfterMs } = statistics;
  if (changes > 0) parts.push(changes === 1 ? "1 path change" : `${changes} path changes`);
  if (directAfterMs !== null && changes > 0) parts.push(`direct after ${formatMs(directAfterMs)}`);
  return parts.join(", ");
}

/** How to send. */
export interface PingRun {
  /** Sends one echo. */
  readonly send: (sequence: number) => Promise<PingReply>;
  /** Called with each answer; returns whether to go on. */
  readonly onReply: (reply: PingReply) => boolean;
  /** How many to send; 0 for no end. */
  readonly count: number;
  /** Waits until the next echo is due; resolves early once `signal` aborts. */
  readonly pause: (signal: AbortSignal) => Promise<void>;
  /** Ends the run when aborted; the echo in flight does not count then. */
  readonly signal: AbortSignal;
}

/** Sends echoes one after another. */
export async function sendPings(
  { send, onReply, count, pause, signal }: PingRun,
): Promise<void> {
  const aborted = Promise.withResolvers<undefined>();
  signal.addEventListener("abort", () => aborted.resolve(undefined), { once: true });
  for (let sequence = 1; count === 0 || sequence <= count; sequence++) {
    if (sequence > 1) await pause(signal);
    if (signal.aborted) return;
    const reply = await Promise.race([send(sequence), aborted.promise]);
    if (reply === undefined || !onReply(reply)) return;
  }
}
