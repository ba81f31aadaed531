/** What UDP ports must do, whoever makes them: Deno's own, and a node of a mesh. @module */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
  throws as assertThrows,
} from "node:assert/strict";
import { block } from "./bytes.ts";
import { eventually } from "./scope.ts";

/** A network to hold to the cases: ports on two hosts, or on one. */
export interface DatagramsUnderTest {
  /** Opens a port on the near host; 0 for any. */
  near(port?: number): Deno.DatagramConn;
  /** Opens any port on the far host. */
  far(): Deno.DatagramConn;
  /** The address of a port on the far host, as the near one sends to it. */
  farAddress(port: number): Deno.NetAddr;
  /** The longest payload that passes. */
  readonly longest: number;
  /** An address that nobody has. */
  readonly nobody?: Deno.NetAddr;
}

/** One thing that must hold. */
export interface DatagramCase {
  /** What holds. */
  readonly name: string;
  /** Rejects where it does not. */
  readonly run: (net: DatagramsUnderTest) => Promise<void>;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const portOf = (conn: Deno.DatagramConn): number => (conn.addr as Deno.NetAddr).port;

/** Two ports, closed at the end. */
async function withPorts(
  net: DatagramsUnderTest,
  use: (near: Deno.DatagramConn, far: Deno.DatagramConn, to: Deno.NetAddr) => Promise<void>,
): Promise<void> {
  const ends = [net.near(), net.far()] as const;
  try {
    await use(...ends, net.farAddress(portOf(ends[1])));
  } finally {
    for (const end of ends) {
      try {
        end.close();
      } catch {
        // Deno's own throw the second time.
      }
    }
  }
}

/** Every case. */
export const DATAGRAM_CASES: readonly DatagramCase[] = [
  {
    name: "a port knows its address",
    run: (net) =>
      withPorts(net, async (near) => {
        const { transport, hostname, port } = near.addr as Deno.NetAddr;
        assertEquals([transport, typeof hostname], ["udp", "string"]);
        assert(port > 0);
        assertThrows(() => net.near(port), Deno.errors.AddrInUse);
        near.close();
        // Free again, at once or as soon as the system likes.
        const again = await eventually("the port", () => {
          try {
            return net.near(port);
          } catch {
            return undefined;
          }
        }, { timeoutMs: 5000, everyMs: 20 });
        assertEquals(portOf(again), port);
        again.close();
      }),
  },
  {
    name: "a datagram arrives with its sender's address, and so does the answer",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        assertEquals(await near.send(bytes("question"), to), 8);
        const [question, from] = await far.receive();
        assertEquals([text(question), (from as Deno.NetAddr).port], ["question", portOf(near)]);
        assertEquals((from as Deno.NetAddr).transport, "udp");
        assertEquals(await far.send(bytes("answer"), from), 6);
        const [answer, source] = await near.receive();
        assertEquals([text(answer), (source as Deno.NetAddr).port], ["answer", portOf(far)]);
      }),
  },
  {
    name: "nothing is a datagram too",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        assertEquals(await near.send(new Uint8Array(), to), 0);
        assertEquals((await far.receive())[0].length, 0);
      }),
  },
  {
    name: "a datagram longer than the buffer is cut, and the rest of it is gone",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        await near.send(bytes("abcdef"), to);
        await near.send(bytes("gh"), to);
        const buffer = new Uint8Array(4);
        const [first] = await far.receive(buffer);
        assertEquals([text(first), first.buffer === buffer.buffer], ["abcd", true]);
        assertEquals(text((await far.receive(buffer))[0]), "gh");
      }),
  },
  {
    name: "every length arrives whole up to the longest; one byte more is EMSGSIZE",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        for (const length of [1, 3, 500, 511, 512, 513, 1000, 1231, 1232, net.longest]) {
          const payload = block(length).subarray(0, length);
          // The longest may need a path that is known to carry it.
          await eventually(`${length} bytes`, async () => {
            try {
              return await near.send(payload, to) === length || undefined;
            } catch {
              return undefined;
            }
          }, { timeoutMs: 20_000, everyMs: 100 });
          assertEquals((await far.receive(new Uint8Array(65_536)))[0], payload);
        }
        await assertRejects(
          near.send(new Uint8Array(net.longest + 1), to),
          (error) => error instanceof Error && "code" in error && error.code === "EMSGSIZE",
        );
      }),
  },
  {
    name: "what waits is received in its order",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        for (let i = 0; i < 50; i++) await near.send(Uint8Array.of(i), to);
        const got: number[] = [];
        while (got.length < 50) got.push((await far.receive())[0][0] ?? -1);
        assertEquals(got, Array.from({ length: 50 }, (_, i) => i));
      }),
  },
  {
    name: "two who wait get one datagram each",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        const waiting = [far.receive(), far.receive()];
        await near.send(bytes("a"), to);
        await near.send(bytes("b"), to);
        const got = await Promise.all(waiting);
        assertEquals(got.map(([payload]) => text(payload)).sort(), ["a", "b"]);
      }),
  },
  {
    name: "one port talks with many",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        const others = Array.from({ length: 20 }, () => net.near());
        const echo = (async () => {
          for (let i = 0; i < 21; i++) {
            const [payload, from] = await far.receive();
            await far.send(payload, from);
          }
        })();
        for (const [i, conn] of [near, ...others].entries()) await conn.send(Uint8Array.of(i), to);
        for (const [i, conn] of [near, ...others].entries()) {
          assertEquals((await conn.receive())[0], Uint8Array.of(i));
        }
        await echo;
        for (const conn of others) conn.close();
      }),
  },
  {
    name: "iteration yields what arrives, and ends with the port",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        const got: string[] = [];
        const third = Promise.withResolvers<void>();
        const reading = (async () => {
          for await (const [payload] of far) {
            got.push(text(payload));
            if (got.length === 3) third.resolve();
          }
        })();
        for (const word of ["one", "two", "three"]) await near.send(bytes(word), to);
        await third.promise;
        far.close();
        await reading;
        assertEquals(got, ["one", "two", "three"]);
      }),
  },
  {
    name: "a datagram to a port that nobody has is nobody's error",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        const closed = net.far();
        const { port } = closed.addr as Deno.NetAddr;
        closed.close();
        for (let i = 0; i < 3; i++) assertEquals(await near.send(bytes("x"), { ...to, port }), 1);
        await near.send(bytes("still"), to);
        const [payload, from] = await far.receive();
        assertEquals(text(payload), "still");
        await far.send(bytes("here"), from);
        assertEquals(text((await near.receive())[0]), "here");
      }),
  },
  {
    name: "an address that a datagram cannot go to is refused",
    run: (net) =>
      withPorts(net, async (near, _far, to) => {
        await assertRejects(near.send(bytes("x"), { ...to, port: 0 }), TypeError);
        if (net.nobody !== undefined) await assertRejects(near.send(bytes("x"), net.nobody));
      }),
  },
  {
    name: "closing ends who waits; afterwards the port is a bad resource",
    run: (net) =>
      withPorts(net, async (near, _far, to) => {
        const waiting = near.receive();
        near.close();
        await assertRejects(waiting, Deno.errors.Interrupted);
        await assertRejects(near.receive(), Deno.errors.BadResource);
        await assertRejects(near.send(bytes("x"), to), Deno.errors.BadResource);
      }),
  },
  {
    name: "thousands in flight: what is read arrives as it was sent",
    run: (net) =>
      withPorts(net, async (near, far, to) => {
        let received = 0;
        const reading = (async () => {
          for await (const [payload] of far) {
            const at = (payload[0] ?? 0) | (payload[1] ?? 0) << 8;
            assertEquals(payload.length, 200 + at % 800);
            assert(payload.subarray(2).every((byte) => byte === at % 251));
            received++;
          }
        })();
        const total = 5000;
        for (let sent = 0; sent < total;) {
          const batch = Array.from({ length: 50 }, () => {
            const payload = new Uint8Array(200 + sent % 800).fill(sent % 251);
            payload.set([sent & 0xff, sent >> 8]);
            sent++;
            return near.send(payload, to);
          });
          await Promise.all(batch);
          // One thread sends and reads: it has to leave off sending. What is lost is not waited for.
          for (let turn = 0; turn < 100 && received < sent; turn++) {
            await new Promise((resolve) => setTimeout(resolve, 1));
          }
        }
        assert(received > 0.99 * total, `${received} of ${total} arrived`);
        far.close();
        await reading;
      }),
  },
];
