/**
 * A web server as a process of its own: `web_server.ts --listen H:P`.
 *
 * `GET /bytes?mib=N` answers with N MiB of the test stream, `GET /stream?seconds=N` with as much of it as is
 * taken within N seconds at up to 16 MiB/s, or with a block of 64 KiB every `pauseMs` milliseconds, `PUT /upload`
 * with the body's SHA-256 and length, `GET /hello` with one line. Prints `ready http=H:P` on standard error.
 *
 * @module
 */
import { block, MIB, sha256Of, testStream } from "./bytes.ts";
import { formatSocketAddress, parseSocketAddress } from "../../core/mod.ts";

const [flag, text = ""] = Deno.args;
const listen = parseSocketAddress(text);
if (flag !== "--listen" || listen === undefined) {
  throw new Error("usage: web_server.ts --listen H:P");
}

const server = Deno.serve({
  ...listen,
  onListen: ({ hostname, port }) => {
    const address = formatSocketAddress({ hostname, port });
    Deno.stderr.writeSync(new TextEncoder().encode(`ready http=${address}\n`));
  },
}, async (request) => {
  const url = new URL(request.url);
  switch (url.pathname) {
    case "/hello":
      return new Response("hello from behind the colony\n");
    case "/bytes": {
      const bytes = Number(url.searchParams.get("mib") ?? "1") * MIB;
      return new Response(testStream(bytes), { headers: { "content-length": String(bytes) } });
    }
    case "/stream":
      return new Response(
        paced(
          Number(url.searchParams.get("seconds")),
          Number(url.searchParams.get("pauseMs") ?? 4),
        ),
      );
    case "/upload": {
      const { sha256, bytes } = request.body === null
        ? { sha256: "", bytes: 0 }
        : await sha256Of(request.body);
      return new Response(`${sha256} ${bytes}\n`);
    }
    default:
      return new Response("not found\n", { status: 404 });
  }
});

/** The test stream, a block every so many milliseconds, for so many seconds. */
function paced(seconds: number, pauseMs: number): ReadableStream<Uint8Array> {
  const end = performance.now() + seconds * 1000;
  let index = 0;
  return new ReadableStream({
    async pull(controller): Promise<void> {
      await new Promise((wake) => setTimeout(wake, pauseMs));
      if (performance.now() >= end) controller.close();
      else controller.enqueue(block(index++));
    },
  });
}

Deno.addSignalListener("SIGTERM", () => {
  server.shutdown().then(() => Deno.exit(0));
});
