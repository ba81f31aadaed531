/** A UDP port that answers STUN requests, statelessly and within a limit per source. @module */
import { canonicalIp, type Instant, messageOf, type SocketAddress } from "../../core/mod.ts";
import {
  answerBehaviour,
  type AnswerBehaviourOptions,
  type BehaviourAddresses,
  type BehaviourAnswer,
  type SourceLimiter,
} from "../../traversal/mod.ts";
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
  /** The two addresses of the server, once all its sockets are open; `undefined` if it has only one. */
  readonly addresses: () => BehaviourAddresses | undefined;
  /** The password of a user of STUN; `undefined` for nobody's name. */
  readonly passwordOf: AnswerBehaviourOptions["passwordOf"];
  /** The listener of a server's socket, for answers that must leave from another than this one. */
  readonly socketOf: (address: SocketAddress) => StunListener | undefined;
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
    const { addresses, passwordOf, socketOf } = this.#options;
    const answer = answerBehaviour({ source: { hostname, port: source.port }, payload }, {
      local: this.address,
      addresses: addresses(),
      passwordOf,
    });
    if (answer === undefined) {
      this.#counters.stunIgnored++;
      return;
    }
    const sender = answer.from === this.address ? this : socketOf(answer.from);
    // The socket takes the address in the form in which it showed it.
    const to = { ...source, port: answer.destination.port };
    if (sender === undefined) this.#counters.stunSendDrops++;
    else sender.#send(answer, to);
  }

  #send({ payload }: BehaviourAnswer, to: Deno.NetAddr): void {
    if (this.#closed || this.#inFlight >= SENDS_IN_FLIGHT_MAX) {
      this.#counters.stunSendDrops++;
      return;
    }
    this.#inFlight++;
    this.#socket.send(payload, to).then(
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
