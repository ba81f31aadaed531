/** Datagrams of the UDP ports inside the tunnel, in the engine's memory: written in place, read in place. @module */
import { assert } from "../core/mod.ts";
import { ADDRESS, type EngineExports } from "./abi.ts";

/** Why a datagram was not sent. */
export type UdpRefusal =
  /** No peer is responsible for the address. */
  | "noRoute"
  /** No room to send now: poll, and try again. */
  | "full"
  /** We have no address of that family. */
  | "noAddress"
  /** The path does not carry a datagram of this size. */
  | "tooBig";

/** A datagram to send. */
export interface UdpDatagram {
  /** The open port that it leaves from. */
  readonly port: number;
  /** Where to: family u16, port u16 and 16 bytes of address, as in the engine's records. */
  readonly to: Uint8Array;
  /** The payload, in two parts, one after the other; at most 65,535 bytes. */
  readonly parts: readonly [Uint8Array, Uint8Array];
}

/**
 * Takes what has arrived: records, one after another, as `wg/engine/src/udp.rs` draws them, each as long as a multiple of four.
 * Borrowed for the call, in which the engine must not be used.
 */
export type UdpTaker = (records: Uint8Array<ArrayBuffer>) => void;

const REFUSALS: Readonly<Record<number, UdpRefusal>> = {
  [-1]: "noRoute",
  [-2]: "full",
  [-3]: "noAddress",
  [-4]: "tooBig",
};
const PAYLOAD_BYTES_MAX = 65_535;

/** The UDP ports of one engine. */
export class UdpExchange {
  readonly #exports: EngineExports;
  readonly #scratch: number;
  readonly #payload: number;
  #bytes: Uint8Array<ArrayBuffer>;

  /** Of a started engine. */
  constructor(exports: EngineExports) {
    this.#exports = exports;
    this.#scratch = exports.scratch_pointer();
    this.#payload = exports.udp_payload_pointer();
    this.#bytes = new Uint8Array(exports.memory.buffer as ArrayBuffer);
  }

  /** Opens a port on all our addresses; false when it is open already, or 8192 are. */
  bind(port: number): boolean {
    return this.#exports.udp_bind(port) === 1;
  }

  /** Closes a port. */
  close(port: number): void {
    this.#exports.udp_close(port);
  }

  /** The longest payload that a datagram to an address may have now; the address as in {@linkcode UdpDatagram}. */
  limit(to: Uint8Array): number | UdpRefusal {
    this.#putAddress(to);
    const limit = this.#exports.udp_limit();
    return limit < 0 ? REFUSALS[limit] ?? "noRoute" : limit;
  }

  /** Sends a datagram at the next poll; `undefined` when it is taken. */
  send({ port, to, parts: [head, tail] }: UdpDatagram): UdpRefusal | undefined {
    const length = head.length + tail.length;
    assert(length <= PAYLOAD_BYTES_MAX, "a datagram is as long as UDP allows");
    this.#putAddress(to);
    this.#memory.set(head, this.#payload);
    if (tail.length > 0) this.#memory.set(tail, this.#payload + head.length);
    const refused = this.#exports.udp_send(port, length);
    return refused < 0 ? REFUSALS[refused] ?? "noRoute" : undefined;
  }

  /** Hands out what has arrived; without a taker it is dropped. */
  flush(take: UdpTaker | undefined): void {
    const length = this.#exports.udp_received();
    if (length === 0) return;
    const start = this.#exports.udp_received_pointer();
    take?.(this.#memory.subarray(start, start + length));
    this.#exports.udp_received_clear();
  }

  #putAddress(to: Uint8Array): void {
    assert(to.length === ADDRESS.bytes, "an address is a record");
    this.#memory.set(to, this.#scratch);
  }

  get #memory(): Uint8Array<ArrayBuffer> {
    if (this.#bytes.byteLength === 0) {
      this.#bytes = new Uint8Array(this.#exports.memory.buffer as ArrayBuffer);
    }
    return this.#bytes;
  }
}
