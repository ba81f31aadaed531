/** The Worker's side of every stream: bytes between the engine's TCP and the rings in shared memory. @module */
import {
  formatSocketAddress,
  MorayError,
  parseSocketAddress,
  type SocketAddress,
} from "../../core/mod.ts";
import type { Engine, StreamId, StreamState } from "../../wg/mod.ts";
import {
  ABORT,
  type ConnectedStream,
  EOF,
  ESTABLISHED,
  FIN,
  RELEASED,
  type SharedArena,
  type SplicedStream,
  STREAM_SLOTS_MAX,
  type StreamFailure,
  type StreamSlot,
} from "../shared/mod.ts";
import type { SocketSplice, SocketSplices } from "./socket_splice.ts";

/** Part of `toApp` that must be free to wake the Worker once it was full. */
const WINDOW = 1 / 4;

/** One stream. */
interface Entry {
  readonly slot: StreamSlot;
  /** The engine's stream; `undefined` once it has been let go. */
  stream: StreamId | undefined;
  readonly remote: SocketAddress;
  established: boolean;
  finSent: boolean;
  ended: boolean;
  /** `toApp` was full when it was written to last: the stream may hold more, and the main thread says when there is room. */
  full: boolean;
  /** The kernel socket that the stream is joined to; the rings are not used then. */
  splice: SocketSplice | undefined;
}

/** Every stream of a node. At most {@linkcode STREAM_SLOTS_MAX}; one more is refused by the caller and counted. */
export class StreamTable {
  readonly #engine: Engine;
  readonly #arena: SharedArena;
  readonly #sockets: SocketSplices | undefined;
  readonly #bySlot: (Entry | undefined)[] = [];
  readonly #byStream = new Map<StreamId, Entry>();
  /** Slots that carry something else than a stream of the engine, and who takes what the main thread says of each. */
  readonly #lent = new Map<number, (slot: StreamSlot) => void>();
  #ring = false;
  #refused = 0;

  /** An empty table. Without `sockets` no stream can be joined to one. */
  constructor(engine: Engine, arena: SharedArena, sockets?: SocketSplices) {
    this.#engine = engine;
    this.#arena = arena;
    this.#sockets = sockets;
  }

  /** Streams refused for want of a slot. */
  get refused(): number {
    return this.#refused;
  }

  /** Whether the main thread must be rung; asking clears it. */
  takeRing(): boolean {
    const ring = this.#ring;
    this.#ring = false;
    return ring;
  }

  /** Opens a connection to a mesh address and port. Throws `unreachable` or `limit`. */
  connect(text: string): ConnectedStream {
    const remote = parseSocketAddress(text);
    if (remote === undefined) throw new MorayError("usage", "it is no address and port");
    const stream = this.#engine.connect(remote);
    switch (stream) {
      case "noRoute":
        throw new MorayError("unreachable", "no peer has this address");
      case "noAddress":
        throw new MorayError("unreachable", "this node has no address of that family");
      case "full":
        throw new MorayError("limit", "too many streams");
    }
    const slot = this.add(stream, remote);
    if (slot === undefined) {
      this.#engine.streamRelease(stream, { abort: true });
      throw new MorayError("limit", "too many streams");
    }
    return { slot: slot.index, local: formatEnd(this.#engine.streamLocal(stream)) };
  }

  /** Gives a stream a slot; `undefined` when there is none left. */
  add(stream: StreamId, remote: SocketAddress): StreamSlot | undefined {
    const slot = this.#takeSlot();
    if (slot === undefined) return undefined;
    const entry: Entry = {
      slot,
      stream,
      remote,
      established: false,
      finSent: false,
      ended: false,
      full: false,
      splice: undefined,
    };
    this.#bySlot[slot.index] = entry;
    this.#byStream.set(stream, entry);
    return slot;
  }

  /**
   * Gives somebody else a slot, established; `undefined` when there is none left. `onDirty` hears that the main thread has changed it, the
   * last time with RELEASED.
   */
  lend(onDirty: (slot: StreamSlot) => void): StreamSlot | undefined {
    const slot = this.#takeSlot();
    if (slot === undefined) return undefined;
    slot.setWorkerFlags(ESTABLISHED);
    this.#lent.set(slot.index, onDirty);
    return slot;
  }

  /** The engine says that a stream has changed. */
  handleStream(stream: StreamId): void {
    const entry = this.#byStream.get(stream);
    if (entry?.splice !== undefined) this.#sockets?.pump(entry.splice);
    else if (entry !== undefined) this.#pump(entry, true);
  }

  /** The main thread says that a slot has changed. */
  handleSlot(slot: StreamSlot): void {
    const entry = this.#bySlot[slot.index];
    if (entry !== undefined) return this.#pump(entry, false);
    const onDirty = this.#lent.get(slot.index);
    if ((slot.mainFlags & RELEASED) !== 0) this.#lent.delete(slot.index);
    onDirty?.(slot);
  }

  /**
   * Joins a slot's stream to a kernel socket; see `SpliceStreamCommand`. `onEnd` is called once, maybe before this returns.
   * Throws where that cannot be, and then touches the socket no more.
   */
  splice(index: number, fd: number, onEnd: (result: SplicedStream) => void): void {
    const entry = this.#bySlot[index];
    if (entry === undefined) throw new MorayError("closed", "the stream has ended");
    if (this.#sockets === undefined) throw new MorayError("unsupported", "no sockets by FFI");
    if (entry.splice !== undefined) {
      throw new MorayError("usage", "the stream has a socket already");
    }
    const { stream, slot } = entry;
    if (stream === undefined) {
      const aborted = (slot.mainFlags & ABORT) !== 0;
      return onEnd({ toMesh: 0, toSocket: 0, end: aborted ? "aborted" : "failed" });
    }
    entry.splice = this.#sockets.add({
      fd,
      stream,
      slot,
      onEnd: (result) => {
        entry.splice = undefined;
        this.#letGo(entry, result.end !== "complete");
        onEnd(result);
      },
    });
    if (entry.splice === undefined) throw new MorayError("limit", "too many sockets");
    this.#sockets.pump(entry.splice);
  }

  /** Fails every stream, or those to the given addresses. */
  fail(failure: StreamFailure, addresses?: ReadonlySet<string>): void {
    for (const entry of [...this.#byStream.values()]) {
      if (addresses !== undefined && !addresses.has(entry.remote.hostname)) continue;
      if (entry.splice !== undefined) {
        this.#sockets?.end(entry.splice, "failed", `the stream: ${failure}`);
        continue;
      }
      this.#letGo(entry, true);
      this.#end(entry, failure);
    }
  }

  /** Streams in use, for `status`. */
  get size(): number {
    return this.#byStream.size;
  }

  /** The lowest free slot, made a new one. */
  #takeSlot(): StreamSlot | undefined {
    let index = 0;
    while (this.#bySlot[index] !== undefined || this.#lent.has(index)) index++;
    if (index >= STREAM_SLOTS_MAX) {
      this.#refused++;
      return undefined;
    }
    this.#arena.resetSlot(index);
    return this.#arena.slot(index);
  }

  /** Moves what can be moved. Only what the engine says can have changed the stream's state, or brought bytes from the network. */
  #pump(entry: Entry, engineSays: boolean): void {
    const { slot } = entry;
    // Before the ring: an empty ring is the end only if the flag was set before the look.
    const flags = slot.mainFlags;
    if ((flags & ABORT) !== 0) return this.#free(entry, true);
    if (entry.splice !== undefined) return;
    if (entry.stream === undefined) {
      if ((flags & RELEASED) !== 0) this.#free(entry, false);
      return;
    }
    this.#send(entry, entry.stream);
    if (engineSays && !entry.established && this.#engine.streamState(entry.stream).established) {
      entry.established = true;
      slot.setWorkerFlags(ESTABLISHED);
      this.#tell(slot);
    }
    const sentAll = slot.toNet.length === 0;
    if ((flags & RELEASED) !== 0) {
      // A connection that never opened has nobody to send to.
      if (sentAll || this.#engine.streamState(entry.stream).closed) this.#free(entry, false);
      return;
    }
    if ((flags & FIN) !== 0 && sentAll && entry.established && !entry.finSent) {
      entry.finSent = true;
      this.#engine.streamShutdown(entry.stream);
    }
    if (!engineSays && !entry.full) return;
    this.#receive(entry, entry.stream);
    this.#follow(entry, entry.stream);
  }

  /** From the main thread to the network. */
  #send({ slot }: Entry, stream: StreamId): void {
    let moved = false;
    while (slot.toNet.length > 0) {
      // As much as fits: a part of the engine's ring is filled from at most two parts of ours.
      if (this.#engine.streamFill(stream, (part) => slot.toNet.read(part)) === 0) break;
      moved = true;
    }
    if (moved && this.#arena.tookFromToNet(slot)) this.#ring = true;
  }

  /** From the network to the main thread. */
  #receive(entry: Entry, stream: StreamId): void {
    const { slot } = entry;
    const windowBytes = slot.toApp.capacity * WINDOW;
    entry.full = false;
    let moved = 0;
    do {
      const taken = this.#engine.streamRead(stream, (part) => {
        const n = slot.toApp.write(part);
        entry.full = n < part.length;
        return n;
      });
      moved += taken;
      if (!entry.full) break;
      slot.windowWait.arm(windowBytes);
      // Between the look and the wish the reader may have made room and seen no wish.
    } while (slot.toApp.room >= windowBytes);
    if (moved > 0 && this.#arena.wroteToApp(slot)) this.#ring = true;
  }

  /** Tells the end of the stream, once everything before it has been handed over. */
  #follow(entry: Entry, stream: StreamId): void {
    const state: StreamState = this.#engine.streamState(stream);
    if (!state.receiveFinished) return;
    if (state.error !== undefined) {
      this.#letGo(entry, true);
      this.#end(entry, state.error === "aborted" ? "closed" : state.error);
    } else if (!entry.ended) {
      entry.ended = true;
      entry.slot.setWorkerFlags(EOF);
      this.#tell(entry.slot);
    }
  }

  #end(entry: Entry, failure: StreamFailure): void {
    entry.slot.setFailed(failure);
    this.#tell(entry.slot);
    if ((entry.slot.mainFlags & RELEASED) !== 0) this.#free(entry, true);
  }

  #letGo(entry: Entry, abort: boolean): void {
    if (entry.stream === undefined) return;
    this.#engine.streamRelease(entry.stream, { abort });
    this.#byStream.delete(entry.stream);
    entry.stream = undefined;
  }

  #free(entry: Entry, abort: boolean): void {
    if (entry.splice !== undefined) this.#sockets?.end(entry.splice, "aborted");
    this.#letGo(entry, abort);
    // The main thread has said that it is done with the slot: RELEASED goes with ABORT.
    if ((entry.slot.mainFlags & RELEASED) !== 0) this.#bySlot[entry.slot.index] = undefined;
  }

  #tell(slot: StreamSlot): void {
    this.#arena.markForMain(slot);
    this.#ring = true;
  }
}

/** Formats an end of a stream; an unknown one as the unspecified address. */
export function formatEnd(address: SocketAddress | undefined): string {
  return formatSocketAddress(address ?? { hostname: "::", port: 0 });
}
