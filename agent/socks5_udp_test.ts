import { deepStrictEqual as assertEquals } from "node:assert/strict";
import type { SocketAddress } from "../core/mod.ts";
import { encodeSocks5Datagram } from "./socks5_datagram.ts";
import { startSocks5 } from "./socks5_server.ts";
import { ASSOCIATIONS_MAX } from "./socks5_udp.ts";
import type { MemoryNetwork } from "./testing/memory_network.ts";
import { ProxyLab, skip, until, WEB } from "./testing/proxy_lab.ts";
import { writeAll } from "./splice.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0 };
const CREDENTIALS = { username: "diver", password: "reef" };
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Answers what comes to a UDP port in capitals. */
function echo(network: MemoryNetwork, port: number): void {
  const opened = network.openDatagrams(port, {
    datagram: (payload, from) => void opened.send(bytes(text(payload).toUpperCase()), from),
  });
}

/** A client with an association, from one socket. */
class Client implements AsyncDisposable {
  readonly socket = Deno.listenDatagram({ transport: "udp", ...LISTEN });
  readonly conn: Deno.TcpConn;
  readonly relay: SocketAddress;

  private constructor(conn: Deno.TcpConn, relay: SocketAddress) {
    this.conn = conn;
    this.relay = relay;
  }

  /** Begins one, from a port that the proxy is told, or not. Returns the reply's code where it is refused. */
  static async open(proxy: SocketAddress, port = 0): Promise<Client | number> {
    const conn = await Deno.connect(proxy);
    await writeAll(conn, Uint8Array.of(5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, port >> 8, port & 0xff));
    const reply = new Uint8Array(12);
    for (let n = 0; n < 12;) n += await conn.read(reply.subarray(n)) ?? NaN;
    if (reply[3] === 0) {
      return new Client(conn, { ...LISTEN, port: (reply[10] ?? 0) << 8 | (reply[11] ?? 0) });
    }
    conn.close();
    return reply[3] ?? -1;
  }

  send(datagram: Uint8Array): Promise<number> {
    return this.socket.send(datagram, { transport: "udp", ...this.relay });
  }

  async receive(): Promise<string> {
    return text((await this.socket.receive())[0].subarray(22));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close();
    await this.conn.closeWrite().catch(() => {});
    this.conn.close();
  }
}

async function opened(proxy: SocketAddress): Promise<Client> {
  const client = await Client.open(proxy);
  if (typeof client === "number") throw new Error(`reply ${client}`);
  return client;
}

Deno.test("a client written in Python reaches names and addresses by UDP ASSOCIATE, with user and password", async (t) => {
  await using lab = new ProxyLab();
  const { log, network } = lab;
  echo(lab.web, 53);
  echo(lab.mesh.node("four", "10.42.0.4"), 53);
  const [open, closed] = [undefined, CREDENTIALS].map((credentials) =>
    startSocks5({ listen: LISTEN, network, log, ...(credentials && { credentials }) })
  );
  if (open === undefined || closed === undefined) throw new Error("two proxies");
  const script = new URL("./testing/socks5_client.py", import.meta.url).pathname;
  const run = async (...args: string[]): Promise<string> => {
    const command = new Deno.Command("python3", { args: [script, ...args] });
    const { stdout, stderr } = await command.output();
    return text(stdout).trim() || text(stderr).trim();
  };
  const [first, second] = [`${open.address.port}`, `${closed.address.port}`];
  try {
    assertEquals(await run(first, "web.reef.internal", "53", "name"), `${WEB} 53 NAME`);
    assertEquals(await run(first, WEB, "53", "literal"), `${WEB} 53 LITERAL`);
    assertEquals(await run(first, "10.42.0.4", "53", "four"), "10.42.0.4 53 FOUR");
    assertEquals(await run(second, WEB, "53", "x", "diver", "reef"), `${WEB} 53 X`);
    assertEquals(await run(second, WEB, "53", "x", "diver", "rock"), "wrong user or password");
    assertEquals(await run(second, WEB, "53", "x"), "no acceptable method");
    await until(() => open.counters.active + closed.counters.active === 0);
    assertEquals(network.datagramPorts, 0, "an association ends with its connection");
    assertEquals([open.associations.associations, closed.associations.associations], [3, 1]);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    skip(t.name, "no python3 on this machine");
  } finally {
    await Promise.all([open.stop(), closed.stop()]);
  }
});

Deno.test("fragments, strangers, nonsense and names of nobody are dropped and counted", async () => {
  await using lab = new ProxyLab();
  const { log, network } = lab;
  echo(lab.web, 53);
  const socks = startSocks5({ listen: LISTEN, network, log });
  {
    await using client = await opened(socks.address);
    const to = { hostname: WEB, port: 53 };
    await client.send(Uint8Array.of(1, 2, 3));
    const fragment = encodeSocks5Datagram(to, bytes("part"));
    fragment[2] = 1;
    await client.send(fragment);
    await client.send(Uint8Array.of(0, 0, 0, 3, 6, ...bytes("nobody"), 0, 53));
    await client.send(encodeSocks5Datagram(to, new Uint8Array(1233)));
    await client.send(encodeSocks5Datagram({ ...to, port: 54 }, bytes("closed")));
    await client.send(encodeSocks5Datagram(to, bytes("hello")));
    assertEquals(await client.receive(), "HELLO");
    const stranger = Deno.listenDatagram({ transport: "udp", ...LISTEN });
    await stranger.send(encodeSocks5Datagram(to, bytes("forged")), {
      transport: "udp",
      ...client.relay,
    });
    await until(() => socks.associations.strangers === 1);
    stranger.close();
    // Known now, but the client has not sent to this port of it.
    const uninvited = lab.web.openDatagrams(5353, { datagram: () => {} });
    for (let port = 49_152; port < 65_536; port++) {
      if (network.datagramPort(port) === undefined) continue;
      await uninvited.send(bytes("forged"), { hostname: "fd00::1", port });
    }
    assertEquals(socks.associations, {
      associations: 1,
      associationsRefused: 0,
      datagramsOut: 3,
      datagramsIn: 1,
      fragments: 1,
      malformed: 1,
      strangers: 2,
      unreachable: 1,
      tooLong: 1,
      dropped: 0,
      refused: 1,
    });
  }
  await until(() => socks.counters.active === 0);
  assertEquals(lab.lines, [
    "warn socks5: fragments are dropped",
    "info socks5: datagrams: No node is called nobody",
    `info socks5: datagrams: Cannot send 1233 bytes to ${WEB}: its path carries datagrams of 1232 bytes`,
  ]);
  await socks.stop();
});

Deno.test("an association from a known port hears nobody else, and there are not too many", async () => {
  await using lab = new ProxyLab();
  const { log, network } = lab;
  echo(lab.web, 53);
  const socks = startSocks5({ listen: LISTEN, network, log });
  const pinned = await Client.open(socks.address, 9);
  if (typeof pinned === "number") throw new Error("refused");
  await pinned.send(encodeSocks5Datagram({ hostname: WEB, port: 53 }, bytes("x")));
  await until(() => socks.associations.strangers === 1);
  const others: Client[] = [];
  for (let i = 1; i < ASSOCIATIONS_MAX; i++) others.push(await opened(socks.address));
  assertEquals(await Client.open(socks.address), 1, "general failure");
  assertEquals(socks.associations.associationsRefused, 1);
  await Promise.all([pinned, ...others].map((client) => client[Symbol.asyncDispose]()));
  await until(() => socks.counters.active === 0);
  assertEquals(network.datagramPorts, 0);
  await socks.stop();
});
