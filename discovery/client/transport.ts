/** One Discovery URL: a Connect client over fetch, and its errors in our words. @module */
import type { DescMethod } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { messageOf, MorayError } from "../../core/mod.ts";
import { DiscoveryService } from "../../proto/mod.ts";
import { sanitizeJson } from "./tolerant_json.ts";

/** `fetch`, or something that behaves like it. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** Bytes of a unary answer that are read. */
const RESPONSE_BYTES_MAX = 1024 * 1024;

/** The URL that `fetch` was given. */
export function urlOf(input: string | URL | Request): string {
  return typeof input === "object" && "url" in input ? input.url : String(input);
}

/** Creates a client of one URL, in JSON, which every Discovery speaks. */
export function createDiscoveryClient(
  baseUrl: string,
  fetch: Fetch,
): Client<typeof DiscoveryService> {
  const transport = createConnectTransport({
    baseUrl,
    useBinaryFormat: false,
    jsonOptions: { ignoreUnknownFields: true },
    fetch: (input, init) => tolerantFetch(fetch, input, init),
  });
  return createClient(DiscoveryService, transport);
}

/**
 * Turns what a call threw into a `MorayError`: `unreachable`, `timedOut`, `refused` (with the server's words), `limit`
 * or `unsupported`. An abort by the caller is handed through as it is.
 */
export function callError(error: unknown, { url, signal }: {
  readonly url: string;
  readonly signal: AbortSignal | undefined;
}): unknown {
  if (signal?.aborted) return signal.reason;
  const connect = ConnectError.from(error);
  const words = connect.rawMessage;
  switch (connect.code) {
    case Code.DeadlineExceeded:
      return new MorayError("timedOut", `Discovery at ${url} does not answer`, error);
    case Code.ResourceExhausted:
      return new MorayError("limit", `Discovery at ${url}: ${words}`, error);
    case Code.Unimplemented:
      return new MorayError("unsupported", `Discovery at ${url} does not support this`, error);
    case Code.AlreadyExists:
    case Code.Aborted:
    case Code.FailedPrecondition:
    case Code.InvalidArgument:
    case Code.NotFound:
    case Code.OutOfRange:
    case Code.PermissionDenied:
    case Code.Unauthenticated:
      return new MorayError("refused", `Discovery at ${url} refused: ${words}`, error);
    default:
      return new MorayError("unreachable", `Cannot reach Discovery at ${url}: ${words}`, error);
  }
}

/** Whether an error of a call has this Connect code. */
export function hasCode(error: unknown, code: Code): boolean {
  const cause = error instanceof MorayError ? error.cause : error;
  return cause instanceof ConnectError && cause.code === code;
}

/** `fetch` that names network errors shortly, and leaves out of a unary JSON answer what is no such message. */
async function tolerantFetch(
  fetch: Fetch,
  input: string | URL | Request,
  init: RequestInit | undefined,
): Promise<Response> {
  let response: Response;
  try {
    response = await cancellableFetch(fetch, input, init);
  } catch (error) {
    if (init?.signal?.aborted || error instanceof ConnectError) throw error;
    throw new ConnectError(networkReason(error), Code.Unavailable, undefined, undefined, error);
  }
  const method = methodOf(urlOf(input));
  const type = response.headers.get("content-type") ?? "";
  if (method === undefined || method.methodKind !== "unary" || !/^application\/json\b/.test(type)) {
    return response;
  }
  const { status, headers } = response;
  const body = await readBody(response);
  const json = parseJson(body);
  if (json === undefined) {
    throw new ConnectError("the answer is not Discovery's", Code.Unavailable);
  }
  if (status !== 200) return Response.json(json, { status, headers: plain(headers) });
  return Response.json(sanitizeJson(method.output, json), { status, headers: plain(headers) });
}

/**
 * `fetch` whose signal also ends the connection of an answer that is being read.
 *
 * Deno's own leaves it open when the signal is aborted while no read is pending: on 2.8.3 a stream stayed in 32 of 38
 * rounds of two watches each, and on 2.7.11 too, uncounted. Cancelling the body before the abort leaves none.
 */
async function cancellableFetch(
  fetch: Fetch,
  input: string | URL | Request,
  init: RequestInit | undefined,
): Promise<Response> {
  const signal = init?.signal;
  if (!signal) return await fetch(input, init);
  signal.throwIfAborted();
  const connecting = new AbortController();
  const abort = (): void => connecting.abort(signal.reason);
  signal.addEventListener("abort", abort);
  let response: Response;
  try {
    response = await fetch(input, { ...init, signal: connecting.signal });
  } finally {
    signal.removeEventListener("abort", abort);
  }
  const reader = response.body?.getReader();
  if (reader === undefined) return response;
  const cancel = (): void => void reader.cancel(signal.reason).catch(() => {});
  signal.addEventListener("abort", cancel);
  if (signal.aborted) cancel();
  const done = (): void => signal.removeEventListener("abort", cancel);
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller): Promise<void> {
      try {
        const result = await reader.read();
        if (signal.aborted) throw signal.reason;
        if (!result.done) return controller.enqueue(result.value);
        done();
        controller.close();
      } catch (error) {
        done();
        controller.error(error);
      }
    },
    cancel(reason): Promise<void> {
      done();
      return reader.cancel(reason);
    },
  });
  const { status, statusText, headers } = response;
  return new Response(body, { status, statusText, headers });
}

/** Headers without those that described the body as it came. */
function plain(headers: Headers): Headers {
  const rest = new Headers(headers);
  for (const name of ["content-length", "content-encoding"]) rest.delete(name);
  return rest;
}

async function readBody(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > RESPONSE_BYTES_MAX) {
      throw new ConnectError("the answer is too large", Code.Unavailable);
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The value of a JSON text; `undefined` for anything else. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function methodOf(url: string): DescMethod | undefined {
  const name = new URL(url).pathname.split("/").at(-1);
  return DiscoveryService.methods.find((method) => method.name === name);
}

/** The core of a network error of `fetch`, in the same words on every system. */
function networkReason(error: unknown): string {
  const text = withCauses(error);
  for (const [pattern, reason] of REASONS) if (pattern.test(text)) return reason;
  // The innermost cause comes last.
  return text.split(": ").at(-1) ?? text;
}

/** The messages of an error and of what caused it: Deno 2.9 says "fetch failed" and puts the reason beneath. */
function withCauses(error: unknown): string {
  const messages = [messageOf(error)];
  let cause = error;
  for (
    let depth = 0;
    depth < 4 && cause instanceof Error && cause.cause instanceof Error;
    depth++
  ) {
    cause = cause.cause;
    messages.push(messageOf(cause));
  }
  return messages.join(": ");
}

const REASONS: readonly (readonly [RegExp, string])[] = [
  [/connection refused|actively refused/i, "connection refused"],
  [/dns error|failed to lookup|name or service not known/i, "no such host"],
  [/connection reset|connection closed|broken pipe|incomplete message/i, "connection reset"],
  [/network is unreachable|no route to host/i, "network is unreachable"],
  [/timed out/i, "connection timed out"],
  [/certificate/i, "its certificate is not valid"],
  [/redirect/i, "it redirects elsewhere"],
];
