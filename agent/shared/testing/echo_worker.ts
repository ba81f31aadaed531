/**
 * A Worker that plays a trivial datapath over the arena: streams whose peer is the Worker itself.
 *
 * `connectStream` to a port that is listened on makes a pair of streams, joined end to end; otherwise the port says
 * what the peer does, see {@linkcode ECHO_PORT} and those after it. In the `blocking` mode the Worker sleeps in
 * `Atomics.wait` and hears no messages, as the fast driver in its `poll`.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { parseSocketAddress } from "../../../core/mod.ts";
import {
  ABORT,
  type Command,
  type DatapathEvent,
  EOF,
  ESTABLISHED,
  FIN,
  FrameOutbox,
  RELEASED,
  SharedArena,
  STREAM_SLOTS_MAX,
  type StreamSlot,
} from "../mod.ts";
import {
  CHATTER_ADDRESS,
  ECHO_PORT,
  type EchoWorkerStart,
  RESET_PORT,
  SILENT_PORT,
  SINK_PORT,
  SOURCE_BYTE,
  SOURCE_PORT,
} from "./echo_worker_protocol.ts";

/** A stream's state on this side. */
interface Stream {
  readonly slot: StreamSlot;
  /** What becomes of the bytes in `toNet`. */
  readonly role: "echo" | "pair" | "sink" | "source" | "silent" | "reset";
  /** The other end of a pair, until it has been released. */
  peer: Stream | undefined;
  eofSent: boolean;
}

/** Messages that start and wake the Worker, by structured clone. */
addEventListener("message", ({ data }: MessageEvent<EchoWorkerStart | 0>) => {
  if (data !== 0) start(data);
  else running?.step();
});

let running: EchoDatapath | undefined;

function start({ buffer, mode }: EchoWorkerStart): void {
  const datapath = new EchoDatapath(SharedArena.attach(buffer));
  running = datapath;
  datapath.step();
  while (mode === "blocking" && !datapath.stopped) {
    datapath.arena.waitForBell(10_000);
    datapath.step();
  }
}

class EchoDatapath {
  readonly arena: SharedArena;
  readonly #outbox: FrameOutbox;
  readonly #streams = new Map<number, Stream>();
  readonly #ports = new Set<number>();
  #ring = false;
  #ephemeral = 49152;
  stopped = false;

  constructor(arena: SharedArena) {
    this.arena = arena;
    this.#outbox = new FrameOutbox(arena.events);
  }

  step(): void {
    this.arena.answerWorkerBell();
    if (this.#outbox.flush()) this.#ring = true;
    for (;;) {
      const command = this.arena.commands.popJson();
      // Between the two, so that a slot released before the command was sent is free when it is executed.
      this.arena.takeDirtyForWorker((slot) => this.#service(slot));
      if (command === undefined) break;
      this.#execute(command as Command);
    }
    if (this.arena.commands.takeRoomWanted()) this.#ring = true;
    if (this.#ring && this.arena.ringMain()) this.arena.notifyMain();
    this.#ring = false;
    if (this.stopped) close();
  }

  #execute(command: Command): void {
    const { id } = command;
    switch (command.kind) {
      case "connectStream":
        return this.#connect(id, command.remote);
      case "listen":
        if (this.#ports.size >= 8) {
          return this.#say({ kind: "reply", id, ok: false, code: "limit", message: "8 ports" });
        }
        this.#ports.add(command.port);
        break;
      case "unlisten":
        this.#ports.delete(command.port);
        break;
      case "ping":
        this.#chatter(command.address, command.sequence);
        return this.#say({ kind: "reply", id, ok: true, value: null });
      case "status":
        return this.#say({ kind: "reply", id, ok: true, value: this.#status() });
      case "stop":
        this.stopped = true;
        break;
    }
    this.#say({ kind: "reply", id, ok: true });
  }

  #connect(id: number, remote: string): void {
    const port = parseSocketAddress(remote)?.port ?? 0;
    const listened = this.#ports.has(port);
    if (this.#streams.size + (listened ? 2 : 1) > STREAM_SLOTS_MAX) {
      return this.#say({ kind: "reply", id, ok: false, code: "limit", message: "no free slot" });
    }
    const role = listened ? "pair" : ROLES.get(port) ?? "reset";
    const stream = this.#allocate(role);
    const local = `10.42.0.1:${this.#ephemeral}`;
    this.#ephemeral = this.#ephemeral === 65535 ? 49152 : this.#ephemeral + 1;
    this.#say({ kind: "reply", id, ok: true, value: { slot: stream.slot.index, local } });
    if (!listened && !ROLES.has(port)) stream.slot.setFailed("refused");
    else if (role !== "silent") stream.slot.setWorkerFlags(ESTABLISHED);
    if (listened) {
      const peer = this.#allocate("pair");
      [stream.peer, peer.peer] = [peer, stream];
      peer.slot.setWorkerFlags(ESTABLISHED);
      this.#say({
        kind: "accepted",
        port,
        slot: peer.slot.index,
        remote: local,
        local: remote,
      });
    }
    if (port === RESET_PORT) {
      stream.slot.toApp.write(new TextEncoder().encode("hello"));
      stream.slot.setFailed("reset");
    }
    this.#tell(stream.slot);
    this.#service(stream.slot);
  }

  #allocate(role: Stream["role"]): Stream {
    let index = 0;
    while (this.#streams.has(index)) index++;
    this.arena.resetSlot(index);
    const stream: Stream = { slot: this.arena.slot(index), role, peer: undefined, eofSent: false };
    this.#streams.set(index, stream);
    return stream;
  }

  #service(slot: StreamSlot): void {
    const stream = this.#streams.get(slot.index);
    if (stream === undefined) return;
    this.#pump(stream);
    // Room in this stream's toApp is what its peer may be waiting for.
    if (stream.peer !== undefined) this.#pump(stream.peer);
  }

  /** Moves what is in the stream's toNet to where it goes, then follows its flags. */
  #pump(stream: Stream): void {
    const { slot } = stream;
    const flags = slot.mainFlags;
    if ((flags & ABORT) !== 0) {
      if (stream.peer !== undefined) {
        stream.peer.slot.setFailed("reset");
        this.#tell(stream.peer.slot);
      }
      return this.#free(stream);
    }
    if (stream.role === "source" && (flags & RELEASED) === 0) this.#fill(slot);
    const target = this.#targetOf(stream, flags);
    if (target === undefined) slot.toNet.consume(slot.toNet.length);
    else this.#move(slot, target.slot);
    this.#consumed(slot);
    if (slot.toNet.length > 0) return;
    if ((flags & (FIN | RELEASED)) !== 0 && !stream.eofSent) {
      stream.eofSent = true;
      const receiver = stream.role === "pair" ? stream.peer : stream;
      if (receiver !== undefined && (receiver !== stream || (flags & RELEASED) === 0)) {
        receiver.slot.setWorkerFlags(EOF);
        this.#tell(receiver.slot);
      }
    }
    if ((flags & RELEASED) !== 0) this.#free(stream);
  }

  /** Who reads what this stream writes; `undefined`: nobody. */
  #targetOf(stream: Stream, flags: number): Stream | undefined {
    if (stream.role === "echo") return (flags & RELEASED) === 0 ? stream : undefined;
    const peer = stream.peer;
    return peer === undefined || (peer.slot.mainFlags & RELEASED) !== 0 ? undefined : peer;
  }

  #move(from: StreamSlot, to: StreamSlot): void {
    for (;;) {
      const [head, tail] = from.toNet.peek();
      if (head.length === 0) return;
      let moved = to.toApp.write(head);
      if (moved === head.length) moved += to.toApp.write(tail);
      if (moved === 0) {
        to.windowWait.arm(to.toApp.capacity / 4);
        if (to.toApp.room === 0) return;
        continue;
      }
      from.toNet.consume(moved);
      if (this.arena.wroteToApp(to)) this.#ring = true;
    }
  }

  #fill(slot: StreamSlot): void {
    for (;;) {
      for (const span of slot.toApp.writableSpans()) {
        span.fill(SOURCE_BYTE);
        slot.toApp.commit(span.length);
      }
      if (this.arena.wroteToApp(slot)) this.#ring = true;
      slot.windowWait.arm(slot.toApp.capacity / 4);
      if (slot.toApp.room === 0) return;
    }
  }

  #consumed(slot: StreamSlot): void {
    if (this.arena.tookFromToNet(slot)) this.#ring = true;
  }

  #free(stream: Stream): void {
    if (stream.peer !== undefined) stream.peer.peer = undefined;
    this.#streams.delete(stream.slot.index);
  }

  #tell(slot: StreamSlot): void {
    this.arena.markForMain(slot);
    this.#ring = true;
  }

  /** Says `count` things of `CHATTER_BYTES`, to fill the event ring. */
  #chatter(address: string, count: number): void {
    if (address !== CHATTER_ADDRESS) return;
    const message = "x".repeat(1000);
    for (let n = 0; n < count; n++) {
      this.#say({ kind: "log", level: "debug", message, fields: { n } });
    }
  }

  #status(): Record<string, unknown> {
    return { counters: { streams: this.#streams.size, eventsRefused: this.#outbox.refused } };
  }

  #say(event: DatapathEvent): void {
    this.#outbox.send(event);
    this.#ring = true;
  }
}

const ROLES: ReadonlyMap<number, Stream["role"]> = new Map([
  [ECHO_PORT, "echo"],
  [SINK_PORT, "sink"],
  [SOURCE_PORT, "source"],
  [RESET_PORT, "reset"],
  [SILENT_PORT, "silent"],
]);
