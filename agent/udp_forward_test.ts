import { deepStrictEqual as assertEquals, ok as assert, rejects, throws } from "node:assert/strict";
import type { SocketAddress } from "../core/mod.ts";
import { startUnixForward } from "./forward.ts";
import { startExpose } from "./expose.ts";
import { writeAll } from "./splice.ts";
import { ProxyLab, until, WEB } from "./testing/proxy_lab.ts";
import { startUdpExpose } from "./udp_expose.ts";
import { startUdpForward } from "./udp_forward.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0 };
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A UDP socket of a client or a service. */
class Socket implements AsyncDisposable {
  readonly #conn = Deno.listenDatagram({ transport: "udp", ...LISTEN });
  readonly port: number = (this.#conn.addr as Deno.NetAddr).port;
  #echoing: Promise<void> | undefined;

  send(payload: string, { hostname, port }: SocketAddress): Promise<number> {
    return this.#conn.send(bytes(payload), { transport: "udp", hostname, port });
  }

  async receive(): Promise<string> {
    return (await this.receiveFrom())[0];
  }

  async receiveFrom(): Promise<[string, SocketAddress]> {
    const [payload, from] = await this.#conn.receive();
    return [text(payload), from as Deno.NetAddr];
  }

  /** Answers each datagram with its text in capitals. */
  echo(): this {
    this.#echoing = (async () => {
      for await (const [payload, from] of this.#conn) {
        await this.#conn.send(bytes(text(payload).toUpperCase()), from);
      }
    })();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#conn.close();
    await this.#echoing;
  }
}

Deno.test("datagrams go through a forward and an exposed port to a real service, each client's by itself", async () => {
  await using lab = new ProxyLab();
  await using service = new Socket().echo();
  const { log } = lab;
  const exposed = startUdpExpose(
    { meshPort: 53, hostname: "localhost", port: service.port },
    { network: lab.web, log },
  );
  const rule = { listen: LISTEN, peer: "web.reef.internal", port: 53 };
  const forward = startUdpForward(rule, { network: lab.network, log, random: Math.random });
  await using one = new Socket();
  await using other = new Socket();
  for (let i = 0; i < 3; i++) {
    await one.send(`one ${i}`, forward.address);
    await other.send(`other ${i}`, forward.address);
    assertEquals([await one.receive(), await other.receive()], [`ONE ${i}`, `OTHER ${i}`]);
  }
  for (const { counters } of [forward, exposed]) {
    const { flows, active, datagramsOut, datagramsIn, bytesOut, bytesIn } = counters;
    assertEquals([flows, active, datagramsOut, datagramsIn], [2, 2, 6, 6]);
    assertEquals([bytesOut, bytesIn], [36, 36]);
  }
  assertEquals([lab.network.datagramPorts, lab.web.datagramPorts], [2, 1]);
  await Promise.all([forward.stop(), exposed.stop(), forward.stop()]);
  assertEquals([lab.network.datagramPorts, lab.web.datagramPorts], [0, 0]);
  assertEquals(lab.lines, []);
});

Deno.test("only the peer that was sent to answers, and only the service does", async () => {
  await using lab = new ProxyLab();
  const { log } = lab;
  await using service = new Socket();
  await using client = new Socket();
  await using stranger = new Socket();
  const exposed = startUdpExpose(
    { meshPort: 53, hostname: "127.0.0.1", port: service.port },
    { network: lab.web, log },
  );
  const rule = { listen: LISTEN, peer: WEB, port: 53 };
  // 49152 is the first that is tried.
  const forward = startUdpForward(rule, { network: lab.network, log, random: () => 0 });
  await client.send("hello", forward.address);
  const [question, from] = await service.receiveFrom();
  assertEquals(question, "hello");
  await stranger.send("forged", from);
  await until(() => exposed.counters.strangers === 1);
  const other = lab.mesh.node("other", "fd00::9").openDatagrams(53, { datagram: () => {} });
  await other.send(bytes("forged"), { hostname: "fd00::1", port: 49_152 });
  assertEquals([forward.counters.strangers, forward.counters.datagramsIn], [1, 0]);
  await service.send("answer", from);
  assertEquals(await client.receive(), "answer");
  await Promise.all([forward.stop(), exposed.stop()]);
});

Deno.test("a flow ends when nothing is said, gives its port back, and goes for another where there are too many", async () => {
  await using lab = new ProxyLab();
  const { log, network } = lab;
  lab.web.openDatagrams(53, { datagram: () => {} });
  const rule = { listen: LISTEN, peer: WEB, port: 53 };
  const limits = { idleMs: 80, flowsMax: 2 };
  const forward = startUdpForward(rule, { network, log, random: Math.random, ...limits });
  const clients = [new Socket(), new Socket(), new Socket()];
  for (const client of clients) await client.send("x", forward.address);
  await until(() => forward.counters.flows === 3);
  assertEquals([forward.counters.active, forward.counters.evicted], [2, 1]);
  assertEquals(lab.lines, ["warn forward: too many clients at once"]);
  await until(() => forward.counters.active === 0 && network.datagramPorts === 0);
  for (const client of clients) await client[Symbol.asyncDispose]();
  await forward.stop();
});

Deno.test("what does not arrive is counted, and logged once of each kind", async () => {
  await using lab = new ProxyLab();
  const { log, network } = lab;
  await using client = new Socket();
  const start = (peer: string): ReturnType<typeof startUdpForward> =>
    startUdpForward({ listen: LISTEN, peer, port: 53 }, { network, log, random: Math.random });
  const [nobody, closed] = [start("nobody"), start(WEB)];
  for (let i = 0; i < 3; i++) {
    await client.send("x", nobody.address);
    await client.send("x", closed.address);
    await client.send("x".repeat(1233), closed.address);
  }
  await until(() => nobody.counters.failed === 3 && closed.counters.tooLong === 3);
  await until(() => closed.counters.refused === 3);
  assertEquals(nobody.counters.active, 0);
  assertEquals(lab.lines.toSorted(), [
    `warn forward: Cannot send 1233 bytes to ${WEB}: its path carries datagrams of 1232 bytes`,
    "warn forward: No node is called nobody",
  ]);
  throws(() =>
    startUdpForward({ listen: nobody.address, peer: WEB, port: 1 }, {
      network,
      log,
      random: Math.random,
    }), { code: "portInUse" });
  throws(() =>
    startUdpExpose({ meshPort: 53, hostname: "127.0.0.1", port: 1 }, {
      network: lab.web,
      log,
    }) && startUdpExpose({ meshPort: 53, hostname: "127.0.0.1", port: 1 }, {
      network: lab.web,
      log,
    }), { code: "portInUse" });
  await Promise.all([nobody.stop(), closed.stop()]);
});

Deno.test("a service whose name is unknown fails its flows, each datagram anew", async () => {
  await using lab = new ProxyLab();
  const exposed = startUdpExpose(
    { meshPort: 53, hostname: "no-such-host.invalid", port: 53 },
    { network: lab.web, log: lab.log },
  );
  using peer = lab.network.openDatagrams(5000, { datagram: () => {} });
  await peer.send(bytes("x"), { hostname: WEB, port: 53 });
  await until(() => exposed.counters.failed === 1);
  await peer.send(bytes("x"), { hostname: WEB, port: 53 });
  await until(() => exposed.counters.failed === 2);
  assertEquals([exposed.counters.active, lab.lines.length], [0, 1]);
  assert(lab.lines[0]?.startsWith("warn expose: Cannot resolve no-such-host.invalid"));
  await exposed.stop();
});

Deno.test("unix sockets lead into the mesh and out of it", async () => {
  await using lab = new ProxyLab();
  const { log, network } = lab;
  const folder = await Deno.makeTempDir();
  const [near, far] = [`${folder}/near.sock`, `${folder}/far.sock`];
  using service = Deno.listen({ transport: "unix", path: far });
  const serving = (async () => {
    for (let i = 0; i < 2; i++) {
      const conn = await service.accept();
      void conn.readable.pipeTo(conn.writable);
    }
  })();
  const exposed = startExpose({ meshPort: 2375, path: far }, { network: lab.web, log });
  const rule = { listen: { path: near }, peer: WEB, port: 2375 };
  // What a process has left behind is replaced.
  const left = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `Deno.listen({ transport: "unix", path: "${near}" }); Deno.kill(Deno.pid, "SIGKILL");`,
    ],
  });
  await left.output();
  assert((await Deno.lstat(near)).isSocket);
  const forward = await startUnixForward(rule, { network, log });
  assertEquals(((await Deno.lstat(near)).mode ?? 0) & 0o777, 0o600);
  assertEquals(forward.address, { path: near });
  for (let i = 0; i < 2; i++) {
    const conn = await Deno.connect({ transport: "unix", path: near });
    await writeAll(conn, bytes(`hello ${i}`));
    await conn.closeWrite();
    const answer = new Uint8Array(16);
    assertEquals(text(answer.subarray(0, await conn.read(answer) ?? 0)), `hello ${i}`);
    assertEquals(await conn.read(answer), null);
    conn.close();
  }
  await serving;
  const inUse = { code: "portInUse", message: `Cannot listen on ${near}: somebody does already` };
  await rejects(startUnixForward(rule, { network, log }), inUse);
  await Promise.all([forward.stop(), exposed.stop()]);
  await rejects(Deno.lstat(near), Deno.errors.NotFound);
  await Deno.writeTextFile(near, "precious");
  const file = { message: `Cannot listen on ${near}: something else is there` };
  await rejects(startUnixForward(rule, { network, log }), file);
  assertEquals(await Deno.readTextFile(near), "precious");
  await rejects(
    startUnixForward({ ...rule, listen: { path: `${folder}/no/x` } }, { network, log }),
    { message: `Cannot listen on ${folder}/no/x: no such file` },
  );
  const long = `${folder}/${"x".repeat(100)}`;
  await rejects(startUnixForward({ ...rule, listen: { path: long } }, { network, log }), {
    message: `Cannot listen on ${long}: a socket's path has at most 103 bytes`,
  });
  await Deno.remove(folder, { recursive: true });
});
