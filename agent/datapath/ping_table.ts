/** Echoes to addresses inside the tunnel that the main thread has asked for. @module */
import { earlier, type Instant, MorayError, parseIp } from "../../core/mod.ts";
import type { Engine } from "../../wg/mod.ts";

/** An echo to send. */
export interface Ping {
  /** The command's number, for the reply. */
  readonly id: number;
  /** Where to. */
  readonly address: string;
  /** How long the answer is waited for. */
  readonly timeoutMs: number;
}

/** Pings that wait for their answer. One more is refused. */
const PINGS_MAX = 256;
/** Bytes of an echo request's payload, as ping(8) sends. */
const PING_BYTES = 56;

/** Pings under way. */
export class PingTable {
  readonly #engine: Engine;
  readonly #reply: (id: number, rttMs: number | null) => void;
  readonly #waiting = new Map<
    number,
    Ping & { readonly sentAt: Instant; readonly until: Instant }
  >();
  #next = 1;

  /** None yet. `reply` gets each one's round trip, or null for none. */
  constructor(engine: Engine, reply: (id: number, rttMs: number | null) => void) {
    this.#engine = engine;
    this.#reply = reply;
  }

  /** Sends an echo. Throws `usage`, `limit` or `unreachable`. */
  start(now: Instant, ping: Ping): void {
    const to = parseIp(ping.address);
    if (to === undefined) throw new MorayError("usage", "it is no address");
    if (this.#waiting.size >= PINGS_MAX) throw new MorayError("limit", "too many pings at once");
    // The sequence numbers on the wire are ours: two commands may use the same.
    const sequence = this.#next;
    this.#next = this.#next % 0xffff + 1;
    if (!this.#engine.echo(to, { sequence, length: PING_BYTES })) {
      throw new MorayError("unreachable", "no peer has this address");
    }
    this.#waiting.set(sequence, { ...ping, sentAt: now, until: now + ping.timeoutMs as Instant });
  }

  /** Takes an echo reply. The round trip; `undefined` for one that nobody waits for. */
  answer(
    now: Instant,
    { sequence, from }: { readonly sequence: number; readonly from: string },
  ): number | undefined {
    const ping = this.#waiting.get(sequence);
    if (ping === undefined || ping.address !== from) return undefined;
    this.#waiting.delete(sequence);
    const rttMs = now - ping.sentAt;
    this.#reply(ping.id, rttMs);
    return rttMs;
  }

  /** Ends those that were waited for long enough. */
  handleTimeout(now: Instant): void {
    for (const [sequence, { id, until }] of this.#waiting) {
      if (now < until) continue;
      this.#waiting.delete(sequence);
      this.#reply(id, null);
    }
  }

  /** When {@linkcode PingTable.handleTimeout} must be called. */
  pollTimeout(): Instant | undefined {
    let at: Instant | undefined;
    for (const { until } of this.#waiting.values()) at = earlier(at, until);
    return at;
  }
}
