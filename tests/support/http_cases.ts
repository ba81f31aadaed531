/** What serving HTTP must do, whoever does it: `Deno.serve`, and a node of a mesh. @module */
import {
  deepStrictEqual as assertEquals,
  match as assertMatch,
  ok as assert,
  rejects as assertRejects,
} from "node:assert/strict";
import { MIB, sha256Of, testSha256, testStream } from "./bytes.ts";

/** What both give a handler. */
export interface ServedInfo {
  /** The client. */
  readonly remoteAddr: Deno.NetAddr;
  /** Settles with the answer's end. */
  readonly completed: Promise<void>;
}

/** Answers a request. */
export type Handler = (request: Request, info: ServedInfo) => Response | Promise<Response>;

/** A running server. */
export interface Served {
  /** `http://host:port`, for {@linkcode HttpUnderTest.fetch}. */
  readonly origin: string;
  /** Ends it in order. */
  shutdown(): Promise<void>;
  /** Resolves once it has ended. */
  readonly finished: Promise<void>;
}

/** Something that serves, and a client that reaches it. */
export interface HttpUnderTest {
  /** Starts a server. */
  serve(
    handler: Handler,
    options?: {
      readonly signal?: AbortSignal;
      readonly onError?: (error: unknown) => Response | Promise<Response>;
    },
  ): Served;
  /** Reaches it. */
  fetch(url: string, init?: RequestInit): Promise<Response>;
  /** Opens a WebSocket to it. */
  socket(url: string): WebSocket;
  /** The address that a server sees of the client. */
  readonly clientAddress: string;
}

/** One thing that must hold. */
export interface HttpCase {
  /** What holds. */
  readonly name: string;
  /** Rejects where it does not. */
  readonly run: (http: HttpUnderTest) => Promise<void>;
}

const BODY_BYTES = 16 * MIB;
const REQUESTS = 200;

async function served(
  http: HttpUnderTest,
  handler: Handler,
  use: (origin: string) => Promise<void>,
): Promise<void> {
  const server = http.serve(handler);
  try {
    await use(server.origin);
  } finally {
    await server.shutdown();
  }
}

/** Every case. */
export const HTTP_CASES: readonly HttpCase[] = [
  {
    name: "method, path, query, headers and body arrive, and the answer's status and headers",
    run: (http) =>
      served(http, async (request) => {
        const { pathname, search } = new URL(request.url);
        const said = [request.method, pathname, search, request.headers.get("x-said")].join(" ");
        const headers = new Headers({ "x-heard": said });
        headers.append("set-cookie", "a=1");
        headers.append("set-cookie", "b=2");
        return new Response(await request.text(), { status: 201, headers });
      }, async (origin) => {
        const answer = await http.fetch(`${origin}/a%20b/c?d=e`, {
          method: "PUT",
          headers: { "x-said": "so" },
          body: "the body",
        });
        assertEquals(answer.status, 201);
        assertEquals(answer.headers.get("x-heard"), "PUT /a%20b/c ?d=e so");
        assertEquals(answer.headers.getSetCookie(), ["a=1", "b=2"]);
        assertEquals(await answer.text(), "the body");
      }),
  },
  {
    name: "the handler knows where the request comes from",
    run: (http) =>
      served(http, (_, { remoteAddr }) => Response.json(remoteAddr), async (origin) => {
        const { transport, hostname, port } = await (await http.fetch(origin)).json();
        assertEquals([transport, hostname], ["tcp", http.clientAddress]);
        assert(port >= 1 && port <= 65_535);
      }),
  },
  {
    name: "HEAD, 204 and 304 have no body",
    run: (http) =>
      served(http, (request) => {
        const status = Number(new URL(request.url).pathname.slice(1));
        return new Response(status === 200 ? "twelve bytes" : null, { status });
      }, async (origin) => {
        const head = await http.fetch(`${origin}/200`, { method: "HEAD" });
        assertEquals([await head.text(), head.headers.get("content-length")], ["", "12"]);
        for (const status of [204, 304]) {
          const answer = await http.fetch(`${origin}/${status}`);
          assertEquals([answer.status, await answer.text()], [status, ""]);
        }
      }),
  },
  {
    name: "a long body goes up and comes down unchanged",
    run: (http) =>
      served(http, (request) => new Response(request.body), async (origin) => {
        const answer = await http.fetch(origin, { method: "POST", body: testStream(BODY_BYTES) });
        assert(answer.body !== null);
        assertEquals(await sha256Of(answer.body), {
          sha256: testSha256(BODY_BYTES),
          bytes: BODY_BYTES,
        });
      }),
  },
  {
    name: "both bodies are streamed: each part is there before the next is sent",
    run: (http) =>
      served(http, (request) => new Response(request.body), async (origin) => {
        const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>>();
        const writer = writable.getWriter();
        const answering = http.fetch(origin, { method: "POST", body: readable });
        await writer.write(new TextEncoder().encode("0"));
        const reader = (await answering).body?.pipeThrough(new TextDecoderStream()).getReader();
        assert(reader !== undefined);
        assertEquals((await reader.read()).value, "0");
        for (const word of ["1", "2", "3"]) {
          await writer.write(new TextEncoder().encode(word));
          assertEquals((await reader.read()).value, word);
        }
        await writer.close();
        assertEquals((await reader.read()).done, true);
      }),
  },
  {
    name: `${REQUESTS} requests at once`,
    run: (http) =>
      served(http, (request) => new Response(new URL(request.url).pathname), async (origin) => {
        const paths = Array.from({ length: REQUESTS }, (_, index) => `/${index}`);
        const answers = await Promise.all(
          paths.map(async (path) => await (await http.fetch(`${origin}${path}`)).text()),
        );
        assertEquals(answers, paths);
      }),
  },
  {
    name: "what a handler throws is status 500, and no word of it is sent",
    run: (http) =>
      served(http, () => {
        throw new Error("a secret");
      }, async (origin) => {
        const answer = await http.fetch(origin);
        assertEquals(answer.status, 500);
        assert(!(await answer.text()).includes("secret"));
      }),
  },
  {
    name: "onError answers for what a handler throws",
    run: async (http) => {
      const server = http.serve(() => Promise.reject(new Error("tea")), {
        onError: (error) => new Response(`no ${(error as Error).message}`, { status: 418 }),
      });
      const answer = await http.fetch(server.origin);
      assertEquals([answer.status, await answer.text()], [418, "no tea"]);
      await server.shutdown();
    },
  },
  {
    name: "a client that leaves aborts its request",
    run: async (http) => {
      const gone = Promise.withResolvers<void>();
      const begun = Promise.withResolvers<void>();
      await served(http, async (request) => {
        request.signal.addEventListener("abort", () => gone.resolve());
        begun.resolve();
        await gone.promise;
        return new Response();
      }, async (origin) => {
        const leaving = new AbortController();
        const answer = http.fetch(origin, { signal: leaving.signal });
        await begun.promise;
        leaving.abort();
        await assertRejects(answer, { name: "AbortError" });
        await gone.promise;
      });
    },
  },
  {
    name: "server-sent events arrive one by one",
    run: (http) =>
      served(http, () => {
        let count = 0;
        const body = new ReadableStream<string>({
          pull: (controller): void => {
            if (count === 3) controller.close();
            else controller.enqueue(`data: ${count++}\n\n`);
          },
        });
        const headers = { "content-type": "text/event-stream" };
        return new Response(body.pipeThrough(new TextEncoderStream()), { headers });
      }, async (origin) => {
        const answer = await http.fetch(origin);
        assertMatch(answer.headers.get("content-type") ?? "", /^text\/event-stream/);
        assertEquals(await answer.text(), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
      }),
  },
  {
    name: "a WebSocket carries text and bytes both ways, and its close code",
    run: (http) =>
      served(http, (request) => {
        const { socket, response } = Deno.upgradeWebSocket(request);
        socket.binaryType = "arraybuffer";
        socket.onmessage = ({ data }): void => {
          if (data === "bye") socket.close(4001, "so long");
          else socket.send(data);
        };
        return response;
      }, async (origin) => {
        const socket = http.socket(`${origin.replace("http", "ws")}/socket`);
        socket.binaryType = "arraybuffer";
        const closed = new Promise<CloseEvent>((resolve) => socket.onclose = resolve);
        await new Promise((resolve) => socket.onopen = resolve);
        const next = (): Promise<unknown> =>
          new Promise((resolve) => socket.onmessage = ({ data }): void => resolve(data));
        socket.send("hello");
        assertEquals(await next(), "hello");
        socket.send(Uint8Array.of(1, 2, 3));
        assertEquals(new Uint8Array(await next() as ArrayBuffer), Uint8Array.of(1, 2, 3));
        socket.send("bye");
        const { code, reason } = await closed;
        assertEquals([code, reason], [4001, "so long"]);
      }),
  },
  {
    name: "shutdown waits for the answers that are under way, and takes no more",
    run: async (http) => {
      const begun = Promise.withResolvers<void>();
      const finish = Promise.withResolvers<void>();
      const server = http.serve(async () => {
        begun.resolve();
        await finish.promise;
        return new Response("in time");
      });
      const answer = http.fetch(server.origin);
      await begun.promise;
      const ended = server.shutdown();
      finish.resolve();
      assertEquals(await (await answer).text(), "in time");
      await ended;
      await server.finished;
      await assertRejects(http.fetch(server.origin), TypeError);
    },
  },
  {
    name: "an aborted signal ends the server with its connections",
    run: async (http) => {
      const begun = Promise.withResolvers<void>();
      const ending = new AbortController();
      const server = http.serve((request) => {
        begun.resolve();
        return new Promise((resolve) => {
          request.signal.addEventListener("abort", () => resolve(new Response()));
        });
      }, { signal: ending.signal });
      const answer = http.fetch(server.origin);
      answer.catch(() => {});
      await begun.promise;
      ending.abort();
      await assertRejects(answer, TypeError);
      await server.finished;
    },
  },
];
