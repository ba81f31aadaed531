/** The HTTP side of the service: Connect calls, `/health` and the key set. @module */
import { type Message, toJson } from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  type ContextValues,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import {
  type UniversalHandler,
  type UniversalServerRequest,
  universalServerRequestFromFetch,
  universalServerResponseToFetch,
} from "@connectrpc/connect/protocol";
import { canonicalIp, type Cidr, messageOf, type SocketAddress } from "../../core/mod.ts";
import { DiscoveryService, HealthResponseSchema } from "../../proto/mod.ts";
import type { Log } from "../log.ts";
import { KEY_SET_PATH } from "../token/claims.ts";
import { PROOF_HEADER, PROOF_KEY_HEADER, PROOF_TIME_HEADER } from "../proof/proof.ts";
import { ClientAddresses } from "./client_address.ts";
import { DirectCalls } from "./direct_calls.ts";
import type { ProofChecker } from "./proof_checker.ts";
import { provenKey } from "./proven.ts";
import { BODY_MS_MAX, readBody } from "./read_body.ts";
import { RequestLimiter, type RequestLimits, tooMany } from "./request_limits.ts";
import { requestHost } from "./server_information.ts";
import type { NodeKey } from "../store/store.ts";
import { remoteAddress, type Service } from "./service.ts";

/** Largest request body. */
export const REQUEST_BYTES_MAX = 64 * 1024;
/** Where WebSockets that carry TURN are opened. */
export const TURN_PATH = "/turn";
/** How long the key set may be kept: far shorter than a key is published before it signs. */
export const KEY_SET_AGE_MS = 300_000;

/** What a streamed call has before its message. */
const ENVELOPE_BYTES = 5;

/** Why a call is refused before its body is read. */
const refusal = createContextKey<ConnectError | undefined>(undefined, { description: "refusal" });

/** Takes a request to open a WebSocket that carries TURN, from the address that the socket saw. */
export type TurnHandler = (request: Request, remote: SocketAddress) => Response;

/** Takes requests for the status page, from an address. Resolves with `undefined` for paths that are none of it. */
export type StatusHandler = (
  request: Request,
  url: URL,
  remote: string,
) => Promise<Response | undefined>;

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
  /** Takes the paths of the status page. Absent: there is none. */
  readonly status?: StatusHandler;
  /** How much may be asked. @default REQUEST_LIMITS of request_limits.ts */
  readonly limits?: Partial<RequestLimits>;
  /** Where proxies stand whose word on the client's address is believed, for limits and logs. @default none */
  readonly trustedProxies?: readonly Cidr[];
  /** How long a body may take to arrive, in milliseconds. @default {@linkcode BODY_MS_MAX} */
  readonly bodyMsMax?: number;
}

/** Answers HTTP requests. */
export class HttpHandler {
  readonly #options: HttpHandlerOptions;
  readonly #limiter: RequestLimiter;
  readonly #addresses: ClientAddresses;
  readonly #handlers: ReadonlyMap<string, UniversalHandler>;
  readonly #direct: DirectCalls;
  #lastHost = { origin: "", hostname: "" };
  #requests = 0;
  #slowBodies = 0;

  /** Creates a handler. */
  constructor(options: HttpHandlerOptions) {
    this.#options = options;
    this.#limiter = new RequestLimiter(options.limits);
    this.#addresses = new ClientAddresses(options.trustedProxies ?? []);
    const router = createConnectRouter({
      readMaxBytes: REQUEST_BYTES_MAX,
      // gRPC needs trailers, which a fetch response has not; gRPC-web has them in its body.
      grpc: false,
      requestGate: ({ values }) => {
        const fault = values.get(refusal);
        if (fault !== undefined) throw fault;
      },
      interceptors: [this.#perMesh],
    });
    router.service(DiscoveryService, options.service.methods);
    const countMesh = this.#countMesh.bind(this);
    this.#direct = new DirectCalls(options.service.frequent, countMesh);
    this.#handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  }

  /** Requests so far, and those refused by the limit. */
  counters(): Record<string, number> {
    const all = {
      requests: this.#requests,
      requestsSlow: this.#slowBodies,
      forwardedDisagreed: this.#addresses.disagreed,
      ...this.#limiter.counters(),
      ...this.#options.proofs.counters(),
    };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value > 0));
  }

  /** Answers a request from the address that the socket saw. */
  async handle(request: Request, { hostname, port }: SocketAddress): Promise<Response> {
    this.#requests++;
    const socket = canonicalIp(hostname) ?? hostname;
    const remote = this.#addresses.of(request.headers, socket);
    const refusal = this.#limiter.refusal("address", remote, this.#options.now());
    const { origin, path } = splitUrl(request.url);
    const handler = this.#handlers.get(path);
    if (handler !== undefined) {
      return await this.#call(request, { handler, origin, path, remote, refusal });
    }
    const url = new URL(request.url);
    if (refusal !== undefined) return plainRefusal(refusal);
    const { turn, status } = this.#options;
    if (turn !== undefined && url.pathname === TURN_PATH) {
      // A relay tells its client this address: no header may choose it.
      return turn(request, { hostname: socket, port });
    }
    return await status?.(request, url, remote) ?? await this.#get(request, url.pathname);
  }

  /** Runs a Connect call. One that streams is under way only until its answer begins: the hub counts streams. */
  async #call(
    request: Request,
    { handler, origin, path, remote, refusal: limited }: {
      readonly handler: UniversalHandler;
      readonly origin: string;
      readonly path: string;
      readonly remote: string;
      readonly refusal: ConnectError | undefined;
    },
  ): Promise<Response> {
    const contextValues = createContextValues()
      .set(requestHost, this.#hostOf(origin))
      .set(remoteAddress, remote);
    const leave = limited === undefined ? this.#limiter.enter(remote) : undefined;
    try {
      const crowded = leave === undefined ? tooMany("too many requests at once", 1000) : undefined;
      const fault = limited ?? crowded;
      const call = fault === undefined
        ? await this.#authenticate(request, handler.method.name)
        : { fault };
      if ("fault" in call) {
        contextValues.set(refusal, call.fault);
        if (call.fault.code === Code.ResourceExhausted) {
          const words = { method: handler.method.name, address: remote };
          this.#options.log("debug", call.fault.rawMessage, words);
        }
      } else contextValues.set(provenKey, call.proven);
      if ("body" in call && this.#direct.takes(request, path)) {
        const { body } = call;
        const asked = { path, request, body, values: contextValues };
        const answer = await this.#direct.answer(asked, this.#ownHeaders());
        if (answer !== undefined) return answer;
      }
      const universal = request.method === "POST"
        ? withBody(request, "body" in call ? call.body : undefined)
        : universalServerRequestFromFetch(request, {});
      const answer = await handler({ ...universal, contextValues });
      return this.#withOwnHeaders(universalServerResponseToFetch(answer));
    } finally {
      leave?.();
    }
  }

  /**
   * Reads the body, in time and within the limit, and finds out who calls; whoever is refused here hears it in the words of Connect.
   */
  async #authenticate(
    request: Request,
    method: string,
  ): Promise<
    | { readonly fault: ConnectError }
    | { readonly proven: string; readonly body?: Uint8Array<ArrayBuffer> }
  > {
    if (request.method !== "POST") return { proven: "" };
    const { service, proofs, now, bodyMsMax = BODY_MS_MAX } = this.#options;
    const body = await readBody(request, {
      bytesMax: REQUEST_BYTES_MAX + ENVELOPE_BYTES,
      msMax: bodyMsMax,
    });
    if (body === "large") {
      return { fault: new ConnectError("the request is too large", Code.ResourceExhausted) };
    }
    if (body === "slow") {
      this.#slowBodies++;
      const seconds = bodyMsMax / 1000;
      const message = `the request took longer than ${seconds} s to arrive`;
      return { fault: new ConnectError(message, Code.DeadlineExceeded) };
    }
    const header = request.headers.get(PROOF_HEADER);
    if (header === null) return { proven: "", body };
    try {
      const contentType = request.headers.get("content-type") ?? "";
      const covered = { method, contentType, body };
      const verdict = await service.guarded(() => proofs.check(header, covered));
      if (!verdict.proven) {
        return { fault: new ConnectError(verdict.reason, Code.Unauthenticated) };
      }
      const fault = this.#limiter.refusal("key", verdict.publicKey, now());
      return fault === undefined ? { proven: verdict.publicKey, body } : { fault };
    } catch (error) {
      return { fault: ConnectError.from(error) };
    }
  }

  /** Counts the calls that Connect's router takes against their mesh. */
  readonly #perMesh: Interceptor = (next) => async (request) => {
    if (!request.stream) await this.#countMesh(request.message, request.contextValues);
    return await next(request);
  };

  /** Counts a call against its mesh. Throws for one too many. Those who prove nothing cannot use up what is others'. */
  #countMesh(message: Message, values: ContextValues): Promise<void> | undefined {
    const publicKey = values.get(provenKey);
    if (publicKey === "") return undefined;
    const { meshId } = message as { readonly meshId?: unknown };
    if (typeof meshId !== "string" || meshId === "") return undefined;
    const fault = this.#limiter.refusal("mesh", meshId, this.#options.now());
    return fault && this.#countMember({ meshId, publicKey }, fault);
  }

  /** Counts a call in a mesh of which too much was asked, mostly by strangers perhaps. Throws this fault for a stranger, and for one too many of a member's. */
  async #countMember(node: NodeKey, fault: ConnectError): Promise<void> {
    if (await this.#options.service.standing(node) !== "member") throw fault;
    const own = this.#limiter.memberRefusal(node, this.#options.now());
    if (own !== undefined) throw own;
  }

  /** The server's key and time, by which proofs are made, and what every answer says besides. */
  #ownHeaders(): [string, string][] {
    return [
      // Deno would compress what is longer than 64 bytes: more work than all the rest, for a packet that is no shorter.
      ["cache-control", "no-transform"],
      [PROOF_KEY_HEADER, this.#options.proofs.publicKey],
      [PROOF_TIME_HEADER, String(Math.floor(this.#options.now()))],
    ];
  }

  #withOwnHeaders(response: Response): Response {
    for (const [name, value] of this.#ownHeaders()) response.headers.set(name, value);
    return response;
  }

  /** The host that a request named. Most name the same one. */
  #hostOf(origin: string): string {
    if (this.#lastHost.origin !== origin) {
      this.#lastHost = { origin, hostname: new URL(origin).hostname };
    }
    return this.#lastHost.hostname;
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
    [KEY_SET_PATH]: async () => {
      const headers = { "cache-control": `public, max-age=${KEY_SET_AGE_MS / 1000}` };
      return Response.json(await this.#options.service.keySet(), { headers });
    },
  };
}

/** The parts of a URL as the server makes it: parsing it in full costs more than finding the method. */
function splitUrl(url: string): { readonly origin: string; readonly path: string } {
  const start = url.indexOf("/", url.indexOf("//") + 2);
  if (start < 0) return { origin: url, path: "/" };
  const end = url.slice(start).search(/[?#]/);
  return { origin: url.slice(0, start), path: url.slice(start, end < 0 ? undefined : start + end) };
}

/** A refusal to whoever speaks no Connect. */
function plainRefusal(error: ConnectError): Response {
  const retryAfter = error.metadata.get("retry-after") ?? "1";
  const headers = { "retry-after": retryAfter };
  return new Response("Too many requests\n", { status: 429, headers });
}

/** A request as Connect takes it, whose body has been read, or is of no interest any more. */
function withBody(
  { method, url, headers, signal }: Request,
  body: Uint8Array<ArrayBuffer> | undefined,
): UniversalServerRequest {
  return {
    httpVersion: "1.1",
    method,
    url,
    header: headers,
    body: oneChunk(body ?? new Uint8Array()),
    signal,
  };
}

async function* oneChunk(body: Uint8Array<ArrayBuffer>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield await Promise.resolve(body);
}
