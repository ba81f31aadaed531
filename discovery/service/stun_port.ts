/** A UDP port that answers STUN requests, statelessly and within a limit per source: what both kinds of socket share. @module */
import { familyOf, type Instant, parseIp, type SocketAddress } from "../../core/mod.ts";
import {
  answerBehaviour,
  type AnswerBehaviourOptions,
  type BehaviourAddresses,
  type BehaviourAnswer,
  BindingAnswers,
  type SourceLimiter,
} from "../../traversal/mod.ts";
import type { Log } from "../log.ts";

/** What a port has done. */
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

/** Options of a {@linkcode StunPort}. */
export interface StunPortOptions {
  /** The limit, shared by all ports of a server. */
  readonly limiter: SourceLimiter;
  /** The two addresses of the server, once all its sockets are open; `undefined` if it has only one. */
  readonly addresses: () => BehaviourAddresses | undefined;
  /** The password of a user of STUN; `undefined` for nobody's name. */
  readonly passwordOf: AnswerBehaviourOptions["passwordOf"];
  /** What is vouched for with the answer to a signed request. */
  readonly vouch: NonNullable<AnswerBehaviourOptions["vouch"]>;
  /** The port at a server's socket, for answers that must leave from another than this one. */
  readonly socketOf: (address: SocketAddress) => StunPort | undefined;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
}

/** One STUN port. */
export interface StunPort {
  /** The address listened on, with the port that the system chose where it was 0. */
  readonly address: SocketAddress;
  /** Resolves once the port is closed by {@linkcode StunPort.close}; rejects if the socket breaks. */
  readonly finished: Promise<void>;
  /** What it has done so far. */
  readonly counters: StunCounters;
  /** Sends an answer, borrowed for the call, or drops and counts it. */
  send(answer: Uint8Array, to: SocketAddress): void;
  /** Closes the port. Safe to call twice. */
  close(): void;
}

/** Opens ports, all of one kind. */
export interface StunPorts {
  /** What the kind is called. */
  readonly name: "fast" | "portable";
  /** Opens a port. Throws what `Deno.listenDatagram` throws, or `MorayError`. */
  open(listen: SocketAddress, options: StunPortOptions): StunPort;
  /** Closes every port, and lets go of what they share. Safe to call twice. */
  close(): Promise<void>;
}

/** The answers of one port. */
export class StunAnswers {
  /** What became of what came; who sends counts the rest. */
  readonly counters = { stunAnswers: 0, stunIgnored: 0, stunLimited: 0, stunSendDrops: 0 };
  readonly #options: StunPortOptions;
  /** Nearly all requests are plain. */
  readonly #plain = new BindingAnswers();

  /** Nothing has come yet. */
  constructor(options: StunPortOptions) {
    this.#options = options;
  }

  /** Answers a datagram, borrowed for the call, that came to `port`. `source` is canonical. */
  answer(port: StunPort, source: SocketAddress, payload: Uint8Array): void {
    const { limiter, now, addresses, passwordOf, vouch } = this.#options;
    if (!limiter.admit(now() as Instant, source.hostname)) {
      this.counters.stunLimited++;
      return;
    }
    const plain = this.#plain.answerPlain(source, payload);
    if (plain !== undefined) return port.send(plain, source);
    const { address: local } = port;
    const answer = answerBehaviour({ source, payload }, {
      local,
      addresses: addresses(),
      passwordOf,
      vouch,
    });
    if (answer === undefined) this.counters.stunIgnored++;
    else this.#send(port, answer);
  }

  #send(port: StunPort, { from, payload, destination }: BehaviourAnswer): void {
    const sender = from === port.address ? port : this.#options.socketOf(from);
    if (sender === undefined) this.counters.stunSendDrops++;
    else sender.send(payload, destination);
  }
}

/** The form in which a socket at `local` takes an address: one for both families has IPv4 addresses mapped. */
export function formFor(local: SocketAddress, to: SocketAddress): SocketAddress {
  if (familyOf(local.hostname) === 4 || parseIp(to.hostname)?.length !== 4) return to;
  return { hostname: `::ffff:${to.hostname}`, port: to.port };
}
