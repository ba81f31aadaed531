/** Joins two byte streams, as every proxy does. @module */
import { MorayError } from "../core/mod.ts";
import type { ByteStream } from "./network.ts";
import { SlotStream } from "./shared/mod.ts";

/** Options of {@linkcode splice}. */
export interface SpliceOptions {
  /** Aborts both streams. */
  readonly signal?: AbortSignal;
  /** Size of the buffer of each direction, where bytes cross this thread. @default 65_536 */
  readonly bufferBytes?: number;
}

/** How a splice went. */
export interface SpliceResult {
  /** Bytes read from `a` and written to `b`. */
  readonly aToB: number;
  /** Bytes read from `b` and written to `a`. */
  readonly bToA: number;
  /** `complete`: both directions reached their end. `failed`: a stream broke. `aborted`: by the signal. */
  readonly end: "complete" | "failed" | "aborted";
  /** What broke, where `end` is `failed`. */
  readonly error?: unknown;
}

const BUFFER_BYTES = 65_536;

/**
 * Copies both ways between two streams until both have ended, then closes both.
 *
 * The end of one direction is passed on by `closeWrite` while the other goes on. A broken stream, or the signal, aborts
 * both. Each direction holds at most one buffer, so a slow reader slows the writer at the other end. Never rejects.
 *
 * A tunnel connection and a `Deno.TcpConn` are handed to the datapath's Worker where it can carry them; nothing may be
 * reading or writing either by then. What ends badly is then ended by a reset on both sides.
 */
export function splice(
  a: ByteStream,
  b: ByteStream,
  { signal, bufferBytes = BUFFER_BYTES }: SpliceOptions = {},
): Promise<SpliceResult> {
  const { promise, resolve } = Promise.withResolvers<SpliceResult>();
  const aToB: Direction = { from: a, to: b, bytes: 0, read: false, ended: false };
  const bToA: Direction = { from: b, to: a, bytes: 0, read: false, ended: false };
  let finished = false;

  // What is still pending when a splice ends badly is left behind: a pending read of a `Deno.Conn` outlives `close()`
  // (Deno 2.8.3, denoland/deno#35292), so nothing may wait for it.
  function finish(end: SpliceResult["end"], error?: unknown): void {
    if (finished) return;
    finished = true;
    signal?.removeEventListener("abort", onAbort);
    for (const stream of [a, b]) end === "complete" ? close(stream) : abortStream(stream);
    const counts = { aToB: aToB.bytes, bToA: bToA.bytes, end };
    resolve(error === undefined ? counts : { ...counts, error });
  }
  function onAbort(): void {
    finish("aborted");
  }
  async function copy(direction: Direction, other: Direction): Promise<void> {
    const { from, to } = direction;
    const buffer = new Uint8Array(bufferBytes);
    try {
      for (let n; (n = await from.read(buffer)) !== null && !finished;) {
        await writeAll(to, buffer.subarray(0, n));
        direction.bytes += n;
      }
      if (finished) return;
      direction.read = true;
      await to.closeWrite().catch((error: unknown) => {
        // A stream that has nothing more to say may be gone by the time it is told so.
        if (!other.read) throw error;
      });
      direction.ended = true;
      if (other.ended) finish("complete");
    } catch (error) {
      finish("failed", error);
    }
  }

  if (signal?.aborted) {
    finish("aborted");
    return promise;
  }
  const carried = handOver(a, b, signal);
  if (carried !== undefined) return carried;
  signal?.addEventListener("abort", onAbort);
  void copy(aToB, bToA);
  void copy(bToA, aToB);
  return promise;
}

/** Lets the datapath's Worker carry the two; `undefined` where it cannot. */
function handOver(
  a: ByteStream,
  b: ByteStream,
  signal: AbortSignal | undefined,
): Promise<SpliceResult> | undefined {
  const [stream, conn] = a instanceof SlotStream ? [a, b] : [b, a];
  if (!(stream instanceof SlotStream) || !isConn(conn)) return undefined;
  return stream.handOver(conn, signal)?.then(({ toMesh, toSocket, end, reason }) => ({
    aToB: stream === a ? toSocket : toMesh,
    bToA: stream === a ? toMesh : toSocket,
    end,
    ...(reason !== undefined && { error: new MorayError("closed", reason) }),
  }));
}

function isConn(stream: ByteStream): stream is Deno.Conn {
  return "localAddr" in stream && "remoteAddr" in stream;
}

/** Writes all of `bytes`. */
export async function writeAll(stream: ByteStream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await stream.write(bytes.subarray(at));
}

/**
 * Ends a stream at once: a reset where it knows one, else the end of both directions. Never throws.
 *
 * `close` alone is not enough for a `Deno.Conn`: with a read pending it sends nothing.
 */
export function abortStream(stream: ByteStream): void {
  if ("abort" in stream && typeof stream.abort === "function") {
    try {
      stream.abort();
    } catch {
      // Already closed.
    }
    return;
  }
  stream.closeWrite().catch(() => {});
  close(stream);
}

/** One way of a splice. */
interface Direction {
  readonly from: ByteStream;
  readonly to: ByteStream;
  bytes: number;
  /** `from` has nothing more. */
  read: boolean;
  /** `to` has been told so. */
  ended: boolean;
}

function close(stream: ByteStream): void {
  try {
    stream.close();
  } catch {
    // `Deno.Conn.close` throws the second time.
  }
}
