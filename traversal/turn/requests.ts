/**
 * The requests of a TURN client to its server: sent again until answered, signed, and signed anew when the server asks for it.
 *
 * ```text
 *   Allocate, unsigned --> 401 REALM NONCE --> Allocate, signed --> success
 *   any, signed        --> 438 NONCE       --> the same, signed by the new nonce
 *   any, signed        --> 401             --> the same by newer credentials, if there are any; otherwise that is its end
 * ```
 *
 * Over UDP a request is sent again after 250 ms, 500 ms and so on (RFC 8489 section 6.2.1); streams see to that themselves. Answers count
 * by their transaction id, 96 random bits. A success must be signed as its request was. An error need not: a server that refuses may not know
 * the key, and who can read the id off the wire can silence the server anyway.
 *
 * @module
 */
import { after, earlier, formatHex, type Instant, type Rng } from "../../core/mod.ts";
import {
  encodeStun,
  ERROR_STALE_NONCE,
  ERROR_UNAUTHENTICATED,
  errorCode,
  MESSAGE_INTEGRITY,
  MESSAGE_INTEGRITY_SHA256,
  softwareAttribute,
  type StunAttribute,
  type StunMessage,
  TRANSACTION_ID_BYTES,
  unknownRequired,
} from "../stun/codec.ts";
import {
  ERROR_ALLOCATION_MISMATCH,
  ERROR_WRONG_CREDENTIALS,
  RFC_8656_ATTRIBUTES,
} from "./attributes.ts";
import type { Authentication } from "./authentication.ts";

/** Requests without an answer at once; one more ends as if it had timed out. */
export const REQUESTS_MAX = 64;

const RTO_MS = 250;
const ATTEMPTS = 7;
const LAST_WAIT_FACTOR = 8;
/** How long an answer over a stream is waited for: less than RFC 8489's 39.5 s, since another relay may do better. */
const STREAM_WAIT_MS = 10_000;
/** How often one request is signed anew. */
const SIGNED_MAX = 4;
/** What an unsigned request is padded to over UDP, so that a challenge is no longer than what asked for it. */
const UNSIGNED_BYTES_MIN = 256;
/** What the padding says. */
const SOFTWARE = "moray";

/** How a request ended. */
export type TurnOutcome =
  | {
    /** The server did it. */
    readonly kind: "success";
    /** The answer, borrowed for the call. */
    readonly message: StunMessage;
    /** Round trip in milliseconds; `undefined` after a retransmission. */
    readonly rttMs: number | undefined;
  }
  | {
    /** The server refused. */
    readonly kind: "error";
    /** Code of RFC 8489 section 14.8 or RFC 8656 section 19; 0 if the answer had none. */
    readonly code: number;
    /** The server's words; untrusted text from the network. */
    readonly reason: string;
    /** The answer, borrowed for the call. */
    readonly message: StunMessage;
  }
  | {
    /** No answer came. */
    readonly kind: "timedOut";
  };

/** A request. */
export interface TurnRequest {
  /** Its method. */
  readonly method: number;
  /** Its own attributes: those that sign it are added. Some depend on the transaction id. */
  readonly attributes: (transactionId: Uint8Array) => readonly StunAttribute[];
  /** Signed as soon as the server has told how. @default true */
  readonly signed?: boolean;
  /** Requests sent before giving up. @default 7 */
  readonly attempts?: number;
  /** Time between requests over UDP, the same for all, milliseconds. Absent: 250, and twice as long each time. */
  readonly everyMs?: number;
  /** How long an answer is waited for over a stream, milliseconds. @default 10_000 */
  readonly streamWaitMs?: number;
  /** Called once. It may start further requests. */
  readonly onEnd: (now: Instant, outcome: TurnOutcome) => void;
}

/** Options of {@linkcode TurnRequests}. */
export interface TurnRequestsOptions {
  /** Source of transaction ids. */
  readonly rng: Rng;
  /** Whether a stream carries them. */
  readonly reliable: boolean;
  /** What signs them. */
  readonly authentication: Authentication;
}

interface Pending {
  readonly request: TurnRequest;
  readonly id: string;
  readonly bytes: Uint8Array;
  /** Generation of what signed it; -1 for none. */
  readonly generation: number;
  /** How often it was signed. */
  readonly signings: number;
  sentAt: Instant;
  attempts: number;
  dueAt: Instant;
}

/** Every request of one client. */
export class TurnRequests {
  readonly #options: TurnRequestsOptions;
  readonly #pending = new Map<string, Pending>();
  #out: Uint8Array[] = [];
  #refused = 0;

  /** None yet. */
  constructor(options: TurnRequestsOptions) {
    this.#options = options;
  }

  /** Requests ended at {@linkcode REQUESTS_MAX}. */
  get refused(): number {
    return this.#refused;
  }

  /** Starts a request. */
  start(now: Instant, request: TurnRequest): void {
    if (this.#pending.size >= REQUESTS_MAX) {
      this.#refused++;
      return request.onEnd(now, { kind: "timedOut" });
    }
    this.#send(now, request, 0);
  }

  /** Sends a request once and wants no answer. */
  sendOnce(request: Omit<TurnRequest, "onEnd">): void {
    this.#out.push(this.#encode(request).bytes);
  }

  /** Ends every request without telling. */
  clear(): void {
    this.#pending.clear();
    this.#out = [];
  }

  /** Offers a decoded message. Returns whether it answers a request. `bytes` are those it was decoded from. */
  handleInput(now: Instant, message: StunMessage, bytes: Uint8Array): boolean {
    if (message.class !== "success" && message.class !== "error") return false;
    const pending = this.#pending.get(formatHex(message.transactionId));
    if (pending === undefined || pending.request.method !== message.method) return false;
    if (message.class === "success") this.#succeed(now, pending, { message, bytes });
    else this.#fail(now, pending, { message, bytes });
    return true;
  }

  /** Sends again, and gives up. */
  handleTimeout(now: Instant): void {
    for (const pending of [...this.#pending.values()]) {
      if (now < pending.dueAt || this.#pending.get(pending.id) !== pending) continue;
      const attempts = pending.request.attempts ?? ATTEMPTS;
      if (this.#options.reliable || pending.attempts >= attempts) {
        this.#end(now, pending, { kind: "timedOut" });
      } else this.#transmit(now, pending);
    }
  }

  /** When {@linkcode TurnRequests.handleTimeout} must be called. */
  pollTimeout(): Instant | undefined {
    let dueAt: Instant | undefined;
    for (const pending of this.#pending.values()) dueAt = earlier(dueAt, pending.dueAt);
    return dueAt;
  }

  /** Takes the next message to send. */
  pollTransmit(): Uint8Array | undefined {
    return this.#out.shift();
  }

  #send(now: Instant, request: TurnRequest, signings: number): void {
    const { bytes, id, signed } = this.#encode(request);
    const pending: Pending = {
      request,
      id,
      bytes,
      generation: signed ? this.#options.authentication.generation : -1,
      signings: signings + (signed ? 1 : 0),
      sentAt: now,
      attempts: 0,
      dueAt: now,
    };
    this.#pending.set(id, pending);
    this.#transmit(now, pending);
  }

  #transmit(now: Instant, pending: Pending): void {
    const { attempts = ATTEMPTS, everyMs, streamWaitMs = STREAM_WAIT_MS } = pending.request;
    this.#out.push(pending.bytes);
    const factor = ++pending.attempts >= attempts ? LAST_WAIT_FACTOR : 2 ** (pending.attempts - 1);
    const waitMs = everyMs ?? RTO_MS * factor;
    pending.dueAt = after(now, this.#options.reliable ? streamWaitMs : waitMs);
  }

  #encode(
    { method, attributes, signed: wanted = true }: Omit<TurnRequest, "onEnd">,
  ): { readonly bytes: Uint8Array; readonly id: string; readonly signed: boolean } {
    const { rng, authentication, reliable } = this.#options;
    const transactionId = rng.bytes(TRANSACTION_ID_BYTES);
    const message: StunMessage = {
      class: "request",
      method,
      transactionId,
      attributes: attributes(transactionId),
    };
    const id = formatHex(transactionId);
    if (wanted && authentication.ready) {
      return { bytes: authentication.sign(message, { fingerprint: true }), id, signed: true };
    }
    const plain = encodeStun(message, { fingerprint: true });
    const missing = reliable ? 0 : UNSIGNED_BYTES_MIN - plain.length;
    if (missing <= 4) return { bytes: plain, id, signed: false };
    const filler = softwareAttribute(SOFTWARE.padEnd(missing - 4));
    const padded = { ...message, attributes: [...message.attributes, filler] };
    return { bytes: encodeStun(padded, { fingerprint: true }), id, signed: false };
  }

  #succeed(
    now: Instant,
    pending: Pending,
    { message, bytes }: { readonly message: StunMessage; readonly bytes: Uint8Array },
  ): void {
    const signed = pending.generation >= 0;
    const covered = signed ? this.#options.authentication.verify(bytes, message) : message;
    // A success that is signed by a key replaced meanwhile is one that nobody can check; the request is sent again.
    if (covered === undefined || unknownRequired(covered, RFC_8656_ATTRIBUTES).length > 0) return;
    const rttMs = pending.attempts === 1 ? now - pending.sentAt : undefined;
    this.#end(now, pending, { kind: "success", message: covered, rttMs });
  }

  #fail(
    now: Instant,
    pending: Pending,
    { message, bytes }: { readonly message: StunMessage; readonly bytes: Uint8Array },
  ): void {
    const { authentication } = this.#options;
    const { code = 0, reason = "" } = errorCode(message) ?? {};
    const isChallenge = code === ERROR_UNAUTHENTICATED || code === ERROR_STALE_NONCE;
    const wantsSigning = pending.request.signed ?? true;
    if (isChallenge && wantsSigning && pending.signings < SIGNED_MAX) {
      const fresh = authentication.take(message);
      // Another request may have been challenged before this one.
      const outdated = pending.generation !== authentication.generation;
      const signedBefore = pending.generation >= 0;
      const isRefusal = code === ERROR_UNAUTHENTICATED && signedBefore && pending.signings > 1;
      if (authentication.ready && ((fresh || outdated) && !isRefusal || authentication.advance())) {
        this.#pending.delete(pending.id);
        return this.#send(now, pending.request, pending.signings);
      }
    } else if (!isChallenge && isSigned(message) && pending.generation >= 0) {
      if (authentication.verify(bytes, message) === undefined) return;
    }
    this.#end(now, pending, { kind: "error", code, reason, message });
  }

  #end(now: Instant, pending: Pending, outcome: TurnOutcome): void {
    this.#pending.delete(pending.id);
    pending.request.onEnd(now, outcome);
  }
}

function isSigned(message: StunMessage): boolean {
  return message.attributes.some(({ type }) =>
    type === MESSAGE_INTEGRITY || type === MESSAGE_INTEGRITY_SHA256
  );
}

/** Characters of the server's words that are kept. */
const REASON_CHARS_MAX = 80;

/** An error in one line: what the server says may be anything. */
export function wordsOf(code: number, reason: string): string {
  return `${code} ${reason.slice(0, REASON_CHARS_MAX).replace(/[^ -~]/g, "?")}`.trim();
}

/** Whether an error says that the allocation is not ours, or not there. */
export function isFatal(code: number): boolean {
  return code === ERROR_ALLOCATION_MISMATCH || code === ERROR_WRONG_CREDENTIALS ||
    code === ERROR_UNAUTHENTICATED;
}
