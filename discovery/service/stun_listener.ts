/** A UDP port that answers STUN Binding requests, statelessly and within a limit per source. @module */
import { canonicalIp, type Instant, messageOf, type SocketAddress } from "../../core/mod.ts";
import { answerBinding, type SourceLimiter } from "../../traversal/mod.ts";
import type { Log } from "../log.ts";

/** Larger than any Binding request that gets an answer. */
const DATAGRAM_BYTES_MAX = 2048;
/** Answers on their way to the system. Further ones are dropped; STUN clients ask again. */
const SENDS_IN_FLIGHT_MAX = 256;
/** Receive errors in a row after which the socket counts as broken. */
const ERRORS_MAX = 100;

/** What a listener has done. */
export interface StunCounters {
  /** Answers sent. */
  readonly stunAnswers: number;
  /** Datagrams that got silence: no Binding request. */
  readonly stunIgnored: number;
  /** Datagrams over their source's limit. */
  readonly stunLimited: number;
  /** Answers dropped because too many were on their way, or refused by the system. */
  readonly stunSendDrops: number;
}

/** Options of {@linkcode StunListener}. */
export interface StunListenerOptions {
  /** The limit, shared by all listeners of a server. */
  readonly limiter: SourceLimiter;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** One STUN port. */
export class StunListener {
  /** The address listened on, with the port that the system chose where it was 0. */
  readonly address: SocketAddress;
  /** Resolves once the port is closed by {@linkcode StunListener.close}; rejects if the socket breaks. */
  readonly finished: Promise<void>;
  readonly #socket: Deno.DatagramConn;
  readonly #options: StunListenerOptions;
  readonly #counters = { stunAnswers: 0, stunIgnored: 0, stunLimited: 0, stunSendDrops: 0 };
  #inFlight = 0;
  #closed = false;

  /** Opens the port. Throws what `Deno.listenDatagram` throws. */
  constructor(listen: SocketAddress, options: StunListenerOptions) {
    this.#options = options;
    this.#socket = Deno.listenDatagram({ transport: "udp", ...listen });
    const { addr } = this.#socket;
    this.address = { ...listen, port: addr.transport === "udp" ? addr.port : listen.port };
    this.finished = this.#serve();
  }

  /** What it has done so far. */
  get counters(): StunCounters {
    return this.#counters;
  }

  /** Closes the port. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  async #serve(): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
    let errors = 0;
    while (!this.#closed) {
      try {
        const [payload, source] = await this.#socket.receive(buffer);
        errors = 0;
        if (source.transport === "udp") this.#answer(payload, source);
      } catch (error) {
        if (this.#closed) return;
        // Some systems report an earlier answer's ICMP error here.
        if (++errors < ERRORS_MAX) continue;
        this.close();
        throw error;
      }
    }
  }

  #answer(payload: Uint8Array, source: Deno.NetAddr): void {
    // A dual-stack socket shows IPv4 sources as mapped addresses.
    const hostname = canonicalIp(source.hostname) ?? source.hostname;
    if (!this.#options.limiter.admit(this.#options.now() as Instant, hostname)) {
      this.#counters.stunLimited++;
      return;
    }
    const answer = answerBinding({ source: { hostname, port: source.port }, payload });
    if (answer === undefined) {
      this.#counters.stunIgnored++;
      return;
    }
    if (this.#inFlight >= SENDS_IN_FLIGHT_MAX) {
      this.#counters.stunSendDrops++;
      return;
    }
    this.#inFlight++;
    this.#socket.send(answer.payload, source).then(
      () => {
        this.#inFlight--;
        this.#counters.stunAnswers++;
      },
      (error) => {
        this.#inFlight--;
        this.#counters.stunSendDrops++;
        this.#options.log("debug", "STUN answer not sent", { error: messageOf(error) });
      },
    );
  }
}
