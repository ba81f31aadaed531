/**
 * Measures how long a NAT keeps a mapping that nobody uses (RFC 4787 section 4.3).
 *
 * ```text
 *   subject --- request -----------> server      makes or refreshes the mapping
 *           10, then 30, 60, 120 s of silence
 *   helper  --- request, answer to the subject's mapped port (RESPONSE-PORT) --> server
 *   subject <-- answer ------------- server      it is alive; no answer: it is gone
 * ```
 *
 * The subject itself must not ask: that would make a new mapping, often with the same port. Where the server does not know
 * RESPONSE-PORT it has to, and can tell only where a new mapping has a new port.
 *
 * Takes up to 220 s.
 *
 * @module
 */
import {
  after,
  type Datagram,
  earlier,
  type Instant,
  type Rng,
  type SocketAddress,
} from "../core/mod.ts";
import type { PortAllocation } from "./port_allocation.ts";
import {
  type ProbeEnd,
  type ProbeServer,
  type ProbeTransmit,
  ProbeTrials,
} from "./probe_trials.ts";
import type { BindingOutcome } from "./stun/binding_transaction.ts";
import { RESPONSE_PORT } from "./stun/codec.ts";

/** How long an idle mapping lives. */
export interface MappingLifetime {
  /** It outlives this silence, in milliseconds; 0 if it did not outlive the shortest that was tried. */
  readonly atLeastMs: number;
  /** It does not outlive this silence; `undefined` if it outlived every one. */
  readonly belowMs: number | undefined;
}

/** Options of {@linkcode LifetimeProbe}. */
export interface LifetimeProbeOptions {
  /** A server that answers. */
  readonly server: ProbeServer;
  /** Source of transaction ids. */
  readonly rng: Rng;
  /** How the NAT chooses ports, for servers without RESPONSE-PORT. Absent: unknown. */
  readonly allocation?: PortAllocation | undefined;
  /** Silences to try, ascending, in milliseconds. @default [10000, 30000, 60000, 120000] */
  readonly stepsMs?: readonly number[];
}

/** The silences of DESIGN.md 2.4. */
export const LIFETIME_STEPS_MS: readonly number[] = [10_000, 30_000, 60_000, 120_000];
/** Keepalive where the lifetime is not known: what WireGuard recommends, and shorter than what RFC 4787 demands. */
export const KEEPALIVE_DEFAULT_MS = 25_000;
/** Keepalive where a mapping does not live for 10 s. */
const KEEPALIVE_MIN_MS = 4_000;
/** Share of the proven silence after which a keepalive is sent: timers and networks are late at times. */
const KEEPALIVE_SHARE = 5 / 6;
/** Room for a signed answer. */
const ROOM_BYTES = 128;

/** How often a mapping with this lifetime must be used, in milliseconds. */
export function keepaliveFor(lifetime: MappingLifetime | undefined): number {
  if (lifetime === undefined) return KEEPALIVE_DEFAULT_MS;
  return Math.max(KEEPALIVE_MIN_MS, Math.floor(lifetime.atLeastMs * KEEPALIVE_SHARE));
}

/** Measures the lifetime of one socket's mapping, once. */
export class LifetimeProbe {
  readonly #options: LifetimeProbeOptions;
  readonly #trials: ProbeTrials;
  readonly #steps: number[];
  #step = 0;
  #atLeastMs: number | undefined;
  #belowMs: number | undefined;
  #mapped: SocketAddress | undefined;
  /** Whether the server sends to RESPONSE-PORT; `undefined` until that was tried. */
  #redirects: boolean | undefined;
  #checkAt: Instant | undefined;
  #done = false;

  /** Starts at `now`: the first request is ready. */
  constructor(now: Instant, options: LifetimeProbeOptions) {
    this.#options = options;
    this.#trials = new ProbeTrials(options.rng);
    this.#steps = [...options.stepsMs ?? LIFETIME_STEPS_MS];
    this.#refresh(now);
  }

  /** Whether no more will be found out. */
  get done(): boolean {
    return this.#done;
  }

  /** What is known now; `undefined` for nothing. */
  get lifetime(): MappingLifetime | undefined {
    const [atLeastMs, belowMs] = [this.#atLeastMs, this.#belowMs];
    if (atLeastMs === undefined && belowMs === undefined) return undefined;
    return { atLeastMs: atLeastMs ?? 0, belowMs };
  }

  /** Offers a datagram that came to one of the two sockets. Returns whether it belongs to the probe. */
  handleInput(now: Instant, end: ProbeEnd, datagram: Datagram): boolean {
    const taken = this.#trials.handleInput(now, end, datagram);
    this.#settle(now);
    return taken;
  }

  /** Asks again, gives up, goes on. */
  handleTimeout(now: Instant): void {
    this.#trials.handleTimeout(now);
    if (this.#checkAt !== undefined && now >= this.#checkAt) {
      this.#checkAt = undefined;
      this.#check(now);
    }
    this.#settle(now);
  }

  /** Takes the next datagram to send. */
  pollTransmit(): ProbeTransmit | undefined {
    return this.#trials.pollTransmit();
  }

  /** When to call {@linkcode LifetimeProbe.handleTimeout}; `undefined` once done. */
  pollTimeout(): Instant | undefined {
    return earlier(this.#trials.pollTimeout(), this.#checkAt);
  }

  /** What the ended transactions have left to do: kept apart from them, since they end without knowing the time. */
  #todo: ((now: Instant) => void) | undefined;

  #settle(now: Instant): void {
    for (let todo; (todo = this.#todo) !== undefined;) {
      this.#todo = undefined;
      todo(now);
    }
    if (this.#trials.idle && this.#checkAt === undefined) this.#done = true;
  }

  /** Makes the mapping, or uses it, and waits. */
  #refresh(now: Instant): void {
    this.#fromSubject(now, (outcome) => {
      if (outcome.kind !== "mapped") return;
      this.#mapped = outcome.address;
      this.#todo = (then) => {
        if (this.#redirects === undefined) return this.#checkRedirect(then, 0);
        const step = this.#steps[this.#step];
        if (step !== undefined) this.#checkAt = after(then, step);
      };
    });
  }

  #check(now: Instant): void {
    const step = this.#steps[this.#step];
    if (step === undefined) return;
    if (this.#redirects === true) return this.#checkRedirect(now, step);
    const before = this.#mapped;
    this.#fromSubject(now, (outcome) => {
      if (outcome.kind !== "mapped" || before === undefined) return;
      const { hostname, port } = outcome.address;
      if (hostname !== before.hostname || port !== before.port) this.#belowMs = step;
      // Where ports are chosen by a rule, a new mapping may well have the old one's.
      else if (this.#options.allocation?.kind === "random") {
        this.#todo = (then) => this.#survived(then, step);
      }
    });
  }

  /** Has the server answer to the subject's mapped port. With `step` 0: finds out whether it does. */
  #checkRedirect(now: Instant, step: number): void {
    const { port = 0 } = this.#mapped ?? {};
    const value = Uint8Array.of(port >> 8, port & 0xff, 0, 0);
    const { address: server } = this.#options.server;
    const trial = {
      ...this.#signed(),
      end: "helper",
      answersAt: "subject",
      server,
      attributes: [{ type: RESPONSE_PORT, value }],
      bytesMin: ROOM_BYTES,
    } as const;
    this.#trials.start(now, trial, ({ kind }) => {
      const came = kind === "mapped";
      this.#todo = (then) => {
        if (step === 0) {
          this.#redirects = came;
          this.#refresh(then);
        } else if (came) this.#survived(then, step);
        else this.#expired(then, step);
      };
    });
  }

  #survived(now: Instant, step: number): void {
    this.#atLeastMs = step;
    this.#step++;
    if (this.#step < this.#steps.length) this.#refresh(now);
  }

  /** Silence means that the mapping is gone only if the server still answers. */
  #expired(now: Instant, step: number): void {
    this.#fromSubject(now, ({ kind }) => {
      if (kind === "mapped") this.#belowMs = step;
    });
  }

  #fromSubject(now: Instant, take: (outcome: BindingOutcome) => void): void {
    const { address: server } = this.#options.server;
    this.#trials.start(now, { end: "subject", server }, take);
  }

  #signed(): Pick<ProbeServer, "credentials"> {
    const { credentials } = this.#options.server;
    return credentials === undefined ? {} : { credentials };
  }
}
