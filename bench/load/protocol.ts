/**
 * The load of the benchmarks, over any byte stream: kernel sockets and streams inside a tunnel alike.
 *
 * ```text
 *   client -> server   kind (1 byte: S send, R receive, E echo), skip ms (4, big-endian), measure ms (4)
 *   S: client sends without end; server reads for `skip`, counts for `measure`, answers bytes (8), microseconds (8)
 *   R: server sends without end; client reads for `skip`, counts for `measure`, closes
 *   E: server sends back what it gets
 * ```
 *
 * Time begins with the first byte, as in iperf3: what a stream takes to open is no part of its rate. Whoever receives
 * counts, so what waits in a buffer is never counted as carried. bench/peers/netstack speaks the same protocol.
 *
 * @module
 */
import type { ByteStream } from "../../agent/mod.ts";

/** Port of the load server inside a tunnel. */
export const LOAD_PORT = 7;
/** Round trips before the first that counts: the session and the caches warm up. */
const PING_WARM_UP = 50;
const CHUNK_BYTES = 128 << 10;
const HEAD_BYTES = 9;
const REPLY_BYTES = 16;
/** How long a server waits for the client to have its answer before it resets the stream. */
const LINGER_MS = 2_000;

/** What a stream is opened for. */
export type Kind = "send" | "receive" | "echo";

const KINDS: Readonly<Record<Kind, number>> = { send: 0x53, receive: 0x52, echo: 0x45 };

/** What one stream carried while it was measured. */
export interface Flow {
  /** Bytes that arrived. */
  readonly bytes: number;
  /** In how many seconds. */
  readonly seconds: number;
}

/** Round trips in milliseconds. */
export interface RoundTrips {
  /** The middle one. */
  readonly p50Ms: number;
  /** One in a hundred took longer. */
  readonly p99Ms: number;
}

/** How long a bulk stream runs. */
export interface Timing {
  /** Time at the start that is not counted, in milliseconds. */
  readonly skipMs: number;
  /** Time that is counted, in milliseconds. */
  readonly measureMs: number;
}

/** Opens a stream to the load server. */
export type Dial = () => Promise<ByteStream>;

/** The rate of streams side by side in Mbit/s. */
export function megabits(flows: readonly Flow[]): number {
  return flows.reduce((sum, { bytes, seconds }) => sum + bytes * 8e-6 / seconds, 0);
}

/** Serves one stream; returns when it is over. Whatever breaks off ends it silently. */
export async function answer(stream: ByteStream): Promise<void> {
  try {
    const head = await readExactly(stream, HEAD_BYTES);
    const view = new DataView(head.buffer);
    const timing = { skipMs: view.getUint32(1), measureMs: view.getUint32(5) };
    if (head[0] === KINDS.send) await answerSend(stream, timing);
    else if (head[0] === KINDS.receive) await give(stream);
    else if (head[0] === KINDS.echo) await echo(stream);
  } catch {
    // The client broke off.
  } finally {
    stream.close();
  }
}

/** Opens `streams` streams at once and moves bytes in one direction; one result for each. */
export async function transfer(
  dial: Dial,
  { kind, streams, ...timing }: Timing & {
    /** `send`: away from us. */
    readonly kind: "send" | "receive";
    /** How many at once. */
    readonly streams: number;
  },
): Promise<Flow[]> {
  const one = async (): Promise<Flow> => {
    const stream = await open(dial, kind, timing);
    try {
      return kind === "send" ? await send(stream) : await take(stream, timing);
    } finally {
      stream.close();
    }
  };
  return await Promise.all(Array.from({ length: streams }, one));
}

/** One byte there and back, `count` times. */
export async function ping(dial: Dial, count: number): Promise<RoundTrips> {
  const stream = await open(dial, "echo", { skipMs: 0, measureMs: 0 });
  try {
    const byte = new Uint8Array(1);
    const times: number[] = [];
    for (let i = 0; i < count + PING_WARM_UP; i++) {
      const from = performance.now();
      await stream.write(byte);
      if (await stream.read(byte) === null) throw new Error("The server broke off");
      if (i >= PING_WARM_UP) times.push(performance.now() - from);
    }
    times.sort((a, b) => a - b);
    const at = (share: number): number => times[Math.floor((times.length - 1) * share)] ?? NaN;
    return { p50Ms: at(0.5), p99Ms: at(0.99) };
  } finally {
    stream.close();
  }
}

async function open(dial: Dial, kind: Kind, { skipMs, measureMs }: Timing): Promise<ByteStream> {
  const stream = await dial();
  const head = new Uint8Array(HEAD_BYTES);
  const view = new DataView(head.buffer);
  head[0] = KINDS[kind];
  view.setUint32(1, skipMs);
  view.setUint32(5, measureMs);
  await writeAll(stream, head);
  return stream;
}

async function send(stream: ByteStream): Promise<Flow> {
  // Ends with the stream, which the caller closes once the answer is there.
  give(stream).catch(() => {});
  const reply = new DataView((await readExactly(stream, REPLY_BYTES)).buffer);
  return {
    bytes: Number(reply.getBigUint64(0)),
    seconds: Number(reply.getBigUint64(8)) / 1e6,
  };
}

async function answerSend(stream: ByteStream, timing: Timing): Promise<void> {
  const { bytes, seconds } = await take(stream, timing);
  const reply = new DataView(new ArrayBuffer(REPLY_BYTES));
  reply.setBigUint64(0, BigInt(bytes));
  reply.setBigUint64(8, BigInt(Math.round(seconds * 1e6)));
  await writeAll(stream, new Uint8Array(reply.buffer));
  // Closing at once could be a reset that overtakes the answer; reading on for ever would keep the link busy.
  const end = performance.now() + LINGER_MS;
  const buffer = new Uint8Array(CHUNK_BYTES);
  while (performance.now() < end && await stream.read(buffer) !== null);
}

/** Reads for `skipMs` from the first byte, then counts for `measureMs`. */
async function take(stream: ByteStream, { skipMs, measureMs }: Timing): Promise<Flow> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  let from: number | undefined;
  for (let bytes = 0;;) {
    const read = await stream.read(buffer);
    if (read === null) throw new Error("The other side broke off");
    const now = performance.now();
    from ??= now + skipMs;
    const elapsed = now - from;
    if (elapsed > 0) bytes += read;
    if (elapsed >= measureMs) return { bytes, seconds: elapsed / 1000 };
  }
}

async function give(stream: ByteStream): Promise<void> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  while (true) await stream.write(chunk);
}

async function echo(stream: ByteStream): Promise<void> {
  const buffer = new Uint8Array(4096);
  for (let read: number | null; (read = await stream.read(buffer)) !== null;) {
    await writeAll(stream, buffer.subarray(0, read));
  }
}

async function readExactly(
  stream: ByteStream,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const read = await stream.read(bytes.subarray(at));
    if (read === null) throw new Error("The other side broke off");
    at += read;
  }
  return bytes;
}

async function writeAll(stream: ByteStream, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await stream.write(bytes.subarray(at));
}
