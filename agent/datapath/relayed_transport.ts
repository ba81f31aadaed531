/** The sockets and the allocations on relays as one transport. @module */
import type { SocketAddress } from "../../core/mod.ts";
import { RELAY_LOCAL_MIN, type Transport } from "./transport.ts";

/** Sends datagrams as `Transport.send` says, from an allocation. */
export type SendRelayed = (
  local: number,
  bytes: Uint8Array,
  segment: number,
  to: SocketAddress,
  whole: boolean,
) => void;

/** Sends from sockets by themselves, and from allocations by the desk. */
export class RelayedTransport implements Transport {
  readonly #sockets: Transport;
  readonly #send: SendRelayed;

  /** Sockets, and what sends from the ends that are none. */
  constructor(sockets: Transport, send: SendRelayed) {
    this.#sockets = sockets;
    this.#send = send;
  }

  get name(): string {
    return this.#sockets.name;
  }

  get port(): number {
    return this.#sockets.port;
  }

  get localEndpoints(): readonly string[] {
    return this.#sockets.localEndpoints;
  }

  get busy(): boolean {
    return this.#sockets.busy;
  }

  send(bytes: Uint8Array, segment: number, to: SocketAddress, local = 0, whole = false): void {
    if (local < RELAY_LOCAL_MIN) this.#sockets.send(bytes, segment, to, local, whole);
    else this.#send(local, bytes, segment, to, whole);
  }

  openLocal(): number | undefined {
    return this.#sockets.openLocal();
  }

  closeLocal(local: number): void {
    this.#sockets.closeLocal(local);
  }

  localPort(local: number): number | undefined {
    return this.#sockets.localPort(local);
  }

  counters(): Readonly<Record<string, number>> {
    return this.#sockets.counters();
  }
}
