/**
 * The head of a request to an HTTP proxy (RFC 9112), sans I/O: CONNECT, and absolute-form requests for `http:`, which are
 * rewritten for the origin server.
 *
 * @module
 */
import { canonicalIp } from "../core/mod.ts";

/** Longest head: request line, headers and the empty line. */
export const HEAD_BYTES_MAX = 65_536;

/** What a head asks for. */
export type ProxyRequest =
  | {
    readonly kind: "connect";
    readonly host: string;
    readonly port: number;
    /** Length of the head; what follows is the tunnel's. */
    readonly headBytes: number;
  }
  | {
    readonly kind: "forward";
    readonly host: string;
    readonly port: number;
    readonly headBytes: number;
    /** The head for the origin server. */
    readonly head: string;
    /** Length of the body that follows; `undefined` if it tells its own length (chunked). */
    readonly bodyBytes: number | undefined;
  }
  | {
    readonly kind: "bad";
    /** 400, 405, 431 or 505. */
    readonly status: number;
    /** One line for a person. Holds nothing of the client's bytes. */
    readonly reason: string;
  };

interface Header {
  readonly name: string;
  readonly value: string;
}

/** Between this connection and the next only (RFC 9110 section 7.6.1), and the proxy's own. Framing passes: so does the body. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "upgrade",
  "host",
]);
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible characters, and the raw bytes that some clients leave in a path. */
const TARGET = /^[\x21-\x7e\x80-\xff]+$/;

/** Parses the head of a request; `undefined` while it is not whole. Never throws. */
export function parseProxyRequest(bytes: Uint8Array): ProxyRequest | undefined {
  const end = endOfHead(bytes);
  if (end === undefined) {
    if (bytes.length < HEAD_BYTES_MAX) return undefined;
    return bad(`the head is longer than ${HEAD_BYTES_MAX} bytes`, 431);
  }
  const [requestLine = "", ...lines] = decodeLatin1(bytes.subarray(0, end - 4)).split("\r\n");
  const parts = requestLine.split(" ");
  const [method = "", target = "", version = ""] = parts;
  if (parts.length !== 3 || !TOKEN.test(method) || !TARGET.test(target)) {
    return bad("not an HTTP request");
  }
  if (!/^HTTP\/1\.[01]$/.test(version)) return bad("only HTTP/1.1 and HTTP/1.0", 505);
  const headers = parseHeaders(lines);
  if (headers === undefined) return bad("a header that is none");
  if (method === "CONNECT") {
    const authority = parseAuthority(target);
    if (authority?.port === undefined) return bad("CONNECT needs host:port");
    return { kind: "connect", host: authority.host, port: authority.port, headBytes: end };
  }
  if (method === "TRACE" || target === "*") return bad("this proxy does not answer itself", 405);
  return forward({ method, target, version, headers, headBytes: end });
}

/** Formats an answer of the proxy itself: one line of text. */
export function formatProxyAnswer(status: number, text: string): string {
  const body = `${text}\n`;
  const allow = status === 405 ? "Allow: CONNECT, GET, HEAD, POST, PUT, PATCH, DELETE\r\n" : "";
  return `HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}\r\n${allow}` +
    "Content-Type: text/plain; charset=utf-8\r\n" +
    `Content-Length: ${new TextEncoder().encode(body).length}\r\nConnection: close\r\n\r\n${body}`;
}

const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  502: "Bad Gateway",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

interface ForwardParts {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly headers: readonly Header[];
  readonly headBytes: number;
}

function forward({ method, target, version, headers, headBytes }: ForwardParts): ProxyRequest {
  const match = /^http:\/\/([^/?#]+)([^#]*)/i.exec(target);
  if (match === null) {
    return bad("this is a proxy: ask for http://host/path, or CONNECT host:port");
  }
  const [, authorityText = "", pathAndQuery = ""] = match;
  const authority = parseAuthority(authorityText);
  if (authority === undefined) return bad("no host in the request's URL");
  const body = bodyLength(headers);
  if (body === "bad") return bad("the length of the body is not clear");
  const dropped = new Set(HOP_BY_HOP);
  for (const { name, value } of headers) {
    if (name.toLowerCase() !== "connection") continue;
    for (const option of value.split(",")) dropped.add(option.trim().toLowerCase());
  }
  // What frames the body stays, whatever `Connection` says.
  for (const name of ["content-length", "transfer-encoding"]) dropped.delete(name);
  const path = pathAndQuery.startsWith("/") ? pathAndQuery : `/${pathAndQuery}`;
  const kept = headers.filter(({ name }) => !dropped.has(name.toLowerCase()))
    .map(({ name, value }) => `${name}: ${value}\r\n`).join("");
  return {
    kind: "forward",
    host: authority.host,
    port: authority.port ?? 80,
    headBytes,
    head: `${method} ${path} ${version}\r\nHost: ${authorityText}\r\n${kept}` +
      "Via: 1.1 moray\r\nConnection: close\r\n\r\n",
    bodyBytes: body,
  };
}

/** How long the body is; `bad` for what two parsers could read in two ways. */
function bodyLength(headers: readonly Header[]): number | undefined | "bad" {
  const values = (wanted: string): string[] =>
    headers.filter(({ name }) => name.toLowerCase() === wanted).map(({ value }) => value);
  const lengths = values("content-length");
  const codings = values("transfer-encoding");
  if (lengths.length + codings.length > 1) return "bad";
  const [coding] = codings;
  if (coding !== undefined) return coding.toLowerCase() === "chunked" ? undefined : "bad";
  const [length = "0"] = lengths;
  return /^\d{1,15}$/.test(length) ? Number(length) : "bad";
}

function parseHeaders(lines: readonly string[]): Header[] | undefined {
  const headers: Header[] = [];
  for (const line of lines) {
    const at = line.indexOf(":");
    const name = line.slice(0, Math.max(at, 0));
    const value = line.slice(at + 1).replace(/^[ \t]+|[ \t]+$/g, "");
    // A folded line starts with a space, which no name does; a lone CR or LF would be a second header to some.
    // deno-lint-ignore no-control-regex
    if (!TOKEN.test(name) || /[\0-\x08\x0a-\x1f\x7f]/.test(value)) return undefined;
    headers.push({ name, value });
  }
  return headers;
}

/** Parses `host`, `host:port`, `[IPv6]` or `[IPv6]:port`; nobody's name and password. */
function parseAuthority(text: string): { host: string; port: number | undefined } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]{1,255}))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain = "", digits] = match;
  const host = bracketed === undefined ? canonicalIp(plain) ?? plain : canonicalIp(bracketed);
  const port = digits === undefined ? undefined : Number(digits);
  if (host === undefined || port === 0 || (port ?? 0) > 65_535) return undefined;
  return { host, port };
}

/** Returns the index behind the empty line that ends the head. */
function endOfHead(bytes: Uint8Array): number | undefined {
  const end = Math.min(bytes.length, HEAD_BYTES_MAX);
  for (let at = bytes.indexOf(0x0d); at >= 0 && at + 4 <= end; at = bytes.indexOf(0x0d, at + 1)) {
    if (bytes[at + 1] === 0x0a && bytes[at + 2] === 0x0d && bytes[at + 3] === 0x0a) return at + 4;
  }
  return undefined;
}

function decodeLatin1(bytes: Uint8Array): string {
  let text = "";
  // In pieces: the call stack holds no 65,536 arguments everywhere.
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}

function bad(reason: string, status = 400): ProxyRequest {
  return { kind: "bad", status, reason };
}
