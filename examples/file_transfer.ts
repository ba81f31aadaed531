/**
 * Files from one node to another, over a plain TCP connection inside the mesh, with a progress bar:
 *
 *     deno run -A examples/file_transfer.ts receive DISCOVERY FOLDER
 *     deno run -A examples/file_transfer.ts send DISCOVERY FILE
 *
 * The sender says `{"name":...,"size":...}` on a line and then the bytes; the receiver answers with their SHA-256.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- what an example says is its result
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { type MeshConn, Node } from "../mod.ts";
import { untilStopped } from "./until_stopped.ts";

const PORT = 7000;
const HEADER_BYTES_MAX = 4096;
const BAR_WIDTH = 30;

const [way, discovery = "http://127.0.0.1:8080", path = "."] = Deno.args;
if (way === "receive") await receive(path);
else if (way === "send") await send(path);
else {
  console.error("usage: file_transfer.ts receive DISCOVERY FOLDER | send DISCOVERY FILE");
  Deno.exitCode = 2;
}

async function receive(folder: string): Promise<void> {
  const signal = untilStopped();
  const options = { role: "colony", mesh: "reef", discovery, open: true, signal } as const;
  await using node = await Node.start(options);
  using listener = node.listen({ port: PORT });
  signal.addEventListener("abort", () => listener.close());
  console.error(`ready: waiting for files for ${folder}`);
  for await (const conn of listener) {
    void take(conn, folder).catch((error) => {
      console.error(`not received: ${error instanceof Error ? error.message : error}`);
      conn.abort();
    });
  }
}

/** Takes one file. */
async function take(conn: MeshConn, folder: string): Promise<void> {
  const header = await readLine(conn);
  const { name, size }: { name?: unknown; size?: unknown } = JSON.parse(header);
  // A name from elsewhere must not lead out of the folder.
  const ours = typeof name === "string" && name === basename(name) && !name.startsWith(".");
  if (!ours || typeof size !== "number") throw new Error("that is no file's header");
  const target = `${folder}/${name}`;
  using file = await Deno.open(target, { write: true, createNew: true });
  const hash = createHash("sha256");
  let taken = 0;
  // Not by conn.readable, whose end would close the connection before our answer.
  for await (const chunk of chunks(conn)) {
    hash.update(chunk);
    await writeAll(file, chunk);
    taken += chunk.length;
  }
  if (taken !== size) throw new Error(`${name} ended after ${taken} of ${size} bytes`);
  await writeAll(conn, new TextEncoder().encode(`${hash.digest("hex")}\n`));
  conn.close();
  console.log(`${name} ${size} bytes`);
}

async function send(source: string): Promise<void> {
  await using node = await Node.start({ mesh: "reef", discovery });
  using file = await Deno.open(source);
  const { size } = await file.stat();
  using conn = await node.connect({ hostname: "colony", port: PORT });
  const header = `${JSON.stringify({ name: basename(source), size })}\n`;
  await writeAll(conn, new TextEncoder().encode(header));
  const hash = createHash("sha256");
  let sent = 0;
  for await (const chunk of chunks(file)) {
    hash.update(chunk);
    await writeAll(conn, chunk);
    sent += chunk.length;
    await Deno.stderr.write(new TextEncoder().encode(`\r${bar(sent, size)}`));
  }
  console.error();
  await conn.closeWrite();
  if (await readLine(conn) !== hash.digest("hex")) throw new Error("it arrived damaged");
  console.log(`${basename(source)} arrived whole`);
}

/** `[#####.....] 50 %  1.0 of 2.0 MiB` */
function bar(done: number, size: number): string {
  const part = size === 0 ? 1 : done / size;
  const marks = "#".repeat(Math.round(part * BAR_WIDTH)).padEnd(BAR_WIDTH, ".");
  const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
  return `[${marks}] ${String(Math.floor(part * 100)).padStart(3)} %  ${mib(done)} of ${
    mib(size)
  } MiB`;
}

async function readLine(conn: MeshConn): Promise<string> {
  const bytes: number[] = [];
  const one = new Uint8Array(1);
  while (await conn.read(one) !== null && one[0] !== 0x0a) {
    if (bytes.push(one[0] ?? 0) > HEADER_BYTES_MAX) throw new Error("the line is too long");
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}

/** What can be read, each piece valid until the next one. */
async function* chunks(
  source: { read(target: Uint8Array): Promise<number | null> },
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(65_536);
  for (let count; (count = await source.read(buffer)) !== null;) yield buffer.subarray(0, count);
}

async function writeAll(
  target: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await target.write(bytes.subarray(at));
}
