/** STUN ports of Deno's own sockets: everywhere, and slower. @module */
import { canonicalIp, messageOf, type SocketAddress } from "../../core/mod.ts";
import {
  formFor,
  StunAnswers,
  type StunCounters,
  type StunPort,
  type StunPortOptions,
  type StunPorts,
} from "./stun_port.ts";

/** Larger than any Binding request that gets an answer. */
const DATAGRAM_BYTES_MAX = 2048;
/** Answers on their way to the system. Further ones are dropped; STUN clients ask again. */
const SENDS_IN_FLIGHT_MAX = 256;
/** Receive errors in a row after which the socket counts as broken. */
const ERRORS_MAX = 100;

/** The portable kind. */
export class PortableStun implements StunPorts {
  readonly name = "portable";
  readonly #opened: PortablePort[] = [];

  open(listen: SocketAddress, options: StunPortOptions): StunPort {
    const port = new PortablePort(listen, options);
    this.#opened.push(port);
    return port;
  }

  async close(): Promise<void> {
    for (const port of this.#opened) port.close();
    await Promise.allSettled(this.#opened.map(({ finished }) => finished));
  }
}

class PortablePort implements StunPort {
  readonly address: SocketAddress;
  readonly finished: Promise<void>;
  readonly #socket: Deno.DatagramConn;
  readonly #options: StunPortOptions;
  readonly #answers: StunAnswers;
  #inFlight = 0;
  #closed = false;

  constructor(listen: SocketAddress, options: StunPortOptions) {
    this.#options = options;
    this.#answers = new StunAnswers(options);
    this.#socket = Deno.listenDatagram({ transport: "udp", ...listen });
    const { addr } = this.#socket;
    this.address = { ...listen, port: addr.transport === "udp" ? addr.port : listen.port };
    this.finished = this.#serve();
  }

  get counters(): StunCounters {
    return this.#answers.counters;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  send(answer: Uint8Array, to: SocketAddress): void {
    const { counters } = this.#answers;
    if (this.#closed || this.#inFlight >= SENDS_IN_FLIGHT_MAX) {
      counters.stunSendDrops++;
      return;
    }
    this.#inFlight++;
    // The runtime sends later, and the answer is borrowed.
    this.#socket.send(answer.slice(), { transport: "udp", ...formFor(this.address, to) }).then(
      () => {
        this.#inFlight--;
        counters.stunAnswers++;
      },
      (error) => {
        this.#inFlight--;
        counters.stunSendDrops++;
        this.#options.log("debug", "STUN answer not sent", { error: messageOf(error) });
      },
    );
  }

  async #serve(): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
    let errors = 0;
    while (!this.#closed) {
      try {
        const [payload, source] = await this.#socket.receive(buffer);
        errors = 0;
        if (source.transport !== "udp") continue;
        // A dual-stack socket shows IPv4 sources as mapped addresses.
        const hostname = canonicalIp(source.hostname) ?? source.hostname;
        this.#answers.answer(this, { hostname, port: source.port }, payload);
      } catch (error) {
        if (this.#closed) return;
        // Some systems report an earlier answer's ICMP error here.
        if (++errors < ERRORS_MAX) continue;
        this.close();
        throw error;
      }
    }
  }
}
