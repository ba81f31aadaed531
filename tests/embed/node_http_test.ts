/** A node's server does what `Deno.serve` does, and its `fetch` what `fetch` does: the same cases, through a real tunnel. */
import { deepStrictEqual as assertEquals, ok as assert } from "node:assert/strict";
import { startEmbeddedMesh } from "../support/embedded_mesh.ts";
import { HTTP_CASES, type HttpUnderTest } from "../support/http_cases.ts";

Deno.test("a node's server does what Deno's does", async (test) => {
  await using mesh = await startEmbeddedMesh();
  const { node: { meshIpv6 } } = await mesh.agent.status();
  assert(meshIpv6 !== null);
  const http: HttpUnderTest = {
    serve: (handler, options = {}) => {
      const server = mesh.colony.serve({ port: 0, ...options }, handler);
      const origin = `http://colony:${server.addr.port}`;
      return { origin, finished: server.finished, shutdown: () => server.shutdown() };
    },
    fetch: (url, init) => mesh.agent.fetch(url, init),
    socket: (url) => new WebSocket(url, { client: mesh.agent.httpClient }),
    clientAddress: meshIpv6,
  };
  for (const { name, run } of HTTP_CASES) await test.step(name, () => run(http));
});

Deno.test("who finds a node's server beside the mesh is turned away", async () => {
  await using mesh = await startEmbeddedMesh();
  let asked = 0;
  const ports = new Set<number>();
  const serve = Deno.serve;
  // The port that the node's server has on the loopback interface is nobody's business but this test's.
  Deno.serve = ((options: Deno.ServeTcpOptions, handler: Deno.ServeHandler<Deno.NetAddr>) => {
    const server = serve(options, handler);
    ports.add(server.addr.port);
    return server;
  }) as typeof Deno.serve;
  try {
    mesh.colony.serve(() => new Response(`${++asked}`));
  } finally {
    Deno.serve = serve;
  }
  const [port] = ports;
  const response = await fetch(`http://127.0.0.1:${port}/`);
  assertEquals([response.status, await response.text()], [403, "Forbidden\n"]);
  assertEquals(await (await mesh.agent.fetch("http://colony/")).text(), "1");
});

Deno.test("nothing waits for answers to be sent that nobody asked about: what rejects unheard would end the program", async () => {
  await using mesh = await startEmbeddedMesh();
  const serve = Deno.serve;
  let asked = 0;
  Deno.serve =
    ((options: Deno.ServeTcpOptions, handler: Deno.ServeHandler<Deno.NetAddr>) =>
      serve(options, (request, info) =>
        handler(request, {
          remoteAddr: info.remoteAddr,
          get completed(): Promise<void> {
            asked++;
            return info.completed;
          },
        }))) as typeof Deno.serve;
  try {
    mesh.colony.serve(async (request, info) => {
      if (new URL(request.url).pathname === "/asks") void info.completed.catch(() => {});
      return await Promise.resolve(new Response("here"));
    });
  } finally {
    Deno.serve = serve;
  }
  assertEquals(await (await mesh.agent.fetch("http://colony/")).text(), "here");
  assertEquals(asked, 0);
  assertEquals(await (await mesh.agent.fetch("http://colony/asks")).text(), "here");
  assertEquals(asked, 1);
});
