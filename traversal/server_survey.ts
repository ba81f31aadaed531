/** Asks several STUN servers at once, to see which answer and how fast. @module */
import type { Datagram, Instant, Rng, SocketAddress } from "../core/mod.ts";
import {
  type ProbeEnd,
  type ProbeServer,
  type ProbeTransmit,
  ProbeTrials,
} from "./probe_trials.ts";
import type { BindingOutcome } from "./stun/binding_transaction.ts";

/** How one server did. */
export interface SurveyedServer<S extends ProbeServer = ProbeServer> {
  /** The server. */
  readonly server: S;
  /** The address that it saw; `undefined` if it told none. */
  readonly mapped: SocketAddress | undefined;
  /** Round trip in milliseconds; `undefined` if the first request was not the one answered. */
  readonly rttMs: number | undefined;
  /** Why there is no address: one phrase for a person; `undefined` where there is one. */
  readonly reason: string | undefined;
}

/** Most servers asked; the rest is left out. */
export const SURVEY_SERVERS_MAX = 32;

/** Asks each server once, from the helping socket: what the other one has not touched tells how the NAT filters. */
export class ServerSurvey<S extends ProbeServer = ProbeServer> {
  readonly #trials: ProbeTrials;
  readonly #answers = new Map<S, SurveyedServer<S>>();
  readonly #servers: readonly S[];

  /** Starts at `now`: the requests are ready. */
  constructor(
    now: Instant,
    { servers, rng }: { readonly servers: readonly S[]; readonly rng: Rng },
  ) {
    this.#trials = new ProbeTrials(rng);
    this.#servers = servers.slice(0, SURVEY_SERVERS_MAX);
    for (const server of this.#servers) {
      this.#trials.start(now, { end: "helper", server: server.address, attempts: 4 }, (outcome) => {
        this.#answers.set(server, surveyed(server, outcome));
      });
    }
  }

  /** Whether each has answered or had its time. */
  get done(): boolean {
    return this.#trials.idle;
  }

  /** Those that have answered or had their time, in the order given. */
  get servers(): readonly SurveyedServer<S>[] {
    return this.#servers.map((server) => this.#answers.get(server)).filter((a) => a !== undefined);
  }

  /** Offers a datagram. Returns whether it answered one of the questions. */
  handleInput(now: Instant, end: ProbeEnd, datagram: Datagram): boolean {
    return this.#trials.handleInput(now, end, datagram);
  }

  /** Asks again, gives up. */
  handleTimeout(now: Instant): void {
    this.#trials.handleTimeout(now);
  }

  /** Takes the next request. */
  pollTransmit(): ProbeTransmit | undefined {
    return this.#trials.pollTransmit();
  }

  /** When to call {@linkcode ServerSurvey.handleTimeout}; `undefined` once done. */
  pollTimeout(): Instant | undefined {
    return this.#trials.pollTimeout();
  }
}

function surveyed<S extends ProbeServer>(server: S, outcome: BindingOutcome): SurveyedServer<S> {
  const failed = (reason: string): SurveyedServer<S> => (
    { server, mapped: undefined, rttMs: undefined, reason }
  );
  switch (outcome.kind) {
    case "mapped":
      return { server, mapped: outcome.address, rttMs: outcome.rttMs, reason: undefined };
    case "refused":
      return failed(outcome.code === undefined ? "refused" : `refused with ${outcome.code}`);
    case "timedOut":
      return failed("no answer");
    default:
      return outcome satisfies never;
  }
}
