/**
 * Kernel sockets joined to streams of the engine: what `--forward`, `--expose` and the proxies carry, without a byte
 * crossing the main thread.
 *
 * ```text
 *   local program <--kernel socket--> recv() into the stream's send buffer    --> tunnel
 *                                     send() from the stream's receive buffer <--
 * ```
 *
 * Nothing is copied between: libc reads and writes the engine's memory. One edge-triggered epoll tells of all sockets, and
 * the driver's poll of the epoll. An edge is told once, so its news is kept until the socket itself has denied it:
 * `readable` holds until `recv` finds nothing, `writable` until `send` takes less than it was given, and what changes after
 * that call is a new edge. (A short `recv` denies nothing: it may have stopped at urgent data or before an end that was
 * told already.) Bytes that wait because the other side has no room are moved when it says so, by an edge or by the
 * engine's event; each looks at both directions.
 *
 * @module
 */
import { assert } from "../../core/mod.ts";
import { EPOLL, Epoll, ERRNO, Libc } from "../../io/mod.ts";
import type { Engine, StreamId } from "../../wg/mod.ts";
import type { SplicedStream, StreamSlot } from "../shared/mod.ts";

/** Sockets at once; one more is refused and counted. Each belongs to a slot, of which there are no more. */
export const SPLICES_MAX = 1024;
/** Bytes that a socket may move in each direction before the others get their turn. */
export const TURN_BYTES: number = 256 << 10;
/** Bytes that all may move together before the engine gets its turn: it must encrypt them, and acknowledge others. */
export const TURN_BYTES_TOGETHER: number = 1 << 20;

/** Turns that what came before a failure gets to leave: one may begin before the engine's next poll. */
const LAST_TURNS = 2;

/** MSG_DONTWAIT. */
const RECEIVE_FLAGS = 0x40;
/** MSG_DONTWAIT | MSG_NOSIGNAL. */
const SEND_FLAGS = 0x4040;
const SHUT_WR = 1;

/** What of the engine a splice uses. */
export type SpliceEngine = Pick<
  Engine,
  "streamFill" | "streamRead" | "streamShutdown" | "streamState" | "streamWrite"
>;

/** What {@linkcode SocketSplices.add} takes. */
export interface SpliceParts {
  /** The socket. Neither closed nor made non-blocking here. */
  readonly fd: number;
  /** The stream, established. Neither released nor reset here. */
  readonly stream: StreamId;
  /** Its slot, whose rings are emptied first. */
  readonly slot: StreamSlot;
  /** Called once at the end, when the socket is no longer touched. */
  readonly onEnd: (result: SplicedStream) => void;
}

/** A socket and a stream that are joined. */
export class SocketSplice {
  /** What was given. */
  readonly parts: SpliceParts;
  /** What events of the socket carry; never used again. */
  readonly token: number;
  /** The socket may hold bytes, or its end. */
  readable = true;
  /** The socket may have room. */
  writable = true;
  /** The socket has told of an error. A read tells which, unless everything was read. */
  broken = false;
  /** The socket has nothing more, and the stream was told so. */
  socketEnded = false;
  /** The stream has nothing more, and the socket was told so. */
  streamEnded = false;
  /** What broke. */
  failure: string | undefined;
  /** It is no longer carried. */
  over = false;
  /** What it waits for the next turn as. */
  waits: "late" | "unfinished" | undefined = undefined;
  /** Bytes moved so far. */
  toMesh = 0;
  /** Bytes moved so far. */
  toSocket = 0;
  /** The turn for which the allowances hold. */
  turn = -1;
  /** The turn in which the socket's latest bytes were moved. */
  toMeshTurn = -LAST_TURNS;
  /** Bytes that may still be moved in this turn. */
  toMeshAllowed = 0;
  /** Bytes that may still be moved in this turn. */
  toSocketAllowed = 0;

  /** Not yet watched. */
  constructor(parts: SpliceParts, token: number) {
    this.parts = parts;
    this.token = token;
  }
}

/** Every joined pair of a node. */
export class SocketSplices implements Disposable {
  readonly #engine: SpliceEngine;
  readonly #libc: Libc;
  readonly #epoll: Epoll;
  readonly #byToken = new Map<number, SocketSplice>();
  // Arrays, in which who waits otherwise by now is passed over. `Set.clear` makes V8 a new table, and where the set is old,
  // so is the table: 120 bytes each time (measured) that only a full collection frees.
  /** Those that the turn ended for before it came to them. */
  #late: SocketSplice[] = [];
  /** Those that had their turn and may have more. */
  #unfinished: SocketSplice[] = [];
  /** How many there are in the two. */
  #waiting = 0;
  #turn = 0;
  /** Bytes that may still be moved in this turn. */
  #allowed = TURN_BYTES_TOGETHER;
  #nextToken = 1;
  #started = 0;
  #refused = 0;

  /** Throws `unsupported` where libc cannot be called. */
  constructor(engine: SpliceEngine) {
    this.#engine = engine;
    this.#libc = Libc.open();
    try {
      this.#epoll = new Epoll(this.#libc);
    } catch (error) {
      this.#libc[Symbol.dispose]();
      throw error;
    }
  }

  /** Readable while {@linkcode SocketSplices.handleReady} has something to do. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** Pairs that are joined now. */
  get size(): number {
    return this.#byToken.size;
  }

  /** Whether there is more to do without waiting, from {@linkcode SocketSplices.beginTurn} on. */
  get unfinished(): boolean {
    return this.#waiting > 0;
  }

  /** What happened since the start; only what is not zero. */
  counters(): Readonly<Record<string, number>> {
    return {
      ...(this.#started > 0 && { socketsSpliced: this.#started }),
      ...(this.#refused > 0 && { socketsRefused: this.#refused }),
    };
  }

  /** Joins a pair; `undefined`, counted, when there are too many. It may have ended by then. */
  add(parts: SpliceParts): SocketSplice | undefined {
    const splice = new SocketSplice(parts, this.#nextToken);
    if (this.#byToken.size >= SPLICES_MAX || !this.#epoll.add(parts.fd, splice.token)) {
      this.#refused++;
      return undefined;
    }
    // Tokens have 32 bits; one that comes around belongs to a pair that ended long ago.
    do this.#nextToken = this.#nextToken % 0xffff_ffff + 1; while (
      this.#byToken.has(this.#nextToken)
    );
    this.#started++;
    this.#byToken.set(splice.token, splice);
    return splice;
  }

  /** Takes in what the sockets have to say. */
  handleReady(): void {
    while (
      this.#epoll.take((token, events) => {
        const splice = this.#byToken.get(token);
        // An event of this batch may have been taken before its pair ended.
        if (splice === undefined) return;
        if ((events & EPOLL.OUT) !== 0) splice.writable = true;
        if ((events & ~EPOLL.OUT) !== 0) splice.readable = true;
        if ((events & EPOLL.ERR) !== 0) splice.broken = true;
        this.pump(splice);
      })
    );
  }

  /** Begins a turn with new allowances, and with those who could not finish in the last one. */
  beginTurn(): void {
    this.#turn++;
    this.#allowed = TURN_BYTES_TOGETHER;
    const [late, unfinished] = [this.#late, this.#unfinished];
    if (late.length === 0 && unfinished.length === 0) return;
    this.#late = [];
    this.#unfinished = [];
    this.#serve(late, "late");
    this.#serve(unfinished, "unfinished");
  }

  /** Moves what can be moved, because the socket or the stream may have changed. */
  pump(splice: SocketSplice): void {
    if (splice.over) return;
    if (splice.turn !== this.#turn) {
      splice.turn = this.#turn;
      splice.toMeshAllowed = TURN_BYTES;
      splice.toSocketAllowed = TURN_BYTES;
    }
    this.#toSocket(splice);
    this.#toMesh(splice);
    this.#follow(splice);
  }

  /** Ends a pair from outside. Does nothing if it has ended. */
  end(splice: SocketSplice, end: SplicedStream["end"], reason?: string): void {
    if (splice.over) return;
    splice.over = true;
    this.#epoll.remove(splice.parts.fd);
    this.#byToken.delete(splice.token);
    this.#wait(splice, undefined);
    const { toMesh, toSocket } = splice;
    splice.parts.onEnd({ toMesh, toSocket, end, ...(reason !== undefined && { reason }) });
  }

  /** Lets go of the system's things. Every pair has ended by then. */
  [Symbol.dispose](): void {
    assert(this.#byToken.size === 0, "every splice has ended");
    this.#epoll[Symbol.dispose]();
    this.#libc[Symbol.dispose]();
  }

  #toSocket(splice: SocketSplice): void {
    const { slot, stream } = splice.parts;
    if (splice.failure !== undefined) return;
    while (splice.writable && this.#allowed > 0 && splice.toSocketAllowed > 0) {
      const [head] = slot.toApp.peek();
      if (head.length > 0) slot.toApp.consume(this.#send(splice, head));
      else {
        // Takes all, unless the socket or the allowance says no more.
        this.#engine.streamRead(stream, (part) => this.#send(splice, part));
        return;
      }
    }
  }

  /** Sends a part within the allowance and returns how much the socket took. */
  #send(splice: SocketSplice, part: Uint8Array): number {
    const wanted = Math.min(part.length, splice.toSocketAllowed, this.#allowed);
    if (wanted === 0 || !splice.writable) return 0;
    const { fd } = splice.parts;
    for (;;) {
      // Libc reads shared memory as any other; the type has no word for it.
      const bytes = part as Uint8Array<ArrayBuffer>;
      const n = this.#libc.calls.send(fd, bytes, BigInt(wanted), SEND_FLAGS);
      if (n >= 0) {
        splice.toSocket += n;
        splice.toSocketAllowed -= n;
        this.#allowed -= n;
        if (n < wanted) splice.writable = false;
        return n;
      }
      const errno = this.#libc.errno();
      if (errno === ERRNO.EINTR) continue;
      splice.writable = false;
      if (errno !== ERRNO.EAGAIN) splice.failure = describe(errno);
      return 0;
    }
  }

  #toMesh(splice: SocketSplice): void {
    const { slot, stream } = splice.parts;
    if (splice.socketEnded || splice.failure !== undefined) return;
    for (;;) {
      const [head] = slot.toNet.peek();
      if (head.length === 0) break;
      const taken = this.#engine.streamWrite(stream, head);
      if (taken === 0) return;
      slot.toNet.consume(taken);
    }
    // The free room may lie in two parts, and may have grown.
    while (splice.readable && this.#allowed > 0 && splice.toMeshAllowed > 0) {
      const taken = this.#engine.streamFill(stream, (part) => this.#receive(splice, part));
      if (taken === 0) break;
    }
    if (splice.socketEnded) this.#engine.streamShutdown(stream);
  }

  /** Receives into a part within the allowance and returns how much came. */
  #receive(splice: SocketSplice, part: Uint8Array<ArrayBuffer>): number {
    const wanted = Math.min(part.length, splice.toMeshAllowed, this.#allowed);
    const { fd } = splice.parts;
    for (;;) {
      const n = this.#libc.calls.recv(fd, part, BigInt(wanted), RECEIVE_FLAGS);
      if (n > 0) {
        splice.toMesh += n;
        splice.toMeshTurn = this.#turn;
        splice.toMeshAllowed -= n;
        this.#allowed -= n;
        return n;
      }
      const errno = n === 0 ? 0 : this.#libc.errno();
      if (errno === ERRNO.EINTR) continue;
      splice.readable = false;
      if (n === 0) splice.socketEnded = true;
      else if (errno !== ERRNO.EAGAIN) splice.failure = describe(errno);
      return 0;
    }
  }

  /** Passes ends on, and ends the pair after both. */
  #follow(splice: SocketSplice): void {
    const { fd, slot, stream } = splice.parts;
    // After its end the socket is not read any more, and a reset is told by the edge alone.
    if (splice.broken && splice.socketEnded) splice.failure ??= REASONS[ERRNO.ECONNRESET];
    if (splice.failure !== undefined) {
      // What the engine has not sent by then is lost with the stream's reset: a last word before the socket's own, say.
      const leaves = this.#turn - splice.toMeshTurn < LAST_TURNS;
      return leaves ? this.#wait(splice, "unfinished") : this.end(splice, "failed", splice.failure);
    }
    const state = this.#engine.streamState(stream);
    if (state.receiveFinished && slot.toApp.length === 0) {
      if (state.error !== undefined) {
        return this.end(splice, "failed", `the stream: ${state.error}`);
      }
      if (!splice.streamEnded) {
        splice.streamEnded = true;
        this.#libc.calls.shutdown(fd, SHUT_WR);
      }
    }
    if (splice.socketEnded && splice.streamEnded) return this.end(splice, "complete");
    const over = this.#allowed === 0;
    const more = (splice.readable && !splice.socketEnded && (over || splice.toMeshAllowed === 0)) ||
      (splice.writable && (over || splice.toSocketAllowed === 0));
    if (!more) return;
    const served = splice.toMeshAllowed < TURN_BYTES || splice.toSocketAllowed < TURN_BYTES;
    this.#wait(splice, served ? "unfinished" : "late");
  }

  /** Gives those their turn that waited as this, and still do. */
  #serve(splices: readonly SocketSplice[], as: SocketSplice["waits"]): void {
    for (const splice of splices) {
      if (splice.waits !== as) continue;
      this.#wait(splice, undefined);
      this.pump(splice);
    }
  }

  #wait(splice: SocketSplice, as: SocketSplice["waits"]): void {
    if (splice.waits === as) return;
    if (splice.waits === undefined) this.#waiting++;
    if (as === undefined) this.#waiting--;
    splice.waits = as;
    if (as === "late") this.#late.push(splice);
    if (as === "unfinished") this.#unfinished.push(splice);
  }
}

const REASONS: Readonly<Record<number, string>> = {
  [ERRNO.ECONNRESET]: "the local connection was reset",
  [ERRNO.EPIPE]: "the local connection was closed",
  [ERRNO.ETIMEDOUT]: "the local connection timed out",
};

function describe(errno: number): string {
  return REASONS[errno] ?? `the local connection: errno ${errno}`;
}
