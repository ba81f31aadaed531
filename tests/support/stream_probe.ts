/**
 * A bulk stream and an interactive stream with time stamps, for what happens to them while the network changes.
 *
 *     stream_probe.ts serve H:P      one byte from the client: "B" sends it the endless test stream, "E" its bytes back
 *     stream_probe.ts watch H:P      opens one stream of each kind and prints what arrives, until it is ended
 *
 * ```text
 *   ready tcp=H:P                    serve, on standard error
 *   bulk 1764000000000.5 1048576     the wall clock in milliseconds, and the bytes so far, all of them right
 *   echo 1764000000000.5 1764000000040.2   when it was sent, and when it came back
 *   failed WHICH: REASON             one of the two is over: exit status 1
 * ```
 *
 * @module
 */
import { formatSocketAddress, messageOf, parseSocketAddress } from "../../core/mod.ts";
import { block } from "./bytes.ts";

/** Between two interactive messages, and between two lines of the bulk stream. */
const EVERY_MS = 50;
const ECHO_BYTES = 8;
const BULK = 0x42;
const ECHO = 0x45;

async function serve(listen: { hostname: string; port: number }): Promise<void> {
  const listener = Deno.listen(listen);
  const { hostname, port } = listener.addr;
  const address = formatSocketAddress({ hostname, port });
  Deno.stderr.writeSync(new TextEncoder().encode(`ready tcp=${address}\n`));
  for await (const conn of listener) {
    // Whoever breaks off ends its stream, and nothing else.
    answer(conn).catch(() => {}).finally(() => close(conn));
  }
}

async function answer(conn: Deno.TcpConn): Promise<void> {
  conn.setNoDelay(true);
  const kind = (await readExactly(conn, 1))[0];
  if (kind === ECHO) return await conn.readable.pipeTo(conn.writable);
  for (let index = 0; kind === BULK; index++) await writeAll(conn, block(index));
}

async function watch(address: { hostname: string; port: number }): Promise<void> {
  const fail = (which: string) => (error: unknown): never => {
    print(`failed ${which}: ${messageOf(error)}`);
    Deno.exit(1);
  };
  await Promise.all([
    watchBulk(await Deno.connect(address)).catch(fail("bulk")),
    watchEcho(await Deno.connect(address)).catch(fail("echo")),
  ]);
}

async function watchBulk(conn: Deno.TcpConn): Promise<void> {
  await writeAll(conn, Uint8Array.of(BULK));
  const buffer = new Uint8Array(64 << 10);
  let bytes = 0;
  let printedAt = 0;
  for (let index = 0;; index++) {
    const wanted = block(index);
    for (let at = 0; at < wanted.length;) {
      const read = await conn.read(buffer.subarray(0, wanted.length - at));
      if (read === null) throw new Error("the server ended the stream");
      if (!same(buffer.subarray(0, read), wanted.subarray(at, at + read))) {
        throw new Error(`a wrong byte after ${bytes} bytes`);
      }
      at += read;
      bytes += read;
      const now = wallMs();
      if (now - printedAt < EVERY_MS) continue;
      printedAt = now;
      print(`bulk ${now} ${bytes}`);
    }
  }
}

async function watchEcho(conn: Deno.TcpConn): Promise<void> {
  conn.setNoDelay(true);
  await writeAll(conn, Uint8Array.of(ECHO));
  const { promise: broken, reject } = Promise.withResolvers<never>();
  let writing = Promise.resolve();
  const timer = setInterval(() => {
    const message = new Uint8Array(ECHO_BYTES);
    new DataView(message.buffer).setFloat64(0, wallMs());
    writing = writing.then(() => writeAll(conn, message));
    writing.catch(reject);
  }, EVERY_MS);
  const reading = (async (): Promise<never> => {
    while (true) {
      const message = await readExactly(conn, ECHO_BYTES);
      const sentAt = new DataView(message.buffer).getFloat64(0);
      print(`echo ${sentAt} ${wallMs()}`);
    }
  })();
  await Promise.race([reading, broken]).finally(() => clearInterval(timer));
}

async function readExactly(conn: Deno.TcpConn, bytes: number): Promise<Uint8Array> {
  const whole = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const read = await conn.read(whole.subarray(at));
    if (read === null) throw new Error("the other end ended the stream");
    at += read;
  }
  return whole;
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function close(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // Piping has closed it.
  }
}

function wallMs(): number {
  return performance.timeOrigin + performance.now();
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

const [role, text = ""] = Deno.args;
const address = parseSocketAddress(text);
if (address === undefined) throw new Error("usage: stream_probe.ts serve|watch H:P");
if (role === "serve") await serve(address);
else await watch(address);
