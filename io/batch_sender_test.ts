import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { SocketAddress } from "../core/mod.ts";
import { BatchCalls, BatchSender } from "./batch_sender.ts";
import { Libc } from "./libc.ts";
import { bindUdpSocket } from "./udp_socket.ts";

const LOOPBACK = { 4: "127.0.0.1", 6: "::1" } as const;
/** More than one call takes. */
const MANY = 150;

function numbered(i: number, length = 4): Uint8Array {
  const datagram = new Uint8Array(length);
  new DataView(datagram.buffer).setUint32(0, i);
  return datagram;
}

/** A sender and two that receive; `heard` waits for as many datagrams as it is asked for. */
class World implements Disposable {
  readonly sender: BatchSender;
  readonly targets: readonly SocketAddress[];
  readonly #libc = Libc.open();
  readonly #calls = new BatchCalls();
  readonly #fd: number;
  readonly #sockets: readonly Deno.DatagramConn[];

  constructor(family: 4 | 6) {
    const hostname = LOOPBACK[family];
    const socket = bindUdpSocket(this.#libc, { hostname, port: 0 });
    this.#fd = socket.fd;
    this.sender = new BatchSender(this.#libc, { socket, calls: this.#calls });
    this.#sockets = [0, 1].map(() => Deno.listenDatagram({ transport: "udp", hostname, port: 0 }));
    this.targets = this.#sockets.map(({ addr }) => ({
      hostname,
      port: (addr as Deno.NetAddr).port,
    }));
  }

  async heard(which: number, count: number): Promise<number[]> {
    const numbers: number[] = [];
    while (numbers.length < count) {
      const [bytes] = await this.#sockets[which]?.receive() ?? [new Uint8Array(4)];
      numbers.push(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0));
    }
    return numbers;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.close();
    this.#libc.calls.close(this.#fd);
    this.#calls[Symbol.dispose]();
    this.#libc[Symbol.dispose]();
  }
}

for (const family of [4, 6] as const) {
  Deno.test({
    name:
      `BatchSender sends each datagram to its own address over IPv${family}, more than one call takes too`,
    ignore: Deno.build.os !== "linux",
    fn: async () => {
      using world = new World(family);
      const { sender, targets: [even, odd] } = world;
      if (even === undefined || odd === undefined) throw new Error("no receivers");
      const reused = new Uint8Array(4);
      for (let i = 0; i < MANY; i++) {
        reused.set(numbered(i));
        sender.add(reused, i % 2 === 0 ? even : odd);
      }
      sender.flush();
      const half = (from: number): number[] =>
        Array.from({ length: MANY / 2 }, (_, i) => 2 * i + from);
      assertEquals(await world.heard(0, MANY / 2), half(0));
      assertEquals(await world.heard(1, MANY / 2), half(1));
      assertEquals(sender.counts, { sent: MANY, dropped: 0 });
      sender.flush();
      assertEquals(sender.counts, { sent: MANY, dropped: 0 });
    },
  });
}

Deno.test({
  name: "BatchSender drops and counts what cannot be sent, and sends what is behind it",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    using world = new World(4);
    const { sender, targets: [target] } = world;
    if (target === undefined) throw new Error("no receiver");
    sender.add(numbered(0), { ...target, port: 0 });
    sender.add(numbered(1), target);
    // The kernel refuses it: no datagram of IPv4 is as long.
    sender.add(numbered(2, 65_536), target);
    sender.add(numbered(3), target);
    sender.add(numbered(4), { hostname: "::1", port: target.port });
    sender.add(numbered(5, 65_537), target);
    sender.add(numbered(6), target);
    sender.add(numbered(7), { ...target, port: 0 });
    sender.flush();
    assertEquals(await world.heard(0, 3), [1, 3, 6]);
    assertEquals(sender.counts, { sent: 3, dropped: 5 });
    sender.add(numbered(8), target);
    sender.drop();
    sender.flush();
    sender.add(numbered(9), target);
    sender.flush();
    assertEquals(await world.heard(0, 1), [9]);
    assertEquals(sender.counts, { sent: 4, dropped: 6 });
  },
});
