/**
 * The Worker's side of the UDP ports inside the tunnel: all of a node's datagrams go through the two rings of one slot.
 *
 * @module
 */
import { MorayError, parseSocketAddress } from "../../core/mod.ts";
import type { Engine, UdpRefusal } from "../../wg/mod.ts";
import {
  DATAGRAM_KIND,
  datagramFrameBytes,
  DatagramLooker,
  DatagramWriter,
  encodeDatagramAddress,
  type SharedArena,
  type StreamSlot,
} from "../shared/mod.ts";

/** What a {@linkcode DatagramTable} is made of. */
export interface DatagramTableOptions {
  /** Sends and receives. */
  readonly engine: Engine;
  /** The memory shared with the main thread. */
  readonly arena: SharedArena;
  /** Gives a slot; see `StreamTable.lend`. */
  readonly lend: (onDirty: (slot: StreamSlot) => void) => StreamSlot | undefined;
  /** Has the main thread rung. */
  readonly ring: () => void;
}

/** The slot, and what reads and writes its rings. */
interface Lent {
  readonly slot: StreamSlot;
  readonly toSend: DatagramLooker;
  readonly told: DatagramWriter;
}

const NOTHING = new Uint8Array();

/** The UDP ports of a node. What has no room is dropped, the newest first, and counted. */
export class DatagramTable {
  readonly #options: DatagramTableOptions;
  #lent: Lent | undefined;
  #blocked = false;
  #notRead = 0;
  #notSent = 0;

  /** No ports. */
  constructor(options: DatagramTableOptions) {
    this.#options = options;
  }

  /** Whether datagrams wait until the engine has room. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** `datagramsNotRead`: the main thread did not take those before. `datagramsNotSent`: the path to the address has changed. */
  counters(): Readonly<Record<string, number>> {
    return { datagramsNotRead: this.#notRead, datagramsNotSent: this.#notSent };
  }

  /** Opens a port; the slot that all ports share. Throws `portInUse` or `limit`. */
  bind(port: number): { readonly slot: number } {
    const lent = this.#lent ??= this.#lend();
    if (!this.#options.engine.udp.bind(port)) {
      throw new MorayError("portInUse", `UDP mesh port ${port} is in use`);
    }
    return { slot: lent.slot.index };
  }

  /** Closes a port. */
  close(port: number): void {
    this.#options.engine.udp.close(port);
  }

  /** The longest payload that a datagram to a mesh address and port may have now. Throws `unreachable`. */
  limit(remote: string): number {
    const to = parseSocketAddress(remote);
    if (to === undefined) throw new MorayError("usage", "it is no address and port");
    const limit = this.#options.engine.udp.limit(encodeDatagramAddress(to));
    if (typeof limit === "number") return limit;
    throw new MorayError("unreachable", REASONS[limit]);
  }

  /** Takes what has arrived for the ports, as the engine hands it out. */
  deliver(records: Uint8Array): void {
    if (this.#lent === undefined) return;
    const { slot } = this.#lent;
    if (slot.toApp.room >= records.length) slot.toApp.write(records);
    else this.#deliverSome(slot, records);
    if (this.#options.arena.wroteToApp(slot)) this.#options.ring();
  }

  /** Sends what the main thread has written, as far as the engine takes it. Returns whether anything was taken. */
  pump(): boolean {
    this.#blocked = false;
    if (this.#lent === undefined) return false;
    const { slot, toSend, told } = this.#lent;
    let taken = 0;
    for (let place; (place = toSend.look()) !== undefined;) {
      const { port, address, parts, size } = place;
      const refusal = this.#options.engine.udp.send({ port, to: address, parts });
      this.#blocked = refusal === "full";
      if (this.#blocked) break;
      if (refusal !== undefined) {
        this.#notSent++;
        told.push({ kind: DATAGRAM_KIND.notSent, port, address, payload: NOTHING });
        if (this.#options.arena.wroteToApp(slot)) this.#options.ring();
      }
      slot.toNet.consume(size);
      taken += size;
    }
    if (taken > 0 && this.#options.arena.tookFromToNet(slot)) this.#options.ring();
    return taken > 0;
  }

  /** As many as there is room for, and no more. */
  #deliverSome(slot: StreamSlot, records: Uint8Array): void {
    const view = new DataView(records.buffer, records.byteOffset, records.length);
    for (let at = 0; at < records.length;) {
      const size = datagramFrameBytes(view.getUint32(at, true));
      if (slot.toApp.room >= size) slot.toApp.write(records.subarray(at, at + size));
      else this.#notRead++;
      at += size;
    }
  }

  #lend(): Lent {
    const slot = this.#options.lend(() => void this.pump());
    if (slot === undefined) throw new MorayError("limit", "too many streams");
    const toSend = new DatagramLooker(slot.toNet);
    return { slot, toSend, told: new DatagramWriter(slot.toApp) };
  }
}

const REASONS: Readonly<Record<UdpRefusal, string>> = {
  noRoute: "no peer has this address",
  noAddress: "this node has no address of that family",
  tooBig: "the datagram is too large",
  full: "the datapath is busy",
};
