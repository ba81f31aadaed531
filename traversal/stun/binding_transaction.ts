/**
 * One STUN Binding request, its retransmissions and its end (RFC 8489 section 6.2.1).
 *
 * @module
 */
import {
  after,
  type Datagram,
  equals,
  type Instant,
  type Machine,
  type Rng,
  sameAddress,
  type SocketAddress,
  type Transmit,
} from "../../core/mod.ts";
import {
  decodeAddress,
  decodeStun,
  encodeStun,
  errorCode,
  findAttribute,
  METHOD_BINDING,
  OTHER_ADDRESS,
  softwareAttribute,
  type StunAttribute,
  type StunMessage,
  TRANSACTION_ID_BYTES,
  unknownRequired,
  USERNAME,
  xorMappedAddress,
} from "./codec.ts";
import { signStun, type StunCredentials, verifyStun } from "./integrity.ts";
import { receiptOf } from "./receipt.ts";

/** How a Binding transaction ended. */
export type BindingOutcome =
  | {
    /** The server told our address. */
    readonly kind: "mapped";
    /** The address that the server saw. */
    readonly address: SocketAddress;
    /** Round trip in milliseconds; `undefined` after a retransmission, when nobody can tell which request was answered. */
    readonly rttMs: number | undefined;
    /** The server's second address (OTHER-ADDRESS of RFC 5780); absent if it named none. */
    readonly otherAddress?: SocketAddress;
    /** What the server vouches for the address with; only in the answer to a signed request. Absent: it does not. */
    readonly receipt?: Uint8Array;
  }
  | {
    /** The server answered with an error. */
    readonly kind: "refused";
    /** Code of RFC 8489 section 14.8; `undefined` if the answer had none. */
    readonly code: number | undefined;
  }
  | {
    /** Nothing that counts as an answer came. */
    readonly kind: "timedOut";
  };

/** Options of {@linkcode BindingTransaction}. */
export interface BindingTransactionOptions {
  /** Where the request goes and the answer must come from. */
  readonly server: SocketAddress;
  /** Source of the transaction id. */
  readonly rng: Rng;
  /**
   * First retransmission timeout in milliseconds, doubled after each request. The RFC's 500 is for strangers; nearly every
   * round trip to a server that an operator chose is shorter than 250.
   *
   * @default 250
   */
  readonly rtoMs?: number;
  /** Requests sent before giving up, at least 1 (`Rc`). @default 7 */
  readonly attempts?: number;
  /** Multiple of the first timeout waited after the last request (`Rm`). @default 16 */
  readonly lastWaitFactor?: number;
  /** Where the answer must come from instead: CHANGE-REQUEST asks for that. @default `server` */
  readonly answersFrom?: SocketAddress;
  /** Attributes of the request. @default [] */
  readonly attributes?: readonly StunAttribute[];
  /** Signs the request; a success counts only if it is signed too. Absent: neither is. */
  readonly credentials?: StunCredentials;
  /** Least size of the request in bytes, which makes room for a longer answer; at most 512. @default 0 */
  readonly bytesMin?: number;
}

const RTO_MS = 250;
const ATTEMPTS = 7;
/** Longest request that is made by padding. */
const REQUEST_BYTES_MAX = 512;
/** What the padding says. */
const SOFTWARE = "moray";
const LAST_WAIT_FACTOR = 16;

/** A Binding transaction with one server. */
export class BindingTransaction implements Machine<BindingOutcome> {
  readonly #server: SocketAddress;
  readonly #transactionId: Uint8Array;
  readonly #rtoMs: number;
  readonly #attemptsMax: number;
  readonly #lastWaitFactor: number;
  readonly #answersFrom: SocketAddress;
  readonly #password: string | undefined;
  readonly #request: Uint8Array;
  #attempts = 0;
  #firstSentAt: Instant;
  /** When to act next; `undefined` once the transaction has ended. */
  #dueAt: Instant | undefined;
  #transmit: Transmit | undefined;
  #outcome: BindingOutcome | undefined;

  /** Starts a transaction; the first request is due at `now`. */
  constructor(
    now: Instant,
    options: BindingTransactionOptions,
  ) {
    const { server, rng, rtoMs = RTO_MS, attempts = ATTEMPTS } = options;
    if (!(rtoMs > 0)) throw new RangeError(`STUN timeout out of range: ${rtoMs}`);
    if (!(attempts >= 1)) throw new RangeError(`STUN attempts out of range: ${attempts}`);
    this.#server = server;
    this.#transactionId = rng.bytes(TRANSACTION_ID_BYTES);
    this.#rtoMs = rtoMs;
    this.#attemptsMax = attempts;
    this.#lastWaitFactor = options.lastWaitFactor ?? LAST_WAIT_FACTOR;
    this.#answersFrom = options.answersFrom ?? server;
    this.#password = options.credentials?.password;
    this.#request = encodeRequest(this.#transactionId, options);
    this.#firstSentAt = now;
    this.#dueAt = now;
  }

  /** Offers a datagram. Returns whether it is a response to this transaction, from the server asked. */
  handleInput(now: Instant, { source, payload }: Datagram): boolean {
    if (this.#dueAt === undefined || this.#attempts === 0) return false;
    if (!sameAddress(source, this.#answersFrom)) return false;
    const response = decodeStun(payload);
    if (response === undefined || response.method !== METHOD_BINDING) return false;
    if (response.class !== "success" && response.class !== "error") return false;
    if (!equals(response.transactionId, this.#transactionId)) return false;
    const signed = this.#password === undefined
      ? undefined
      : verifyStun(payload, response, this.#password);
    if (response.class === "success" && this.#password !== undefined && signed === undefined) {
      return false;
    }
    const outcome = this.#read(now, signed ?? response);
    if (outcome !== undefined) this.#end(outcome);
    return true;
  }

  /** Sends the next request, or gives up. */
  handleTimeout(now: Instant): void {
    if (this.#dueAt === undefined || now < this.#dueAt) return;
    if (this.#attempts >= this.#attemptsMax) {
      this.#end({ kind: "timedOut" });
      return;
    }
    if (this.#attempts === 0) this.#firstSentAt = now;
    this.#transmit = { destination: this.#server, payload: this.#request };
    const factor = ++this.#attempts >= this.#attemptsMax
      ? this.#lastWaitFactor
      : 2 ** (this.#attempts - 1);
    this.#dueAt = after(now, this.#rtoMs * factor);
  }

  /** Takes the outcome, once. */
  pollEvent(): BindingOutcome | undefined {
    const outcome = this.#outcome;
    this.#outcome = undefined;
    return outcome;
  }

  /** Takes the request to send. */
  pollTransmit(): Transmit | undefined {
    const transmit = this.#transmit;
    this.#transmit = undefined;
    return transmit;
  }

  /** When the next request or the end is due; `undefined` once ended. */
  pollTimeout(): Instant | undefined {
    return this.#dueAt;
  }

  /** `undefined` for a success that says nothing usable: a later answer may do better. */
  #read(now: Instant, response: StunMessage): BindingOutcome | undefined {
    if (response.class === "error") return { kind: "refused", code: errorCode(response)?.code };
    if (unknownRequired(response).length > 0) return undefined;
    const address = xorMappedAddress(response);
    if (address === undefined) return undefined;
    const rttMs = this.#attempts === 1 ? now - this.#firstSentAt : undefined;
    const other = findAttribute(response, OTHER_ADDRESS);
    const otherAddress = other && decodeAddress(other);
    const receipt = this.#password === undefined ? undefined : receiptOf(response);
    return {
      kind: "mapped",
      address,
      rttMs,
      ...otherAddress && { otherAddress },
      ...receipt && { receipt },
    };
  }

  #end(outcome: BindingOutcome): void {
    this.#dueAt = undefined;
    this.#transmit = undefined;
    this.#outcome = outcome;
  }
}

function encodeRequest(
  transactionId: Uint8Array,
  { attributes = [], credentials, bytesMin = 0 }: BindingTransactionOptions,
): Uint8Array {
  const request: StunMessage = {
    class: "request",
    method: METHOD_BINDING,
    transactionId,
    attributes: credentials === undefined ? attributes : [
      { type: USERNAME, value: new TextEncoder().encode(credentials.username) },
      ...attributes,
    ],
  };
  const encode = (message: StunMessage): Uint8Array =>
    credentials === undefined
      ? encodeStun(message, { fingerprint: true })
      : signStun(message, credentials.password, { fingerprint: true });
  const plain = encode(request);
  const missing = Math.min(bytesMin, REQUEST_BYTES_MAX) - plain.length;
  if (missing <= 0) return plain;
  // PADDING would do, but a server that does not know it refuses the request; SOFTWARE is nobody's trouble.
  const filler = softwareAttribute(SOFTWARE.padEnd(missing - 4));
  return encode({ ...request, attributes: [filler, ...request.attributes] });
}
