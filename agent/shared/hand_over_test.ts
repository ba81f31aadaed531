import { deepStrictEqual as assertEquals, ok } from "node:assert/strict";
import { SharedArena } from "./arena.ts";
import { DatapathClient } from "./datapath_client.ts";
import type { SlotStream } from "./slot_stream.ts";
import { ABORT, ESTABLISHED, RELEASED, type StreamSlot } from "./stream_slot.ts";
import type { SplicedStream } from "./protocol.ts";
import { SLOT, slotStream } from "./testing/slot_stream.ts";

const FD = 77;
const CONN = {} as Deno.Conn;
const COMPLETE: SplicedStream = { toMesh: 3, toSocket: 4, end: "complete" };

/** A stream on the main thread, and what the Worker would see and say, in one thread. */
interface Bench {
  readonly stream: SlotStream;
  readonly client: DatapathClient;
  readonly slot: StreamSlot;
  /** What became of the socket. */
  readonly socket: string[];
  /** Connections taken from Deno. */
  readonly taken: () => number;
  /** The Worker takes the oldest command. */
  readonly command: () => unknown;
  /** The Worker replies to a command. */
  readonly reply: (reply: Record<string, unknown>) => void;
}

function bench({ takes = true } = {}): Bench {
  const arena = SharedArena.create();
  const worker = SharedArena.attach(arena.buffer);
  const socket: string[] = [];
  let taken = 0;
  const client = new DatapathClient({
    arena,
    wake: () => {},
    onEvent: () => {},
    takeSocket: () => {
      if (!takes) return undefined;
      taken++;
      return {
        fd: FD,
        close: () => void socket.push("closed"),
        reset: () => void socket.push("reset"),
      };
    },
  });
  const stream = slotStream(arena, client);
  const slot = worker.slot(SLOT);
  slot.setWorkerFlags(ESTABLISHED);
  return {
    stream,
    client,
    slot,
    socket,
    taken: () => taken,
    command: () => worker.commands.popJson(),
    reply: (reply) => {
      worker.events.pushJson({ kind: "reply", ...reply });
      client.handleWake();
    },
  };
}

Deno.test("a stream that is handed over is the Worker's until its reply, then both are closed", async () => {
  const b = bench();
  const carried = b.stream.handOver(CONN);
  assertEquals(b.command(), { kind: "spliceStream", slot: 4, fd: FD, id: 1 });
  await turn();
  assertEquals([b.slot.mainFlags, b.socket], [0, []]);
  b.reply({ id: 1, ok: true, value: COMPLETE });
  assertEquals(await carried, COMPLETE);
  assertEquals([b.slot.mainFlags, b.socket], [RELEASED, ["closed"]]);
  assertEquals(await b.stream.read(new Uint8Array(1)), null);
});

Deno.test("the signal, abort and close break a handed-over stream off, but release it only with the reply", async () => {
  const ways: ((b: Bench, controller: AbortController) => void)[] = [
    (_, controller): void => controller.abort(),
    (b): void => b.stream.abort(),
    (b): void => b.stream.close(),
  ];
  for (const breakOff of ways) {
    const b = bench();
    const controller = new AbortController();
    const carried = b.stream.handOver(CONN, controller.signal);
    breakOff(b, controller);
    assertEquals([b.slot.mainFlags, b.socket], [ABORT, []]);
    b.reply({ id: 1, ok: true, value: { toMesh: 1, toSocket: 0, end: "aborted" } });
    assertEquals((await carried)?.end, "aborted");
    assertEquals([b.slot.mainFlags, b.socket], [ABORT | RELEASED, ["reset"]]);
  }
});

Deno.test("a handed-over stream whose Worker refuses or ends is reset with its socket", async () => {
  for (const end of ["refused", "ended"] as const) {
    const b = bench();
    const carried = b.stream.handOver(CONN);
    if (end === "ended") b.client.close("it is over");
    else b.reply({ id: 1, ok: false, code: "limit", message: "too many sockets" });
    const reason = end === "ended" ? "The node is closed: it is over" : "too many sockets";
    assertEquals(await carried, { toMesh: 0, toSocket: 0, end: "failed", reason });
    assertEquals([b.slot.mainFlags, b.socket], [ABORT | RELEASED, ["reset"]]);
  }
});

Deno.test("a stream that is in use, has ended or is handed over already stays where it is", async () => {
  const uses: ((b: Bench) => void)[] = [
    (b): void => void b.stream.read(new Uint8Array(1)),
    (b): void => {
      b.slot.toNet.write(new Uint8Array(b.slot.toNet.capacity));
      b.stream.write(new Uint8Array(1)).catch(() => {});
    },
    (b): void => void b.stream.closeWrite(),
    (b): void => b.stream.close(),
    (b): void => b.slot.setFailed("reset"),
    (b): void => b.client.close(),
  ];
  for (const use of uses) {
    const b = bench();
    use(b);
    assertEquals([b.stream.handOver(CONN), b.taken()], [undefined, 0], `${use}`);
  }
  const b = bench();
  ok(b.stream.handOver(CONN) !== undefined);
  assertEquals([b.stream.handOver(CONN), b.taken()], [undefined, 1]);
  await turn();
});

Deno.test("a stream whose connection cannot be taken goes on being read and written here", async () => {
  const b = bench({ takes: false });
  assertEquals(b.stream.handOver(CONN), undefined);
  b.slot.toApp.write(Uint8Array.of(1, 2));
  assertEquals(await b.stream.read(new Uint8Array(9)), 2);
  assertEquals(await b.stream.write(Uint8Array.of(3)), 1);
  assertEquals(b.command(), undefined);
});

/** Lets what has been promised happen. */
async function turn(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}
