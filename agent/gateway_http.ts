/**
 * HTTP to a UPnP gateway, with limits.
 *
 * Not by `fetch`: that sends through the proxy that the environment names, which is no way to the router, and refuses ports that
 * gateways use.
 *
 * @module
 */
import { concat } from "../core/mod.ts";
import type { HttpRequest, HttpResponse } from "../traversal/mod.ts";

/** How long one request may take. A router's processor is slow; nobody waits for it. */
export const HTTP_MS_MAX = 5_000;
/** Longest body read. The descriptions of real gateways have a few kilobytes. */
export const HTTP_BYTES_MAX = 65_536;

/**
 * Sends a request and returns the response, whatever its status; `undefined` if there is none, or it is longer than
 * {@linkcode HTTP_BYTES_MAX}, or takes longer than {@linkcode HTTP_MS_MAX}. Follows no redirection. Never rejects.
 */
export async function askGateway(
  { location: { server, path }, method, action, body }: HttpRequest,
  signal: AbortSignal,
): Promise<HttpResponse | undefined> {
  // Loaded only where a gateway answers a search.
  const { request } = await import("node:http");
  const { promise, resolve } = Promise.withResolvers<HttpResponse | undefined>();
  const { hostname, port } = server;
  const headers: Record<string, string> = { connection: "close", "user-agent": "moray UPnP/1.1" };
  if (action !== undefined) headers["soapaction"] = action;
  if (body !== undefined) headers["content-type"] = 'text/xml; charset="utf-8"';
  // No `localAddress`: in the compiled program a socket that is given one breaks (Deno 2.8.3). The kernel takes the same.
  const late = AbortSignal.any([signal, AbortSignal.timeout(HTTP_MS_MAX)]);
  const sent = request({ hostname, port, path, method, headers, agent: false });
  const end = (response?: HttpResponse): void => {
    late.removeEventListener("abort", giveUp);
    resolve(response);
    sent.destroy();
  };
  const giveUp = (): void => end();
  if (late.aborted) giveUp();
  late.addEventListener("abort", giveUp, { once: true });
  sent.on("error", giveUp);
  sent.on("response", (response) => {
    const parts: Uint8Array[] = [];
    let length = 0;
    response.on("error", giveUp);
    response.on("data", (part: Uint8Array) => {
      length += part.length;
      if (length > HTTP_BYTES_MAX) return giveUp();
      parts.push(part);
    });
    response.on("end", () => {
      const text = new TextDecoder().decode(concat(...parts));
      end({ status: response.statusCode ?? 0, body: text });
    });
  });
  sent.end(body);
  return await promise;
}
