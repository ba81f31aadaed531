/** A UDP port inside the mesh as a `Deno.DatagramConn`. @module */
import { MorayError, type SocketAddress } from "../../core/mod.ts";
import { type DatagramHandler, DatagramTooLong, type TunnelDatagrams } from "../network.ts";
import { denoError } from "./deno_error.ts";

/** Datagrams that wait for {@linkcode MeshDatagramConn.receive}, and bytes of them. The newest beyond is dropped and counted. */
export const DATAGRAMS_WAITING_MAX = 4096;
/** As {@linkcode DATAGRAMS_WAITING_MAX}. */
export const DATAGRAM_BYTES_WAITING_MAX = 1_048_576;

/** What a {@linkcode MeshDatagramConn} is made of. */
export interface MeshDatagramConnOptions {
  /** An address of the node, for {@linkcode MeshDatagramConn.addr}. */
  readonly hostname: string;
  /** Opens the port. */
  readonly open: (handler: DatagramHandler) => TunnelDatagrams;
  /** The mesh address behind a literal or a name; `undefined` where nobody is called so. */
  readonly resolve: (name: string) => string | undefined;
}

interface Receiver {
  readonly target: Uint8Array | undefined;
  readonly resolve: (received: Received) => void;
  readonly reject: (error: unknown) => void;
}

type Received = [Uint8Array<ArrayBuffer>, Deno.NetAddr];

/**
 * A UDP port inside the mesh, on every address of its node.
 *
 * It does what a `Deno.DatagramConn` does: a datagram that is longer than the given buffer is cut; a datagram to a port that nobody
 * has is nobody's error; `Deno.errors.BadResource` after {@linkcode MeshDatagramConn.close}, `Deno.errors.Interrupted` for who waited
 * then, and `for await` ends; an `Error` with the code `EMSGSIZE` for what is longer than the path to the peer carries, of which the
 * message tells the limit: at least 1,232 bytes, and never more than fits one packet. Unlike Deno's, `close` may be called twice, and
 * who waits first is served first. There is no multicast.
 */
export class MeshDatagramConn implements Deno.DatagramConn {
  /** One of the node's addresses, and the port. */
  readonly addr: Deno.NetAddr;
  readonly #port: TunnelDatagrams;
  readonly #resolve: (name: string) => string | undefined;
  readonly #waiting: Received[] = [];
  readonly #receivers: Receiver[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #closed = false;
  #broken: unknown;

  /** Opens the port. Throws `Deno.errors.AddrInUse`. */
  constructor({ hostname, open, resolve }: MeshDatagramConnOptions) {
    this.#resolve = resolve;
    try {
      this.#port = open({
        datagram: (payload, from) => this.#take(payload, from),
        closed: (error) => this.#break(error),
      });
    } catch (error) {
      throw denoError(error);
    }
    this.addr = { transport: "udp", hostname, port: this.#port.port };
  }

  /** Datagrams that arrived and were dropped, since as many waited as may. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Resolves with the next datagram, in `buffer` if one is given, and where it came from. */
  // deno-lint-ignore require-await -- what it throws must be a rejection
  async receive(buffer?: Uint8Array): Promise<[Uint8Array<ArrayBuffer>, Deno.NetAddr]> {
    if (this.#closed) throw this.#badResource();
    const received = this.#waiting.shift();
    if (received !== undefined) {
      this.#waitingBytes -= received[0].length;
      return into(buffer, received);
    }
    if (this.#broken !== undefined) throw this.#broken;
    const { promise, resolve, reject } = Promise.withResolvers<Received>();
    this.#receivers.push({ target: buffer, resolve, reject });
    return promise;
  }

  /**
   * Sends a datagram to a mesh address, or to a node by name, and resolves with its length once it is on its way: what becomes of it
   * nobody knows. Waits while the tunnel takes nothing more.
   *
   * Rejects with `Deno.errors.NetworkUnreachable` where no node has the address, and with an `Error` of the code `EMSGSIZE`.
   */
  async send(payload: Uint8Array, to: Deno.Addr): Promise<number> {
    if (this.#closed) throw this.#badResource();
    if (!("port" in to) || !("hostname" in to) || to.port === 0) {
      throw new TypeError("A datagram goes to a host name and a port from 1 to 65535");
    }
    if (!Number.isInteger(to.port) || to.port < 1 || to.port > 65535) {
      throw new RangeError(`Cannot send to port ${to.port}: not 1 to 65535`);
    }
    const hostname = this.#resolve(to.hostname);
    if (hostname === undefined) {
      throw denoError(new MorayError("unreachable", `No node is called ${to.hostname}`));
    }
    try {
      await this.#port.send(payload, { hostname, port: to.port });
    } catch (error) {
      if (this.#closed) throw this.#badResource();
      throw error instanceof DatagramTooLong ? tooLong(error) : denoError(error);
    }
    return payload.length;
  }

  /** Closes the port. What has arrived and was not received is lost. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#port.close();
    this.#waiting.length = 0;
    for (const { reject } of this.#receivers.splice(0)) {
      reject(new Deno.errors.Interrupted(`${this.#name()} was closed meanwhile`));
    }
  }

  /** As {@linkcode MeshDatagramConn.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The datagrams, until the port is closed. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<
    [Uint8Array<ArrayBuffer>, Deno.NetAddr]
  > {
    while (!this.#closed) {
      let received: Received;
      try {
        received = await this.receive();
      } catch (error) {
        if (this.#closed) return;
        throw error;
      }
      yield received;
    }
  }

  /** Rejects with `Deno.errors.NotSupported`: a mesh has no multicast. */
  joinMulticastV4(_address: string, _interface: string): Promise<Deno.MulticastV4Membership> {
    return Promise.reject(new Deno.errors.NotSupported("A mesh has no multicast"));
  }

  /** Rejects with `Deno.errors.NotSupported`: a mesh has no multicast. */
  joinMulticastV6(_address: string, _interface: number): Promise<Deno.MulticastV6Membership> {
    return Promise.reject(new Deno.errors.NotSupported("A mesh has no multicast"));
  }

  /** Does nothing: a node keeps its program alive until it is stopped. */
  ref(): void {}

  /** Does nothing, as {@linkcode MeshDatagramConn.ref}. */
  unref(): void {}

  #take(payload: Uint8Array<ArrayBuffer>, { hostname, port }: SocketAddress): void {
    const from: Deno.NetAddr = { transport: "udp", hostname, port };
    const receiver = this.#receivers.shift();
    if (receiver !== undefined) {
      const { target } = receiver;
      return receiver.resolve(into(target, [target ? payload : payload.slice(), from]));
    }
    const full = this.#waiting.length >= DATAGRAMS_WAITING_MAX ||
      this.#waitingBytes + payload.length > DATAGRAM_BYTES_WAITING_MAX;
    if (full) {
      this.#dropped++;
      return;
    }
    this.#waitingBytes += payload.length;
    // A part of a batch would keep all of the batch.
    this.#waiting.push([payload.slice(), from]);
  }

  #break(error: MorayError): void {
    this.#broken = denoError(error);
    for (const { reject } of this.#receivers.splice(0)) reject(this.#broken);
  }

  #badResource(): Error {
    return new Deno.errors.BadResource(`${this.#name()} is closed`);
  }

  #name(): string {
    return `UDP mesh port ${this.addr.port}`;
  }
}

/** What was received in the caller's buffer, if there is one. */
function into(target: Uint8Array | undefined, [payload, from]: Received): Received {
  if (target === undefined) return [payload, from];
  const length = Math.min(target.length, payload.length);
  target.set(payload.subarray(0, length));
  return [target.subarray(0, length) as Uint8Array<ArrayBuffer>, from];
}

/** As Deno tells that a datagram is too long. */
function tooLong(cause: MorayError): Error {
  return Object.assign(new Error(cause.message, { cause }), { code: "EMSGSIZE" });
}
