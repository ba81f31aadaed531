/** The HTTP side of the service: Connect calls, `/health` and the key set. @module */
import { toJson } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
} from "@connectrpc/connect";
import {
  type UniversalHandler,
  universalServerRequestFromFetch,
  universalServerResponseToFetch,
} from "@connectrpc/connect/protocol";
import {
  canonicalIp,
  concat,
  type Instant,
  messageOf,
  type SocketAddress,
} from "../../core/mod.ts";
import { DiscoveryService, HealthResponseSchema } from "../../proto/mod.ts";
import { SourceLimiter } from "../../traversal/mod.ts";
import type { Log } from "../log.ts";
import { PROOF_HEADER, PROOF_KEY_HEADER, PROOF_TIME_HEADER } from "../proof/proof.ts";
import type { ProofChecker } from "./proof_checker.ts";
import { provenKey } from "./proven.ts";
import { remoteAddress, requestHost, type Service } from "./service.ts";

/** Largest request body. */
export const REQUEST_BYTES_MAX = 64 * 1024;
/** Requests per second that one IP address (or IPv6 /64) may make for ever: enough for a site behind one NAT. */
export const REQUESTS_PER_SECOND_MAX = 200;
/** Where WebSockets that carry TURN are opened. */
export const TURN_PATH = "/turn";
/** Requests that one source may make at once after a rest. */
export const REQUEST_BURST_MAX = 1000;

/** What a streamed call has before its message. */
const ENVELOPE_BYTES = 5;

/** Why a call is refused before its body is read. */
const refusal = createContextKey<ConnectError | undefined>(undefined, { description: "refusal" });

/** Takes a request to open a WebSocket that carries TURN, from the address that the socket saw. */
export type TurnHandler = (request: Request, remote: SocketAddress) => Response;

/** Options of {@linkcode HttpHandler}. */
export interface HttpHandlerOptions {
  /** The service behind the methods. */
  readonly service: Service;
  /** Now, unix milliseconds. */
  readonly now: () => number;
  /** Where the log goes. */
  readonly log: Log;
  /** Checks proofs of possession. */
  readonly proofs: ProofChecker;
  /** Takes WebSockets at `GET /turn`. Absent: nobody does. */
  readonly turn?: TurnHandler;
  /** Requests per second of one source. @default {@linkcode REQUESTS_PER_SECOND_MAX} */
  readonly requestsPerSecondMax?: number;
  /** Requests of one source at once. @default {@linkcode REQUEST_BURST_MAX} */
  readonly requestBurstMax?: number;
}

/** Answers HTTP requests. */
export class HttpHandler {
  readonly #options: HttpHandlerOptions;
  readonly #limiter: SourceLimiter;
  readonly #handlers: ReadonlyMap<string, UniversalHandler>;
  #requests = 0;

  /** Creates a handler. */
  constructor(options: HttpHandlerOptions) {
    this.#options = options;
    this.#limiter = new SourceLimiter({
      ratePerSecond: options.requestsPerSecondMax ?? REQUESTS_PER_SECOND_MAX,
      burst: options.requestBurstMax ?? REQUEST_BURST_MAX,
    });
    const router = createConnectRouter({
      readMaxBytes: REQUEST_BYTES_MAX,
      // gRPC needs trailers, which a fetch response has not.
      grpc: false,
      grpcWeb: false,
      requestGate: ({ values }) => {
        const fault = values.get(refusal);
        if (fault !== undefined) throw fault;
      },
    });
    router.service(DiscoveryService, options.service.methods);
    this.#handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  }

  /** Requests so far, and those refused by the limit. */
  counters(): Record<string, number> {
    const all = {
      requests: this.#requests,
      requestsLimited: this.#limiter.refused,
      ...this.#options.proofs.counters(),
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0));
  }

  /** Answers a request from the address that the socket saw. */
  async handle(request: Request, { hostname, port }: SocketAddress): Promise<Response> {
    this.#requests++;
    const url = new URL(request.url);
    const remote = canonicalIp(hostname) ?? hostname;
    const handler = this.#handlers.get(url.pathname);
    if (handler !== undefined) {
      const contextValues = createContextValues()
        .set(requestHost, url.hostname)
        .set(remoteAddress, remote);
      const call = await this.#authenticate(request, { method: handler.method.name, remote });
      if ("fault" in call) contextValues.set(refusal, call.fault);
      else contextValues.set(provenKey, call.proven);
      const universal = universalServerRequestFromFetch(request, {});
      const body = "body" in call ? oneChunk(call.body) : universal.body;
      const answer = await handler({ ...universal, body, contextValues });
      return this.#withKey(universalServerResponseToFetch(answer));
    }
    if (!this.#admit(remote)) {
      return new Response("Too many requests\n", { status: 429, headers: { "retry-after": "1" } });
    }
    const { turn } = this.#options;
    if (turn !== undefined && url.pathname === TURN_PATH) {
      return turn(request, { hostname: remote, port });
    }
    return await this.#get(request, url.pathname);
  }

  /**
   * Finds out who calls. A body that a proof covers is read here, and handed on; whoever sends too much, or a proof that is
   * none, is refused in the words of Connect.
   */
  async #authenticate(
    request: Request,
    { method, remote }: { readonly method: string; readonly remote: string },
  ): Promise<
    | { readonly fault: ConnectError }
    | { readonly proven: string; readonly body?: Uint8Array<ArrayBuffer> }
  > {
    if (!this.#admit(remote)) {
      const retry = { "retry-after": "1" };
      return {
        fault: new ConnectError(
          "too many requests from this address",
          Code.ResourceExhausted,
          retry,
        ),
      };
    }
    const header = request.headers.get(PROOF_HEADER);
    if (header === null || request.method !== "POST") return { proven: "" };
    const body = await readBody(request, REQUEST_BYTES_MAX + ENVELOPE_BYTES);
    if (body === undefined) {
      return { fault: new ConnectError("the request is too large", Code.ResourceExhausted) };
    }
    try {
      const contentType = request.headers.get("content-type") ?? "";
      const { service, proofs } = this.#options;
      const covered = { method, contentType, body };
      const verdict = await service.guarded(() => proofs.check(header, covered));
      if (verdict.proven) return { proven: verdict.publicKey, body };
      return { fault: new ConnectError(verdict.reason, Code.Unauthenticated) };
    } catch (error) {
      return { fault: ConnectError.from(error) };
    }
  }

  /** Says the server's key and time, by which proofs are made. */
  #withKey(response: Response): Response {
    response.headers.set(PROOF_KEY_HEADER, this.#options.proofs.publicKey);
    response.headers.set(PROOF_TIME_HEADER, String(Math.floor(this.#options.now())));
    return response;
  }

  async #get(request: Request, path: string): Promise<Response> {
    const answer = this.#pages[path];
    if (answer === undefined) return new Response("Not found\n", { status: 404 });
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("Method not allowed\n", { status: 405, headers: { allow: "GET, HEAD" } });
    }
    try {
      return await answer();
    } catch (error) {
      // The service has logged it.
      return new Response(`${messageOf(error)}\n`, { status: 503 });
    }
  }

  readonly #pages: Readonly<Record<string, () => Response | Promise<Response>>> = {
    __proto__: null as never,
    "/health": async () => {
      const health = await this.#options.service.health();
      // Zeros too, as a reader of /health expects every field.
      return Response.json(toJson(HealthResponseSchema, health, { alwaysEmitImplicit: true }), {
        headers: { "cache-control": "no-store" },
      });
    },
    // What cannot be written for a while may be read all the same; a database that does not answer throws.
    "/ready": async () => {
      await this.#options.service.health();
      return new Response("ready\n", { headers: { "cache-control": "no-store" } });
    },
    "/.well-known/jwks.json": () =>
      Response.json({ keys: [] }, { headers: { "cache-control": "public, max-age=60" } }),
  };

  #admit(remote: string): boolean {
    return this.#limiter.admit(this.#options.now() as Instant, remote);
  }
}

/** A request's body; `undefined` for one that is too large. */
async function readBody(
  request: Request,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length;
    if (bytes > bytesMax) return undefined;
    chunks.push(chunk);
  }
  return concat(...chunks);
}

async function* oneChunk(body: Uint8Array<ArrayBuffer>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield await Promise.resolve(body);
}
