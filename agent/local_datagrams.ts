/** A UDP socket of this machine, for what forwards datagrams between it and the mesh. @module */
import { formatSocketAddress, type SocketAddress } from "../core/mod.ts";
import { fromSystem } from "../io/mod.ts";

/** Datagrams on their way to the system at once. One more is dropped and counted. */
const SENDS_MAX = 256;
/** Longest datagram (RFC 768). */
const DATAGRAM_BYTES_MAX = 65_535;
/** Pause after a failed receive, which would fail again at once. */
const RETRY_MS = 20;

/** What a {@linkcode LocalDatagrams} is made of. */
export interface LocalDatagramsOptions {
  /** Where to receive; port 0 lets the system choose. */
  readonly listen: SocketAddress;
  /** Takes a datagram, which is the taker's to keep. Must not throw. */
  readonly take: (payload: Uint8Array<ArrayBuffer>, from: SocketAddress) => void;
}

/** A socket that receives until it is closed. */
export class LocalDatagrams {
  /** Where it receives. */
  readonly address: SocketAddress;
  readonly #socket: Deno.DatagramConn;
  readonly #receiving: Promise<void>;
  #sending = 0;
  #dropped = 0;
  #closed = false;

  /** Opens a socket. Throws `portInUse`, `permission` or `usage` with the address in the message. */
  constructor({ listen, take }: LocalDatagramsOptions) {
    try {
      this.#socket = Deno.listenDatagram({ transport: "udp", ...listen });
    } catch (error) {
      throw fromSystem(error, `listen on UDP ${formatSocketAddress(listen)}`);
    }
    const { hostname, port } = this.#socket.addr as Deno.NetAddr;
    this.address = { hostname, port };
    this.#receiving = this.#receive(take);
  }

  /** Datagrams that were not sent: as many were on their way as may be, or the system refused them. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Sends a datagram, which must not change any more; what is lost is counted. */
  send(payload: Uint8Array, { hostname, port }: SocketAddress): void {
    if (this.#closed) return;
    if (this.#sending >= SENDS_MAX) {
      this.#dropped++;
      return;
    }
    this.#sending++;
    this.#socket.send(payload, { transport: "udp", hostname, port }).catch(() => {
      // The system may refuse for a while what it takes later: a full queue, a route that is gone.
      this.#dropped++;
    }).finally(() => this.#sending--);
  }

  /** Closes the socket. Safe to call twice. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#socket.close();
    }
    await this.#receiving;
  }

  async #receive(take: LocalDatagramsOptions["take"]): Promise<void> {
    const buffer = new Uint8Array(DATAGRAM_BYTES_MAX);
    while (!this.#closed) {
      try {
        const [payload, from] = await this.#socket.receive(buffer);
        const { hostname, port } = from as Deno.NetAddr;
        if (!this.#closed) take(payload.slice(), { hostname, port });
      } catch {
        // Closed, or told of an earlier datagram that did not arrive.
        if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }
}
