/**
 * Looks at which outside ports a NAT gives out now, where each destination gets another: two ends that were never used ask one
 * STUN server, one right after the other. Of a NAT that counts, a peer predicts the next ports from theirs.
 *
 * @module
 */
import type { Datagram, Instant, Rng, SocketAddress, Transmit } from "../core/mod.ts";
import { ProbeTrials } from "./probe_trials.ts";
import type { BindingOutcome } from "./stun/binding_transaction.ts";

/** Options of {@linkcode PortSample}. */
export interface PortSampleOptions {
  /** The STUN server, a literal. */
  readonly server: SocketAddress;
  /** The two ends. */
  readonly locals: readonly [number, number];
  /** Source of transaction ids. */
  readonly rng: Rng;
}

/** A datagram that must leave one of the two ends. */
export interface SampleTransmit extends Transmit {
  /** Which. */
  readonly local: number;
}

/** One look. */
export class PortSample {
  /** The two ends. */
  readonly locals: readonly [number, number];
  readonly #trials: ProbeTrials;
  readonly #seen: SocketAddress[] = [];

  /** Asks; the requests are due at once. */
  constructor(now: Instant, { server, locals, rng }: PortSampleOptions) {
    this.locals = locals;
    this.#trials = new ProbeTrials(rng);
    const take = (outcome: BindingOutcome): void => {
      if (outcome.kind === "mapped") this.#seen.push(outcome.address);
    };
    this.#trials.start(now, { end: "subject", server }, take);
    this.#trials.start(now, { end: "helper", server }, take);
  }

  /** Whether both questions have been answered, or will not be. */
  get ended(): boolean {
    return this.#trials.idle;
  }

  /** The addresses that the server saw: two if all went well. */
  get seen(): readonly SocketAddress[] {
    return this.#seen;
  }

  /** Offers a datagram that came to an end. Returns whether it answered one of the questions. */
  handleInput(now: Instant, local: number, datagram: Datagram): boolean {
    const index = this.locals.indexOf(local);
    if (index < 0) return false;
    return this.#trials.handleInput(now, index === 0 ? "subject" : "helper", datagram);
  }

  /** Asks again, or gives up. */
  handleTimeout(now: Instant): void {
    this.#trials.handleTimeout(now);
  }

  /** Takes the next request. */
  pollTransmit(): SampleTransmit | undefined {
    const transmit = this.#trials.pollTransmit();
    if (transmit === undefined) return undefined;
    const { end, destination, payload } = transmit;
    return { local: this.locals[end === "subject" ? 0 : 1], destination, payload };
  }

  /** When {@linkcode PortSample.handleTimeout} has something to do; `undefined` for never. */
  pollTimeout(): Instant | undefined {
    return this.#trials.pollTimeout();
  }
}
