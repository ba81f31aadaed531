/**
 * The probes that wait to be sent and those that wait for an answer: numbered, bounded, and limited in rate.
 *
 * @module
 */
import type { Instant } from "../core/mod.ts";
import type { Path } from "./path.ts";
import type { PathRecord } from "./path_record.ts";
import { TokenBucket } from "./token_bucket.ts";

/** One echo request inside the session, sent along exactly one path. */
export interface PathProbe {
  /** Where it goes. */
  readonly path: Path;
  /** 1 to 65535; names it in its answer. */
  readonly sequence: number;
  /** Length of the inner packet, its IP header included. */
  readonly bytes: number;
}

/** What a probe is for: `alive` asks whether the path works and how fast, `size` whether it carries so much. */
export type ProbePurpose = "alive" | "size";

/** A probe on its way. */
export interface PendingProbe {
  /** The path that it went out on. */
  readonly record: PathRecord;
  /** When it went out. */
  readonly sentAt: Instant;
  /** Length of the inner packet. */
  readonly bytes: number;
  /** What it is for. */
  readonly purpose: ProbePurpose;
}

/** Inner bytes of a probe that asks nothing about sizes: headers of IPv6 and ICMPv6, and a payload, aligned. */
export const PROBE_BYTES = 64;
/** Probes that wait to be taken; one more is not made. */
export const PROBES_QUEUED_MAX = 64;
/** Probes that wait for an answer; the oldest is forgotten, so a very late answer finds nothing. */
export const PROBES_PENDING_MAX = 256;
/** Probes at once, and the time that gives one back: 20 a second for one peer, however much happens. */
const BURST = 96;
const TOKEN_EVERY_MS = 50;
/** Of the probes at once these are kept for the path in use. */
const RESERVED = 24;
const SEQUENCE_MAX = 65_535;

/** The probes of one peer. */
export class ProbeBook {
  readonly #pending = new Map<number, PendingProbe>();
  #queue: PathProbe[] = [];
  #sequence = 0;
  readonly #tokens: TokenBucket;
  #refused = 0;

  /** An empty book. */
  constructor(now: Instant) {
    this.#tokens = new TokenBucket(now, { most: BURST, everyMs: TOKEN_EVERY_MS });
  }

  /** Probes not made at a limit. */
  get refused(): number {
    return this.#refused;
  }

  /** Probes that wait for an answer. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Makes a probe. Returns whether the limits allowed it. */
  add(now: Instant, record: PathRecord, { bytes, purpose, urgent = false }: {
    readonly bytes: number;
    readonly purpose: ProbePurpose;
    /** It is for the path in use, and may take what is kept for that. */
    readonly urgent?: boolean;
  }): boolean {
    const full = this.#queue.length === PROBES_QUEUED_MAX;
    if (full || !this.#tokens.take(now, urgent ? 0 : RESERVED)) {
      this.#refused++;
      return false;
    }
    this.#sequence = this.#sequence % SEQUENCE_MAX + 1;
    const sequence = this.#sequence;
    this.#pending.delete(sequence);
    if (this.#pending.size === PROBES_PENDING_MAX) {
      for (const oldest of this.#pending.keys()) {
        this.#pending.delete(oldest);
        break;
      }
    }
    this.#pending.set(sequence, { record, sentAt: now, bytes, purpose });
    this.#queue.push({ path: record.path, sequence, bytes });
    return true;
  }

  /** Takes the next probe to send. */
  poll(): PathProbe | undefined {
    return this.#queue.shift();
  }

  /** Takes the probe that an answer, or a refusal to send it, names. */
  take(sequence: number): PendingProbe | undefined {
    const probe = this.#pending.get(sequence);
    this.#pending.delete(sequence);
    return probe;
  }

  /** Forgets everything on its way: there is no session that could bring an answer. */
  clear(): void {
    this.#pending.clear();
    this.#queue = [];
  }
}
