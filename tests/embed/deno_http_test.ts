/** The cases that a node's server is held to, held against `Deno.serve`: what they ask for is what Deno does. */
import { HTTP_CASES, type HttpUnderTest } from "../support/http_cases.ts";

const hostname = "127.0.0.1";

for (const { name, run } of HTTP_CASES) {
  Deno.test(`Deno.serve: ${name}`, async () => {
    using client = Deno.createHttpClient({});
    const http: HttpUnderTest = {
      serve: (handler, options = {}) => {
        const server = Deno.serve({ hostname, port: 0, onListen: () => {}, ...options }, handler);
        const origin = `http://${hostname}:${server.addr.port}`;
        return { origin, finished: server.finished, shutdown: () => server.shutdown() };
      },
      fetch: (url, init) => fetch(url, { ...init, client }),
      socket: (url) => new WebSocket(url, { client }),
      clientAddress: hostname,
    };
    await run(http);
  });
}
