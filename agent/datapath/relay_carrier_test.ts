import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { concat } from "../../core/mod.ts";
import { encodeChannelData, encodeStun, METHOD_BINDING } from "../../traversal/mod.ts";
import {
  ABORT,
  FAILED,
  FIN,
  RELEASED,
  ringBytes,
  SharedArena,
  type StreamSlot,
} from "../shared/mod.ts";
import { StreamCarrier } from "./relay_carrier.ts";

const STUN = encodeStun({
  class: "request",
  method: METHOD_BINDING,
  transactionId: new Uint8Array(12),
  attributes: [],
});

Deno.test("StreamCarrier pads each datagram of a run to four bytes, and puts whole messages into the ring", () => {
  const end = new CarrierEnd();
  end.carrier.sendMessage(STUN);
  const run = Uint8Array.from({ length: 25 }, (_, i) => i + 1);
  end.carrier.sendRun(0x4001, { bytes: run, segment: 10, whole: false });
  const message = (data: Uint8Array): Uint8Array =>
    encodeChannelData({ channel: 0x4001, data }, { padded: true });
  assertEquals(
    end.sent(),
    concat(
      STUN,
      message(run.subarray(0, 10)),
      message(run.subarray(10, 20)),
      message(run.subarray(20)),
    ),
  );
});

Deno.test("StreamCarrier carries a run of 64 KiB", () => {
  const end = new CarrierEnd();
  const run = Uint8Array.from({ length: 65_500 }, (_, i) => i);
  end.carrier.sendRun(0x4000, { bytes: run, segment: 1310, whole: false });
  const expected: Uint8Array[] = [];
  for (let at = 0; at < run.length; at += 1310) {
    const data = run.subarray(at, at + 1310);
    expected.push(encodeChannelData({ channel: 0x4000, data }, { padded: true }));
  }
  assertEquals(end.sent(), concat(...expected));
});

Deno.test("StreamCarrier drops what the ring has no room for, whole messages at a time, and counts it", () => {
  const end = new CarrierEnd();
  const data = new Uint8Array(60_000);
  for (let i = 0; i < 20; i++) {
    end.carrier.sendRun(0x4000, { bytes: data, segment: data.length, whole: false });
  }
  const fits = Math.floor(ringBytes(0) / 60_004);
  assertEquals(end.dropped, 20 - fits);
  assertEquals(end.sent().length, fits * 60_004);
});

Deno.test("StreamCarrier hands over the messages that the main thread's bytes complete, and says so after each part", () => {
  const end = new CarrierEnd();
  const data = encodeChannelData({ channel: 0x4000, data: Uint8Array.of(1, 2, 3) }, {
    padded: true,
  });
  const bytes = concat(STUN, data, STUN);
  end.receive(bytes.subarray(0, 25));
  assertEquals([end.frames.map(({ length }) => length), end.taken], [[20], 1]);
  end.receive(bytes.subarray(25));
  assertEquals([end.frames.map(({ length }) => length), end.taken], [[20, 7, 20], 2]);
});

Deno.test("StreamCarrier ends with the main thread's reason, whichever way that ends, and what came before counts", () => {
  for (const flags of [FIN, ABORT, ABORT | RELEASED, RELEASED]) {
    const end = new CarrierEnd();
    end.carrier.explain("connection refused");
    end.receive(STUN, flags);
    assertEquals([end.frames.length, end.ends], [1, ["connection refused"]], `${flags}`);
    // Told once, and the slot given up by this side too.
    end.receive(STUN);
    assertEquals([end.frames.length, end.ends.length], [1, 1]);
    assert((end.slot.workerFlags & FAILED) !== 0);
    assertEquals(end.released, (flags & RELEASED) !== 0 ? 2 : 0);
  }
});

Deno.test("StreamCarrier gives a stream up that is no TURN", () => {
  const end = new CarrierEnd();
  end.receive(new TextEncoder().encode("\x15\x03\x03\x00\x02\x02\x28\x00"));
  assertEquals(end.ends, ["the relay's stream is no TURN"]);
});

Deno.test("StreamCarrier that was closed neither sends nor tells", () => {
  const end = new CarrierEnd();
  end.carrier.close();
  end.carrier.sendMessage(STUN);
  end.receive(STUN, ABORT | RELEASED);
  assertEquals([end.sent().length, end.frames.length, end.ends], [0, 0, []]);
  assertEquals(end.released, 1);
});

/** A carrier and the main thread's side of its slot. */
class CarrierEnd {
  readonly carrier: StreamCarrier;
  readonly slot: StreamSlot;
  readonly frames: Uint8Array[] = [];
  readonly ends: string[] = [];
  taken = 0;
  dropped = 0;
  released = 0;
  #onDirty: ((slot: StreamSlot) => void) | undefined;

  constructor() {
    const arena = SharedArena.create();
    this.slot = arena.slot(0);
    const carrier = StreamCarrier.open({
      arena,
      lend: (onDirty) => {
        this.#onDirty = onDirty;
        return this.slot;
      },
      ring: () => {},
      onFrame: (frame) => this.frames.push(frame.slice()),
      onTaken: () => this.taken++,
      onEnd: (reason) => this.ends.push(reason),
      onReleased: () => this.released++,
      onDropped: (count) => this.dropped += count,
    });
    assert(carrier !== undefined);
    this.carrier = carrier;
  }

  /** What the carrier has sent. */
  sent(): Uint8Array {
    const bytes = new Uint8Array(this.slot.toApp.length);
    this.slot.toApp.read(bytes);
    return bytes;
  }

  /** The main thread puts bytes into the slot, and maybe sets flags. */
  receive(bytes: Uint8Array, flags = 0): void {
    this.slot.toNet.write(bytes);
    if (flags !== 0) this.slot.setMainFlags(flags);
    this.#onDirty?.(this.slot);
  }
}
