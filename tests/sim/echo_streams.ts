/**
 * TCP streams inside the mesh, as the main thread has them, without promises: a server that sends back what it gets, and
 * clients that compare.
 *
 * @module
 */
import type { AcceptedEvent, CommandBody, Reply, SharedArena } from "../../agent/shared/mod.ts";
import { formatSocketAddress } from "../../core/mod.ts";
import {
  ABORT,
  EOF,
  FAILED,
  failureOf,
  FIN,
  RELEASED,
  type StreamSlot,
} from "../../agent/shared/stream_slot.ts";

/** The port of RFC 862. */
export const ECHO_PORT = 7;
/** Bytes moved at once. */
const CHUNK_BYTES = 4096;

/** One stream that a client has opened. */
export interface EchoClient {
  /** Bytes that came back, all as they were sent. */
  readonly echoed: number;
  /** Why it broke; `undefined` while it has not. */
  readonly broken: string | undefined;
  /** Sends this many more bytes. */
  push(count: number): void;
  /** Ends it in order. */
  close(): void;
}

/** What {@linkcode EchoStreams} needs of its process. */
export interface EchoOptions {
  /** The shared memory. */
  readonly arena: SharedArena;
  /** Sends a command. */
  readonly send: (command: CommandBody, done: (reply: Reply) => void) => void;
  /** Rings for the Worker. */
  readonly ring: () => void;
}

/** All echo streams of one process. */
export class EchoStreams {
  readonly #options: EchoOptions;
  readonly #bySlot = new Map<number, () => boolean>();
  readonly #buffer = new Uint8Array(CHUNK_BYTES);

  /** No streams. */
  constructor(options: EchoOptions) {
    this.#options = options;
  }

  /** Streams that hold a slot. */
  get size(): number {
    return this.#bySlot.size;
  }

  /** Serves from now on. */
  listen(): void {
    this.#options.send({ kind: "listen", port: ECHO_PORT }, () => undefined);
  }

  /** Opens a stream to a node. */
  connect(hostname: string): EchoClient {
    const client = new Client({
      tell: (slot) => this.#tell(slot),
      released: ({ index }) => this.#bySlot.delete(index),
    });
    const remote = formatSocketAddress({ hostname, port: ECHO_PORT });
    this.#options.send({ kind: "connectStream", remote }, (reply) => {
      if (!reply.ok) return client.fail(reply.message);
      const { slot: index } = reply.value as { readonly slot: number };
      client.begin(this.#options.arena.slot(index));
      this.#bySlot.set(index, () => client.look(this.#buffer));
      this.#look(index);
    });
    return client;
  }

  /** Takes a connection that has come. */
  accepted({ slot: index }: AcceptedEvent): void {
    const slot = this.#options.arena.slot(index);
    this.#bySlot.set(index, () => this.#echo(slot));
    this.#look(index);
  }

  /** Looks after the streams that the Worker has marked. */
  heed(): void {
    this.#options.arena.takeDirtyForMain(({ index }) => this.#look(index));
  }

  #look(index: number): void {
    const alive = this.#bySlot.get(index)?.();
    if (alive === false) this.#bySlot.delete(index);
  }

  /** Moves what there is and fits. Returns whether the stream lives on. */
  #echo(slot: StreamSlot): boolean {
    const { toApp, toNet } = slot;
    for (;;) {
      // Loaded before the ring: what was written before the end must be seen first.
      const flags = slot.workerFlags;
      const count = Math.min(toApp.length, toNet.room, CHUNK_BYTES);
      if (count > 0) {
        const part = this.#buffer.subarray(0, count);
        toApp.read(part);
        toNet.write(part);
        this.#options.arena.tookFromToApp(slot);
        this.#tell(slot);
        continue;
      }
      if ((flags & FAILED) !== 0 || ((flags & EOF) !== 0 && toApp.length === 0)) {
        slot.setMainFlags((flags & FAILED) === 0 ? RELEASED : ABORT | RELEASED);
        this.#tell(slot);
        return false;
      }
      if (toApp.length > 0) slot.roomWait.arm(1);
      else slot.dataWait.arm(1);
      return true;
    }
  }

  #tell(slot: StreamSlot): void {
    const { arena, ring } = this.#options;
    arena.markForWorker(slot);
    ring();
  }
}

/** What a {@linkcode Client} needs of its process. */
interface ClientOptions {
  /** The Worker must look at the slot. */
  readonly tell: (slot: StreamSlot) => void;
  /** The slot is no longer this client's. */
  readonly released: (slot: StreamSlot) => void;
}

/** The client's end. */
class Client implements EchoClient {
  readonly #options: ClientOptions;
  #slot: StreamSlot | undefined;
  #wanted = 0;
  #sent = 0;
  #echoed = 0;
  #broken: string | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  get echoed(): number {
    return this.#echoed;
  }

  get broken(): string | undefined {
    return this.#broken;
  }

  begin(slot: StreamSlot): void {
    this.#slot = slot;
    if (this.#broken === undefined) this.#write();
    else this.#release(slot, ABORT | RELEASED);
  }

  fail(reason: string): void {
    this.#broken = reason;
  }

  push(count: number): void {
    this.#wanted += count;
    this.#write();
  }

  close(): void {
    this.#broken ??= "closed";
    if (this.#slot !== undefined) this.#release(this.#slot, FIN | RELEASED);
  }

  /** Takes in what came back. Returns whether the stream lives on. */
  look(buffer: Uint8Array): boolean {
    const slot = this.#slot;
    if (slot === undefined) return false;
    const flags = slot.workerFlags;
    for (let count; (count = slot.toApp.read(buffer)) > 0;) {
      for (let i = 0; i < count; i++) {
        if (buffer[i] !== byteAt(this.#echoed++)) this.#broken ??= "other bytes came back";
      }
    }
    if ((flags & FAILED) !== 0 || this.#broken !== undefined) {
      this.#broken ??= `stream ${failureOf(flags) ?? "failed"}`;
      this.#release(slot, ABORT | RELEASED);
      return false;
    }
    this.#write();
    slot.dataWait.arm(1);
    return true;
  }

  #release(slot: StreamSlot, flags: number): void {
    slot.setMainFlags(flags);
    this.#options.tell(slot);
    this.#options.released(slot);
    this.#slot = undefined;
  }

  #write(): void {
    const slot = this.#slot;
    if (slot === undefined || this.#broken !== undefined) return;
    const count = Math.min(this.#wanted - this.#sent, slot.toNet.room);
    if (count === 0) return;
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = byteAt(this.#sent++);
    slot.toNet.write(bytes);
    if (this.#sent < this.#wanted) slot.roomWait.arm(1);
    this.#options.tell(slot);
  }
}

/** The byte at a position of every stream. */
function byteAt(position: number): number {
  return (position * 31 + (position >>> 8) * 7 + 5) & 0xff;
}
