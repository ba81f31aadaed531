/**
 * A Discovery that lies: a proxy in front of a real one, which hands every request through as it is and changes answers.
 *
 * ```text
 *   node --request--> proxy --same bytes--> Discovery
 *        <--lie------       <--the truth---
 * ```
 *
 * @module
 */
import { concat } from "../../core/mod.ts";

/** A message in its JSON form. */
export type Json = Readonly<Record<string, unknown>>;

/** Says what becomes of one answer, or of one message of a stream; `undefined`: it is withheld. */
export type Lie = (method: string, message: Json) => Json | undefined;

/** Bytes before each message of a stream: flags, and the length in 4 bytes. */
const ENVELOPE_BYTES = 5;
/** The flag of the message that ends a stream. */
const END_STREAM = 2;

/** The proxy. */
export class LyingProxy implements AsyncDisposable {
  /** What it makes of answers; honest at first. */
  lie: Lie = (_, message) => message;
  /** Answers changed or withheld. */
  lies = 0;
  /** Whether streams have no cursors, so that each begins with every record. */
  forgetful = false;
  readonly #target: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #client = Deno.createHttpClient({});
  #streams = new AbortController();

  /** Listens on 127.0.0.1 in front of the Discovery at this URL. */
  constructor(target: string) {
    this.#target = target;
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request) => this.#serve(request),
    );
  }

  /** Its base URL. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** Breaks every Watch stream, so that all is told anew. */
  breakStreams(): void {
    this.#streams.abort();
    this.#streams = new AbortController();
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.breakStreams();
    await this.#server.shutdown();
    this.#client.close();
  }

  async #serve(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const method = pathname.split("/").at(-1) ?? "";
    const headers = new Headers(request.headers);
    for (const name of ["host", "accept-encoding", "connect-accept-encoding"]) headers.delete(name);
    const isStream = method === "Watch";
    const response = await fetch(this.#target + pathname, {
      method: request.method,
      headers,
      client: this.#client,
      ...(request.method === "POST" && { body: await request.bytes() }),
    }).catch(() => undefined);
    if (response === undefined) return Response.json({ code: "unavailable" }, { status: 503 });
    const answer = { status: response.status, headers: new Headers(response.headers) };
    for (const name of ["content-length", "content-encoding"]) answer.headers.delete(name);
    if (response.status !== 200 || response.body === null) {
      return new Response(await response.bytes(), answer);
    }
    if (isStream) return new Response(this.#stream(method, response.body), answer);
    const changed = this.#change(method, await response.json());
    if (changed !== undefined) return Response.json(changed, answer);
    return Response.json({ code: "not_found", message: "not found" }, { status: 404 });
  }

  #change(method: string, message: Json): Json | undefined {
    const changed = this.lie(method, message);
    if (changed !== message) this.lies++;
    return changed;
  }

  /** A stream's messages, changed, until it is broken: then it ends as a connection that is cut. */
  #stream(method: string, truth: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
    const reader = truth.getReader();
    const broken = this.#streams.signal;
    let held = new Uint8Array();
    const end = (): void => void reader.cancel().catch(() => {});
    broken.addEventListener("abort", end);
    return new ReadableStream({
      pull: async (controller) => {
        for (let sent = false; !sent;) {
          const { value, done } = await reader.read().catch(() => ({
            value: undefined,
            done: true,
          }));
          if (done || value === undefined) {
            broken.removeEventListener("abort", end);
            return controller.close();
          }
          held = concat(held, value);
          for (
            let length;
            (length = envelopeLength(held)) !== undefined;
            held = held.slice(length)
          ) {
            const envelope = this.#changeEnvelope(method, held.slice(0, length));
            if (envelope === undefined) continue;
            controller.enqueue(envelope);
            sent = true;
          }
        }
      },
      cancel: end,
    });
  }

  #changeEnvelope(method: string, envelope: Uint8Array): Uint8Array | undefined {
    const [flags = 0] = envelope;
    if ((flags & END_STREAM) !== 0) return envelope;
    const message = JSON.parse(new TextDecoder().decode(envelope.subarray(ENVELOPE_BYTES))) as Json;
    const { cursor: _, ...rest } = message;
    const changed = this.#change(method, this.forgetful ? rest : message);
    return changed && encode(flags, changed);
  }
}

/** The length of the first envelope; `undefined` where it is not whole. */
function envelopeLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < ENVELOPE_BYTES) return undefined;
  const length = ENVELOPE_BYTES + new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  return bytes.length < length ? undefined : length;
}

/** Changes the node's record that is in an answer, wherever it is; what has none stays. `undefined` from `change`: withheld. */
export function inRecords(change: (record: Json) => Json | undefined): Lie {
  return (method, message) => {
    if (method === "LookupColony" || method === "LookupAgent") return change(message);
    for (const holder of ["peerUpserted", "peer"]) {
      const record = message[holder];
      if (isJson(record)) return put(message, holder, change(record));
    }
    const punch = message["punch"];
    if (!isJson(punch) || !isJson(punch["peer"])) return message;
    const peer = change(punch["peer"]);
    return put(message, "punch", peer && put(punch, "peer", peer));
  };
}

function put(message: Json, name: string, value: Json | undefined): Json | undefined {
  if (value === undefined) return undefined;
  return value === message[name] ? message : { ...message, [name]: value };
}

function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function encode(flags: number, message: Json): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(message));
  const head = new DataView(new ArrayBuffer(ENVELOPE_BYTES));
  head.setUint8(0, flags);
  head.setUint32(1, body.length);
  return concat(new Uint8Array(head.buffer), body);
}
