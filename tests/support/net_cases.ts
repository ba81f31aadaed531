/** What connections and listeners must do, whoever makes them: Deno's own TCP, and a node of a mesh. @module */
import {
  deepStrictEqual as assertEquals,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeAll } from "../../agent/splice.ts";
import { block, MIB, testBytes, testSha256 } from "./bytes.ts";
import { eventually } from "./scope.ts";

/** A network to hold to the cases. */
export interface NetUnderTest {
  /** Listens on a port that is free. */
  listen(): Deno.Listener<Deno.Conn<Deno.NetAddr>, Deno.NetAddr>;
  /** Connects to a port of {@linkcode NetUnderTest.listen}, or to one that nobody listens on. */
  connect(port: number, options?: { readonly signal?: AbortSignal }): Promise<Deno.Conn>;
  /** A port that nobody listens on. */
  readonly unusedPort: number;
  /** A connection whose other end reads nothing and can reset it. */
  resettable(): Promise<{ readonly conn: Deno.Conn; readonly reset: () => void }>;
}

/** One thing that must hold. */
export interface NetCase {
  /** What holds. */
  readonly name: string;
  /** Rejects where it does not. */
  readonly run: (net: NetUnderTest) => Promise<void>;
}

const STREAMS = 1000;
const BULK_MIB = 64;

/** Two ends of one connection; all of it is closed at the end. */
async function withPair(
  net: NetUnderTest,
  use: (near: Deno.Conn, far: Deno.Conn) => Promise<void>,
): Promise<void> {
  using listener = net.listen();
  // Together: a connection that fails must not leave the other promise to fail unheard.
  const [near, far] = await Promise.all([net.connect(listener.addr.port), listener.accept()]);
  try {
    await use(near, far);
  } finally {
    for (const end of [near, far]) {
      try {
        end.close();
      } catch {
        // Deno's own connections throw the second time.
      }
    }
  }
}

/** A connection that can be reset; it is closed at the end. */
async function withReset(
  net: NetUnderTest,
  use: (conn: Deno.Conn, reset: () => void) => Promise<void>,
): Promise<void> {
  const { conn, reset } = await net.resettable();
  try {
    await use(conn, reset);
  } finally {
    conn.close();
  }
}

async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(16_384);
  for (let n; (n = await conn.read(buffer)) !== null;) chunks.push(buffer.slice(0, n));
  return Uint8Array.from(chunks.flatMap((chunk) => [...chunk]));
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Every case. */
export const NET_CASES: readonly NetCase[] = [
  {
    name: "both ends know their addresses, which are each other's",
    run: (net) =>
      withPair(net, (near, far) => {
        const [local, remote] = [near.localAddr, far.remoteAddr] as Deno.NetAddr[];
        assertEquals([local?.transport, local?.port], ["tcp", remote?.port]);
        assertEquals(local?.hostname, remote?.hostname);
        assertEquals(
          (near.remoteAddr as Deno.NetAddr).port,
          (far.localAddr as Deno.NetAddr).port,
        );
        return Promise.resolve();
      }),
  },
  {
    name: "each direction ends by itself",
    run: (net) =>
      withPair(net, async (near, far) => {
        await writeAll(near, bytes("question"));
        await near.closeWrite();
        assertEquals(text(await readAll(far)), "question");
        assertEquals(await far.read(new Uint8Array(1)), null, "the end stays the end");
        await writeAll(far, bytes("answer"));
        await far.closeWrite();
        assertEquals(text(await readAll(near)), "answer");
      }),
  },
  {
    name: "a write after the end of our direction is a broken pipe",
    run: (net) =>
      withPair(net, async (near) => {
        await near.closeWrite();
        await assertRejects(near.write(bytes("x")), Deno.errors.BrokenPipe);
      }),
  },
  {
    name: "a read into nothing is nothing",
    run: (net) => withPair(net, async (near) => assertEquals(await near.read(new Uint8Array()), 0)),
  },
  {
    name: "a closed connection is a bad resource",
    run: (net) =>
      withPair(net, async (near) => {
        near.close();
        await assertRejects(near.read(new Uint8Array(1)), Deno.errors.BadResource);
        await assertRejects(near.write(bytes("x")), Deno.errors.BadResource);
      }),
  },
  {
    name: "what was written before close arrives",
    run: (net) =>
      withPair(net, async (near, far) => {
        await writeAll(near, bytes("last words"));
        near.close();
        assertEquals(text(await readAll(far)), "last words");
      }),
  },
  {
    name: "whoever goes on writing to a peer that closed gets an error",
    run: (net) =>
      withPair(net, async (near, far) => {
        far.close();
        await eventually("an error", async () => {
          try {
            await near.write(bytes("to nobody"));
            return undefined;
          } catch (error) {
            const { BrokenPipe, ConnectionReset } = Deno.errors;
            assert(error instanceof BrokenPipe || error instanceof ConnectionReset, `${error}`);
            return true;
          }
        }, { timeoutMs: 10_000, everyMs: 20 });
      }),
  },
  {
    name: "a reset fails the read that waits, and the writes after it",
    run: (net) =>
      withReset(net, async (conn, reset) => {
        const waiting = assertRejects(
          conn.read(new Uint8Array(1)),
          Deno.errors.ConnectionReset,
        );
        reset();
        await waiting;
        // Deno's say of a reset once.
        await assertRejects(conn.write(bytes("x")), (error) => {
          const { BrokenPipe, ConnectionReset } = Deno.errors;
          return error instanceof BrokenPipe || error instanceof ConnectionReset;
        });
      }),
  },
  {
    name: "a reset fails the write that waits for room",
    run: (net) =>
      withReset(net, async (conn, reset) => {
        let taken = 0;
        const writing = (async () => {
          for (const part of testBytes(64 * MIB)) {
            await writeAll(conn, part);
            taken += part.length;
          }
        })();
        const failed = assertRejects(writing, Deno.errors.ConnectionReset);
        await eventually("bytes to be on their way", () => taken > 0 || undefined);
        reset();
        await failed;
        assert(taken < 64 * MIB, "nobody read them all");
      }),
  },
  {
    name: "reads that come while others wait are served in their order",
    run: (net) =>
      withPair(net, async (near, far) => {
        const buffers = [1, 2, 3].map(() => new Uint8Array(2));
        const reads = buffers.map((buffer) => near.read(buffer));
        await writeAll(far, bytes("aabbcc"));
        assertEquals(await Promise.all(reads), [2, 2, 2]);
        assertEquals(buffers.map(text), ["aa", "bb", "cc"]);
      }),
  },
  {
    name: "writes that come while others wait are sent in their order",
    run: (net) =>
      withPair(net, async (near, far) => {
        const writes = ["one ", "two ", "three"].map((word) => near.write(bytes(word)));
        assertEquals(await Promise.all(writes), [4, 4, 5]);
        await near.closeWrite();
        assertEquals(text(await readAll(far)), "one two three");
      }),
  },
  {
    name: "streams: what is written to one is read from the other, and piped back",
    run: (net) =>
      withPair(net, async (near, far) => {
        const echoed = far.readable.pipeTo(far.writable);
        const writer = near.writable.getWriter();
        const sent = (async () => {
          for (let at = 0; at < 16; at++) await writer.write(block(at));
          writer.releaseLock();
          // The end of a stream of Deno's ends the connection.
          await near.closeWrite();
        })();
        let count = 0;
        for await (const chunk of near.readable) count += chunk.length;
        assertEquals(count, 16 * 65_536);
        await Promise.all([sent, echoed]);
      }),
  },
  {
    name: "streams: with the end of one, and no other in use, the connection is closed",
    run: async (net) => {
      await withPair(net, async (near, far) => {
        await far.closeWrite();
        for await (const _ of near.readable);
        await assertRejects(near.write(bytes("x")), Deno.errors.BadResource);
      });
      await withPair(net, async (near, far) => {
        const writer = near.writable.getWriter();
        await writer.write(bytes("all"));
        await writer.close();
        await assertRejects(near.read(new Uint8Array(1)), Deno.errors.BadResource);
        assertEquals(text(await readAll(far)), "all");
      });
      await withPair(net, async (near) => {
        await near.readable.cancel();
        await assertRejects(near.write(bytes("x")), Deno.errors.BadResource);
      });
      await withPair(net, async (near) => {
        await near.writable.abort();
        await assertRejects(near.read(new Uint8Array(1)), Deno.errors.BadResource);
      });
    },
  },
  {
    name: "streams: a reader may bring its own buffer",
    run: (net) =>
      withPair(net, async (near, far) => {
        await writeAll(far, bytes("abcdef"));
        await far.closeWrite();
        const reader = near.readable.getReader({ mode: "byob" });
        const first = await reader.read(new Uint8Array(4));
        assertEquals([text(first.value ?? bytes("")), first.done], ["abcd", false]);
        const second = await reader.read(new Uint8Array(4));
        assertEquals(text(second.value ?? bytes("")), "ef");
        assertEquals((await reader.read(new Uint8Array(4))).done, true);
      }),
  },
  {
    name: "a writer waits for a slow reader, and no byte is lost",
    run: (net) =>
      withPair(net, async (near, far) => {
        const total = 24 * MIB;
        let taken = 0;
        const writing = (async () => {
          for (const part of testBytes(total)) {
            for (let at = 0; at < part.length;) {
              const count = await near.write(part.subarray(at));
              at += count;
              taken += count;
            }
          }
          await near.closeWrite();
        })();
        let before = -1;
        await eventually("the writer to wait", () => {
          const waits = taken === before;
          before = taken;
          return waits || undefined;
        }, { timeoutMs: 20_000, everyMs: 300 });
        assert(taken < total, `${taken} bytes were taken that nobody read`);
        const hash = createHash("sha256");
        const buffer = new Uint8Array(65_536);
        for (let n; (n = await far.read(buffer)) !== null;) hash.update(buffer.subarray(0, n));
        await writing;
        assertEquals(hash.digest("hex"), testSha256(total));
      }),
  },
  {
    name: `${BULK_MIB} MiB come back as they went`,
    run: (net) =>
      withPair(net, async (near, far) => {
        const echoed = far.readable.pipeTo(far.writable);
        const total = BULK_MIB * MIB;
        const sending = (async () => {
          for (const part of testBytes(total)) await writeAll(near, part);
          await near.closeWrite();
        })();
        const hash = createHash("sha256");
        const buffer = new Uint8Array(262_144);
        for (let n; (n = await near.read(buffer)) !== null;) hash.update(buffer.subarray(0, n));
        await Promise.all([sending, echoed]);
        assertEquals(hash.digest("hex"), testSha256(total));
      }),
  },
  {
    name: `${STREAMS} connections at once`,
    run: async (net) => {
      using listener = net.listen();
      const served = (async () => {
        const ends: Promise<void>[] = [];
        for await (const conn of listener) {
          ends.push(conn.readable.pipeTo(conn.writable));
          if (ends.length === STREAMS) break;
        }
        await Promise.all(ends);
      })();
      // All are open before the first ends.
      const conns = await Promise.all(
        Array.from({ length: STREAMS }, () => net.connect(listener.addr.port)),
      );
      const answers = await Promise.all(conns.map(async (conn, index) => {
        await writeAll(conn, bytes(`stream ${index}`));
        await conn.closeWrite();
        const answer = text(await readAll(conn));
        conn.close();
        return answer;
      }));
      assertEquals(answers, conns.map((_, index) => `stream ${index}`));
      await served;
    },
  },
  {
    name: "nobody listens: refused",
    run: async (net) => {
      await assertRejects(net.connect(net.unusedPort), Deno.errors.ConnectionRefused);
    },
  },
  {
    name: "an aborted signal ends the attempt with its reason",
    run: async (net) => {
      using listener = net.listen();
      const reason = new Error("no longer wanted");
      await assertRejects(
        net.connect(listener.addr.port, { signal: AbortSignal.abort(reason) }),
        (error) => error === reason,
      );
    },
  },
  {
    name:
      "a signal that is aborted meanwhile ends the attempt, and later leaves the connection alone",
    run: async (net) => {
      using listener = net.listen();
      const early = new AbortController();
      const attempt = net.connect(listener.addr.port, { signal: early.signal });
      early.abort(new Error("no longer wanted"));
      await assertRejects(attempt);
      const late = new AbortController();
      const near = await net.connect(listener.addr.port, { signal: late.signal });
      late.abort();
      // The attempt that was given up may have come through before this one.
      let far = await listener.accept();
      if ((far.remoteAddr as Deno.NetAddr).port !== (near.localAddr as Deno.NetAddr).port) {
        far.close();
        far = await listener.accept();
      }
      await writeAll(near, bytes("still here"));
      await near.closeWrite();
      assertEquals(text(await readAll(far)), "still here");
      for (const end of [near, far]) end.close();
    },
  },
  {
    name: "closing a listener ends who waits for a connection, and the iteration",
    run: async (net) => {
      const listener = net.listen();
      const accepting = listener.accept();
      listener.close();
      await assertRejects(accepting, Deno.errors.BadResource);
      await assertRejects(listener.accept(), Deno.errors.BadResource);
      const other = net.listen();
      const iterated = (async () => {
        for await (const conn of other) conn.close();
      })();
      other.close();
      await iterated;
    },
  },
  {
    name: "only one may wait for a connection",
    run: async (net) => {
      using listener = net.listen();
      const first = listener.accept();
      await assertRejects(listener.accept(), Deno.errors.Busy);
      const near = await net.connect(listener.addr.port);
      (await first).close();
      near.close();
    },
  },
  {
    name: "connections wait until they are accepted, with what they sent",
    run: async (net) => {
      using listener = net.listen();
      const near = await net.connect(listener.addr.port);
      await writeAll(near, bytes("early"));
      await near.closeWrite();
      const far = await listener.accept();
      assertEquals(text(await readAll(far)), "early");
      near.close();
      far.close();
    },
  },
];
