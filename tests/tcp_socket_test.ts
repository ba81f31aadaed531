/** Kernel connections taken from Deno: real sockets, so not beside the module. */
import { deepStrictEqual as assertEquals, ok as assert, rejects } from "node:assert/strict";
import { TcpSockets } from "../io/mod.ts";
import { MorayError } from "../core/mod.ts";
import { say } from "./support/say.ts";
import { openDescriptors } from "./support/splice_lab.ts";

const unsupported = ((): string | undefined => {
  try {
    new TcpSockets()[Symbol.dispose]();
    return undefined;
  } catch (error) {
    if (error instanceof MorayError && error.code === "unsupported") return error.message;
    throw error;
  }
})();
if (unsupported !== undefined) say(`skipped: connections taken from Deno: ${unsupported}`);

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: unsupported !== undefined, fn });
}

for (const hostname of ["127.0.0.1", "::1", "::"]) {
  test(`TcpSockets takes a connection accepted on ${hostname}, which goes on as if nothing had been`, async () => {
    using sockets = new TcpSockets();
    const [client, server] = await connection(hostname);
    const before = openDescriptors();
    const socket = sockets.take(server);
    assert(socket !== undefined);
    const after = openDescriptors();
    // The connection has another descriptor, and Deno's is closed.
    assertEquals(after?.size, before?.size);
    const opened = [...after ?? []].filter(([fd]) => !before?.has(fd)).map(([fd]) => Number(fd));
    assertEquals(opened, after === undefined ? [] : [socket.fd]);
    await rejects(server.read(new Uint8Array(1)), Deno.errors.BadResource);
    // Nothing was said to the client: its read goes on until the socket is closed.
    let told = false;
    const reading = client.read(new Uint8Array(1)).finally(() => told = true);
    await client.write(Uint8Array.of(1, 2, 3));
    assertEquals([told, sockets.size], [false, 1]);
    socket.close();
    socket.reset();
    assertEquals(sockets.size, 0);
    // Closing with unread bytes is a reset.
    await rejects(reading, Deno.errors.ConnectionReset);
    client.close();
  });
}

test("TcpSockets finds each of many connections", async () => {
  using sockets = new TcpSockets();
  const pairs = await Promise.all(Array.from({ length: 40 }, () => connection("127.0.0.1")));
  // Both ends live here: the same two addresses, the other way round.
  const taken = pairs.toReversed().map(([, server]) => sockets.take(server));
  assertEquals(new Set(taken.map((socket) => socket?.fd)).size, 40);
  for (const [i, socket] of taken.toReversed().entries()) {
    socket?.close();
    assertEquals(await pairs[i]?.[0].read(new Uint8Array(1)), null, `connection ${i}`);
    pairs[i]?.[0].close();
  }
});

test("a connection that is reset tells the other end so, and one that is closed ends in order", async () => {
  using sockets = new TcpSockets();
  for (const end of ["reset", "close"] as const) {
    const [client, server] = await connection("127.0.0.1");
    sockets.take(server)?.[end]();
    const told = await client.read(new Uint8Array(1)).catch((error: unknown) => error);
    if (end === "close") assertEquals(told, null);
    else assert(told instanceof Deno.errors.ConnectionReset, String(told));
    client.close();
  }
});

test("TcpSockets resets what is still open at its end", async () => {
  const [client, server] = await connection("127.0.0.1");
  const sockets = new TcpSockets();
  const socket = sockets.take(server);
  sockets[Symbol.dispose]();
  await rejects(client.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  socket?.close();
  client.close();
});

test("TcpSockets leaves alone what it cannot take", async () => {
  using sockets = new TcpSockets();
  const before = openDescriptors()?.size;
  const folder = await Deno.makeTempDir();
  const path = `${folder}/socket`;
  using local = Deno.listen({ transport: "unix", path });
  const [near, far] = await Promise.all([
    Deno.connect({ transport: "unix", path }),
    local.accept(),
  ]);
  assertEquals(sockets.take(near), undefined);
  await near.write(Uint8Array.of(1));
  assertEquals(await far.read(new Uint8Array(9)), 1);
  near.close();
  far.close();
  await Deno.remove(folder, { recursive: true });
  const [client, server] = await connection("127.0.0.1");
  server.close();
  assertEquals(sockets.take(server), undefined);
  client.close();
  assertEquals(openDescriptors()?.size, (before ?? 0) + 1);
});

async function connection(
  hostname: string,
): Promise<readonly [client: Deno.TcpConn, server: Deno.TcpConn]> {
  using listener = Deno.listen({ hostname, port: 0 });
  // Over IPv4 where the listener takes both: the server's addresses are mapped ones then.
  const to = { hostname: hostname === "::" ? "127.0.0.1" : hostname, port: listener.addr.port };
  return await Promise.all([Deno.connect(to), listener.accept()]);
}
