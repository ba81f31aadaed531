/**
 * What carries the messages of one TURN client: the node's own UDP socket, or a byte stream that the main thread holds.
 *
 * ```text
 *   run of equal datagrams --> | header | datagram | header | datagram | ... --> one send with segmentation, or the ring
 * ```
 *
 * A run is copied once, with a header in front of each datagram: the kernel or the network card splits it as it would have split the run.
 *
 * @module
 */
import type { SocketAddress } from "../../core/mod.ts";
import { CHANNEL_HEADER_BYTES, StreamFrames, writeChannelHeader } from "../../traversal/mod.ts";
import { ABORT, FIN, RELEASED, type SharedArena, type StreamSlot } from "../shared/mod.ts";
import type { Transport } from "./transport.ts";

/** Bytes of a train with its headers: the kernel takes no more than 65,507 at once. */
const TRAIN_BYTES_MAX = 65_400;
/** Bytes taken from a stream at once. */
const CHUNK_BYTES = 65_536;

/** Where wrapped runs are put together; there is one send at a time. */
const scratch = new Uint8Array(TRAIN_BYTES_MAX);

/** Equal datagrams one after another, the last maybe shorter. */
export interface DatagramRun {
  /** All of them, borrowed for the call. */
  readonly bytes: Uint8Array;
  /** Size of each. */
  readonly segment: number;
  /** They are better lost than split. */
  readonly whole: boolean;
}

/** Carries the messages of one client. */
export interface RelayCarrier {
  /** Sends one STUN message. */
  sendMessage(payload: Uint8Array, to: SocketAddress, whole?: boolean): void;
  /** Sends a run by a channel. */
  sendRun(channel: number, run: DatagramRun, to: SocketAddress): void;
  /** Lets go of what it holds. Safe to call twice. */
  close(): void;
}

/** By the node's own UDP socket, which stays open. */
export class UdpCarrier implements RelayCarrier {
  readonly #transport: Pick<Transport, "send">;

  /** A carrier on the node's socket. */
  constructor(transport: Pick<Transport, "send">) {
    this.#transport = transport;
  }

  sendMessage(payload: Uint8Array, to: SocketAddress, whole = false): void {
    this.#transport.send(payload, payload.length, to, 0, whole);
  }

  sendRun(channel: number, { bytes, segment, whole }: DatagramRun, to: SocketAddress): void {
    const stride = segment + CHANNEL_HEADER_BYTES;
    const perTrain = Math.floor(TRAIN_BYTES_MAX / stride) * segment;
    if (perTrain === 0) return;
    for (let from = 0; from < bytes.length; from += perTrain) {
      const until = Math.min(from + perTrain, bytes.length);
      let at = 0;
      for (let i = from; i < until; i += segment) {
        at += wrap(channel, bytes.subarray(i, Math.min(i + segment, until)), at);
      }
      this.#transport.send(scratch.subarray(0, at), stride, to, 0, whole);
    }
  }

  close(): void {}
}

/** What a {@linkcode StreamCarrier} is made of. */
export interface StreamCarrierOptions {
  /** The memory shared with the main thread. */
  readonly arena: SharedArena;
  /** Gives a slot; see `StreamTable.lend`. */
  readonly lend: (onDirty: (slot: StreamSlot) => void) => StreamSlot | undefined;
  /** The main thread has to be rung. */
  readonly ring: () => void;
  /** A message has come, borrowed for the call. */
  readonly onFrame: (frame: Uint8Array) => void;
  /** Some messages have been handed over. */
  readonly onTaken: () => void;
  /** The stream has ended. Called once, with a reason if there is one to tell. */
  readonly onEnd: (reason: string) => void;
  /** The slot is no longer ours. */
  readonly onReleased: (carrier: StreamCarrier) => void;
  /** Messages were dropped, for want of room in the ring. */
  readonly onDropped: (count: number) => void;
}

/** By a slot of the arena, whose other end the main thread joins to a connection. */
export class StreamCarrier implements RelayCarrier {
  /** The slot. */
  readonly slot: StreamSlot;
  readonly #options: StreamCarrierOptions;
  readonly #frames = new StreamFrames();
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  #reason = "the connection has ended";
  #over = false;

  private constructor(options: StreamCarrierOptions, slot: StreamSlot) {
    this.#options = options;
    this.slot = slot;
  }

  /** Takes a slot; `undefined` when there is none. */
  static open(options: StreamCarrierOptions): StreamCarrier | undefined {
    let carrier: StreamCarrier | undefined;
    const slot = options.lend(() => carrier?.handleSlot());
    if (slot !== undefined) carrier = new StreamCarrier(options, slot);
    return carrier;
  }

  /** Takes why the connection is about to end. */
  explain(reason: string): void {
    this.#reason = reason;
  }

  /** Takes in what the main thread has put into the slot. */
  handleSlot(): void {
    // Before the ring, as everywhere.
    const flags = this.slot.mainFlags;
    const { toNet } = this.slot;
    while (!this.#over && toNet.length > 0) {
      const count = toNet.read(this.#chunk);
      if (this.#options.arena.tookFromToNet(this.slot)) this.#options.ring();
      const inStep = this.#frames.push(this.#chunk.subarray(0, count), this.#options.onFrame);
      this.#options.onTaken();
      if (!inStep) {
        this.#reason = "the relay's stream is no TURN";
        return this.#end();
      }
    }
    if ((flags & (FIN | ABORT | RELEASED)) !== 0) this.#end();
    if ((flags & RELEASED) !== 0) this.#options.onReleased(this);
  }

  sendMessage(payload: Uint8Array): void {
    this.#write(payload);
  }

  sendRun(channel: number, { bytes, segment }: DatagramRun): void {
    let at = 0;
    for (let i = 0; i < bytes.length; i += segment) {
      const datagram = bytes.subarray(i, i + segment);
      if (at + datagram.length + CHANNEL_HEADER_BYTES + 3 > TRAIN_BYTES_MAX) {
        this.#write(scratch.subarray(0, at));
        at = 0;
      }
      const end = at + wrap(channel, datagram, at);
      at = end + 3 & ~3;
      scratch.fill(0, end, at);
    }
    this.#write(scratch.subarray(0, at));
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.slot.setFailed("closed");
    this.#options.arena.markForMain(this.slot);
    this.#options.ring();
  }

  /** All or nothing: half a message would put the stream out of step. */
  #write(bytes: Uint8Array): void {
    if (this.#over) return;
    if (this.slot.toApp.room < bytes.length) return this.#options.onDropped(1);
    this.slot.toApp.write(bytes);
    if (this.#options.arena.wroteToApp(this.slot)) this.#options.ring();
  }

  #end(): void {
    if (this.#over) return;
    this.close();
    this.#options.onEnd(this.#reason);
  }
}

/** Puts a datagram behind its header into the scratch memory. Returns the bytes of both. */
function wrap(channel: number, datagram: Uint8Array, at: number): number {
  const { length } = datagram;
  writeChannelHeader(scratch, at, { channel, length });
  scratch.set(datagram, at + CHANNEL_HEADER_BYTES);
  return CHANNEL_HEADER_BYTES + length;
}
