/** The HTTP proxy into the mesh: `--http-proxy H:P`. CONNECT, and plain `http:` requests. @module */
import { concat, messageOf, MorayError } from "../core/mod.ts";
import { fromSystem } from "../io/mod.ts";
import { formatProxyAnswer, HEAD_BYTES_MAX, parseProxyRequest } from "./http_head.ts";
import type { ProxyRequest } from "./http_head.ts";
import type { ByteStream, TunnelConn } from "./network.ts";
import { dialFor, HANDSHAKE_TIMEOUT_MS, type ProxyClient, type ProxyOptions } from "./proxy.ts";
import { startProxy } from "./proxy.ts";
import { splice, writeAll } from "./splice.ts";
import { abortable, closeGently, type LocalListener, NOT_CONNECTED } from "./stream_server.ts";
import { sendAtOnce, type StreamOutcome, withDeadline } from "./stream_server.ts";

/** A request that leads somewhere. */
type Target = Exclude<ProxyRequest, { readonly kind: "bad" }>;

/**
 * Starts an HTTP proxy. Like the SOCKS proxy it leads to the mesh and nowhere else.
 *
 * One request per connection: the answer to a plain request ends with the connection, so no second request can reach
 * the wrong server. Throws as {@linkcode startLocalServer}.
 */
export function startHttpProxy(options: ProxyOptions): LocalListener {
  return startProxy("http proxy", options, serve);
}

async function serve(client: ProxyClient): Promise<StreamOutcome> {
  const { conn, options: { log } } = client;
  let request: ProxyRequest;
  let rest: Uint8Array;
  try {
    sendAtOnce(conn);
    [request, rest] = await readRequest(client);
  } catch (error) {
    log("info", `http proxy: no request: ${fromSystem(error, "read").message}`);
    return NOT_CONNECTED;
  }
  if (request.kind === "bad") {
    log("info", `http proxy: ${request.status}: ${request.reason}`);
    return await answer(client, request.status, request.reason);
  }
  const { host, port } = request;
  let tunnel: TunnelConn;
  try {
    tunnel = await dialFor(client, { host, port });
  } catch (error) {
    log("info", `http proxy: no connection: ${messageOf(error)}`, { host, port });
    const late = error instanceof MorayError && error.code === "timedOut";
    return await answer(client, late ? 504 : 502, messageOf(error));
  }
  return await carry(client, { request, rest, tunnel });
}

/** Starts the exchange, then lets it run. */
async function carry(
  { conn, signal, options: { log } }: ProxyClient,
  { request, rest, tunnel }: { request: Target; rest: Uint8Array; tunnel: TunnelConn },
): Promise<StreamOutcome> {
  const { host, port } = request;
  using _ = tunnel;
  try {
    let client: ByteStream = conn;
    let first = rest;
    if (request.kind === "connect") {
      await writeAll(conn, encode("HTTP/1.1 200 Connection established\r\n\r\n"));
    } else {
      const { head, bodyBytes = Infinity } = request;
      const early = rest.subarray(0, Math.min(rest.length, bodyBytes));
      client = limited(conn, bodyBytes - early.length);
      // A head is at most Latin-1, byte by byte as it came.
      first = concat(Uint8Array.from(head, (c) => c.charCodeAt(0)), early);
    }
    await writeAll(tunnel, first);
    const { aToB, bToA, end } = await splice(client, tunnel, { signal });
    const [sent, received] = [first.length + aToB, bToA];
    log("debug", "http proxy: connection ended", { host, port, sent, received, end });
    return { connected: true, bytesOut: sent, bytesIn: received };
  } catch (error) {
    log("info", `http proxy: connection lost: ${messageOf(error)}`, { host, port });
    return NOT_CONNECTED;
  }
}

/** Reads until the head is whole or wrong; returns it with the bytes behind it. */
async function readRequest(
  { conn, signal, options }: ProxyClient,
): Promise<[ProxyRequest, Uint8Array]> {
  const ms = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
  return await withDeadline({ signal, ms, what: "request" }, async (deadline) => {
    const buffer = new Uint8Array(HEAD_BYTES_MAX);
    for (let length = 0; length < HEAD_BYTES_MAX;) {
      const n = await abortable(conn.read(buffer.subarray(length)), deadline);
      if (n === null) {
        throw new MorayError("closed", "The client left before its request was whole");
      }
      length += n;
      const read = buffer.subarray(0, length);
      const request = parseProxyRequest(read);
      if (request === undefined) continue;
      return [request, request.kind === "bad" ? read : read.subarray(request.headBytes)];
    }
    // The parser has an answer for a full buffer.
    throw new MorayError("internal", "A full head led to no answer");
  });
}

async function answer(client: ProxyClient, status: number, text: string): Promise<StreamOutcome> {
  const { conn, signal } = client;
  await writeAll(conn, encode(formatProxyAnswer(status, text))).catch(() => {});
  await closeGently(conn, signal);
  return NOT_CONNECTED;
}

/**
 * A stream whose reader hears `bytes` bytes and then nothing until the client ends: a second request on the
 * connection is not this server's.
 */
function limited(stream: ByteStream, bytes: number): ByteStream {
  let left = bytes;
  return {
    async read(target: Uint8Array): Promise<number | null> {
      if (left > 0) {
        const n = await stream.read(target.subarray(0, Math.min(target.length, left)));
        left -= n ?? 0;
        return n;
      }
      while (await stream.read(target) !== null);
      return null;
    },
    write: (source) => stream.write(source),
    closeWrite: () => stream.closeWrite(),
    close: () => stream.close(),
  };
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
