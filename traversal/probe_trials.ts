/**
 * Binding transactions of a probe of the NAT: some at once, from two local ends.
 *
 * A NAT shows what it lets in only on a mapping that nothing else has touched, so probes use two UDP sockets of their own
 * beside the node's: the one that is examined, and one that helps.
 *
 * @module
 */
import {
  type Datagram,
  earlier,
  type Instant,
  type Rng,
  type SocketAddress,
  type Transmit,
} from "../core/mod.ts";
import {
  type BindingOutcome,
  BindingTransaction,
  type BindingTransactionOptions,
} from "./stun/binding_transaction.ts";
import type { StunCredentials } from "./stun/integrity.ts";

/** A UDP socket of a probe: the one whose mapping is examined, or the one that helps. */
export type ProbeEnd = "subject" | "helper";

/** A datagram that must leave one of the two sockets. */
export interface ProbeTransmit extends Transmit {
  /** Which. */
  readonly end: ProbeEnd;
}

/** A STUN server that a probe may ask. */
export interface ProbeServer {
  /** Its address, a literal. */
  readonly address: SocketAddress;
  /** What signs requests to it. Absent: they are not signed. */
  readonly credentials?: StunCredentials;
}

/** One question. */
export interface Trial extends Omit<BindingTransactionOptions, "rng"> {
  /** The socket that asks. */
  readonly end: ProbeEnd;
  /** The socket that the answer comes to. @default `end` */
  readonly answersAt?: ProbeEnd;
}

/** Three requests, and a second of patience after the last: silence is an answer here, and has to be heard soon. */
const PATIENCE = { rtoMs: 250, attempts: 3, lastWaitFactor: 4 } as const;

interface Running {
  readonly end: ProbeEnd;
  readonly answersAt: ProbeEnd;
  readonly transaction: BindingTransaction;
  readonly take: (outcome: BindingOutcome) => void;
}

/** The transactions of one probe. Their number is the probe's business, which starts a handful. */
export class ProbeTrials {
  readonly #rng: Rng;
  #running: Running[] = [];

  /** None yet. */
  constructor(rng: Rng) {
    this.#rng = rng;
  }

  /** Whether none is under way. */
  get idle(): boolean {
    return this.#running.length === 0;
  }

  /** Asks. `take` is called within a later `handleInput` or `handleTimeout`, and may ask further. */
  start(now: Instant, trial: Trial, take: (outcome: BindingOutcome) => void): void {
    const { end, answersAt = end } = trial;
    const options = { ...PATIENCE, ...trial, rng: this.#rng };
    const transaction = new BindingTransaction(now, options);
    transaction.handleTimeout(now);
    this.#running.push({ end, answersAt, transaction, take });
  }

  /** Offers a datagram that came to one of the sockets. Returns whether it answered a question. */
  handleInput(now: Instant, end: ProbeEnd, datagram: Datagram): boolean {
    const asked = this.#running.find(({ answersAt, transaction }) =>
      answersAt === end && transaction.handleInput(now, datagram)
    );
    this.#drain();
    return asked !== undefined;
  }

  /** Asks again, or gives up. */
  handleTimeout(now: Instant): void {
    for (const { transaction } of this.#running) transaction.handleTimeout(now);
    this.#drain();
  }

  /** Takes the next request. */
  pollTransmit(): ProbeTransmit | undefined {
    for (const { end, transaction } of this.#running) {
      const transmit = transaction.pollTransmit();
      if (transmit !== undefined) return { end, ...transmit };
    }
    return undefined;
  }

  /** When the next request or end is due; `undefined` while none is under way. */
  pollTimeout(): Instant | undefined {
    let dueAt: Instant | undefined;
    for (const { transaction } of this.#running) dueAt = earlier(dueAt, transaction.pollTimeout());
    return dueAt;
  }

  #drain(): void {
    const ended: [Running, BindingOutcome][] = [];
    for (const running of this.#running) {
      const outcome = running.transaction.pollEvent();
      if (outcome !== undefined) ended.push([running, outcome]);
    }
    this.#running = this.#running.filter((running) => !ended.some(([other]) => other === running));
    for (const [{ take }, outcome] of ended) take(outcome);
  }
}
