/** A stream slot as a connection: the main thread's end of one TCP connection. @module */
import {
  type ErrorCode,
  formatSocketAddress,
  messageOf,
  MorayError,
  type SocketAddress,
} from "../../core/mod.ts";
import type { TunnelConn } from "../network.ts";
import type { ByteRing } from "./byte_ring.ts";
import type { DatapathClient, TakenSocket } from "./datapath_client.ts";
import type { SplicedStream } from "./protocol.ts";
import {
  ABORT,
  EOF,
  ESTABLISHED,
  FAILED,
  failureOf,
  FIN,
  RELEASED,
  type StreamFailure,
  type StreamSlot,
} from "./stream_slot.ts";

/**
 * Part of `toNet` that a writer who found it full waits for, unless it has less to write: waking for every segment
 * acknowledged would cost a thread switch each.
 */
const ROOM_WANTED = 1 / 4;

/** What a {@linkcode SlotStream} is made of. */
export interface SlotStreamOptions {
  /** Through whom the Worker is rung. */
  readonly client: DatapathClient;
  /** The stream's memory. */
  readonly slot: StreamSlot;
  /** Our end. */
  readonly local: SocketAddress;
  /** The other end. */
  readonly remote: SocketAddress;
  /** Called once, when the slot is no longer ours. */
  readonly onReleased: (slot: StreamSlot) => void;
}

/**
 * A TCP connection inside the mesh.
 *
 * One read and one write may be pending at a time; more reject with `usage`. A failed connection lets what has
 * arrived be read first, then rejects. After our own `close` or `abort`, a read resolves with `null` and a write
 * rejects with `closed`.
 */
export class SlotStream implements TunnelConn {
  /** Our end, an address of this node. */
  readonly local: SocketAddress;
  /** The other end. */
  readonly remote: SocketAddress;
  readonly #client: DatapathClient;
  readonly #slot: StreamSlot;
  readonly #onReleased: (slot: StreamSlot) => void;
  /** The pending read sleeps; calling this lets it look again. */
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;
  #wakeOpener: (() => void) | undefined;
  #reading = false;
  #writing = false;
  #finished = false;
  /** The Worker carries the stream: until it has said that it is done, the slot must not be released. */
  #carried = false;
  /** Once set, the slot may be another stream's: it must not be touched. */
  #released = false;

  /** Takes over a slot that the Worker has announced. */
  constructor({ client, slot, local, remote, onReleased }: SlotStreamOptions) {
    this.#client = client;
    this.#slot = slot;
    this.#onReleased = onReleased;
    this.local = local;
    this.remote = remote;
  }

  /** Resolves once the handshake is complete. Rejects as `Network.connect` does. */
  async established(): Promise<void> {
    for (;;) {
      if (this.#released) throw this.#cannotConnect("closed", "closed before it was established");
      // A connection may be established and reset before we look: then the reads tell, after what has arrived.
      const flags = this.#slot.workerFlags;
      if ((flags & ESTABLISHED) !== 0) return;
      const failure = this.#failure(flags);
      if (failure !== undefined) {
        throw this.#cannotConnect(CONNECT_CODES[failure], CONNECT_REASONS[failure]);
      }
      await new Promise<void>((resolve) => this.#wakeOpener = resolve);
    }
  }

  /** Reads at least one byte into `target`; `null` at the end of the stream, or once we have closed it. */
  read(target: Uint8Array): Promise<number | null> {
    return this.#receive((ring) => ring.read(target), target.length);
  }

  /** Lends the oldest bytes where they lie; resolves with how many of them were taken, otherwise as `read`. */
  readWith(take: (bytes: Uint8Array) => number): Promise<number | null> {
    return this.#receive((ring) => {
      const [bytes] = ring.peek();
      const count = checked(take(bytes), bytes);
      ring.consume(count);
      return count;
    }, Infinity);
  }

  /** Copies at least one byte towards the network and returns how many; waits while the buffer is full. */
  write(source: Uint8Array): Promise<number> {
    return this.#send((ring) => ring.write(source), source.length);
  }

  /** Lends room towards the network; resolves with how many bytes were put there, otherwise as `write`. */
  writeWith(fill: (room: Uint8Array) => number): Promise<number> {
    return this.#send((ring) => {
      const [room] = ring.writableSpans();
      const count = checked(fill(room), room);
      ring.commit(count);
      return count;
    }, Infinity);
  }

  /** Sends FIN after what has been written; reading goes on. A write that still waits for room rejects. */
  // deno-lint-ignore require-await -- what it throws must be a rejection
  async closeWrite(): Promise<void> {
    if (this.#finished && !this.#released) return;
    this.#checkWritable();
    this.#finished = true;
    this.#slot.setMainFlags(FIN);
    this.#tellWorker();
    this.#wakeWriter?.();
  }

  /**
   * Joins the connection to a kernel connection in the Worker, past this thread. Resolves when both have ended, and has
   * closed both by then; never rejects. The signal breaks off, as `abort` and `close` do.
   *
   * `undefined`, with nothing changed, where it cannot be done: then bytes go through `read` and `write`. So it is for a
   * connection that is being read or written, has ended in a direction, or is no `Deno.TcpConn`, and on the portable driver.
   */
  handOver(conn: Deno.Conn, signal?: AbortSignal): Promise<SplicedStream> | undefined {
    const busy = this.#reading || this.#writing || this.#finished || this.#released;
    if (busy || this.#failure(this.#slot.workerFlags) !== undefined) return undefined;
    const socket = this.#client.takeSocket(conn);
    if (socket === undefined) return undefined;
    this.#reading = true;
    this.#writing = true;
    this.#carried = true;
    return this.#carry(socket, signal);
  }

  /** Gives the connection up in order: what has been written is still sent, what arrives is dropped. */
  close(): void {
    this.#release(RELEASED);
  }

  /** Resets the connection; what has been written may be lost. */
  abort(): void {
    this.#release(ABORT | RELEASED);
  }

  /** As {@linkcode SlotStream.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Looks at the slot, because the Worker has marked it or the datapath has ended, and wakes whom it concerns. */
  handleDirty(): void {
    if (this.#released) return;
    const flags = this.#slot.workerFlags;
    const over = (flags & FAILED) !== 0 || this.#client.closedBy !== undefined;
    // Reader and writer look for themselves and wish again, whether or not there is anything for them: the Worker may have
    // granted a wish for bytes that it saw before they were taken, and a wish once granted is not granted again.
    this.#wakeReader?.();
    this.#wakeWriter?.();
    if (over || (flags & ESTABLISHED) !== 0) this.#wakeOpener?.();
  }

  /**
   * Waits until there are bytes, if any are wanted, and resolves with how many `take` took; `null` at the end. Who sleeps is
   * served within the wake-up, not by promises that wait for one another.
   */
  #receive(take: (ring: ByteRing) => number, wanted: number): Promise<number | null> {
    if (this.#released) return Promise.resolve(null);
    if (this.#reading) {
      return Promise.reject(new MorayError("usage", `${this.#name()} is being read already`));
    }
    this.#reading = true;
    const { promise, resolve, reject } = Promise.withResolvers<number | null>();
    const look = (): void => {
      try {
        const taken = this.#takeOrArm(take, wanted);
        if (taken === undefined) return;
        resolve(taken);
      } catch (error) {
        reject(error);
      }
      this.#wakeReader = undefined;
      this.#reading = false;
    };
    this.#wakeReader = look;
    look();
    return promise;
  }

  /** As {@linkcode SlotStream.#receive}, now; `undefined` when there is nothing, and the Worker has been asked to report. */
  #takeOrArm(take: (ring: ByteRing) => number, wanted: number): number | null | undefined {
    for (;;) {
      if (this.#released) return null;
      if (wanted === 0) return 0;
      const slot = this.#slot;
      // Loaded before the ring: what was written before EOF or FAILED must be seen first.
      const flags = slot.workerFlags;
      if (slot.toApp.length > 0) {
        slot.dataWait.disarm();
        const count = take(slot.toApp);
        if (!this.#released && this.#client.arena.tookFromToApp(slot)) this.#client.ringWorker();
        return count;
      }
      if ((flags & EOF) !== 0) return null;
      const failure = this.#failure(flags);
      if (failure !== undefined) throw this.#broken(failure);
      slot.dataWait.arm(1);
      // After arming: what the Worker did before it could see the mark. What it does from now on, it reports.
      if (slot.toApp.length === 0 && (slot.workerFlags & (EOF | FAILED)) === 0) return undefined;
    }
  }

  /** Waits until there is room, up to `wanted` bytes, and resolves with how many `put` has put there. */
  async #send(put: (ring: ByteRing) => number, wanted: number): Promise<number> {
    this.#checkWritable();
    if (this.#writing) throw new MorayError("usage", `${this.#name()} is being written already`);
    this.#writing = true;
    try {
      for (;;) {
        this.#checkWritable();
        const { toNet } = this.#slot;
        if (toNet.room > 0 || wanted === 0) {
          const count = put(toNet);
          if (count > 0) this.#tellWorker();
          return count;
        }
        await this.#roomOrEnd(Math.min(wanted, toNet.capacity * ROOM_WANTED));
      }
    } finally {
      this.#writing = false;
    }
  }

  async #roomOrEnd(wanted: number): Promise<void> {
    const slot = this.#slot;
    slot.roomWait.arm(wanted);
    const awake = slot.toNet.room > 0 || (slot.workerFlags & FAILED) !== 0 ||
      this.#client.closedBy !== undefined;
    if (!awake) await new Promise<void>((resolve) => this.#wakeWriter = resolve);
    this.#wakeWriter = undefined;
    if (!this.#released) slot.roomWait.disarm();
  }

  async #carry(socket: TakenSocket, signal: AbortSignal | undefined): Promise<SplicedStream> {
    const onAbort = (): void => this.abort();
    signal?.addEventListener("abort", onAbort);
    let result: SplicedStream;
    try {
      const { index: slot } = this.#slot;
      result = await this.#client.send({ kind: "spliceStream", slot, fd: socket.fd });
    } catch (error) {
      result = { toMesh: 0, toSocket: 0, end: "failed", reason: messageOf(error) };
    }
    signal?.removeEventListener("abort", onAbort);
    const complete = result.end === "complete";
    if (complete) socket.close();
    else socket.reset();
    this.#carried = false;
    this.#release(complete ? RELEASED : ABORT | RELEASED);
    return result;
  }

  #release(flags: number): void {
    if (this.#released) return;
    if (this.#carried) {
      this.#slot.setMainFlags(ABORT);
      return this.#tellWorker();
    }
    this.#released = true;
    this.#slot.setMainFlags(flags);
    this.#tellWorker();
    this.#onReleased(this.#slot);
    this.#wakeReader?.();
    this.#wakeWriter?.();
    this.#wakeOpener?.();
  }

  #tellWorker(): void {
    this.#client.arena.markForWorker(this.#slot);
    this.#client.ringWorker();
  }

  #checkWritable(): void {
    if (this.#released) throw new MorayError("closed", `${this.#name()} is closed`);
    if (this.#finished) {
      throw new MorayError("closed", `${this.#name()} is closed for writing`);
    }
    const failure = this.#failure(this.#slot.workerFlags);
    if (failure !== undefined) throw this.#broken(failure);
  }

  #failure(workerFlags: number): StreamFailure | undefined {
    return failureOf(workerFlags) ??
      (this.#client.closedBy === undefined ? undefined : "closed");
  }

  #broken(failure: StreamFailure): MorayError {
    return new MorayError(STREAM_CODES[failure], `${this.#name()} ${STREAM_REASONS[failure]}`);
  }

  #cannotConnect(code: ErrorCode, reason: string): MorayError {
    return new MorayError(code, `Cannot connect to ${formatSocketAddress(this.remote)}: ${reason}`);
  }

  #name(): string {
    return `The connection with ${formatSocketAddress(this.remote)}`;
  }
}

/** What whoever was lent bytes says it used of them. */
function checked(count: number, lent: Uint8Array): number {
  if (Number.isInteger(count) && count >= 0 && count <= lent.length) return count;
  throw new MorayError("usage", `${count} bytes cannot be used of ${lent.length}`);
}

const CONNECT_CODES: Readonly<Record<StreamFailure, ErrorCode>> = {
  refused: "refused",
  reset: "refused",
  timedOut: "timedOut",
  unreachable: "unreachable",
  limit: "limit",
  closed: "closed",
  prohibited: "refused",
};

const CONNECT_REASONS: Readonly<Record<StreamFailure, string>> = {
  refused: "the peer refused the connection",
  reset: "the peer reset the connection",
  timedOut: "no answer in time",
  unreachable: "the peer cannot be reached",
  limit: "too many connections",
  closed: "the datapath has stopped or the peer was removed",
  prohibited: "refused by the mesh's policy",
};

const STREAM_CODES: Readonly<Record<StreamFailure, ErrorCode>> = {
  ...CONNECT_CODES,
  reset: "closed",
  prohibited: "closed",
};

const STREAM_REASONS: Readonly<Record<StreamFailure, string>> = {
  refused: "was refused",
  reset: "was reset by the peer",
  timedOut: "timed out",
  unreachable: "is lost: the peer cannot be reached",
  limit: "was ended by a limit",
  closed: "has ended: the datapath has stopped or the peer was removed",
  prohibited: "was ended by the mesh's policy",
};
