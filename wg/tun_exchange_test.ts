import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { concat, type Instant } from "../core/mod.ts";
import { Engine } from "./engine.ts";
import type { EngineSink, TransmitRun } from "./engine_types.ts";
import { packetsOfTrain } from "./tun_exchange.ts";

Deno.test("packetsOfTrain is what one segmented send holds", () => {
  // 1420 is padded by its peers to no more than the MTU, so this is one datagram on the safe side.
  assertEquals([1280, 1420, 1500, 576, 65_535].map(packetsOfTrain), [49, 44, 42, 64, 1]);
});

const MODULE = new WebAssembly.Module(
  Deno.readFileSync(new URL("./engine.wasm", import.meta.url)),
);
const NOW = 1000 as Instant;
const OUTER = [1, 2].map((i) => ({ hostname: `192.0.2.${i}`, port: 51820 }));
const INNER = [1, 2].map((i) => Uint8Array.of(10, 9, 0, i));
const VIRTIO_BYTES = 10;

/** Two engines with an interface each, and what each has written to its kernel. */
class TunWorld {
  readonly engines = [this.#start(1), this.#start(2)] as const;
  readonly written: readonly Uint8Array[][] = [[], []];
  sent = 0;

  constructor() {
    for (const [i, engine] of this.engines.entries()) {
      const [own, other, outer] = [INNER[i], INNER[1 - i], OUTER[1 - i]];
      const publicKey = this.engines[1 - i]?.publicKey;
      assert(own && other && outer && publicKey && engine.setAddresses([own]));
      const peer = engine.addPeer({ publicKey, keepaliveSeconds: 0, hostRoams: false });
      assert(peer !== undefined && engine.allow(peer, { address: other, prefix: 32 }));
      engine.setEndpoint(peer, outer);
    }
  }

  #start(seed: number): Engine {
    let byte = seed;
    const bytes = (n: number): Uint8Array =>
      Uint8Array.from({ length: n }, () => byte = (byte * 5 + 3) & 0xff);
    const engine = new Engine(MODULE, {
      wallClockMs: () => 1.7e12,
      rng: { bytes },
      onPrint: (text) => {
        throw new Error(text);
      },
    }, { now: NOW, privateKey: new Uint8Array(32).fill(seed), mtu: 1420 });
    engine.openTun({ udp: true, firstPort: 61_000, ports: 4_000 });
    return engine;
  }

  #sink(i: 0 | 1): EngineSink {
    return {
      transmit: ({ bytes, segment }) => {
        for (let at = 0; at < bytes.length; at += segment) {
          this.sent++;
          const from = OUTER[i];
          assert(from && this.engines[1 - i]?.receive(from, bytes.slice(at, at + segment)));
        }
      },
      event: () => {},
      tun: (parts) => void this.written[i]?.push(concat(...parts)),
    };
  }

  /** Sends a packet of the first node's kernel and lets both engines say all they have to. */
  send(packet: Uint8Array): void {
    const sink = this.#sink(0);
    this.engines[0].sendFromTun(NOW, sink, once(packet));
    for (let round = 0; round < 8; round++) {
      for (const i of [0, 1] as const) this.engines[i].poll(NOW, this.#sink(i));
    }
  }
}

/** Reads packets, then nothing. */
function once(...packets: Uint8Array[]): (into: Uint8Array) => number {
  return (into) => {
    const packet = packets.shift();
    if (packet !== undefined) into.set(packet);
    return packet?.length ?? 0;
  };
}

/** A packet of UDP datagrams of `size` bytes each, joined by the kernel, virtio header first. */
function joined(port: number, payload: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(VIRTIO_BYTES + 28 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.set([1, 5]);
  view.setUint16(2, 28, true);
  view.setUint16(4, size, true);
  view.setUint16(6, 20, true);
  view.setUint16(8, 6, true);
  bytes.set([0x45, 0], VIRTIO_BYTES);
  view.setUint16(VIRTIO_BYTES + 2, 28 + payload.length);
  bytes.set([64, 17], VIRTIO_BYTES + 8);
  bytes.set(concat(...INNER), VIRTIO_BYTES + 12);
  view.setUint16(VIRTIO_BYTES + 20, port);
  view.setUint16(VIRTIO_BYTES + 22, 53);
  view.setUint16(VIRTIO_BYTES + 24, 8 + payload.length);
  bytes.set(payload, VIRTIO_BYTES + 28);
  return bytes;
}

/** What is behind the headers. */
function payloadOf(packet: Uint8Array | undefined): Uint8Array | undefined {
  return packet?.subarray(VIRTIO_BYTES + 28);
}

Deno.test("a packet of the kernel crosses the tunnel in datagrams that fit and reaches the other kernel whole", () => {
  const world = new TunWorld();
  const payload = Uint8Array.from({ length: 30_000 }, (_, i) => i * 7);
  world.send(joined(4000, payload, 1000));
  const handshake = world.sent;
  assert(handshake > 30, `${handshake} datagrams: two of the handshake, thirty of data`);
  const [first] = world.written[1] ?? [];
  assertEquals(payloadOf(first), payload);
  assertEquals(first?.subarray(0, VIRTIO_BYTES), joined(0, payload, 1000).subarray(0, 10));
  world.send(joined(4000, payload, 1000));
  assertEquals([world.sent - handshake, world.written[1]?.length], [30, 2]);
  assertEquals(world.written[0], []);
});

Deno.test("small packets of the kernel leave as one train, and no more than one at once", () => {
  const world = new TunWorld();
  world.send(joined(1, new Uint8Array(100), 100));
  const packets = Array.from({ length: 100 }, (_, i) => joined(i, new Uint8Array(100), 200));
  const read = once(...packets);
  const trains: number[] = [];
  const sink = {
    transmit: ({ bytes, segment }: TransmitRun) => void trains.push(bytes.length / segment),
    event: () => {},
  };
  const more = [1, 2].map(() => world.engines[0].sendFromTun(NOW, sink, read));
  assertEquals([trains, more], [[64, 36], [true, false]]);
});

Deno.test("what is received at once and is more than the output holds is written in pieces, without loss", () => {
  const world = new TunWorld();
  world.send(joined(1, new Uint8Array(100), 100));
  const [near, far] = world.engines;
  const [from] = OUTER;
  // Of one size, so that they travel in trains, and of as many flows, so that none are joined.
  const [count, train] = [1500, 50];
  let datagrams: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const sink = {
      transmit: ({ bytes }: TransmitRun) => void datagrams.push(bytes.slice()),
      event: () => {},
    };
    near.sendFromTun(NOW, sink, once(joined(1000 + i, new Uint8Array(100), 200)));
    if (datagrams.length < train) continue;
    assert(from && far.receive(from, concat(...datagrams), datagrams[0]?.length));
    datagrams = [];
  }
  const ports: number[] = [];
  far.poll(NOW, {
    transmit: () => {},
    event: () => {},
    tun: (parts) =>
      void ports.push(new DataView(concat(...parts).buffer).getUint16(VIRTIO_BYTES + 20)),
  });
  assertEquals(ports, Array.from({ length: count }, (_, i) => 1000 + i));
});
