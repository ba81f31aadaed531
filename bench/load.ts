/**
 * A TCP load of our own, a process on each side: for machines without iperf3, and for round trips everywhere.
 *
 *     load.ts serve H:P              prints `ready load=H:P`; the first byte of a connection says what it is for
 *     load.ts send H:P SECONDS       bytes to the server         -> {"bytes":...,"seconds":...}
 *     load.ts receive H:P SECONDS    bytes from the server       -> {"bytes":...,"seconds":...}
 *     load.ts ping H:P COUNT         one byte there and back     -> {"p50Ms":...,"p99Ms":...}
 *
 * @module
 */
import { parseSocketAddress, type SocketAddress } from "../core/mod.ts";

const SEND = 0x53;
const RECEIVE = 0x52;
const ECHO = 0x45;
const CHUNK_BYTES = 128 << 10;
/** Round trips before the first that counts: the session and the caches warm up. */
const PING_WARM_UP = 50;

const [mode, address = "", amount = ""] = Deno.args;
const target = parseSocketAddress(address);
if (target === undefined) throw new Error("usage: load.ts serve|send|receive|ping H:P [AMOUNT]");

switch (mode) {
  case "serve":
    await serve(target);
    break;
  case "send":
    print(await send(target, Number(amount)));
    break;
  case "receive":
    print(await receive(target, Number(amount)));
    break;
  case "ping":
    print(await ping(target, Number(amount)));
    break;
  default:
    throw new Error(`There is no mode ${mode}`);
}

async function serve(listen: SocketAddress): Promise<void> {
  const listener = Deno.listen(listen);
  const { hostname, port } = listener.addr as Deno.NetAddr;
  Deno.stderr.writeSync(new TextEncoder().encode(`ready load=${hostname}:${port}\n`));
  for await (const connection of listener) {
    // A client that breaks off ends its own connection only.
    answer(connection).catch(() => {}).finally(() => connection.close());
  }
}

async function answer(connection: Deno.TcpConn): Promise<void> {
  connection.setNoDelay();
  const buffer = new Uint8Array(CHUNK_BYTES);
  const kind = new Uint8Array(1);
  if (await connection.read(kind) === null) return;
  if (kind[0] === RECEIVE) {
    while (true) await connection.write(buffer);
  }
  let bytes = 0;
  for (let read = 0; (read = await connection.read(buffer) ?? 0) > 0;) {
    bytes += read;
    if (kind[0] === ECHO) await writeAll(connection, buffer.subarray(0, read));
  }
  if (kind[0] === SEND) {
    await writeAll(connection, new Uint8Array(new BigUint64Array([BigInt(bytes)]).buffer));
  }
}

async function send(
  to: SocketAddress,
  seconds: number,
): Promise<{ bytes: number; seconds: number }> {
  using connection = await open(to, SEND);
  const chunk = crypto.getRandomValues(new Uint8Array(64 << 10));
  const from = performance.now();
  while (performance.now() - from < seconds * 1000) await writeAll(connection, chunk);
  await connection.closeWrite();
  // The time ends when the other side has everything, so buffers do not count.
  const count = new Uint8Array(8);
  for (let at = 0; at < count.length;) {
    const read = await connection.read(count.subarray(at));
    if (read === null) throw new Error("The server broke off");
    at += read;
  }
  const [bytes = 0n] = new BigUint64Array(count.buffer);
  return { bytes: Number(bytes), seconds: (performance.now() - from) / 1000 };
}

async function receive(
  to: SocketAddress,
  seconds: number,
): Promise<{ bytes: number; seconds: number }> {
  using connection = await open(to, RECEIVE);
  const buffer = new Uint8Array(CHUNK_BYTES);
  const from = performance.now();
  let bytes = 0;
  while (performance.now() - from < seconds * 1000) {
    const read = await connection.read(buffer);
    if (read === null) throw new Error("The server broke off");
    bytes += read;
  }
  return { bytes, seconds: (performance.now() - from) / 1000 };
}

async function ping(to: SocketAddress, count: number): Promise<{ p50Ms: number; p99Ms: number }> {
  using connection = await open(to, ECHO);
  const byte = new Uint8Array(1);
  const times: number[] = [];
  for (let i = 0; i < count + PING_WARM_UP; i++) {
    const from = performance.now();
    await writeAll(connection, byte);
    if (await connection.read(byte) === null) throw new Error("The server broke off");
    if (i >= PING_WARM_UP) times.push(performance.now() - from);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.floor((times.length - 1) * share)] ?? NaN;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}

async function open(to: SocketAddress, kind: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect(to);
  connection.setNoDelay();
  await writeAll(connection, new Uint8Array([kind]));
  return connection;
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function print(result: object): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(result)}\n`));
}
