/** Packets of a kernel interface in the engine's memory: read in place, written in place. @module */
import { type EngineExports, PART, TUN_INPUT_BYTES } from "./abi.ts";

/** How a kernel interface is served. */
export interface TunOptions {
  /** Whether it takes joined UDP datagrams (`TUN_F_USO4` and `TUN_F_USO6`). */
  readonly udp: boolean;
  /** The first port that userspace connections leave from; none of the kernel's ephemeral ones. */
  readonly firstPort: number;
  /** How many there are. */
  readonly ports: number;
}

/** Takes a packet for the kernel: its parts, one after another, begin with a virtio header. Borrowed for the call. */
export type TunWriter = (parts: readonly Uint8Array<ArrayBuffer>[]) => void;

/** Bytes of a train of datagrams to one address (`RUN_BYTES_MAX` of `wg/engine/src/transmit.rs`), and datagrams in it. */
const TRAIN_BYTES_MAX = 65_000;
const TRAIN_DATAGRAMS_MAX = 64;
/** What encryption adds, and the multiple that packets are padded to. */
const OVERHEAD_BYTES = 32;
const PADDING = 16;

/** Packets of this MTU that leave as one train. A packet of the kernel that becomes more leaves in two pieces. */
export function packetsOfTrain(mtu: number): number {
  const datagram = Math.ceil(mtu / PADDING) * PADDING + OVERHEAD_BYTES;
  return Math.max(1, Math.min(TRAIN_DATAGRAMS_MAX, Math.floor(TRAIN_BYTES_MAX / datagram)));
}

/** The buffers of one interface. */
export class TunExchange {
  readonly #exports: EngineExports;
  readonly #input: number;
  readonly #output: number;
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #space: Uint8Array<ArrayBuffer>;

  /** Begins to serve an interface. */
  constructor(exports: EngineExports, options: TunOptions) {
    exports.tun_open(options.udp ? 1 : 0, options.firstPort, options.ports);
    this.#exports = exports;
    this.#input = exports.tun_input_pointer();
    this.#output = exports.tun_output_pointer();
    [this.#bytes, this.#view, this.#space] = this.#look();
  }

  /**
   * Has `read` put packets of the kernel, virtio header first, into the engine's memory one after another, and sends them, until they
   * are about as much as leaves in one train. `read` returns a length, 0 for none. Says whether there may be more.
   */
  sendTrain(read: (into: Uint8Array<ArrayBuffer>) => number): boolean {
    let bytes = 0;
    for (let i = 0; i < TRAIN_DATAGRAMS_MAX && bytes < TRAIN_BYTES_MAX / 2; i++) {
      if (this.#bytes.byteLength === 0) [this.#bytes, this.#view, this.#space] = this.#look();
      const length = read(this.#space);
      if (length === 0) return false;
      this.#exports.tun_send(length);
      bytes += length;
    }
    return true;
  }

  /** Hands out the packets for the kernel. */
  flush(write: TunWriter): void {
    const count = this.#exports.tun_finish();
    if (count === 0) return;
    if (this.#bytes.byteLength === 0) [this.#bytes, this.#view, this.#space] = this.#look();
    let at = this.#exports.tun_parts_pointer();
    let parts: Uint8Array<ArrayBuffer>[] = [];
    for (let i = 0; i < count; i++, at += PART.bytes) {
      const from = this.#output + this.#view.getUint32(at + PART.offset, true);
      parts.push(this.#bytes.subarray(from, from + this.#view.getUint32(at + PART.length, true)));
      if (this.#view.getUint32(at + PART.more, true) === 1) continue;
      write(parts);
      parts = [];
    }
    this.#exports.tun_clear();
  }

  /** Memory that grew has another buffer. */
  #look(): [Uint8Array<ArrayBuffer>, DataView, Uint8Array<ArrayBuffer>] {
    const bytes = new Uint8Array(this.#exports.memory.buffer as ArrayBuffer);
    const space = bytes.subarray(this.#input, this.#input + TUN_INPUT_BYTES);
    return [bytes, new DataView(bytes.buffer), space];
  }
}
