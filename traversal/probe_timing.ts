/**
 * When the next probe of a path is due.
 *
 * ```text
 *  the path in use   while data goes out: 1 s after the last proof; for 20 s after the last of it, or after the session began, every
 *                    3 s, as the peer may talk on and not be heard; otherwise once per keepalive (25 s)
 *                    without an answer: every 300 ms, after 15 of them less and less
 *  others that work  three quick ones for the round trip, then every 25 s (the best few) or 60 s
 *                    while the path in use does not answer: every 700 ms
 *                    those that do not answer any more: every 1.5 s for a minute of that
 *  all others        0 200 500 1000 2000 ms, every 5 s for 30 s, then after 10 20 40 60 60 ... s, for ever
 * ```
 *
 * Waits of 5 s and more end on whole seconds, so that a node with thousands of peers wakes once for many.
 *
 * @module
 */
import { after, type Instant } from "../core/mod.ts";
import type { PathRecord } from "./path_record.ts";
import { SAMPLES_MIN } from "./path_rank.ts";

/** What the other paths' timing depends on. */
export interface ProbeContext {
  /** When the session began. */
  readonly since: Instant;
  /** The path in use. */
  readonly primary: PathRecord;
  /** When data last went out; `undefined` for never. */
  readonly sentAt: Instant | undefined;
  /** From when on the path in use is in doubt, so that others are asked quickly; `undefined` while it is not. */
  readonly suspectedAt: Instant | undefined;
  /** The paths that are kept ready. */
  readonly warm: ReadonlySet<PathRecord>;
  /** Time between probes that keep a NAT mapping. */
  readonly keepaliveMs: number;
}

/** Time between proofs of the path in use while data goes out. */
export const ACTIVE_PROBE_MS = 1_000;
/**
 * The same for so long after data last went out: who only answers sends nothing where no question arrives any more, and no packet of the
 * peer's opens the NAT in front of this node again.
 */
export const TALK_PROBE_MS = 3_000;
const TALK_FOR_MS = 20_000;
/**
 * Time between probes of the path in use while it does not answer; twice the least round trip if that is longer: a peer that
 * sleeps answers everything when it wakes, and the average says for minutes that it is slow.
 */
export const RETRY_PROBE_MS = 300;
/** Others are asked this quickly while the path in use is in doubt. */
const SUSPECT_PROBE_MS = 700;
/** Those that worked once are asked this often in the first minute of it. */
const HOPEFUL_PROBE_MS = 1_500;
const HOPEFUL_FOR_MS = 60_000;
const SAMPLE_PROBE_MS = 200;
const COLD_PROBE_MS = 60_000;
/** Quick repetitions on a path in use that does not answer. */
const QUICK_RETRIES = 15;
const SEARCH_MS = [
  ...[200, 300, 500, 1000],
  ...Array<number>(6).fill(5_000),
  ...[10_000, 20_000, 40_000, 60_000],
];
const ALIGN_FROM_MS = 5_000;
const ALIGN_MS = 1_000;

/** When the next probe of a path is due. */
export function probeDueAt(record: PathRecord, context: ProbeContext): Instant {
  if (record === context.primary) return primaryDueAt(record, context);
  const { probedAt } = record;
  if (probedAt === undefined) return context.since;
  if (record.works) {
    const { suspectedAt } = context;
    if (suspectedAt !== undefined) {
      const due = after(probedAt, SUSPECT_PROBE_MS);
      return due > suspectedAt ? due : suspectedAt;
    }
    if (record.unanswered > 0) return after(probedAt, retryMs(record) * 2);
    if (record.samples < SAMPLES_MIN) return after(probedAt, SAMPLE_PROBE_MS);
    return waited(probedAt, context.warm.has(record) ? context.keepaliveMs : COLD_PROBE_MS);
  }
  const due = waited(probedAt, searchMs(record));
  const hopeful = hopefulAt(record, context, probedAt);
  return hopeful === undefined || due < hopeful ? due : hopeful;
}

/** Where the peer was heard in this session it may be again, as long as the path in use has not been silent for long. */
function hopefulAt(
  { heardAt }: PathRecord,
  { suspectedAt }: ProbeContext,
  probedAt: Instant,
): Instant | undefined {
  if (heardAt === undefined || suspectedAt === undefined) return undefined;
  if (probedAt - suspectedAt >= HOPEFUL_FOR_MS) return undefined;
  const due = after(probedAt, HOPEFUL_PROBE_MS);
  return due > suspectedAt ? due : suspectedAt;
}

/** A probe of a path goes out: the next one of one that is looked for is later. */
export function stepSearch(record: PathRecord): void {
  if (record.step < SEARCH_MS.length) record.step++;
}

function primaryDueAt(record: PathRecord, context: ProbeContext): Instant {
  const { probedAt, provenAt, unanswered } = record;
  if (probedAt === undefined) return context.since;
  if (unanswered > 0) {
    const quick = unanswered < QUICK_RETRIES;
    return waited(probedAt, quick ? retryMs(record) : Math.max(1_000, searchMs(record)));
  }
  if (record.replies > 0 && record.samples < SAMPLES_MIN) return after(probedAt, SAMPLE_PROBE_MS);
  const base = provenAt !== undefined && provenAt > probedAt ? provenAt : probedAt;
  // Somebody wanted the session: the peer may talk though nothing was said to it yet.
  const sentAt = context.sentAt ?? context.since;
  if (sentAt <= base) {
    return base - sentAt < TALK_FOR_MS
      ? after(base, TALK_PROBE_MS)
      : waited(base, context.keepaliveMs);
  }
  const due = after(base, ACTIVE_PROBE_MS);
  return due > sentAt ? due : sentAt;
}

function retryMs(record: PathRecord): number {
  return Math.max(RETRY_PROBE_MS, 2 * (record.rttFloorMs ?? 0));
}

/** The schedule's first probe has `step` 1 behind it. */
function searchMs({ step }: PathRecord): number {
  return SEARCH_MS[Math.max(0, step - 1)] ?? SEARCH_MS.at(-1) ?? 0;
}

function waited(from: Instant, ms: number): Instant {
  const at = after(from, ms);
  return ms < ALIGN_FROM_MS ? at : Math.ceil(at / ALIGN_MS) * ALIGN_MS as Instant;
}
