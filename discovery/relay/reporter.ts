/**
 * Makes a relay known to Discovery, again and again: that it lives, how loaded it is, and what its sessions carried.
 *
 * @module
 */
import { messageOf } from "../../core/mod.ts";
import { type Identity, Prover } from "../client/prover.ts";
import { callError, createDiscoveryClient, type Fetch } from "../client/transport.ts";
import type { RegisterRelayRequest, RegisterRelayResponse } from "../../proto/mod.ts";
import type { Log } from "../log.ts";
import type { NodeKey } from "../store/store.ts";
import {
  type RelayIdentity,
  type RelayState,
  type RelayUsage,
  sealReport,
  USAGE_MAX,
} from "./report.ts";

/** Time between two reports of a relay for everybody, which hears of ended sessions by the answers only: they are to end within 5 s. */
const INTERVAL_MS = 3000;
/** The same for a volunteer, which is told when it has to ask: a third of how long Discovery believes a report. */
const VOLUNTEER_INTERVAL_MS = 10_000;
/** How long one Discovery may take to answer. */
const TIMEOUT_MS = 5000;
/** Time for the last report. */
const GOODBYE_MS = 800;
/** Sessions whose bytes wait for a Discovery that answers; further ones are left out and counted. */
const WAITING_MAX = 16_384;
/** Sessions taken from one answer. */
const REVOKED_MAX = 512;
/** Reports in a row, while more bytes wait than one tells. */
const ROUNDS_MAX = WAITING_MAX / USAGE_MAX;

/** Options of {@linkcode startRelayReporter}. */
export interface RelayReporterOptions {
  /** Base URLs of every Discovery that shall know the relay; at least one. */
  readonly urls: readonly string[];
  /** What the relay is. */
  readonly identity: RelayIdentity;
  /** The secret that it shares with Discovery. */
  readonly secret: string;
  /** How the relay is doing, and what sessions carried since the last call. */
  readonly report: () => RelayState | Promise<RelayState>;
  /** The node that runs the relay for its own mesh. Absent: it is for everybody, and Discovery knows the secret. */
  readonly volunteer?: NodeKey;
  /** Whose key is proved to Discovery: the volunteer's. @default nobody's */
  readonly keys?: Identity;
  /** Takes the sessions that were given back: the relay ends them, some of them again. @default they last until they end */
  readonly revoke?: (sessions: readonly string[]) => void;
  /** Takes whether a Discovery, by its URL, sends nodes here, and why not; each time that this changes. */
  readonly onStanding?: (url: string, standing: RelayStanding) => void;
  /** Where the log goes. */
  readonly log: Log;
  /** Makes the requests. @default the global `fetch` */
  readonly fetch?: Fetch;
  /** Now, unix milliseconds. @default Date.now */
  readonly now?: () => number;
  /** Time between two reports in milliseconds. @default 3000, or 10000 for a volunteer */
  readonly intervalMs?: number;
}

/** What a Discovery makes of a relay. */
export interface RelayStanding {
  /** Whether nodes are sent to it. */
  readonly offered: boolean;
  /** Why not: one clause; empty if they are. */
  readonly reason: string;
}

/** A relay that reports itself. */
export interface RunningRelayReporter extends AsyncDisposable {
  /** Bytes of sessions that were left out, because no Discovery has answered for so long. */
  readonly droppedUsage: number;
  /** Reports at once: the relay drains, or its load has changed. */
  report(): Promise<void>;
  /** Says that the relay ends, and ends. Takes at most 800 ms. Safe to call twice. */
  stop(): Promise<void>;
}

/** Starts to report. What Discovery says to it goes to the log, once for each change. */
export function startRelayReporter(options: RelayReporterOptions): RunningRelayReporter {
  const reporter = new RelayReporter(options);
  reporter.start();
  return reporter;
}

/** One Discovery, and what it said last. */
interface Target {
  readonly url: string;
  readonly send: (
    request: RegisterRelayRequest,
    timeoutMs: number,
  ) => Promise<RegisterRelayResponse>;
  said: string | undefined;
  standing: string;
}

class RelayReporter implements RunningRelayReporter {
  readonly #options: RelayReporterOptions;
  readonly #targets: readonly Target[];
  /** What no Discovery has taken yet, by session. */
  readonly #waiting = new Map<string, RelayUsage>();
  #issuedAt = 0;
  #dropped = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #sending: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: RelayReporterOptions) {
    this.#options = options;
    const { fetch = globalThis.fetch, keys: identity, now = Date.now } = options;
    this.#targets = options.urls.map((url) => {
      const baseUrl = url.replace(/\/+$/, "");
      const prover = identity && new Prover({ baseUrl, identity, fetch, now });
      const client = createDiscoveryClient(url, prover?.fetch ?? fetch);
      return {
        url,
        send: (request, timeoutMs) => client.registerRelay(request, { timeoutMs }),
        said: undefined,
        standing: "",
      };
    });
  }

  get droppedUsage(): number {
    return this.#dropped;
  }

  start(): void {
    const { volunteer, intervalMs } = this.#options;
    const usual = volunteer === undefined ? INTERVAL_MS : VOLUNTEER_INTERVAL_MS;
    this.#timer = setInterval(() => void this.report(), intervalMs ?? usual);
    void this.report();
  }

  report(): Promise<void> {
    this.#sending ??= this.#report({ timeoutMs: TIMEOUT_MS }).finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#report({ timeoutMs: GOODBYE_MS, draining: true });
  }

  /** Sends a report to every Discovery, of which the first counts the bytes. Never rejects. */
  async #report(
    { timeoutMs, draining = false }: { readonly timeoutMs: number; readonly draining?: boolean },
  ): Promise<void> {
    const state = await this.#ask(draining);
    if (state === undefined) return;
    for (const usage of state.usage) this.#keep(usage);
    for (let round = 1; round <= ROUNDS_MAX; round++) {
      const taken = await this.#round(
        { ...state, draining: draining || state.draining },
        timeoutMs,
      );
      if (!taken || this.#waiting.size === 0) return;
    }
  }

  /** How the relay is doing; `undefined` if it does not say, except at the end. */
  async #ask(draining: boolean): Promise<RelayState | undefined> {
    try {
      return await this.#options.report();
    } catch (error) {
      this.#options.log("debug", `this relay's report: ${messageOf(error)}`);
      return draining ? { load: 0, draining, sessions: 0, usage: [] } : undefined;
    }
  }

  /** Returns whether the first Discovery has taken it. */
  async #round(state: RelayState, timeoutMs: number): Promise<boolean> {
    const { identity, secret, volunteer, now = Date.now } = this.#options;
    const usage = [...this.#waiting.values()].slice(0, USAGE_MAX);
    for (const { sessionId } of usage) this.#waiting.delete(sessionId);
    let counted = false;
    await Promise.all(this.#targets.map(async (target, i) => {
      this.#issuedAt = Math.max(now(), this.#issuedAt + 1);
      const sealed = sealReport(secret, {
        ...identity,
        ...state,
        issuedAt: this.#issuedAt,
        usage: i === 0 ? usage : [],
      });
      if (volunteer !== undefined) {
        Object.assign(sealed, { meshId: volunteer.meshId, pubkey: volunteer.publicKey, secret });
      }
      const taken = await this.#send(target, sealed, timeoutMs);
      if (i === 0) counted = taken;
    }));
    if (!counted) { for (const one of usage) this.#keep(one); }
    return counted;
  }

  async #send(
    target: Target,
    sealed: RegisterRelayRequest,
    timeoutMs: number,
  ): Promise<boolean> {
    const { log, revoke } = this.#options;
    try {
      const { offered, reason, revokedSessions } = await target.send(sealed, timeoutMs);
      const revoked = revokedSessions.slice(0, REVOKED_MAX);
      if (revoked.length > 0) revoke?.(revoked);
      this.#stand(target, { offered, reason });
      if (target.said !== undefined) {
        log("info", `Discovery at ${target.url} knows this relay again`);
      }
      target.said = undefined;
      return true;
    } catch (error) {
      const said = messageOf(callError(error, { url: target.url, signal: undefined }));
      if (said !== target.said) log("warn", `this relay is not known: ${said}`);
      target.said = said;
      this.#stand(target, { offered: false, reason: said });
      return false;
    }
  }

  #stand(target: Target, standing: RelayStanding): void {
    const text = JSON.stringify(standing);
    if (text === target.standing) return;
    target.standing = text;
    this.#options.onStanding?.(target.url, standing);
  }

  #keep({ sessionId, rxBytes, txBytes }: RelayUsage): void {
    const known = this.#waiting.get(sessionId);
    if (known === undefined && this.#waiting.size >= WAITING_MAX) {
      this.#dropped += rxBytes + txBytes;
      return;
    }
    this.#waiting.set(sessionId, {
      sessionId,
      rxBytes: rxBytes + (known?.rxBytes ?? 0),
      txBytes: txBytes + (known?.txBytes ?? 0),
    });
  }
}
