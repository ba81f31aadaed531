/**
 * The answers of a STUN server to Binding requests: pure and stateless (RFC 8489 section 6.3).
 *
 * @module
 */
import {
  after,
  type Datagram,
  formatIp,
  type Instant,
  parseIp,
  type Transmit,
} from "../../core/mod.ts";
import {
  decodeStun,
  encodeStun,
  encodeXorAddress,
  ERROR_UNKNOWN_ATTRIBUTE,
  errorAttribute,
  METHOD_BINDING,
  softwareAttribute,
  type StunAttribute,
  unknownAttributesAttribute,
  unknownRequired,
  XOR_MAPPED_ADDRESS,
} from "./codec.ts";

/** Options of {@linkcode answerBinding}. */
export interface AnswerBindingOptions {
  /** Text of the SOFTWARE attribute. Absent: none, which keeps the answer short. */
  readonly software?: string;
}

/**
 * Returns the answer to a Binding request, or `undefined` for anything that gets silence: no STUN message, a response, an
 * indication, another method, or a source that no answer can reach.
 *
 * The answer is a success with XOR-MAPPED-ADDRESS, or 420 with UNKNOWN-ATTRIBUTES if the request has attributes that
 * must be understood and are not. Both end with FINGERPRINT. Credentials are neither asked for nor checked.
 */
export function answerBinding(
  { source, payload }: Datagram,
  { software }: AnswerBindingOptions = {},
): Transmit | undefined {
  const request = decodeStun(payload);
  if (request?.class !== "request" || request.method !== METHOD_BINDING) return undefined;
  const { transactionId } = request;
  const mapped = encodeXorAddress(source, transactionId);
  if (mapped === undefined || source.port === 0) return undefined;
  const unknown = unknownRequired(request);
  const attributes: StunAttribute[] = unknown.length === 0
    ? [{ type: XOR_MAPPED_ADDRESS, value: mapped }]
    : [
      errorAttribute(ERROR_UNKNOWN_ATTRIBUTE, "Unknown Attribute"),
      unknownAttributesAttribute(unknown),
    ];
  if (software !== undefined) attributes.push(softwareAttribute(software));
  const response = {
    class: unknown.length === 0 ? "success" : "error",
    method: METHOD_BINDING,
    transactionId,
    attributes,
  } as const;
  return { destination: source, payload: encodeStun(response, { fingerprint: true }) };
}

/** Options of {@linkcode SourceLimiter}. */
export interface SourceLimiterOptions {
  /** Requests per second that one source may make for ever. @default 20 */
  readonly ratePerSecond?: number;
  /** Requests that one source may make at once after a rest. @default 40 */
  readonly burst?: number;
  /** Sources remembered; the one not seen for longest is forgotten. @default 16384 */
  readonly sourcesMax?: number;
}

/** Tokens of one source, as of the instant they were last counted. */
interface Bucket {
  tokens: number;
  countedAt: Instant;
}

/**
 * A token bucket per source: an IPv4 address, or the /64 of an IPv6 address, since one host owns all of it.
 *
 * A source is remembered until its bucket is full again, and at most as long as that once more. One that was forgotten before starts with a full
 * bucket, so a flood from more than `sourcesMax` addresses is limited
 * only by what the sockets take; {@linkcode SourceLimiter.evicted} tells.
 */
export class SourceLimiter {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #sourcesMax: number;
  /** After so long every bucket is full. */
  readonly #fullMs: number;
  #sweepAt: Instant | undefined;
  /** In order of last use, oldest first. */
  readonly #buckets = new Map<string, Bucket>();
  #refused = 0;
  #evicted = 0;

  /** Creates a limiter that knows no source. Throws `RangeError` unless every option is at least 1. */
  constructor(
    { ratePerSecond = 20, burst = 40, sourcesMax = 16_384 }: SourceLimiterOptions = {},
  ) {
    for (const value of [ratePerSecond, burst, sourcesMax]) {
      if (!(value >= 1)) throw new RangeError(`Limit below 1: ${value}`);
    }
    this.#perMs = ratePerSecond / 1000;
    this.#burst = burst;
    this.#sourcesMax = sourcesMax;
    this.#fullMs = burst / this.#perMs;
  }

  /** Requests refused so far. */
  get refused(): number {
    return this.#refused;
  }

  /** Sources forgotten so far to make room. */
  get evicted(): number {
    return this.#evicted;
  }

  /** Sources remembered now. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Takes one token of the source; `false` if it has none left. */
  admit(now: Instant, hostname: string): boolean {
    this.#sweepAt ??= after(now, this.#fullMs);
    if (now >= this.#sweepAt) this.#sweep(now);
    const key = sourceKey(hostname);
    const bucket = this.#buckets.get(key) ?? { tokens: this.#burst, countedAt: now };
    this.#buckets.delete(key);
    if (this.#buckets.size >= this.#sourcesMax) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
      this.#evicted++;
    }
    this.#buckets.set(key, bucket);
    const elapsedMs = Math.max(0, now - bucket.countedAt);
    bucket.tokens = Math.min(this.#burst, bucket.tokens + elapsedMs * this.#perMs);
    bucket.countedAt = after(bucket.countedAt, elapsedMs);
    if (bucket.tokens < 1) {
      this.#refused++;
      return false;
    }
    bucket.tokens--;
    return true;
  }

  /** Forgets those whose buckets are full again, as those of who was never seen are. */
  #sweep(now: Instant): void {
    this.#sweepAt = after(now, this.#fullMs);
    for (const [key, { countedAt }] of this.#buckets) {
      if (now < after(countedAt, this.#fullMs)) return;
      this.#buckets.delete(key);
    }
  }

  /** How long until a source that was refused `now` has a token, in milliseconds; 0 where it has one. */
  waitMs(now: Instant, hostname: string): number {
    const bucket = this.#buckets.get(sourceKey(hostname));
    if (bucket === undefined) return 0;
    const elapsedMs = Math.max(0, now - bucket.countedAt);
    return Math.max(0, (1 - bucket.tokens) / this.#perMs - elapsedMs);
  }
}

/** What a source is counted under: an IPv4 address, the /64 of an IPv6 address, or the text of anything else. */
export function sourceKey(hostname: string): string {
  if (!hostname.includes(":")) return hostname;
  const ip = parseIp(hostname);
  return ip?.length === 16 ? formatIp(ip.fill(0, 8)) : hostname;
}
