import { deepStrictEqual as assertEquals, rejects, throws } from "node:assert/strict";
import { MorayError } from "../core/mod.ts";
import { startExpose } from "./expose.ts";
import { startForward } from "./forward.ts";
import { writeAll } from "./splice.ts";
import { ProxyLab, until } from "./testing/proxy_lab.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0 };

Deno.test("startForward joins a local port to a peer's, through startExpose to a real server", async () => {
  await using lab = new ProxyLab();
  const rule = { listen: LISTEN, peer: "web.reef.internal", port: 80 };
  const forward = startForward(rule, { network: lab.network, log: lab.log });
  const url = `http://127.0.0.1:${forward.address.port}/bytes/3000000`;
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const response = await fetch(url, { client });
  assertEquals((await response.bytes()).length, 3_000_000);
  client.close();
  await forward.stop();
  assertEquals([forward.counters.accepted, forward.counters.failed], [1, 0]);
});

Deno.test("startForward resolves the peer for each connection", async () => {
  await using lab = new ProxyLab();
  const rule = { listen: LISTEN, peer: "later", port: 9 };
  const forward = startForward(rule, { network: lab.network, log: lab.log });
  using before = await Deno.connect(forward.address);
  assertEquals(await before.read(new Uint8Array(9)), null);
  using listener = lab.mesh.node("later", "fd00::9").listen(9);
  const after = await Deno.connect(forward.address);
  const far = await listener.accept();
  await writeAll(far, Uint8Array.of(1, 2));
  assertEquals(await after.read(new Uint8Array(9)), 2);
  assertEquals(lab.lines, ["info forward: no connection: No node is called later"]);
  assertEquals(forward.counters.failed, 1);
  far.close();
  after.close();
  await forward.stop();
});

Deno.test("startForward names a busy port", async () => {
  await using lab = new ProxyLab();
  using held = Deno.listen(LISTEN);
  const { port } = held.addr;
  const rule = { listen: { hostname: "127.0.0.1", port }, peer: "x", port: 1 };
  throws(() => startForward(rule, { network: lab.network, log: lab.log }), {
    code: "portInUse",
    message: `Cannot listen on TCP 127.0.0.1:${port}: address is in use`,
  });
});

Deno.test("startExpose resets the peer while the service is down, and works once it is up", async () => {
  await using lab = new ProxyLab();
  const held = Deno.listen(LISTEN);
  const { port } = held.addr;
  held.close();
  const rule = { meshPort: 7, hostname: "127.0.0.1", port };
  const expose = startExpose(rule, { network: lab.web, log: lab.log });
  const down = await lab.connect(7);
  await rejects(down.read(new Uint8Array(1)), { message: "Connection reset" });
  assertEquals(lab.lines, [
    `warn expose: no connection: Cannot connect to 127.0.0.1:${port}: connection refused`,
  ]);
  using service = Deno.listen({ hostname: "127.0.0.1", port });
  const up = await lab.connect(7);
  const local = await service.accept();
  await writeAll(up, Uint8Array.of(1, 2, 3));
  assertEquals(await local.read(new Uint8Array(9)), 3);
  await up.closeWrite();
  assertEquals(await local.read(new Uint8Array(9)), null);
  await writeAll(local, Uint8Array.of(4));
  local.close();
  assertEquals(await up.read(new Uint8Array(9)), 1);
  assertEquals(await up.read(new Uint8Array(9)), null);
  await expose.stop();
  const { accepted, failed, bytesOut, bytesIn } = expose.counters;
  assertEquals([accepted, failed, bytesOut, bytesIn], [2, 1, 3, 1]);
});

Deno.test("startExpose finds a service on localhost in either family", async (t) => {
  await using lab = new ProxyLab();
  for (const hostname of ["127.0.0.1", "::1"]) {
    let service: Deno.TcpListener;
    try {
      service = Deno.listen({ hostname, port: 0 });
    } catch (error) {
      // deno-lint-ignore no-console
      console.log(`skipped: ${t.name} (${hostname}): ${error}`);
      continue;
    }
    const rule = { meshPort: 7, hostname: "localhost", port: service.addr.port };
    const expose = startExpose(rule, { network: lab.web, log: lab.log });
    const conn = await lab.connect(7);
    const local = await service.accept();
    local.close();
    assertEquals(await conn.read(new Uint8Array(1)), null);
    conn.close();
    service.close();
    await expose.stop();
  }
});

Deno.test("startExpose names a busy mesh port and frees it on stop", async () => {
  await using lab = new ProxyLab();
  const rule = { meshPort: 80, hostname: "127.0.0.1", port: 1 };
  throws(() => startExpose(rule, { network: lab.web, log: lab.log }), { code: "portInUse" });
  const other = startExpose({ ...rule, meshPort: 81 }, { network: lab.web, log: lab.log });
  await Promise.all([other.stop(), other.stop()]);
  await rejects(lab.connect(81), { code: "refused" });
  const again = startExpose({ ...rule, meshPort: 81 }, { network: lab.web, log: lab.log });
  await again.stop();
});

Deno.test("a listener that ends with its network stops without an accept storm", async () => {
  await using lab = new ProxyLab();
  let accepts = 0;
  const network = {
    ...lab.web,
    connect: () => Promise.reject(new MorayError("closed", "x")),
    resolve: () => undefined,
    openDatagrams: lab.web.openDatagrams.bind(lab.web),
    listen: (port: number) => {
      const listener = lab.web.listen(port);
      const accept = listener.accept.bind(listener);
      listener.accept = () => {
        accepts++;
        return accept();
      };
      queueMicrotask(() => listener.close());
      return listener;
    },
  };
  const expose = startExpose({ meshPort: 82, hostname: "127.0.0.1", port: 1 }, {
    network,
    log: lab.log,
  });
  await until(() => lab.lines.length > 0);
  assertEquals([accepts, lab.lines], [1, ["warn expose: no longer listening: Closed"]]);
  await expose.stop();
});
